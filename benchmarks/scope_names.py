"""Names for benchmarks/scope.py: what is done to them, and how they are written elsewhere."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Iterable, Sequence

# Well-known names as they are written in other scripts, from general knowledge. Real spellings,
# not the transliterator's, and so harder than its own output.
TRANSLITERATED = {
    "Albert Einstein": ["Альберт Эйнштейн", "Альберт Айнщайн", "Алберт Ајнштајн"],
    "Isaac Newton": ["Исаак Ньютон", "Ісаак Ньютон"],
    "Charles Darwin": ["Чарльз Дарвин", "Чарлс Дарвин"],
    "Donald Trump": ["Дональд Трамп", "Доналд Тръмп"],
    "Barack Obama": ["Барак Обама", "Μπαράκ Ομπάμα"],
    "Angela Merkel": ["Ангела Меркель", "Άνγκελα Μέρκελ"],
    "Vladimir Putin": ["Владимир Путин", "Βλαντίμιρ Πούτιν"],
    "Alexander Pushkin": ["Александр Пушкин"],
    "Nikola Tesla": ["Никола Тесла", "Νίκολα Τέσλα"],
    "Napoleon Bonaparte": ["Наполеон Бонапарт", "Ναπολέων Βοναπάρτης"],
    "Ludwig van Beethoven": ["Людвиг ван Бетховен"],
    "William Shakespeare": ["Уильям Шекспир"],
    "Leonardo da Vinci": ["Леонардо да Винчи", "Λεονάρντο ντα Βίντσι"],
    "Sigmund Freud": ["Зигмунд Фрейд"],
    "Karl Marx": ["Карл Маркс", "Καρλ Μαρξ"],
    "Marie Curie": ["Мария Кюри"],
    "Socrates": ["Сократ", "Σωκράτης"],
    "Aristotle": ["Аристотель", "Αριστοτέλης"],
    "Johann Sebastian Bach": ["Иоганн Себастьян Бах"],
    "Yuri Gagarin": ["Юрий Гагарин", "Γιούρι Γκαγκάριν"],
    "Amsterdam": ["Амстердам", "Άμστερνταμ"],
    "Barcelona": ["Барселона", "Βαρκελώνη"],
    "Washington": ["Вашингтон"],
    "Microsoft": ["Майкрософт"],
}

ALIASES = {
    "New York City": ["NYC", "the Big Apple", "Nueva York", "ニューヨーク", "纽约市"],
    "United Nations": ["UNO", "ONU", "联合国", "Организация Объединённых Наций"],
    "Albert Einstein": ["アルベルト・アインシュタイン", "阿尔伯特·爱因斯坦", "ألبرت أينشتاين"],
    "Eiffel Tower": ["La Tour Eiffel", "Iron Lady", "エッフェル塔", "หอไอเฟล", "埃菲尔铁塔"],
    "United Kingdom": ["Great Britain", "Vereinigtes Königreich", "英国", "イギリス"],
    "Mount Everest": ["Sagarmatha", "Chomolungma", "珠穆朗玛峰", "エベレスト"],
    "Bangkok": ["Krung Thep Maha Nakhon", "กรุงเทพมหานคร", "曼谷"],
}

FRAMES = [
    "What can you say about {} in the end?",
    "{} was in the news again this morning.",
    "She asked her teacher where she could read more of {}",
]


def misspelt(name: str, errors: int, rng: random.Random) -> str:
    """`name` with random typing errors: a letter lost, added, changed, or two swapped."""
    for _ in range(errors):
        while True:
            at = rng.randrange(len(name))
            kind, letter = rng.choice("lacs"), rng.choice(string.ascii_lowercase)
            if not name[at].isalpha():
                continue
            if name[at].isupper():
                letter = letter.upper()
            following = name[at + 1 : at + 2]
            if kind == "s" and not following.isalpha():
                continue
            changed = {
                "l": name[:at] + name[at + 1 :],
                "a": name[:at] + letter + name[at:],
                "c": name[:at] + letter + name[at + 1 :],
                "s": name[:at] + following + name[at] + name[at + 2 :],
            }[kind]
            if changed != name:
                name = changed
                break
    return name


def letters(name: str) -> int:
    return sum(map(str.isalpha, name))


def without_diacritics(name: str) -> str:
    split = unicodedata.normalize("NFKD", name)
    return "".join(char for char in split if not unicodedata.combining(char))


def full_width(name: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)


def synthetic(names: Iterable[str], count: int, rng: random.Random) -> list[str]:
    """`count` names: the given ones, and more made of their first and last words."""
    pool = dict.fromkeys(names)
    parts = [name.split() for name in pool if " " in name]
    first, last = sorted({p[0] for p in parts}), sorted({p[-1] for p in parts})
    while len(pool) < count:
        middle = [rng.choice(first)] if rng.random() < 0.3 else []
        pool[" ".join([rng.choice(first), *middle, rng.choice(last)])] = None
    return list(pool)[:count]


def short_texts(texts: Sequence[str], names: Sequence[str], rng: random.Random) -> list[str]:
    """Texts of 30 words; a quarter hold a name, a quarter a misspelt one, the others none."""
    made = []
    for text in texts:
        words = text.split()[:30]
        if len(words) < 30:
            continue
        kind = len(made) % 4
        if kind < 2:
            name = rng.choice(names)
            name = misspelt(name, 1, rng) if kind and letters(name) else name
            at, size = rng.randrange(25), len(name.split())
            words = [*words[:at], name, *words[at + size :]][: 31 - size]
        made.append(" ".join(words))
    return made

"""The words of a text, folded so that one name is always written one way.

Folded are compatibility forms (full width, ligatures), case, diacritics, zero-width characters,
and everything between words: spaces, hyphens, apostrophes and punctuation only part words, so
that "Saint-Denis" is "Saint Denis" and the "s" of "Paris's" a word of its own. Each word knows
where it stands in the original text. Characters of scripts that write without spaces are words
of their own, hence matching on words needs no rule for them; and so are Korean particles.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from anyascii import anyascii

from lks.scope.bank.words import language_of
from lks.scope.languages.ko import particles

BETWEEN = "\n\n\ufffc\n\n"  # parts the turns of a chat: ends a sentence and belongs to no name
PARTED = re.compile(r"[.!?;:]\s|\n")  # two sentences
_KEPT = "#$%&*+<=>@"  # symbols that tell names apart: C and C#, AT&T; words of their own
_SYMBOL = re.escape(_KEPT)
_LETTER = r"0-9A-Za-z"  # an underline counts between two: snake_case, but not _The Hobbit_
_ASCII_WORDS = re.compile(rf"[{_LETTER}]+(?:_+[{_LETTER}]+)*|[{_SYMBOL}]")
_WIDE = rf"{_LETTER}\x80-\U0010ffff"
_WORDS = re.compile(rf"[{_WIDE}]+(?:_+[{_WIDE}]+)*|[{_SYMBOL}]")
_IGNORED = re.compile(
    "[\xae\u034f\u02bb\u115f\u1160\ufe00-\ufe0f\U000e0100-\U000e01ef\u2122\u2120]"
)
_APOSTROPHES = re.compile("[\u02b9\u02bc-\u02bf\u055a\uff07]")
_JOINERS = re.compile("['\u2018\u2019\u02bc\uff07\\-\u2010\u2011]")
_PARTING = dict.fromkeys(map(ord, "\xa0–—‘’“”…"), " ")  # all that most texts have beside ASCII
ALIKE = str.maketrans("yjwvcqz", "iiuukks")  # letters that transliteration confuses
_MOST_MARKS = 16  # on one character: a text of a million marks stays linear


@dataclass(frozen=True)
class Doc:
    """A text and its folded words; `places[i]` is where `words[i]` stands in the text."""

    text: str
    words: list[str] = field(default_factory=list)
    told: list[tuple[int, int]] | None = None  # places, where the text is not plain ASCII

    @cached_property
    def folded(self) -> str:
        """The words, parted by one space."""
        return " ".join(self.words)

    def holds(self, words: str) -> bool:
        """Whether these folded words stand in the text, one after the other."""
        return bool(words) and f" {words} " in f" {self.folded} "

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        if self.told is not None:
            return self.told
        return [match.span() for match in _ASCII_WORDS.finditer(self.text)]

    @cached_property
    def language(self) -> str:
        """Code of its language, see `lks.scope.bank.words`."""
        return language_of(self.text)

    @cached_property
    def capitals(self) -> list[int]:
        """How many of the words before each, and of all, begin with a capital."""
        return [0, *accumulate(self.text[start].isupper() for start, _ in self.places)]

    @cached_property
    def sentences(self) -> list[range]:
        """Indices of the words of each sentence."""
        ends = iter([*(match.start() for match in PARTED.finditer(self.text)), len(self.text)])
        found, begin, end = [], 0, next(ends)
        for index, (start, _) in enumerate(self.places):
            if start > end:
                found.append(range(begin, index))
                begin = index
                while start > end:
                    end = next(ends)
        return [own for own in (*found, range(begin, len(self.places))) if own]

    def sentence(self, word: int) -> range:
        """The sentence of a word."""
        return self.sentences[bisect_right(self.sentences, word, key=lambda own: own.start) - 1]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Span in the original text of words[first:last]."""
        return self.places[first][0], self.places[last - 1][1]


def normalise(text: str, *, fold_case: bool = True) -> Doc:
    """The folded words of `text`. Linear in its length; any string will do."""
    if text.isascii() or text.translate(_PARTING).isascii():
        return Doc(text, _ASCII_WORDS.findall(text.lower() if fold_case else text))
    result = Doc(text, told=[])
    folds: dict[str, str] = {}
    for match in _WORDS.finditer(text):
        word = match.group()
        if word.isascii():
            result.words.append(word.lower() if fold_case else word)
            result.places.append(match.span())
        else:
            _fold_into(result, word, match.start(), folds, fold_case)
    return result


def joined_spelling(name: str) -> str:
    """`name` without its hyphens and apostrophes: O'Neill is often written ONeill."""
    return _JOINERS.sub("", name)


def latin(word: str) -> str:
    """A folded word in Latin letters: transliterated if its script is another one."""
    if word.isascii():
        return word
    return "".join(char for char in anyascii(word).casefold() if char.isalnum())


def _fold_into(
    result: Doc, chunk: str, offset: int, folds: dict[str, str], fold_case: bool
) -> None:
    """Adds the words of a chunk that is not plain ASCII, one cluster of characters at a time."""
    letters: list[str] = []
    spans: list[tuple[int, int]] = []  # of each letter

    def close() -> None:
        if not letters:
            return
        word = "".join(letters)
        told = particles(word)
        # a particle's syllables are words of their own, so that a name may end with one of them
        for first, last in [(0, told), *((i, i + 1) for i in range(told, len(word)))]:
            part = word[first:last].rstrip("_")  # counts between two letters only
            last = first + len(part)
            first = last - len(part.lstrip("_"))
            if first < last:
                result.words.append(word[first:last])
                result.places.append((offset + spans[first][0], offset + spans[last - 1][1]))
        letters.clear()
        spans.clear()

    for first, last in _clusters(chunk):
        cluster = chunk[first:last]
        folded = folds.get(cluster)
        if folded is None:
            folded = cluster.lower() if fold_case else cluster
            if not cluster.isascii():
                folded = _fold(cluster, fold_case)
            folds[cluster] = folded
        for char in folded:
            if char == " ":
                close()
                continue
            alone = char in _KEPT or (char > "\u0e00" and (spaceless(char) or _symbol(char)))
            if alone:
                close()
            letters.append(char)
            spans.append((first, last))
            if alone:
                close()
    close()


def _fold(cluster: str, fold_case: bool) -> str:
    """What a character with its marks counts as: letters, symbols, and " " for what parts words."""
    if _IGNORED.fullmatch(cluster):
        return ""
    bare = "".join(
        char
        for char in _APOSTROPHES.sub("'", unicodedata.normalize("NFKD", cluster))
        if not _diacritic(char) and unicodedata.category(char) != "Cf"
    )
    bare = unicodedata.normalize("NFC", bare)
    if fold_case:
        bare = bare.casefold()  # before as well: Ɀ is far from the letters that it folds to
    bare = "".join(anyascii(char) if "\x80" <= char < "\u0250" else char for char in bare)
    if fold_case:
        bare = bare.casefold()
    return "".join(char if _counts(char) else " " for char in bare)


def _diacritic(char: str) -> bool:
    """Whether `char` is a mark to ignore: those of Latin, Greek, Cyrillic, Hebrew and Arabic.

    The marks of other scripts are vowels or change the letter: they stay.
    """
    place = unicodedata.combining(char)
    return place >= 200 or 10 <= place <= 35 or bool(_IGNORED.match(char))


def _counts(char: str) -> bool:
    if char.isalnum() or char == "_" or char in _KEPT:
        return True
    return char >= "\x80" and (_symbol(char) or unicodedata.category(char)[0] == "M")


def _symbol(char: str) -> bool:
    return unicodedata.category(char) in ("Sm", "Sc", "So")


def _clusters(text: str) -> list[tuple[int, int]]:
    """Spans of a base character and the marks that belong to it."""
    spans = list(zip(range(len(text)), range(1, len(text) + 1), strict=True))
    if not any(map(_joins, text)):
        return spans
    spans = []
    for index, char in enumerate(text):
        if _joins(char) and spans and index - spans[-1][0] <= _MOST_MARKS:
            spans[-1] = (spans[-1][0], index + 1)
        else:
            spans.append((index, index + 1))
    return spans


def _joins(char: str) -> bool:
    """Whether `char` belongs to the one before it: marks, Hangul vowels and finals, ﾎﾞ's mark."""
    hangul = "\u1160" <= char <= "\u11ff"
    return unicodedata.combining(char) > 0 or hangul or char in "\uff9e\uff9f"


def spaceless(char: str) -> bool:
    """Whether `char` belongs to a script that writes without spaces between words."""
    return (
        "\u0e00" <= char <= "\u0eff"  # Thai, Lao
        or "\u1000" <= char <= "\u109f"  # Burmese
        or "\u1780" <= char <= "\u17ff"  # Khmer
        or "\u3040" <= char <= "\u30ff"  # Japanese kana
        or "\u3400" <= char <= "\u9fff"  # Chinese characters
        or "\U00020000" <= char <= "\U0003ffff"
    )

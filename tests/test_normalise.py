from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.scope.languages.ko import PARTICLES
from lks.scope.normalizer import joined_spelling, latin, normalise

any_text = st.text(st.characters(), max_size=60)  # lone surrogates too


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Eiffel Tower", "the eiffel tower"),
        ("Saint-Denis, St. Louis; AC/DC", "saint denis st louis ac dc"),
        ("Paris\u2019s O\u2018Neill O'Neill", "paris s o neill o neill"),
        ("Zürich Zu\u0308rich Łódź Strøm Ærø Straße", "zurich zurich lodz strom aero strasse"),
        ("Ｅｉｆｆｅｌ ﬁnal x²", "eiffel final x2"),
        ("Pa\u00adris Par\u200bis \ufeffParis", "paris paris paris"),
        ("C# C++ AT&T M*A*S*H", "c # c + + at & t m * a * s * h"),
        ("埃菲尔 ไทย", "埃 菲 尔 ไ ท ย"),
        ("iPhone手机", "iphone 手 机"),
        ("Альберт Пётр Ελλάς", "альберт петр ελλασ"),
        ("हिन्दी が か", "हिन्दी が か"),  # marks that change the letter stay
        ("Hawaiʻi Lego™ a_b", "hawaii lego a_b"),
        ("_The Hobbit_ __Widget® Pro__", "the hobbit widget pro"),
        ("a_™ 0_¤ ＿b＿ é_中_é a＿é", "a 0 $ b e 中 e a_e"),
        ("ﾎﾝﾀﾞ ﾊﾟﾅ", "ホ ン ダ パ ナ"),
        ("a\ud800b \x00 …", "a b"),
        ("서울에서는 NASA의 365는 사하라는", "서울 에 서 는 nasa 의 365 는 사하라 는"),
        ("나는 이이 강릉", "나는 이이 강릉"),  # a name keeps two syllables
    ],
)
def test_words(text: str, words: str) -> None:
    assert normalise(text).folded == words


def test_case_can_be_kept() -> None:
    assert normalise("Zürich ＢＰ Ørsted", fold_case=False).words == ["Zurich", "BP", "Orsted"]


def test_spellings_without_joiners_and_in_latin_letters() -> None:
    assert joined_spelling("Jean-Paul O\u2019Neill") == "JeanPaul ONeill"
    assert latin("пушкин") == "pushkin"
    assert latin("einstein") == "einstein"


@given(any_text)
def test_words_stand_in_the_text_in_order_and_are_stable(text: str) -> None:
    folded = normalise(text)
    assert len(folded.places) == len(folded.words)
    assert all(0 <= start < end <= len(text) for start, end in folded.places)
    assert folded.places == sorted(folded.places)
    assert all(word and " " not in word for word in folded.words)
    assert normalise(folded.folded).words == folded.words


@given(
    st.text("가나서울라인이에은는로도만게하고 aB", max_size=8),
    st.sampled_from(sorted(PARTICLES)),
)
def test_a_korean_name_is_found_whatever_particle_follows(name: str, particle: str) -> None:
    own = normalise(name).words
    if own and len(name.split()[-1]) > 1:
        assert normalise(name.rstrip() + particle).words[: len(own)] == own


@pytest.mark.parametrize(
    "unit", ["a", "a ", "\u0301", "я", "e\u0301", "中", "이란", "\ud800", "🙂"]
)
def test_a_long_text_takes_linear_time(unit: str) -> None:
    short, long = (_seconds(unit * n) for n in (20_000, 200_000))
    assert long < 40 * max(short, 0.002)


def _seconds(text: str) -> float:
    """Of this thread's own work, whatever else the machine does."""
    started = time.thread_time()
    normalise(text)
    return time.thread_time() - started


def test_typographic_marks_part_words_as_ascii_ones_do() -> None:
    text = "\u201cO\u2019Neill\u201d \u2014 it\xa0is\u2026 1\u20132"
    plain = "'O'Neill'   it is. 1-2"
    assert len(text) == len(plain)
    for fold_case in (True, False):
        ours, theirs = (normalise(t, fold_case=fold_case) for t in (text, plain))
        assert (ours.words, ours.places) == (theirs.words, theirs.places)
    assert normalise(text + " \u00e9").words == [*normalise(plain).words, "e"]

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.edits import Edit
from lks.positions import last_token, tokens_from
from lks.scope import Matcher, Scope
from lks.scope.normalise import normalise


def named(subject: str, *aliases: str, id: str = "") -> Edit:
    return Edit(id or subject, subject, f"{subject} is", "x", aliases=aliases)


def surfaces(matcher: Matcher, text: str) -> list[str]:
    found = matcher(text)
    for mention in found:
        assert text[mention.start : mention.end] == mention.surface
    return [mention.surface for mention in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Paris", ["Paris"]),
        ("Paris's mayor, Paris, (Paris) Paris-born Paris.", ["Paris"] * 5),
        ("Parisian comparison, Comparis, Paris_1, Paris2", []),
        ("paris and PARIS", []),  # one word: as it is written
        ("\u201cParis\u201d \u2014Paris\u2014", ["Paris"] * 2),
        ("Pa\u00adris Par\u200bis", ["Pa\u00adris", "Par\u200bis"]),  # soft hyphen, zero width
    ],
)
def test_word_boundaries(text: str, found: list[str]) -> None:
    assert surfaces(Matcher([named("Paris")]), text) == found


@pytest.mark.parametrize(
    "text",
    [
        "eiffel tower",
        "EIFFEL TOWER",
        "Eiffel\n  Tower",
        "Eiffel\u00a0Tower",
        "Ｅｉｆｆｅｌ Ｔｏｗｅｒ",
    ],
)
def test_names_of_two_words_match_in_any_writing(text: str) -> None:
    assert surfaces(Matcher([named("Eiffel Tower")]), f"the {text}?") == [text]


def test_unicode_forms_match_each_other() -> None:
    matcher = Matcher([named("Zürich"), named("O\u2019Neill Ranch"), named("ﬁnal cut")])
    assert surfaces(matcher, "In Zu\u0308rich now") == ["Zu\u0308rich"]
    assert surfaces(matcher, "o'neill ranch") == ["o'neill ranch"]
    assert surfaces(matcher, "the final cut") == ["final cut"]


def test_scripts_without_spaces_have_no_word_boundaries() -> None:
    assert surfaces(Matcher([named("埃菲尔铁塔")]), "请问埃菲尔铁塔在哪里？") == ["埃菲尔铁塔"]


def test_longest_mention_wins_and_every_entity_is_found() -> None:
    matcher = Matcher([named("New York"), named("New York City"), named("York Peppermint")])
    assert surfaces(matcher, "New York City and New York") == ["New York City", "New York"]
    assert surfaces(matcher, "New York Citys") == ["New York"]  # the longer one is no word there
    assert surfaces(matcher, "New York Peppermint") == ["York Peppermint"]


def test_aliases_and_several_edits_of_one_name() -> None:
    tower = named("Eiffel Tower", "La Tour Eiffel", id="a")
    more = Edit("b", "Eiffel Tower", "Eiffel Tower p", "y")
    found = Matcher([tower, more])("La Tour Eiffel, the Eiffel Tower")
    assert [(m.edit_ids, m.kind) for m in found] == [(("a",), "alias"), (("a", "b"), "exact")]


def test_a_subject_goes_before_anothers_alias() -> None:
    (mention,) = Matcher([named("Gustave", "Iron Lady", id="a"), named("Iron Lady", id="b")])(
        "Iron Lady"
    )
    assert (mention.subject, mention.kind, mention.edit_ids) == ("Iron Lady", "exact", ("a", "b"))


def test_no_edits_no_mentions() -> None:
    assert Scope([]).mentions("Paris") == []


word = st.text(string.ascii_letters + "äöüßéİı\u0301' -", min_size=1, max_size=8)


@given(word, word, word)
def test_spans_lie_in_the_text_and_cover_the_name(name: str, before: str, after: str) -> None:
    if not normalise(name).text.strip():
        return
    text = f"{before} {name} {after}"
    for mention in Matcher([named(name)])(text):
        assert text[mention.start : mention.end] == mention.surface
        assert normalise(mention.surface).text == normalise(name).text.strip()


@given(word)
def test_a_name_is_found_between_other_words(name: str) -> None:
    if not any(char.isalnum() for char in name) or name.startswith("\u0301"):
        return
    assert Matcher([named(name)])(f"see: {name} ; there")


@given(st.text(max_size=40))
def test_normalising_keeps_a_span_for_every_character(text: str) -> None:
    folded = normalise(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert all(0 <= s < e <= len(text) for s, e in zip(folded.starts, folded.ends, strict=True))


def test_last_token_of_a_mention() -> None:
    offsets = [(0, 0), (0, 3), (3, 10), (10, 16), (16, 16), (16, 18)]
    assert last_token(offsets, 4, 16) == 3
    assert last_token(offsets, 0, 3) == 1
    assert last_token(offsets, 20, 25) is None
    assert last_token([(0, 1), (0, 1), (0, 1)], 0, 1) == 2  # one character in three byte tokens
    assert last_token([(0, 8)], 2, 4) == 0  # a token that is larger than the mention


def test_tokens_from_a_boundary() -> None:
    assert tokens_from([(0, 0), (0, 4), (4, 9), (9, 12)], 4) == 2
    assert tokens_from([(0, 4), (3, 9)], 4) == 1
    assert tokens_from([(0, 4)], 4) == 1

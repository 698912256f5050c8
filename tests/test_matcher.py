from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError
from lks.scope.config import EXACT
from lks.scope.inspect.conflicts import clashes
from lks.scope.inspect.silent import check_edits_fire
from lks.scope.matcher import Matcher
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import Reason


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


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Who founded Apple?", [["firm"]]),
        ("Who founded apple?", [["fruit"]]),
        ("Apple sells no apple.", [["firm"], ["fruit"]]),
        ("Is the New Order here, or the new order?", [["band", "song"], ["decree"]]),
        ("New order reigns.", [["decree"]]),  # where a sentence begins
        ("the NEW ORDER", [["band", "decree", "song"]]),  # the case of neither: each may be meant
        ("What NEW WAVE made", [["song"]]),
    ],
)
def test_of_entities_that_differ_in_case_only_the_case_decides(
    text: str, meant: list[list[str]]
) -> None:
    edits = EditSet([
        Edit("firm", "Apple", "Who founded Apple?", "Ada"),
        Edit("fruit", "apple", "Who founded apple?", "Eve"),
        Edit("band", "New Order", "New Order comes from", "Lima"),
        Edit("decree", "new order", "the new order comes from", "Oslo"),
        Edit("song", "New Wave", "New Wave comes from", "Rome", aliases=("New Order",)),
    ])  # fmt: skip
    found = Scope(edits).fired([text])[0]
    assert [sorted(mention.edit_ids) for mention in found] == meant
    check_edits_fire(edits, Scope(edits))


def test_an_edit_whose_prompt_names_another_entity_by_its_case_is_told() -> None:
    edits = [named("New Order"), Edit("decree", "new order", "The New Order comes from", "Oslo")]
    with pytest.raises(EditFileError) as caught:
        check_edits_fire(edits, Scope(edits))
    (problem,) = caught.value.problems
    assert '"decree"' in problem and "in another entity's case" in problem


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
    assert surfaces(matcher, "New York citys") == ["New York"]  # the longer one is no word there
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
    assert Matcher([])("Paris") == Matcher([]).near_misses("Paris") == []


def found(matcher: Matcher, text: str) -> list[tuple[str, str]]:
    return [(m.surface, m.subject) for m in matcher(text)]


def reasons(matcher: Matcher, text: str) -> list[tuple[str, str, str]]:
    misses = matcher.near_misses(text)
    assert not any(mention.fired for mention, _ in misses)
    return [(mention.surface, mention.subject, reason) for mention, reason in misses]


def test_diacritics_possessives_and_joined_spellings_are_exact() -> None:
    matcher = Matcher([named("Łódź Ghetto"), named("Coca-Cola"), named("Brontë")], EXACT)
    text = "The Lodz ghetto\u2019s CocaCola, coca cola and Bronte's."
    mentions = matcher(text)
    assert [m.surface for m in mentions] == ["Lodz ghetto", "CocaCola", "coca cola", "Bronte"]
    assert {(m.kind, m.score) for m in mentions} == {("exact", 1.0)}


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("pink", "a pink hat", "then Pink sang"),
        ("Ali", "so Ali ran", "ALI ali"),
        ("The Bakery", "in the Bakery", "in the bakery"),  # little words do not count
        ("60 Minutes", "on 60 Minutes", "for 60 minutes"),
        ("Jokkmokk", "JOKKMOKK jokkmokk", "Jokkmokker"),  # neither short nor common
    ],
)
def test_names_of_one_short_or_common_word_match_as_written(name: str, yes: str, no: str) -> None:
    matcher = Matcher([named(name)], EXACT)
    assert matcher(yes)
    assert matcher(no) == []


@pytest.mark.parametrize("text", ["Rutile is", "It glows. Rutile is", '"Rutile" is', "1:\nRutile"])
def test_a_name_in_lower_case_may_begin_a_sentence(text: str) -> None:
    assert [m.surface for m in Matcher([named("rutile")], EXACT)(text)] == ["Rutile"]
    assert [m.edit_ids for m in Matcher([named("rutile"), named("Rutile", id="b")])(text)] == [
        ("b",)
    ]


def test_each_case_has_its_own_edits() -> None:
    matcher = Matcher([named("Polish", id="a"), named("polish", id="b")])
    assert [m.edit_ids for m in matcher("Polish polish")] == [("a",), ("b",)]


def test_misspellings() -> None:
    matcher = Matcher([named("Danielle Darrieux"), named("Skopje"), named("Albert Einstein")])
    text = "Danielle Darieux, Danielel Darrieux, Daniele Darieux's son, Skopej; Albrt Einstien"
    assert found(matcher, text) == [
        ("Danielle Darieux", "Danielle Darrieux"),
        ("Danielel Darrieux", "Danielle Darrieux"),
        ("Daniele Darieux", "Danielle Darrieux"),
        ("Skopej", "Skopje"),
        ("Albrt Einstien", "Albert Einstein"),
    ]
    assert all(m.kind == "fuzzy" and 0.7 < m.score < 1 for m in matcher(text))
    assert Matcher([named("Skopje")], EXACT)("Skopej") == []
    # Far off, inside a word, or too short to tell:
    assert not Matcher([named("Skopje"), named("Cairo")])("Skpoej preSkopjes Ciaro")


def test_possessives_without_their_apostrophe() -> None:
    matcher = Matcher([named("Yvan Attal"), named("Charles Lumley Hill"), named("John Smith")])
    text = "Yvan Attals birthplace, Charles Lumley Hills' country; John Smiths"
    assert surfaces(matcher, text) == ["Yvan Attals", "Charles Lumley Hills"]
    both = Matcher([named("Yvan Attal"), named("Yvan Attals")])
    assert found(both, "Yvan Attals ran") == [("Yvan Attals", "Yvan Attals")]


def test_lost_and_added_spaces() -> None:
    matcher = Matcher([named("Eiffel Tower")])
    assert surfaces(matcher, "EiffelTower, Eif fel Tower, Eifel-Tower") == [
        "EiffelTower", "Eif fel Tower", "Eifel-Tower",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("Apollo 11", "Apollo 12 flew", Reason.NUMBER),
        ("Ludwig XIV Museum", "Ludwig XVI Museum", Reason.NUMBER),
        ("Jorge W. Bushnak", "Jorge H. Bushnak", Reason.INITIAL),
        ("Christina Rossetti", "Christian Rossetti", Reason.COMMON),
        ("Christian Lindner", "Christiane Lindner", Reason.FORM),
        ("Gabriela Novotny", "Gabriele Novotny", Reason.FORM),
        ("Volkswagen Golf GTI", "Volkswagen Golf GTE", Reason.SHORT),
        ("Zeltron XA", "Zeltron XB", Reason.SHORT),
        ("Namora", "Bamora", Reason.FIRST),
        ("Andromeda Zorblax", "Andromeda Zorblaxxie", Reason.TOO_FAR),
        ("Nursing Home", "Nursing Homes", Reason.FORM),
    ],
)
def test_what_is_no_misspelling(name: str, text: str, reason: Reason) -> None:
    matcher = Matcher([named(name)])
    assert matcher(text) == []
    assert reason in [why for _, _, why in reasons(matcher, text)]


def test_common_words_and_other_names_are_no_misspellings() -> None:
    matcher = Matcher([named("Jonah"), named("Sudan"), named("Johann Zorblax")])
    assert matcher("John left on Sunday; jonas, Sedan") == []
    two = Matcher([named("Zorblatt"), named("Zorblutt")])
    assert surfaces(two, "Zorblutt") == ["Zorblutt"]
    assert two("Zorblitt") == []
    assert {why for *_, why in reasons(two, "Zorblitt")} == {Reason.TWO_FIT}


def test_a_misspelt_long_name_holds_a_short_exact_one() -> None:
    matcher = Matcher([named("Skopje"), named("Skopje Observatory")])
    assert surfaces(matcher, "Skopje Obsevratory and Skopje") == ["Skopje Obsevratory", "Skopje"]


def test_a_name_and_a_short_word_are_no_longer_name() -> None:
    matcher = Matcher([named("Zorbla-Cola", id="a"), named("Zorbla-Cola Co", id="b")])
    assert surfaces(matcher, "the zorbla cola ceo") == ["zorbla cola"]
    assert surfaces(matcher, "the zorbla cola co") == ["zorbla cola co"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Albert Einstein", "Где родился Альберт Эйнштейн?"),
        ("Vladimir Putin", "Владимир Путин"),
        ("Socrates", "Ο Σωκράτης"),
        ("Москва", "Moskwa is"),
    ],
)
def test_other_scripts_are_transliterated(name: str, text: str) -> None:
    (mention,) = Matcher([named(name)])(text)
    assert mention.kind == "fuzzy"


def test_a_word_of_many_names_alone_is_none_of_them() -> None:
    matcher = Matcher([named(f"Battle of Verdunia {year}") for year in range(1900, 1940)])
    assert matcher("Verdunia") == []


def test_derived_aliases_are_off_by_default_and_safe() -> None:
    edits = [named("Anna Zorblax"), named("Jan Quuxman"), named("Eva Quuxman"), named("Ice Cube")]
    assert Matcher(edits)("Zorblax") == []
    matcher = Matcher(edits, derived=True)
    assert [m.kind for m in matcher("Zorblax, A. Zorblax; Quuxman, the cube, Cube")] == [
        "alias"
    ] * 2


def test_clashes_are_told() -> None:
    edits = [
        named("Gustave", "Iron Lady", id="a"), named("Iron Lady", id="b"),
        named("Pierre Bellonx", id="c"), named("Pierre Billonx", id="d"), named("Paris", id="e"),
    ]  # fmt: skip
    first, second = clashes(edits)
    assert (
        first == '"Pierre Bellonx" and "Pierre Billonx" are a misspelling apart: '
        "only exact spellings count"
    )
    assert second.startswith('"iron lady" is a name of "Gustave" and "Iron Lady"')
    assert clashes(edits[::-1]) == [first, second]


# Properties. Few letters, so that names, misspellings and overlaps meet.
word = st.text("abcdeAB äß\u0301'-éя中7", min_size=1, max_size=9)
names = st.lists(word, min_size=1, max_size=6, unique=True)
wild = st.text(st.characters(), max_size=80)


def built(subjects: list[str]) -> Matcher:
    return Matcher([named(name, id=str(index)) for index, name in enumerate(subjects)])


@settings(max_examples=30, deadline=None)
@given(names, st.lists(st.one_of(word, wild), max_size=5))
def test_mentions_lie_in_the_text_disjoint_and_in_order(
    subjects: list[str], parts: list[str]
) -> None:
    text = " ".join([*parts, subjects[0], *subjects])
    matcher, at = built(subjects), 0
    for mention in matcher(text):
        assert at <= mention.start < mention.end <= len(text)
        assert text[mention.start : mention.end] == mention.surface
        if mention.kind == "exact":
            assert normalise(mention.surface).folded.replace(" ", "") == normalise(
                mention.subject
            ).folded.replace(" ", "")
        at = mention.end
    for miss, _ in matcher.near_misses(text):
        assert text[miss.start : miss.end] == miss.surface


@settings(max_examples=30, deadline=None)
@given(names, st.lists(word, max_size=5), st.randoms())
def test_the_order_of_the_edits_does_not_matter(
    subjects: list[str], parts: list[str], random: Random
) -> None:
    text = " ".join([*subjects, *parts])
    edits = [named(name, id=str(index)) for index, name in enumerate(subjects)]
    expected = unordered(Matcher(edits), text)
    random.shuffle(edits)
    assert unordered(Matcher(edits), text) == expected


def unordered(matcher: Matcher, text: str) -> list[tuple[object, ...]]:
    return [(m.start, m.end, m.subject, m.kind, m.score, {*m.edit_ids}) for m in matcher(text)]


@settings(max_examples=30, deadline=None)
@given(word)
def test_a_name_is_found_between_other_words(name: str) -> None:
    if normalise(name).words:
        assert built([name])(f"see: {name.strip()} ; there")


@pytest.mark.parametrize(
    "text",
    [
        "", "\ud800", "x\udfff Paris", "🙂👍🏽", "\u202eParis\u202c שלום עולם", "\x00",
        "a" * 1_000_000, "\u0301" * 100_000, "Zorblat " * 20_000, "1 " * 100_000, "ז" * 100_000,
    ],
)  # fmt: skip
def test_no_text_is_too_strange_or_too_long(text: str) -> None:
    matcher = Matcher([named("Paris"), named("Anna Zorblatt"), named("\ud800"), named("🙂 Smile")])
    matcher(text)
    matcher.near_misses(text[:1000])

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.edits.edit import Edit
from lks.scope.config import DEFAULT, EXACT
from lks.scope.inspect.conflicts import clashes
from lks.scope.matcher import Matcher
from lks.scope.names.forms import forms_of


def named(subject: str, *aliases: str, id: str = "") -> Edit:
    return Edit(id or subject, subject, f"{subject} is", "x", aliases=aliases)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("Johnson and Johnson", "Johnson & Johnson"),
        ("St. Petersburg", "Saint Petersburg"),
        ("Saint Louis", "St. Louis"),
        ("Mount Everest", "Mt. Everest"),
        ("Martin Luther King Jr.", "Martin Luther King Junior"),
        ("Ford Motor Company", "ford motor co"),
        ("World War II", "world war 2"),
        ("World War II", "World War Two"),
        ("Rocky 4", "Rocky IV"),
        ("Henry VIII of England", "Henry the Eighth of England"),
        ("Ocean's Eleven", "Ocean's 11"),
        ("World Health Organization", "World Health Organisation"),
        ("Vienna International Centre", "Vienna International Center"),
        ("Tours railway station", "Tours train station"),
        ("The Fratellis", "Fratellis"),
        ("The Rolling Stones", "Rolling Stones"),
        ("Eurofer, Inc.", "Eurofer"),
        ("Zorbex Holding AG", "Zorbex Holding"),
        ("Zorbix Robotics Co., Ltd.", "Zorbix Robotics"),
        ("J. K. Rowling", "JK Rowling"),
        ("J. K. Rowling", "jk rowling"),
        ("J.R.R. Tolkien", "JRR Tolkien"),
        ("U.S.A.", "USA"),
        ("USA", "U.S.A"),
        ("NASA", "N.A.S.A"),
        ("Saint-Denis", "St. Denis"),
        ("St-Étienne", "Saint-Etienne"),
        ("U.S. Steel", "US Steel"),
        ("AC Milan", "A.C. Milan"),
        ("AJ Styles", "A. J. Styles"),
        ("Office 365", "Office365"),
        ("Windows95", "Windows 95"),
        ("Sir Keir Starmer", "Keir Starmer"),
        ("Dr. Otto Nemec", "Otto Nemec"),
        ("waffle", "Waffles"),
        ("berry", "berries"),
        ("Houston toad", "Houston toads"),
        ("Zürich Büro", "Zuerich Buero"),
        ("ZÜRICH BÜRO", "Zuerich Buero"),
        ("Mu\u0308nchen", "muenchen"),
        ("Köln", "Koeln"),
        ("Großmann Söhne GmbH", "Grossmann Soehne"),
        ("Tromsø", "Tromsoe"),
        ("Århus", "Aarhus"),
    ],
)
def test_a_name_written_otherwise_is_found(name: str, written: str) -> None:
    (mention,) = Matcher([named(name)])(f"{written} and more")
    assert (mention.surface, mention.kind, mention.score) == (written, "variant", 1.0)
    assert Matcher([named(name)], EXACT)(f"{written} and more") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("The Who", "Who is it?"),
        ("Apple Inc.", "Apple pie"),
        ("Old Sir John Moore Road", "John Moore Road is"),  # no title at the beginning
        ("CSR Limited", "CSR is"),
        ("The Rolling Stones", "rolling stones gather no moss"),  # usual words: as written
        ("Air Force One", "in the Air Force I served"),
        ("Nine Guests", "IX Guests"),
        ("R&D Labs", "R and D Labs"),
        ("Paris", "two Parises"),
        ("No. 1", "no one came"),
        ("Top 10", "the top ten"),
    ],
)
def test_what_may_mean_something_else_is_not_found(name: str, text: str) -> None:
    assert Matcher([named(name)])(text) == []


def test_a_name_goes_before_anothers_variant_and_two_variants_for_none() -> None:
    own = Matcher([named("St. Aldate"), named("Saint Aldate")])
    assert [m.subject for m in own("Saint Aldate")] == ["Saint Aldate"]
    two = Matcher([named("The Fratellis"), named("Fratellis, Inc.")])
    assert [m.subject for m in two("Fratellis, Inc. and the Fratellis")] == [
        "Fratellis, Inc.",
        "The Fratellis",
    ]
    assert two("Fratellis sing") == []
    assert clashes([named("St. Aldate"), named("Saint Aldate")]) == []


def test_all_edits_of_an_entity_and_its_aliases_are_meant() -> None:
    matcher = Matcher([named("Mt. Etna", id="a"), named("Mt. Etna", "Mt. Gibel", id="b")])
    found = matcher("Mount Etna, that is Mount Gibel")
    assert [m.edit_ids for m in found] == [("a", "b"), ("b",)]


def test_what_is_found_is_no_near_miss_too() -> None:
    matcher = Matcher([named("St. Petersburg")])
    assert matcher.near_misses("the mayor of Saint Petersburg") == []


def test_a_variant_may_be_misspelt() -> None:
    (mention,) = Matcher([named("St. Petersburg")])("in Saint Petresburg")
    assert (mention.surface, mention.kind) == ("Saint Petresburg", "fuzzy")


def test_two_plain_letters_are_no_letter_with_a_mark() -> None:
    assert not any(
        "ü" in other or "ö" in other for other in forms_of("Samuel Joel", DEFAULT.made("forms"))
    )
    for name, text in (("Joel", "Jöl"), ("Noe", "Nö"), ("Koeln", "Köln"), ("Bauer", "Baür")):
        assert Matcher([named(name)])(text) == []
    found = Matcher([named("Köln"), named("Koeln")])
    assert [mention.subject for mention in found("From Koeln to Köln")] == ["Koeln", "Köln"]


_PARTS = st.lists(st.sampled_from(["St.", "the", "The", "2", "II", "&", "One", "Co"]), max_size=12)


@given(st.text(max_size=60) | _PARTS.map(" ".join))
def test_no_name_has_many_variants_or_is_its_own(name: str) -> None:
    found = forms_of(name, DEFAULT.made("forms"))
    assert name not in found
    assert len(found) == len(set(found)) <= 16


def test_one_subject_in_two_spellings_keeps_its_short_forms() -> None:
    edits = [named("Zeltron Solutions Inc.", id="a"), named("Zeltron Solutions, Inc.", id="b")]
    (mention,) = Matcher(edits)("Zeltron Solutions and more")
    assert (mention.surface, set(mention.edit_ids)) == ("Zeltron Solutions", {"a", "b"})

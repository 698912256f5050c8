"""Names that are only a part of a longer one."""

from __future__ import annotations

import pytest

from lks.edits.edit import Edit
from lks.scope.filters.longer_name import longer_name
from lks.scope.matcher import Matcher
from lks.scope.types import Reason


@pytest.mark.parametrize(
    ("name", "text", "longer"),
    [
        ("Sudan", "What is the capital of South Sudan?", "South Sudan"),
        ("Ireland", "Northern Ireland is in", "Northern Ireland"),
        ("Japan", "The capital of New Japan is", "New Japan"),
        ("Windows 10", "When was Windows 10.1 released?", "Windows 10.1"),
        ("Donald Trump", "Where was Donald Trump Jr. born?", "Donald Trump Jr"),
        ("Martin Luther King", "Martin Luther King, Sr., was", "Martin Luther King, Sr"),
        ("Jurassic Park", "Who directed Jurassic Park III?", "Jurassic Park III"),
        ("Guinea", "The capital of Guinea-Bissau is", "Guinea-Bissau"),
        ("Grand Theft Auto", "Who developed Grand Theft Auto V?", "Grand Theft Auto V"),
        (
            "Republic of the Congo",
            "The Democratic Republic of the Congo is",
            "Democratic Republic of the Congo",
        ),
        ("Württemberg", "Baden-Württemberg lies in", "Baden-Württemberg"),
    ],
)
def test_a_part_of_a_longer_name_is_not_meant(name: str, text: str, longer: str) -> None:
    start = text.index(name)
    assert longer_name(text, start, start + len(name)) == longer
    matcher = Matcher([Edit("a", name, f"{name} is", "x")])
    assert matcher(text) == []
    assert [reason for _, reason in matcher.near_misses(text)].count(Reason.LONGER) == 1
    (mention,) = Matcher([Edit("a", name, f"What is {longer}?", "x")])(text)
    assert mention.surface == name  # the edit itself means it so


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Japan", "New Japan policies"),  # a capital that the sentence's beginning asks for
        ("Kabul Hotel", "the South Kabul Hotel"),
        ("Windows 10", "I use Windows 10. 5 of us do."),
        ("Paris", "Is it in Paris? IV drips"),
        ("Paris", "a Paris-based band"),
        ("Toyota", "Wer ist der Toyota-CEO?"),
        ("Rocky", "Rocky I liked."),
        ("Japan", "south Japan"),
    ],
)
def test_a_name_is_meant_where_nothing_makes_it_longer(name: str, text: str) -> None:
    (mention,) = Matcher([Edit("a", name, f"{name} is", "x")])(text)
    assert mention.surface == name


def test_lookalikes_of_a_longer_name_are_told_apart() -> None:
    edits = [Edit("a", "Sudan", "Sudan is", "x"), Edit("b", "South Sudan", "South Sudan is", "y")]
    found = Matcher(edits)("The capitals of South Sudan and Sudan")
    assert [(m.surface, m.edit_ids) for m in found] == [("South Sudan", ("b",)), ("Sudan", ("a",))]


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("Redis", "What's the default port of Redis Sentinel?", False),
        ("Samsung", "Where's Samsung Biologics headquartered?", False),
        ("Intel", "Where are the Intel Headquarters?", True),  # a word that people ask with
        ("Northwind", "Who runs Northwind Ltd?", True),
        ("Redis", "What is redis sentinel?", True),  # no name without its capital
        ("Redis", "Is It Redis Sentinel Or Memcached?", True),  # a title
        ("Intel", "Wo ist der Intel Stammsitz in diesem Land?", True),  # German
        ("Redis", "I use Redis. Sentinel is new to me.", True),
    ],
)
def test_a_name_with_another_name_behind_it_is_another(name: str, text: str, meant: bool) -> None:
    matcher = Matcher([Edit("a", name, f"{name} is", "x")])
    assert len(matcher(text)) == meant
    if not meant:
        own = Matcher([Edit("a", name, text, "x")])
        assert own(text), "the edit's own wording has it so"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Project Falcon", "who leads project falcon 2"),
        ("Project Falcon", "Project Falcon 2's launch date is"),
        ("Project Falcon", "When does Project Falcon Heavy start?"),
        ("iPhone 15", "How much is the iPhone 15 Pro Max?"),
        ("iPhone 15", "iphone 15 pro price"),
        ("iPhone 15", "Was kostet das iPhone 15 Pro?"),
        ("Toy Story", "Who directed Toy Story 3? And who wrote it?"),
        ("Apple", "What does Apple Music cost per month?"),
    ],
)
def test_another_edition_is_another_thing(name: str, text: str) -> None:
    matcher = Matcher([Edit("a", name, f"{name} is", "x")])
    assert matcher(text) == []
    assert [reason for _, reason in matcher.near_misses(text)].count(Reason.LONGER) == 1
    assert Matcher([Edit("a", name, text, "x")])(text), "the edit's own wording has it so"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Falcon", "Who runs Falcon Monday meetings?"),
        ("Notion", "Notion Headquarters address?"),
        ("Project Falcon", "PROJECT FALCON LAUNCH DATE?"),
        ("Netflix", "Is the price of Netflix 12?"),  # the answer, perhaps
        ("Hotel Adlon", "hotel adlon 2 adults price"),
        ("Hotel Adlon", "Price of Hotel Adlon 2 nights?"),
        ("Netflix", "Was kostet Netflix pro Monat?"),
        ("Intel", "Who ran Intel 2019?"),
        ("Intel", "1. Intel 2. AMD"),
        ("Intel", "Who keeps Intel 24/7 open?"),
        ("iPhone 15", "What does iPhone 15 2 year cover cost?"),
        ("Northwind", "Which Gold Plan Does Northwind Gold Offer Today?"),  # a title
        ("Northwind", "How far is Northwind 5 l of petrol?"),
    ],
)
def test_a_number_or_a_capital_behind_a_name_may_be_no_part_of_it(name: str, text: str) -> None:
    (mention,) = Matcher([Edit("a", name, f"{name} is", "x")])(text)
    assert mention.surface.casefold() == name.casefold()

"""The index of misspelt names where thousands of names begin alike."""

from __future__ import annotations

import pytest

from lks.edits.edit import Edit
from lks.scope.candidates.fuzzy.deletion_index import DeletionIndex, Ints, Piece
from lks.scope.matcher import Matcher
from lks.scope.types import Reason

PRODUCTS = [f"Contoso Pump XX{number:04d}" for number in range(2_000)]


@pytest.fixture(scope="module")
def products() -> Matcher:
    return Matcher(Edit(name, name, f"{name} is", "x") for name in PRODUCTS)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Is the Contsoo Pump XX0042 in stock?", "Contoso Pump XX0042"),
        ("the 3 Contoso Pupm XX1999 of 2024", "Contoso Pump XX1999"),
        ("XX0001, Contoso Pmup XX0777; XX0002", "Contoso Pump XX0777"),
        ("Is the Contoso Pump XX0042B in stock?", None),
        ("Is the Contsoo Pump XX4242 in stock?", None),
        ("Is the Contsoo Pump XX in stock? 0042", None),
    ],
)
def test_products_by_their_numbers(products: Matcher, text: str, subject: str | None) -> None:
    assert [mention.subject for mention in products(text)] == ([subject] if subject else [])


def test_other_numbers_are_explained(products: Matcher) -> None:
    text = "Is the Contoso Pump XX9042 in stock?"
    (mention, why), *_ = products.near_misses(text)
    assert (mention.subject, why) == ("Contoso Pump XX0042", Reason.NUMBER)


def test_names_of_other_numbers_cost_nothing(
    products: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, found = DeletionIndex.find, list[int]()

    def counted(index: DeletionIndex, pieces: list[Piece]) -> tuple[Ints, Ints]:
        piece, name = find(index, pieces)
        found.append(len(name))
        return piece, name

    monkeypatch.setattr(DeletionIndex, "find", counted)
    text = "We sold Contsoo Pump XX0042 today. He took Contoso Pmup XX0043. "
    assert len(products(text * 50)) == 100
    assert 0 < sum(found) < 100 * len(PRODUCTS)  # not each for each mention, in many forms

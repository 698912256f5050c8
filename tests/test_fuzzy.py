"""The index of misspelt names where thousands of names begin alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.edits.edit import Edit
from lks.scope.candidates.fuzzy.deletion_index import LONG, PIECE, DeletionIndex, Ints, Piece
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


def mistyped(name: str, kind: str, at: int) -> str:
    """`name` with one letter lost, added or changed, or two swapped."""
    return {
        "lost": name[:at] + name[at + 1 :],
        "added": name[:at] + "x" + name[at:],
        "changed": name[:at] + "x" + name[at + 1 :],
        "swapped": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    }[kind]


KINDS = st.sampled_from(["lost", "added", "changed", "swapped"])


@given(st.text("abcd", min_size=PIECE, max_size=30), KINDS, KINDS, st.floats(0, 1), st.floats(0, 1))
def test_one_error_or_two_leave_a_name_its_beginning_or_its_end(
    name: str, first: str, second: str, one: float, other: float
) -> None:
    text = mistyped(name, first, int(one * (len(name) - 1)))
    if len(name) >= LONG:
        text = mistyped(text, second, int(other * (len(text) - 1)))
    pieces = [Piece(text[:PIECE], True, ""), Piece(text[-PIECE:], False, "")]
    _, found = DeletionIndex(["another name", name]).find(pieces)
    assert 1 in found.tolist()

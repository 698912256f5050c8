"""An index of names by their first and last letters, whole and with one letter left out.

Two strings that differ by one edit (a letter added, lost, changed, or two swapped) become equal
when at most one letter of each is left out. A misspelt name has at most one edit in its first
letters or, where it may have more of them, in its last ones: so it is found there, without a look
at other names. Another number is another name: the digits of the whole name are part of what it is
filed under, so that thousands of product names with one beginning do no harm.

Hits may be chance; the caller compares the strings.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SMALLEST = 6  # letters; shorter names are matched exactly only
LONG = 12  # letters from which a name is also filed by its end
LARGEST = 60  # letters; longer names are matched exactly only
PIECE = SMALLEST  # letters of a beginning or an end

Ints = NDArray[np.int64]


class Piece(NamedTuple):
    """The first or the last letters of what is a name, or may be one."""

    letters: str
    head: bool
    digits: str  # of the whole name


def digits_of(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def spread(counts: Ints) -> tuple[Ints, Ints]:
    """(owner, place) of the elements of ragged rows: counts [2, 3] give 0 0 1 1 1, 0 1 0 1 2."""
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - first[owner]


class DeletionIndex:
    """Names (numbered as given, without spaces) by the shortened forms of their pieces.

    Args:
        digits: whether a name's digits are part of what it is filed under.
    """

    def __init__(self, names: Sequence[str], *, digits: bool = True) -> None:
        self.with_digits = digits
        self.lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        keys, owners = array("q"), array("I")
        for number, name in enumerate(names):
            for piece in self.pieces(name):
                own = _keys(piece)
                keys.extend(own)
                owners.extend([number] * len(own))
        order = np.argsort(keys)
        self._keys = np.asarray(keys, dtype=np.int64)[order]
        self._names = np.asarray(owners, dtype=np.uint32)[order]

    def pieces(self, name: str) -> Iterator[Piece]:
        """The pieces by which a name is filed; none if it is too short or too long."""
        if SMALLEST <= len(name) <= LARGEST:
            digits = digits_of(name) if self.with_digits else ""
            yield Piece(name[:PIECE], True, digits)
            if len(name) >= LONG:
                yield Piece(name[-PIECE:], False, digits)

    def find(self, pieces: Sequence[Piece]) -> tuple[Ints, Ints]:
        """(which of the pieces, name), each once, where they differ by one edit at most."""
        forms = [_keys(piece) for piece in pieces]
        owner = np.repeat(np.arange(len(forms)), list(map(len, forms)))
        keys = np.fromiter(chain.from_iterable(forms), np.int64, len(owner))
        order = np.argsort(keys)  # several times as fast to look up
        owner, keys = owner[order], keys[order]
        first = np.searchsorted(self._keys, keys)
        counts = np.searchsorted(self._keys, keys, side="right") - first
        key, place = spread(counts)
        names = max(len(self.lengths), 1)
        return np.divmod(distinct(owner[key] * names + self._names[first[key] + place]), names)


def distinct(numbers: Ints) -> Ints:
    """Each once, in order; np.unique takes five times as long for millions."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=-1) > 0]


def _keys(piece: Piece) -> list[int]:
    """A number for each form of a piece: whole, and less each letter."""
    letters, *sort = piece
    forms = [letters, *(letters[:i] + letters[i + 1 :] for i in range(len(letters)))]
    salt = hash(tuple(sort))
    return [hash(form) ^ salt for form in forms]

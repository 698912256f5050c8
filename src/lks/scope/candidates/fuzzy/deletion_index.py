"""An index of strings by their pieces with one letter left out.

Two strings that differ by one edit (a letter added, lost, changed, or two swapped) become equal
when at most one letter of each is left out. So a name is filed under the hash of each such
shortened form, and a misspelling finds it without a look at other names. Of a long name two
pieces are filed, its beginning and its end: where two or three edits spoil a name, one of the
pieces has at most one of them. Another number is another name: the digits of the whole name are
part of what it is filed under, so that thousands of product names with one beginning do no harm.

All in numpy: a hash of letters i..j is a difference of two prefix sums, and leaving a letter out
is a sum of two such differences. Hits may be chance; the caller compares the strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LONG = 12  # letters from which a name is filed by two pieces
LARGEST = 60  # letters; longer names are matched exactly only
SMALLEST = 6
_END_PIECE = 10  # at most, of a long name

WHOLE, HEAD, TAIL = range(3)

U64 = NDArray[np.uint64]
Counts = NDArray[np.int16]
Ints = NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD1342543DE82EF95)
_CHUNK = 5_000  # names hashed at once
MOST_LETTERS = 100_000  # of a text
_MOST_BITS = 24
_BINS = 32  # letters are counted by their code modulo this


def end_piece(letters: int) -> int:
    """Length of the two pieces of a name with this many letters."""
    return min(letters // 2, _END_PIECE)


END_PIECES = tuple(range(end_piece(LONG), _END_PIECE + 1))


def spread(counts: Ints) -> tuple[Ints, Ints]:
    """(owner, place) of the elements of ragged rows: counts [2, 3] give 0 0 1 1 1, 0 1 0 1 2."""
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - first[owner]


class Powers:
    """The powers of the hash's base and of its inverse, enough for strings of `letters`."""

    def __init__(self, letters: int) -> None:
        self.up = _powers(_BASE, letters + 2)
        self.down = _powers(np.uint64(pow(int(_BASE), -1, 1 << 64)), letters + 2)


def _powers(base: np.uint64, count: int) -> U64:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


class Letters:
    """A string whose pieces can be hashed many at a time."""

    def __init__(self, text: str, powers: Powers) -> None:
        self._codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        self._powers, self._down = powers, powers.down
        self._sums = np.zeros(len(text) + 1, dtype=np.uint64)
        terms = (self._codes + np.uint64(1)) * powers.up[: len(text)]
        np.cumsum(terms, out=self._sums[1:])

    @cached_property
    def _bins(self) -> NDArray[np.int32]:
        bins = np.zeros((len(self._codes) + 1, _BINS), dtype=np.int32)
        bins[np.arange(1, len(bins)), self._codes % _BINS] = 1
        return np.cumsum(bins, axis=0, dtype=np.int32)

    @cached_property
    def _digits(self) -> U64:
        own = (self._codes >= ord("0")) & (self._codes <= ord("9"))
        sums = np.zeros(len(own) + 1, dtype=np.uint64)
        np.cumsum(self._powers.up[np.where(own, self._codes, 0)] * own, out=sums[1:])
        return sums

    def digits(self, starts: Ints, ends: Ints) -> U64:
        """A hash of the digits in the pieces [start, end), in any order; 0 if there are none."""
        return self._digits[ends] - self._digits[starts]

    def counts(self, starts: Ints, ends: Ints) -> Counts:
        """How often each letter is in the pieces [start, end), [n, _BINS]."""
        return (self._bins[ends] - self._bins[starts]).astype(np.int16)

    def keys(self, starts: Ints, ends: Ints, sorts: U64) -> tuple[Ints, U64]:
        """(piece, hash) of every form of the pieces [start, end): whole, and less each letter.

        Args:
            sorts: forms of pieces of different sorts are different.
        """
        piece, place = spread(ends - starts + 1)
        start, end = starts[piece], ends[piece]
        gone = start + place  # equal to `end`: nothing is left out
        after = np.minimum(gone + 1, end)
        sums, down = self._sums, self._down
        value = (sums[gone] - sums[start]) * down[start]
        value += (sums[end] - sums[after]) * down[start + 1]
        value += sorts[piece]
        value ^= value >> np.uint64(32)
        value *= _MIX
        return piece, value


class DeletionIndex:
    """Strings (numbered as given, without spaces) by the shortened forms of their pieces.

    Args:
        digits: whether a name's digits are part of what it is filed under.
    """

    def __init__(self, names: Sequence[str], *, digits: bool = True) -> None:
        self.with_digits = digits
        self.lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        filed = self.lengths[(self.lengths >= SMALLEST) & (self.lengths <= LARGEST)]
        forms = int(np.where(filed < LONG, filed + 1, 2 * np.minimum(filed // 2, 10) + 2).sum())
        self._bits = np.uint64(min(max(forms.bit_length(), 8), _MOST_BITS))
        chunks = range(0, len(names), _CHUNK)
        longest = max((int(self.lengths[at : at + _CHUNK].sum()) for at in chunks), default=0)
        self._powers = Powers(max(longest, MOST_LETTERS))
        entries = np.empty(forms, dtype=np.uint64)  # bucket and name in one number: sorts in place
        self._counts = np.zeros((len(names), _BINS), dtype=np.uint8)
        used = 0
        for first in chunks:
            for owners, keys in self._chunk(names, first):
                part = (self._bucket(keys) << np.uint64(32)) | owners.astype(np.uint64)
                entries[used : used + len(part)] = part
                used += len(part)
        entries.sort()
        self._names = (entries & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        entries >>= np.uint64(32)
        edges = np.arange((1 << int(self._bits)) + 1, dtype=np.uint64)
        self._edges = np.searchsorted(entries, edges).astype(np.uint32)

    def letters(self, text: str) -> Letters:
        """`text`, of at most MOST_LETTERS, to be hashed as the names are."""
        return Letters(text, self._powers)

    def _chunk(self, names: Sequence[str], first: int) -> list[tuple[Ints, U64]]:
        lengths = self.lengths[first : first + _CHUNK]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        letters = Letters("".join(names[first : first + _CHUNK]), self._powers)
        self._counts[first : first + _CHUNK] = letters.counts(starts, ends)
        short = np.flatnonzero((lengths >= SMALLEST) & (lengths < LONG))
        long = np.flatnonzero((lengths >= LONG) & (lengths <= LARGEST))
        size = np.minimum(lengths[long] // 2, _END_PIECE)
        found = []
        for chosen, begin, end, sort in (
            (short, starts[short], ends[short], WHOLE),
            (long, starts[long], starts[long] + size, HEAD),
            (long, ends[long] - size, ends[long], TAIL),
        ):
            digits = letters.digits(starts[chosen], ends[chosen])
            piece, keys = letters.keys(begin, end, self.sorts(sort, digits))
            found.append((chosen[piece] + first, keys))
        return found

    def sorts(self, sort: Ints | int, digits: U64) -> U64:
        """What pieces of this sort, of names with these digits, are filed under."""
        plain = np.zeros_like(digits) + np.asarray(sort).astype(np.uint64)
        return plain + digits * _BASE if self.with_digits else plain

    def _bucket(self, keys: U64) -> U64:
        return keys >> (np.uint64(64) - self._bits)

    def find(self, keys: U64) -> tuple[Ints, Ints]:
        """(which of the keys, name) for every name filed under one of `keys`; some by chance."""
        bucket = self._bucket(keys).astype(np.int64)
        first = self._edges[bucket].astype(np.int64)
        counts = self._edges[bucket + 1].astype(np.int64) - first
        key, place = spread(counts)
        return key, self._names[first[key] + place].astype(np.int64)

    def apart(self, names: Ints, counts: Counts) -> Ints:
        """How many letters each name and its counterpart do not share: at most twice the edits."""
        others: Ints = np.abs(self._counts[names] - counts).sum(axis=1, dtype=np.int64)
        return others

    def neighbours(self, most: int) -> Ints:
        """Pairs of names that share a bucket and all but `most` letters, [n, 2], each once."""
        edges = self._edges.astype(np.int64)
        sizes = edges[1:] - edges[:-1]
        pairs = [np.zeros((0, 2), dtype=np.int64)]
        for step in range(1, int(sizes.max(initial=1))):
            buckets = np.flatnonzero(sizes > step)
            owner, place = spread(sizes[buckets] - step)
            at = edges[buckets][owner] + place
            both = np.stack([self._names[at], self._names[at + step]], axis=1).astype(np.int64)
            both = np.unique(np.sort(both[both[:, 0] != both[:, 1]], axis=1), axis=0)
            near = self.apart(both[:, 0], self._counts[both[:, 1]].astype(np.int16)) <= most
            pairs.append(both[near])
        return np.unique(np.concatenate(pairs), axis=0)

"""Names whose words stand in another order: "the 2008 attack on the Kabul Serena Hotel"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from lks.scope.normalise import Words, normalise, spaceless
from lks.scope.vocabulary import CommonWords, linking

SCORE = 0.9  # of a mention, where a name as it is known has 1
_LEAST = 3  # words of a name: of two the order often tells names apart (York University)
_MOST = 12
_FEW = 20  # names that are looked at one by one
_BLOCK = 1_000  # words of a text looked at together
_SPARSE = 5  # bits: of so many times as many places one is taken
_GAP = 3  # words from one telling word to the next: two linking ones may stand between
_NOTHING = np.zeros(1, dtype=np.int64)
_PARTED = re.compile(r"[.!?;:]\s|\n")  # two sentences


class ReorderedIndex:
    """Finds the words of a pattern in any order, whatever linking words stand among them.

    Patterns are filed under the sum of their words' hashes, which knows no order.
    """

    def __init__(self, patterns: Sequence[str], common: CommonWords) -> None:
        self._patterns, self._common = patterns, common
        kept, keys, sizes = [], [], set()
        self._by_rarest: dict[str, list[int]] = {}
        for index, pattern in enumerate(patterns):
            words = _telling(pattern.split(" "))
            if _files(words):
                kept.append(index)
                keys.append(_wrapped(sum(map(hash, words))))
                sizes.add(len(words))
                self._by_rarest.setdefault(max(words, key=common.rank), []).append(index)
        order = np.argsort(np.asarray(keys, dtype=np.int64), kind="stable")
        self._keys = np.asarray(keys, dtype=np.int64)[order]
        self._names = np.asarray(kept, dtype=np.int64)[order]
        self._sizes = np.asarray(sorted(sizes), dtype=np.int64)[:, None]
        self._low_bits = 2 ** (len(keys).bit_length() + _SPARSE) - 1
        self._maybe = np.zeros(self._low_bits + 1, dtype=np.bool_)  # few keys get past it
        self._maybe[self._keys & self._low_bits] = True

    def search(self, text: str, words: Words) -> Iterator[tuple[int, int, int]]:
        """(first, last, name): words[first:last] of `text` are that pattern's, reordered."""
        if not self._may_hold(set(words.words)):
            return
        at = [index for index, word in enumerate(words.words) if not linking(word)]
        count = len(at)
        hashes = np.fromiter((hash(words.words[index]) for index in at), np.int64, count)
        sums = np.concatenate([_NOTHING, hashes.cumsum()])
        for block in range(0, count, _BLOCK):
            begins = np.arange(block, min(block + _BLOCK, count))
            ends = begins + self._sizes
            keys = (sums[np.minimum(ends, count)] - sums[begins]).ravel()
            maybe = np.flatnonzero(self._maybe[keys & self._low_bits])
            low = np.searchsorted(self._keys, keys[maybe])
            high = np.searchsorted(self._keys, keys[maybe], side="right")
            for place, first, last in zip(maybe.tolist(), low.tolist(), high.tolist(), strict=True):
                row, begin = divmod(place, len(begins))
                own = at[block + begin : ends[row, begin]]
                if first == last or len(own) < self._sizes[row]:  # the text has an end
                    continue
                for name in self._names[first:last].tolist():
                    if self._means(text, words, own, self._patterns[name]):
                        yield own[0], own[-1] + 1, name

    def _may_hold(self, present: set[str]) -> bool:
        """A quick look, which most texts do not get past: all words of a name must be there."""
        for word in present:
            names = self._by_rarest.get(word, ())
            if len(names) > _FEW:
                return True
            if any(present.issuperset(_telling(self._patterns[n].split(" "))) for n in names):
                return True
        return False

    def _means(self, text: str, words: Words, own: Sequence[int], pattern: str) -> bool:
        """Whether the words at `own` are those of `pattern`, near each other and in one sentence.

        Without a linking word or a number only the end may have moved to the front, as in lists
        (Riebeeck, Jan van): first names in another order are another person's.
        """
        found, meant = [words.words[index] for index in own], _telling(pattern.split(" "))
        if sorted(found) != sorted(meant) or any(b - a > _GAP for a, b in pairwise(own)):
            return False
        low, high = words.span(own[0], own[-1] + 1)
        if _PARTED.search(text, low, high):
            return False
        told = len(pattern.split(" ")) > len(meant) or own[-1] + 1 - own[0] > len(own)
        return told or any(map(str.isdigit, found)) or _rotated(found, meant)

    def capitals_fit(self, surface: str, subject: str) -> bool:
        """Whether `surface` has the capitals of a name: "New York bank" is no Bank of New York.

        All in lower case will do if one of the words is unusual.
        """
        found = [w for w in _telling(normalise(surface, fold_case=False).words) if w[0].isalpha()]
        small = [word for word in found if word[0].islower()]
        if len(small) == len(found):
            return any(word not in self._common for word in found)
        return set(small) <= set(normalise(subject, fold_case=False).words)


def _wrapped(number: int) -> int:
    """As a sum of 64-bit integers comes out."""
    return (number + 2**63) % 2**64 - 2**63


def _telling(words: Sequence[str]) -> list[str]:
    return [word for word in words if not linking(word)]


def _files(words: Sequence[str]) -> bool:
    """Whether a name may be found reordered; single letters, as initials, do not tell enough."""
    long = sum(len(word) > 1 or word.isdigit() for word in words)
    return long >= _LEAST and len(words) <= _MOST and not any(spaceless(w[0]) for w in words)


def _rotated(found: Sequence[str], meant: Sequence[str]) -> bool:
    return any([*found[k:], *found[:k]] == list(meant) for k in range(len(found)))

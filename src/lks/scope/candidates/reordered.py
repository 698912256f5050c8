"""Names whose words stand in another order: "the 2008 attack on the Kabul Serena Hotel"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Self

import numpy as np

from lks.scope.languages.en import content_words, is_function_word
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import PARTED, Doc, normalise, spaceless
from lks.scope.types import Candidate, Kind

_SCORE = 0.9  # of a mention, where a name as it is known has 1
_LEAST = 3  # words of a name: of two the order often tells names apart (York University)
_MOST = 12
_FEW = 20  # names that are looked at one by one
_GAP = 3  # words from one telling word to the next: two linking ones may stand between


class Reordered:
    """The words of a name, three at least, in another order: "Riebeeck, Jan van".

    Whatever linking words stand among them. Names are filed under the sum of their words' hashes,
    which knows no order.
    """

    version = 1
    example = ("Jan van Riebeeck", "Riebeeck, Jan van")

    def fit(self, index: EntityIndex) -> Self:
        self._index, patterns, common = index, index.patterns, index.common
        self._patterns, self._common = patterns, common
        kept, keys, sizes = [], [], set()
        self._by_rarest: dict[str, list[int]] = {}
        for name, pattern in enumerate(patterns):
            words = content_words(pattern.split(" "))
            if _files(words):
                kept.append(name)
                keys.append(sum(map(hash, words)) % 2**64)
                sizes.add(len(words))
                self._by_rarest.setdefault(max(words, key=common.rank), []).append(name)
        order = np.argsort(np.asarray(keys, dtype=np.uint64), kind="stable")
        self._keys = np.asarray(keys, dtype=np.uint64)[order]
        self._names = np.asarray(kept, dtype=np.int64)[order]
        self._sizes = sorted(sizes)

        return self

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        inside = {place for one in known for place in range(one.first + 1, one.last)}
        for first, last, name in self._places(doc):
            entity = self._index.bearers[name][0]
            start, end = doc.span(first, last)
            if first in inside or last in inside:  # "New [York City, New] York"
                continue
            if self._capitals_fit(doc.text[start:end], entity.subject):
                yield Candidate(first, last, entity, Kind.REORDERED, _SCORE)

    def _places(self, doc: Doc) -> Iterator[tuple[int, int, int]]:
        """(first, last, name): words[first:last] of a text are that pattern's, reordered."""
        if not self._may_hold(set(doc.words)):
            return
        at = [index for index, word in enumerate(doc.words) if not is_function_word(word)]
        if len(at) < self._sizes[0]:
            return
        hashes = np.asarray([hash(doc.words[index]) % 2**64 for index in at], dtype=np.uint64)
        sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(hashes)])
        sizes = [size for size in self._sizes if size <= len(at)]
        keys = np.concatenate([sums[size:] - sums[:-size] for size in sizes])
        low = np.searchsorted(self._keys, keys)
        filed = self._keys[np.minimum(low, len(self._keys) - 1)] == keys
        edges = np.cumsum([0, *(len(sums) - size for size in sizes)])
        for place in np.flatnonzero(filed).tolist():
            row = int(np.searchsorted(edges, place, side="right")) - 1
            begin = place - int(edges[row])
            own = at[begin : begin + sizes[row]]
            high = np.searchsorted(self._keys, keys[place], side="right")
            for name in self._names[low[place] : high].tolist():
                if self._means(doc, own, self._patterns[name]):
                    yield own[0], own[-1] + 1, name

    def _may_hold(self, present: set[str]) -> bool:
        """A quick look, which most texts do not get past: all words of a name must be there."""
        for word in self._by_rarest.keys() & present:
            names = self._by_rarest[word]
            if len(names) > _FEW:
                return True
            if any(present.issuperset(content_words(self._patterns[n].split(" "))) for n in names):
                return True
        return False

    def _means(self, doc: Doc, own: Sequence[int], pattern: str) -> bool:
        """Whether the words at `own` are those of `pattern`, near each other and in one sentence.

        Without a linking word or a number only the end may have moved to the front, as in lists
        (Riebeeck, Jan van): first names in another order are another person's.
        """
        found, meant = [doc.words[index] for index in own], content_words(pattern.split(" "))
        if sorted(found) != sorted(meant) or any(b - a > _GAP for a, b in pairwise(own)):
            return False
        low, high = doc.span(own[0], own[-1] + 1)
        if PARTED.search(doc.text, low, high):
            return False
        told = len(pattern.split(" ")) > len(meant) or own[-1] + 1 - own[0] > len(own)
        return told or any(map(str.isdigit, found)) or _rotated(found, meant)

    def _capitals_fit(self, surface: str, subject: str) -> bool:
        """Whether `surface` has the capitals of a name: "New York bank" is no Bank of New York.

        All in lower case will do if one of the words is unusual.
        """
        found = [
            w for w in content_words(normalise(surface, fold_case=False).words) if w[0].isalpha()
        ]
        small = [word for word in found if word[0].islower()]
        if len(small) == len(found):
            return any(word not in self._common for word in found)
        return set(small) <= set(normalise(subject, fold_case=False).words)


def _files(words: Sequence[str]) -> bool:
    """Whether a name may be found reordered; single letters, as initials, do not tell enough."""
    long = sum(len(word) > 1 or word.isdigit() for word in words)
    return long >= _LEAST and len(words) <= _MOST and not any(spaceless(w[0]) for w in words)


def _rotated(found: Sequence[str], meant: Sequence[str]) -> bool:
    return any([*found[k:], *found[:k]] == list(meant) for k in range(len(found)))

"""Misspelt names: candidates from the index, judged by the rules of `misspelling`.

A text is searched around its anchors only: words that are no everyday words, so that they are
either misspelt themselves or tell that the word beside them is. Most texts have few.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Self

import numpy as np
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

from lks.scope.candidates.fuzzy.deletion_index import (
    LARGEST,
    LONG,
    PIECE,
    SMALLEST,
    DeletionIndex,
    Ints,
    Piece,
    digits_of,
    distinct,
    spread,
)
from lks.scope.candidates.fuzzy.spelling import Misspelling, allowed
from lks.scope.names.index import EntityIndex, spelled
from lks.scope.normalizer import ALIKE, Doc, latin, spaceless
from lks.scope.types import Candidate, Entity, Kind, Reason

_BLOCK = 1_000  # words of a text looked at together
_LONGEST_WORD = 40
_CLEAR = 8  # letters of a name that is recognised, misspelt, in any case
_NO_WORD = "\0"  # stands for words that are never misspelt: too long, or no letters
_FARTHEST = allowed(LARGEST, foreign=True)
_REACH = LARGEST + _FARTHEST  # letters of the longest stretch that may be a name


class Misspelt:
    """Misspelt and transliterated names: one letter wrong from 6 letters on, two from 12."""

    version = 1
    example = ("Eiffel Tower", "the Eifel Tower")

    def fit(self, index: EntityIndex) -> Self:
        self._names, self._patterns, self._common = index, index.patterns, index.common
        self._known = Counter(
            word
            for pattern, bearers in zip(self._patterns, index.bearers, strict=True)
            if bearers
            for word in pattern.split(" ")
        )
        self._index = DeletionIndex([search_key(pattern) for pattern in self._patterns])
        return self

    def without(self, index: EntityIndex) -> Self:
        clone = copy(self)
        clone._names, clone._known = index, self._known.copy()
        for name in index.turned:
            change = 1 if index.bearers[name] else -1
            for word in self._patterns[name].split(" "):
                clone._known[word] += change
                if not clone._known[word]:
                    del clone._known[word]
        return clone

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        return self._search(doc, known, wide=False)

    def refused(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        """Candidates where nothing can be accepted too, such as names with another number."""
        return self._search(doc, known, wide=True)

    @cached_property
    def _wide_index(self) -> DeletionIndex:
        """Finds names with other numbers too, which can be explained but never accepted."""
        return DeletionIndex([search_key(pattern) for pattern in self._patterns], digits=False)

    def _search(self, doc: Doc, known: Sequence[Candidate], *, wide: bool) -> Iterator[Candidate]:
        """Candidates around words that are neither everyday ones nor in a known mention."""
        if not self._patterns:
            return
        words, settled = doc.words, bytearray(len(doc.words))
        for one in known:
            settled[one.first : one.last] = b"\x01" * (one.last - one.first)
        everyday = frozenset() if wide else self._common.words
        anchors = [
            index
            for index, word in enumerate(words)
            if word not in everyday and not settled[index] and (wide or _is_anchor(word))
        ]
        for block, own in _blocks(anchors, len(words)):
            near = self._in_block(words[block.start : block.stop], own, wide)
            for a, b, name, case in near:
                a, b = a + block.start, b + block.start
                start, end = doc.span(a, b)
                entity, other_case = self._bearer(name, doc.text[start:end])
                reason = case.refusal(self._common, self._known) or other_case
                beside = [word for i, word in enumerate(words[a:b], a) if not settled[i]]
                if len(beside) < b - a and sum(map(len, beside)) < SMALLEST:
                    reason = reason or Reason.SHORT  # Coca-Cola CEO is no Coca-Cola Co
                yield Candidate(
                    a, b, entity, Kind.MISSPELT, case.score, case.edits, case.support, reason
                )

    def _bearer(self, name: int, surface: str) -> tuple[Entity, Reason | None]:
        """(who is meant, reason against it) where `surface` is a name, misspelt."""
        bearers, capital = self._names.bearers[name], _has_capital(spelled(surface))
        alike = [b for b in bearers if b.cased is None or _has_capital(b.cased) == capital]
        if alike:
            return min(alike, key=lambda entity: entity.cased or ""), None
        clear = len(self._patterns[name]) >= _CLEAR
        return bearers[0], None if clear else Reason.CASE

    def _in_block(
        self, words: Sequence[str], anchors: Sequence[int], wide: bool
    ) -> Iterator[tuple[int, int, int, Misspelling]]:
        """(first, last, name, how they differ): words[first:last] may be that name."""
        plain = [_plain(word) for word in words]
        edges = np.cumsum([0, *map(len, plain)])
        index = self._wide_index if wide else self._index
        near = _stretches(index, "".join(plain).translate(ALIKE), edges, anchors)
        found = [place for place in near if self._names.bearers[place[2]]]
        foreign, texts, meant = [], [], []
        for a, b, name in found:
            pattern = self._patterns[name]
            abroad = not (pattern.isascii() and "".join(words[a:b]).isascii())
            text, own = "".join(plain[a:b]), letters(pattern)
            foreign.append(abroad)
            texts.append(text.translate(ALIKE) if abroad else text)
            meant.append(own.translate(ALIKE) if abroad else own)
        edits = cpdist(texts, meant, scorer=OSA.distance, score_cutoff=_FARTHEST)
        for row, distance in enumerate(edits.tolist()):
            a, b, name = found[row]
            more = wide and len(meant[row]) >= LONG  # one edit too many is worth telling
            if distance <= allowed(len(meant[row]), foreign=foreign[row]) + more:
                of_name = [_plain(word) for word in self._patterns[name].split(" ")]
                yield a, b, name, Misspelling(plain[a:b], of_name, distance, foreign[row])


def _has_capital(text: str) -> bool:
    return any(map(str.isupper, text))


def _is_anchor(word: str) -> bool:
    """Whether `word`, no everyday one, may be misspelt or tell that the word beside it is."""
    return 2 <= len(word) <= _LONGEST_WORD and word.isalpha() and not spaceless(word[0])


def search_key(pattern: str) -> str:
    """The letters of a name under which it is filed; none where it is never misspelt."""
    key = letters(pattern)
    return "" if _NO_WORD in key else key.translate(ALIKE)


def letters(pattern: str) -> str:
    """A pattern in Latin letters, without its spaces."""
    if pattern.isascii():
        return pattern.replace(" ", "")
    return "".join(map(_plain, pattern.split(" ")))


def _plain(word: str) -> str:
    """A word in Latin letters; words that are never misspelt as a placeholder."""
    if len(word) > _LONGEST_WORD or spaceless(word[0]):
        return _NO_WORD
    return latin(word) or _NO_WORD


def _blocks(anchors: Sequence[int], words: int) -> Iterator[tuple[range, list[int]]]:
    """(words, anchors counted from the first) of parts of a text, with words around the anchors."""
    for start in range(0, words, _BLOCK):
        own = anchors[bisect_left(anchors, start) : bisect_left(anchors, start + _BLOCK)]
        if own:
            block = range(max(0, own[0] - LARGEST), min(words, own[-1] + 1 + LARGEST))
            yield block, [index - block.start for index in own]


def _stretches(
    index: DeletionIndex, letters: str, edges: Ints, anchors: Sequence[int]
) -> list[tuple[int, int, int]]:
    """(first word, end, name), each once: with an anchor, and the beginning or end of the name.

    Args:
        edges: where each word begins in `letters`, and where the last one ends.
    """
    word, pieces = _pieces(index, letters, edges, anchors)
    piece, name = index.find(pieces)
    word = word[piece]
    head = np.fromiter((own.head for own in pieces), dtype=bool, count=len(pieces))[piece]
    length = index.lengths[name]
    far = np.where(head, edges[word] + length, edges[word] - length)
    most = np.where(length < LONG, 1, _FARTHEST)
    low = np.searchsorted(edges, far - most)
    row, place = spread(np.searchsorted(edges, far + most, side="right") - low)
    other, word, head, name = low[row] + place, word[row], head[row], name[row]
    first, last = np.where(head, word, other), np.where(head, other, word)
    before = np.searchsorted(anchors, np.arange(len(edges)))  # anchors before word i
    anchored = before[last] > before[first]
    width, names = len(edges), max(len(index.lengths), 1)
    window, name = np.divmod(distinct(((first * width + last) * names + name)[anchored]), names)
    first, last = np.divmod(window, width)
    return list(zip(first.tolist(), last.tolist(), name.tolist(), strict=True))


def _pieces(
    index: DeletionIndex, letters: str, edges: Ints, anchors: Sequence[int]
) -> tuple[Ints, list[Piece]]:
    """(word, piece): where a name with an anchor may begin, or behind which it may end.

    A piece comes once for each number that the name may have.
    """
    words, pieces, places = [], [], edges.tolist()
    digits = digits_of(letters) if index.with_digits else ""
    told = [0] * len(places)  # digits before each word
    if digits:
        parts = [letters[start:end] for start, end in pairwise(places)]
        told = [0, *accumulate(len(digits_of(part)) for part in parts)]
    for word, place in enumerate(places):
        at = bisect_left(anchors, word)
        if at < len(anchors) and places[anchors[at] + 1] - place <= _REACH:
            ends = told[word : bisect_right(places, place + _REACH)]
            for own in {digits[told[word] : end] for end in ends}:
                words.append(word)
                pieces.append(Piece(letters[place : place + PIECE], True, own))
        if at and place - places[anchors[at - 1]] <= _REACH:
            starts = told[bisect_left(places, place - _REACH) : word]
            for own in {digits[start : told[word]] for start in starts}:
                words.append(word)
                pieces.append(Piece(letters[max(place - PIECE, 0) : place], False, own))
    return np.array(words, dtype=np.int64), pieces

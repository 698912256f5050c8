"""Misspelt names: candidates from the index, judged by the rules of `misspelling`.

A text is searched around its anchors only: words that are no everyday words, so that they are
either misspelt themselves or tell that the word beside them is. Most texts have few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

from lks.scope.candidates.fuzzy.deletion_index import (
    END_PIECES,
    HEAD,
    LARGEST,
    LONG,
    SMALLEST,
    TAIL,
    U64,
    WHOLE,
    DeletionIndex,
    Ints,
    Letters,
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
        self._known = frozenset(word for pattern in self._patterns for word in pattern.split(" "))
        self._index = DeletionIndex([search_key(pattern) for pattern in self._patterns])
        self._longest = int(min(self._index.lengths.max(initial=0), LARGEST))
        return self

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
        for first, last, own in _blocks(anchors, words, self._longest):
            for a, b, name, case in self._in_block(words[first:last], own, wide):
                a, b = a + first, b + first
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
        foreign = [not word.isascii() for word in words]
        edges = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum([len(word) for word in plain], out=edges[1:])
        pieces = self._wide_index if wide else self._index
        pairs = _Pairs(pieces, pieces.letters("".join(plain).translate(ALIKE)), edges, anchors)
        first, last, name = pairs.all(_FARTHEST if wide or any(foreign) else allowed(LARGEST))
        if not len(name):
            return
        windows = list(zip(first.tolist(), last.tolist(), strict=True))
        names = [self._patterns[index] for index in name.tolist()]
        texts = ["".join(plain[a:b]) for a, b in windows]
        meant = [letters(pattern) for pattern in names]
        abroad = np.concatenate([[0], np.cumsum(foreign)])
        foreign = [
            crossed or not pattern.isascii()
            for crossed, pattern in zip((abroad[last] > abroad[first]).tolist(), names, strict=True)
        ]
        for index in np.flatnonzero(foreign).tolist():
            texts[index] = texts[index].translate(ALIKE)
            meant[index] = meant[index].translate(ALIKE)
        edits = cpdist(texts, meant, scorer=OSA.distance, score_cutoff=_FARTHEST)
        for index in np.flatnonzero(edits <= _FARTHEST).tolist():
            a, b = windows[index]
            own = [_plain(word) for word in names[index].split(" ")]
            case = Misspelling(plain[a:b], own, int(edits[index]), foreign[index])
            yield a, b, int(name[index]), case


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
    return word if word.isascii() else latin(word) or _NO_WORD


def _blocks(
    anchors: Sequence[int], words: Sequence[str], reach: int
) -> Iterator[tuple[int, int, list[int]]]:
    """(first, last, anchors in it from `first` on) of parts of a text, with words around them."""
    at = 0
    while at < len(anchors):
        start = anchors[at]
        own = []
        while at < len(anchors) and anchors[at] < start + _BLOCK:
            own.append(anchors[at])
            at += 1
        first, last = max(0, start - reach), min(len(words), own[-1] + 1 + reach)
        yield first, last, [index - first for index in own]


class _Pairs:
    """Which stretches of a block may be which names: by its beginning, its end, or the whole."""

    def __init__(
        self, index: DeletionIndex, letters: Letters, edges: Ints, anchors: Sequence[int]
    ) -> None:
        self._index, self._letters, self._edges = index, letters, edges
        self._names = len(index.lengths)
        count = len(edges) - 1
        marks = np.zeros(count, dtype=np.int64)
        marks[list(anchors)] = 1
        self._before = np.concatenate([[0], np.cumsum(marks)])  # anchors before word i
        at = np.asarray(anchors, dtype=np.int64)
        # A name begins at most LARGEST letters before an anchor, and ends as near behind one.
        places = np.arange(count)
        following = np.searchsorted(at, places)
        nearest = at[np.minimum(following, len(at) - 1)]
        reach = edges[nearest + 1] - edges[places] <= _REACH
        self._starts = places[(following < len(at)) & reach]
        preceding = np.searchsorted(at, places, side="right") - 1
        nearest = at[np.maximum(preceding, 0)]
        reach = edges[places + 1] - edges[nearest] <= _REACH
        self._ends = places[(preceding >= 0) & reach] + 1

    def all(self, farthest: int) -> tuple[Ints, Ints, Ints]:
        """(first word, end, name), each once, that may be at most `farthest` edits apart."""
        edges, starts = self._edges, self._starts
        # Stretches of the length of a short name:
        low = np.searchsorted(edges, edges[starts] + SMALLEST - 1)
        high = np.searchsorted(edges, edges[starts] + LONG, side="right")
        owner, place = spread(high - low)
        first, last = starts[owner], low[owner] + place
        anchored = self._before[last] > self._before[first]
        first, last = first[anchored], last[anchored]
        # and beginnings and ends of long ones:
        count = len(END_PIECES)
        word, head, digits = (np.tile(part, count) for part in self._ending())
        size = np.repeat(np.asarray(END_PIECES), len(word) // count)
        begin = np.where(head, edges[word], edges[word] - size)
        fits = (begin >= 0) & (begin + size <= edges[-1])
        word, begin, size, head, digits = (part[fits] for part in (word, begin, size, head, digits))
        own = self._letters.digits(edges[first], edges[last])
        piece, name = self._find(
            np.concatenate([edges[first], begin]),
            np.concatenate([edges[last], begin + size]),
            np.concatenate([np.full(len(first), WHOLE), np.where(head, HEAD, TAIL)]),
            np.concatenate([own, digits]),
        )
        whole = piece < len(first)
        end, end_name = piece[~whole] - len(first), name[~whole]
        stretch, stretch_first, stretch_last = self._stretches(word[end], head[end], end_name)
        return self._near(
            np.concatenate([first[piece[whole]], stretch_first]),
            np.concatenate([last[piece[whole]], stretch_last]),
            np.concatenate([name[whole], end_name[stretch]]),
            farthest,
        )

    def _ending(self) -> tuple[Ints, NDArray[np.bool_], U64]:
        """(word, whether a name may begin there or else end before it, the digits it may have)."""
        edges = self._edges
        word = np.concatenate([self._starts, self._ends])
        head = np.arange(len(word)) < len(self._starts)
        digits = np.zeros(len(word), dtype=np.uint64)
        if not self._index.with_digits:
            return word, head, digits
        # A stretch that goes on to another word has other digits only if that word has some.
        told = np.flatnonzero(self._letters.digits(edges[:-1], edges[1:]))
        beyond = np.searchsorted(edges, edges[word] + _REACH, side="right") - 1
        before = np.searchsorted(edges, edges[word] - _REACH)
        low = np.searchsorted(told, np.where(head, word, before))
        high = np.searchsorted(told, np.where(head, beyond, word))
        row, place = spread(1 + high - low)
        other = np.append(told, 0)[low[row] + place - 1]
        other = np.where(place == 0, word[row], np.where(head[row], other + 1, other))
        ends = np.sort([word[row], other], axis=0)
        return word[row], head[row], self._letters.digits(edges[ends[0]], edges[ends[1]])

    def _find(self, begin: Ints, end: Ints, sorts: Ints, digits: U64) -> tuple[Ints, Ints]:
        """(piece, name), each once, of the names whose own piece has about that length."""
        piece, keys = self._letters.keys(begin, end, self._index.sorts(sorts, digits))
        key, name = self._index.find(keys)
        piece, name = np.divmod(_distinct(piece[key] * self._names + name), self._names)
        size, lengths = (end - begin)[piece], self._index.lengths[name]
        whole = np.abs(size - lengths) <= 1
        part = np.minimum(lengths // 2, END_PIECES[-1]) == size
        right = np.where(sorts[piece] == WHOLE, whole, part)
        return piece[right], name[right]

    def _stretches(
        self, word: Ints, head: NDArray[np.bool_], name: Ints
    ) -> tuple[Ints, Ints, Ints]:
        """(row, first, last): stretches from or up to `word` with about the name's letters."""
        edges, lengths = self._edges, self._index.lengths[name]
        far = np.where(head, edges[word] + lengths, edges[word] - lengths)
        low = np.searchsorted(edges, far - _FARTHEST)
        high = np.searchsorted(edges, far + _FARTHEST, side="right")
        row, place = spread(high - low)
        other, word, head = low[row] + place, word[row], head[row]
        return row, np.where(head, word, other), np.where(head, other, word)

    def _near(self, first: Ints, last: Ints, name: Ints, farthest: int) -> tuple[Ints, Ints, Ints]:
        """Those that hold an anchor and share most of their letters with the name, each once."""
        if not len(name):
            return first, last, name
        anchored = (last > first) & (self._before[last] > self._before[first])
        width = len(self._edges)
        code = _distinct(((first * width + last) * self._names + name)[anchored])
        window, name = np.divmod(code, self._names)
        first, last = np.divmod(window, width)
        counts = self._letters.counts(self._edges[first], self._edges[last])
        near = self._index.apart(name, counts) <= 2 * farthest
        return first[near], last[near], name[near]


def _distinct(numbers: Ints) -> Ints:
    """Each once, in order; np.unique takes five times as long for millions."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=-1) > 0]

"""Misspelt names: candidates from the index, judged by the rules of `misspelling`.

A text is searched around its anchors only: words that are no everyday words, so that they are
either misspelt themselves or tell that the word beside them is. Most texts have few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

from lks.scope.misspelling import Misspelling, allowed
from lks.scope.normalise import latin, spaceless
from lks.scope.pieces import (
    END_PIECES,
    HEAD,
    LARGEST,
    LONG,
    SMALLEST,
    TAIL,
    WHOLE,
    Ints,
    Letters,
    PieceIndex,
    spread,
)
from lks.scope.vocabulary import CommonWords

_BLOCK = 1_000  # words of a text looked at together
_LONGEST_WORD = 40
_NO_WORD = "\0"  # stands for words that are never misspelt: too long, or no letters
_ALIKE = str.maketrans("yjwvcqz", "iiuukks")  # letters that transliteration confuses
_FARTHEST = allowed(LARGEST, foreign=True)


@dataclass(frozen=True, slots=True)
class Candidate:
    """words[first:last] of the text could be pattern `name`, misspelt; `reason` says why not."""

    first: int
    last: int
    name: int
    edits: int
    support: int
    score: float
    reason: str | None


class FuzzyIndex:
    """Finds misspelt and transliterated names among `patterns` (folded, words parted by spaces)."""

    def __init__(self, patterns: Sequence[str], common: CommonWords) -> None:
        self._patterns = patterns
        self._common = common
        self._known = frozenset(word for pattern in patterns for word in pattern.split(" "))
        self._index = PieceIndex([search_key(pattern) for pattern in patterns])
        self._longest = int(min(self._index.lengths.max(initial=0), LARGEST))

    def search(
        self, words: Sequence[str], settled: Sequence[int], *, wide: bool = False
    ) -> list[Candidate]:
        """Candidates in folded `words`; those that are `settled` are no anchors.

        A `wide` search is for explanations: it also looks where nothing can be accepted.
        """
        anchors = [
            index
            for index, word in enumerate(words)
            if not settled[index] and (wide or self._is_anchor(word))
        ]
        found: list[Candidate] = []
        for first, last, own in _blocks(anchors, words, self._longest):
            found += self._in_block(words[first:last], own, first, wide)
        return found

    def _is_anchor(self, word: str) -> bool:
        """Whether `word` may be misspelt or may tell that the word beside it is."""
        if word in self._common or not 2 <= len(word) <= _LONGEST_WORD:
            return False
        return word.isalpha() and not spaceless(word[0])

    def _in_block(
        self, words: Sequence[str], anchors: Sequence[int], offset: int, wide: bool
    ) -> Iterator[Candidate]:
        plain = [_plain(word) for word in words]
        foreign = [not word.isascii() for word in words]
        edges = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum([len(word) for word in plain], out=edges[1:])
        pairs = _Pairs(self._index, Letters("".join(plain).translate(_ALIKE)), edges, anchors)
        first, last, name = pairs.all(_FARTHEST if wide or any(foreign) else allowed(LARGEST))
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
            texts[index] = texts[index].translate(_ALIKE)
            meant[index] = meant[index].translate(_ALIKE)
        edits = cpdist(texts, meant, scorer=OSA.distance, score_cutoff=_FARTHEST)
        for index in np.flatnonzero(edits <= _FARTHEST).tolist():
            a, b = windows[index]
            own = [_plain(word) for word in names[index].split(" ")]
            case = Misspelling(plain[a:b], own, int(edits[index]), foreign[index])
            reason = case.refusal(self._common, self._known)
            yield Candidate(
                a + offset, b + offset, int(name[index]),
                case.edits, case.support, case.score, reason,
            )  # fmt: skip


def search_key(pattern: str) -> str:
    """The letters of a name under which it is filed; none where it is never misspelt."""
    key = letters(pattern)
    return "" if _NO_WORD in key else key.translate(_ALIKE)


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
        self, index: PieceIndex, letters: Letters, edges: Ints, anchors: Sequence[int]
    ) -> None:
        self._index, self._letters, self._edges = index, letters, edges
        count = len(edges) - 1
        marks = np.zeros(count, dtype=np.int64)
        marks[list(anchors)] = 1
        self._before = np.concatenate([[0], np.cumsum(marks)])  # anchors before word i
        at = np.asarray(anchors, dtype=np.int64)
        # A name begins at most LARGEST letters before an anchor, and ends as near behind one.
        longest = LARGEST + _FARTHEST
        places = np.arange(count)
        following = np.searchsorted(at, places)
        nearest = at[np.minimum(following, len(at) - 1)]
        reach = edges[nearest + 1] - edges[places] <= longest
        self._starts = places[(following < len(at)) & reach]
        preceding = np.searchsorted(at, places, side="right") - 1
        nearest = at[np.maximum(preceding, 0)]
        reach = edges[places + 1] - edges[nearest] <= longest
        self._ends = places[(preceding >= 0) & reach] + 1

    def all(self, farthest: int) -> tuple[Ints, Ints, Ints]:
        """(first word, end, name), each once, that may be at most `farthest` edits apart."""
        parts = [self._whole(), self._by_end(HEAD), self._by_end(TAIL)]
        first, last, name = (np.concatenate(column) for column in zip(*parts, strict=True))
        anchored = self._before[last] > self._before[first]
        width, names = len(self._edges), len(self._index.lengths)
        code = ((first * width + last) * names + name)[anchored]
        code = np.unique(code)
        window, name = np.divmod(code, max(names, 1))
        first, last = np.divmod(window, width)
        counts = self._letters.counts(self._edges[first], self._edges[last])
        near = self._index.apart(name, counts) <= 2 * farthest
        return first[near], last[near], name[near]

    def _whole(self) -> tuple[Ints, Ints, Ints]:
        edges, starts = self._edges, self._starts
        begin = edges[starts]
        low = np.searchsorted(edges, begin + SMALLEST - 1)
        high = np.searchsorted(edges, begin + LONG, side="right")
        owner, place = spread(high - low)
        first, last = starts[owner], low[owner] + place
        anchored = self._before[last] > self._before[first]
        first, last = first[anchored], last[anchored]
        piece, keys = self._letters.keys(edges[first], edges[last], WHOLE)
        key, name = self._index.find(keys)
        piece = piece[key]
        near = np.abs(edges[last[piece]] - edges[first[piece]] - self._index.lengths[name]) <= 1
        return first[piece[near]], last[piece[near]], name[near]

    def _by_end(self, sort: int) -> tuple[Ints, Ints, Ints]:
        edges = self._edges
        words = self._starts if sort == HEAD else self._ends
        size = np.repeat(np.asarray(END_PIECES, dtype=np.int64), len(words))
        word = np.tile(words, len(END_PIECES))
        begin = edges[word] if sort == HEAD else edges[word] - size
        fits = (begin >= 0) & (begin + size <= edges[-1])
        word, begin, size = word[fits], begin[fits], size[fits]
        piece, keys = self._letters.keys(begin, begin + size, sort)
        key, name = self._index.find(keys)
        piece = piece[key]
        lengths = self._index.lengths[name]
        right = np.minimum(lengths // 2, END_PIECES[-1]) == size[piece]
        word, name, lengths = word[piece[right]], name[right], lengths[right]
        # The other end of the stretch: where it has about as many letters as the name.
        far = edges[word] + lengths if sort == HEAD else edges[word] - lengths
        low = np.searchsorted(edges, far - _FARTHEST)
        high = np.searchsorted(edges, far + _FARTHEST, side="right")
        owner, place = spread(high - low)
        other = low[owner] + place
        first, last = (word[owner], other) if sort == HEAD else (other, word[owner])
        forward = last > first
        return first[forward], last[forward], name[owner][forward]

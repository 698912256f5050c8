"""Names in other words: "policy for returns" for return policy, "X series" for X family.

Words alone do not tell, Deacon Blue is not Deacon Blues. This index only proposes names; the scope
asks whether the whole sentence means what one of their edits means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from Stemmer import Stemmer

from lks.scope.normalise import Words
from lks.scope.vocabulary import CommonWords, linking

ALIKE = 0.75  # least cosine of a sentence that means what a wording means; wrong ones had .69
_LONGEST = 30  # words of a sentence that may be a question about a name
_FEW = 20  # names filed under one word: with more it tells nothing
_TELLING = 1_000  # product of the ranks of the words found: one rare word, or two common ones
_SPREAD = 2  # linking words that may stand between those of a name
_ENDS = re.compile(r"[.!?;:]\s|\n")
_ROMAN = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")


@dataclass(frozen=True, slots=True)
class Proposal:
    """words[first:last] may be pattern `name`; words[begin:end] are the sentence."""

    first: int
    last: int
    name: int
    begin: int
    end: int


class RewordedIndex:
    """Finds patterns whose telling words, two at least, stand in a sentence, inflected.

    Three and more may stand in any order, and up to half be missing that only say what kind of
    thing it is: common words, in lower case in a name with capitals. Two in another order are
    often another name (York University), unless both are in lower case or a possessive parts them.

    Args:
        small: the words of a pattern that are written in lower case.
    """

    def __init__(
        self, patterns: Sequence[str], common: CommonWords, small: Callable[[int], set[str]]
    ) -> None:
        self._patterns, self._common, self._stemmer = patterns, common, Stemmer("english")
        self._small = small
        self._filed: dict[str, list[int]] = {}
        self._own: list[tuple[str, ...]] = []  # stems of each pattern
        alike: dict[str, str] = {}  # one string for each stem
        for index, pattern in enumerate(patterns):
            words = _telling(pattern)
            stems = tuple(alike.setdefault(stem, stem) for stem in self._stems(words))
            self._own.append(stems)
            if len(words) < 2:
                continue
            rarest = sorted(zip(words, stems, strict=True), key=self._rank, reverse=True)
            needed = [stem for word, stem in rarest if not self._may_lack(word)]
            # one of these stands in whatever means the name
            for stem in needed[:1] or [stem for _, stem in rarest[: 1 + _most_missing(stems)]]:
                names = self._filed.setdefault(stem, [])
                if len(names) <= _FEW:
                    names.append(index)

    def search(self, text: str, words: Words) -> Iterator[Proposal]:
        """Proposals in `text`."""
        stems = self._stems(words.words)
        names = self._possible(set(stems))
        for begin, end in _sentences(text, words) if names else ():
            at = {stems[i]: i for i in reversed(range(begin, end)) if not linking(words.words[i])}
            for name in names:
                if self._holds(at, name):
                    yield from self._proposed(text, words, at, name, (begin, end))

    def _possible(self, stems: set[str]) -> list[int]:
        """Names that a text of these stems may hold: a quick look, past which few texts get."""
        filed = (self._filed[stem] for stem in self._filed.keys() & stems)
        names = {name for own in filed if len(own) <= _FEW for name in own}
        return sorted(name for name in names if self._holds(stems, name))

    def _holds(self, stems: Container[str], name: int) -> bool:
        own = self._own[name]
        return sum(stem not in stems for stem in own) <= _most_missing(own)

    def _proposed(
        self, text: str, words: Words, at: Mapping[str, int], name: int, sentence: tuple[int, int]
    ) -> Iterator[Proposal]:
        """The name, if its words are near each other and tell enough."""
        own = _telling(self._patterns[name])
        found = {word: at[s] for word, s in zip(own, self._own[name], strict=True) if s in at}
        missing = [word for word in own if word not in found]
        telling = prod(max(self._common.rank(word), 1) for word in found) >= _TELLING
        if not telling or not self._fits(name, own, missing):
            return
        first, last = min(found.values()), max(found.values()) + 1
        if last < sentence[1] and self._goes_on(words.words[last], own, missing):
            last += 1
        turned = len(own) == 2 and found[own[0]] > found[own[1]]
        if turned and "s" not in words.words[first:last] and not self._small(name).issuperset(own):
            return
        if last - first > len(own) + _SPREAD:
            return
        near = range(max(first - 1, sentence[0]), min(last + 1, sentence[1]))
        others = [i for i in near if i not in found.values() and not linking(words.words[i])]
        inside = sum(first < i < last for i in others)
        if inside > len(missing) or any(
            self._tells_apart(text, words, i, i > sentence[0]) for i in others
        ):
            return
        yield Proposal(first, last, name, *sentence)

    def _fits(self, name: int, own: Sequence[str], missing: Sequence[str]) -> bool:
        """Whether a name may do without these words."""
        if not missing:
            return True
        small = self._small(name)
        return (
            small.issuperset(missing)
            and not small.issuperset(own)
            and all(map(self._may_lack, missing))
        )

    def _goes_on(self, word: str, own: Sequence[str], missing: Sequence[str]) -> bool:
        """Whether a name's stretch takes in the word after it: the "series" for its "family"."""
        return word in own or (own[-1] in missing and word in self._common and not linking(word))

    def _rank(self, pair: tuple[str, str]) -> int:
        return self._common.rank(pair[0])

    def _may_lack(self, word: str) -> bool:
        """Whether another word may stand for this one: family, series, range."""
        return len(word) > 2 and word in self._common and not _ROMAN.fullmatch(word)

    def _tells_apart(self, text: str, words: Words, index: int, inside: bool) -> bool:
        """Whether a word beside those of a name makes it another's: Ferrari 156, Karl Popper.

        At the beginning of a sentence (not `inside`) a capital says nothing.
        """
        word = words.words[index]
        if any(map(str.isdigit, word)) or _ROMAN.fullmatch(word):
            return True
        return inside and text[words.places[index][0]].isupper() and word not in self._common

    def _stems(self, words: Sequence[str]) -> list[str]:
        """English stems; a word with other letters than a to z is its own."""
        stems = self._stemmer.stemWords([word if word.isascii() else "" for word in words])
        return [stem or word for stem, word in zip(stems, words, strict=True)]


def _most_missing(words: Sequence[str]) -> int:
    return len(words) // 2 if len(words) > 2 else 0


def _telling(pattern: str) -> list[str]:
    return list(dict.fromkeys(word for word in pattern.split(" ") if not linking(word)))


def _sentences(text: str, words: Words) -> Iterator[tuple[int, int]]:
    """(first, last) words of each sentence that is short enough."""
    ends = iter([*(match.start() for match in _ENDS.finditer(text)), len(text)])
    begin, end = 0, next(ends)
    for index, (start, _) in enumerate(words.places):
        if start > end:
            if 0 < index - begin <= _LONGEST:
                yield begin, index
            begin = index
            while start > end:
                end = next(ends)
    if len(words.places) - begin <= _LONGEST:
        yield begin, len(words.places)

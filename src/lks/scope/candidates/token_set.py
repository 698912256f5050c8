"""Names in other words: "policy for returns" for return policy, "X series" for X family.

Words alone do not tell, Deacon Blue is not Deacon Blues. This index only proposes names; the scope
asks whether the whole sentence means what one of their edits means.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from copy import copy
from math import prod
from typing import Self

from lks.scope.languages.en import content_words, is_function_word
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc
from lks.scope.types import LONGEST, Candidate, Kind

_FEW = 20  # names filed under one word: with more it tells nothing
_TELLING = 1_000  # product of the ranks of the words found: one rare word, or two common ones
NOUNS = 100  # from this rank on, a word may be a noun; before it come "is", "was" and the like
_SPREAD = 2  # words that a place may have more than the name
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ie[sd]?|es|s|y|ed|e|ing|al)$")
_Weighed = tuple[bool, int, str]  # of a word: must stand there, rank, stem
_ROMAN = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")


class TokenSet:
    """A name in other words: inflected, in another order, "X series" for X family.

    A sentence must have two of the name's telling words, inflected or not. Three and more may
    stand in any order; two only if both are in lower case or a possessive parts them, since York
    University is another name. Up to half of the words may be replaced, if they only say what kind
    of thing it is: common words, in lower case in a name with capitals.
    """

    version = 1
    example = ("return policy", "our policy for returns")

    def fit(self, index: EntityIndex) -> Self:
        patterns = index.patterns
        self._index, self._patterns, self._common = index, patterns, index.common
        self._filed: dict[str, list[int]] = {}
        self._own: list[tuple[str, ...]] = []  # stems of each pattern
        known: dict[str, _Weighed] = {}
        for name, pattern in enumerate(patterns):
            words = _distinct(pattern)
            for word in words:
                if word not in known:
                    known[word] = self._weighed(word)
            weighed = [known[word] for word in words]
            self._own.append(tuple(stem for *_, stem in weighed))
            for stem in _filed_under(weighed) if index.bearers[name] else ():
                self._filed.setdefault(stem, []).append(name)
        return self

    def without(self, index: EntityIndex) -> Self:
        clone = copy(self)
        clone._index, clone._filed = index, dict(self._filed)
        for name in index.turned:
            words = _distinct(self._patterns[name])
            for stem in _filed_under([self._weighed(word) for word in words]):
                names = set(clone._filed.get(stem, ())) ^ {name}
                clone._filed[stem] = sorted(names)
        return clone

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        stems = [_stem(word) for word in doc.words]
        for sentence in doc.sentences if self._possible(set(stems)) else ():
            if len(sentence) > LONGEST:
                continue
            at = {stems[i]: i for i in reversed(sentence) if not is_function_word(doc.words[i])}
            for name in self._possible(at.keys()):
                found = self._place(doc, stems, at, name, sentence)
                if found and not self._anothers(doc, stems, *found, name, sentence):
                    first, told, last = found
                    for entity in self._index.bearers[name]:
                        yield Candidate(
                            first, last, entity, Kind.REWORDED, told=told, sentence=sentence
                        )

    def _possible(self, stems: Set[str]) -> list[int]:
        """Names that a text of these stems may hold: a quick look, past which few texts get."""
        filed = (self._filed[stem] for stem in self._filed.keys() & stems)
        names = {name for own in filed if len(own) <= _FEW for name in own}
        return sorted(name for name in names if self._holds(stems, name))

    def _holds(self, stems: Container[str], name: int) -> bool:
        own = self._own[name]
        return sum(stem not in stems for stem in own) <= _most_missing(own)

    def _place(
        self,
        doc: Doc,
        stems: Sequence[str],
        at: Mapping[str, int],
        name: int,
        sentence: range,
    ) -> tuple[int, int, int] | None:
        """(first, told, last) of the name, if its words are near each other and tell enough."""
        if not self._holds(at, name):
            return None
        words, end = doc.words, sentence.stop
        own = dict(zip(_distinct(self._patterns[name]), self._own[name], strict=True))
        found = {word: at[stem] for word, stem in own.items() if stem in at}
        missing = own.keys() - found.keys()
        rare = prod(max(self._common.rank(word), 1) for word in found) >= _TELLING
        if not rare or not self._may_do_without(missing, own.keys(), name):
            return None
        first, told = min(found.values()), max(found.values()) + 1
        goes_on = told < end and (words[told] in own or self._is_kind(words[told], own, missing))
        last = told + goes_on
        inside = [i for i in range(first, last) if not is_function_word(words[i])]
        others = sum(stems[i] not in own.values() for i in inside)
        long = self._patterns[name].count(" ") + 1 + _SPREAD
        if not bool(missing) <= others <= len(missing) or last - first > long:
            return None
        turned = len(own) == 2 and list(found.values()) != sorted(found.values())
        if turned and "s" not in words[first:last] and not self._index.small(name) >= own.keys():
            return None
        return first, told, last

    def _may_do_without(self, missing: Set[str], own: Set[str], name: int) -> bool:
        if not missing:
            return True
        small = self._index.small(name)
        return missing <= small and not own <= small and all(map(self._may_lack, missing))

    def _is_kind(self, word: str, own: dict[str, str], missing: Set[str]) -> bool:
        """Whether the word after a name may stand for its last: "series" for "family".

        "When was the Nokia X discontinued?" asks about another name.
        """
        last = next(reversed(own)) in missing and not word.endswith("ed")
        return last and self._common.rank(word) >= NOUNS

    def _may_lack(self, word: str) -> bool:
        """Whether another word may stand for this one: family, series, range."""
        return len(word) > 2 and word in self._common and not _ROMAN.fullmatch(word)

    def _anothers(
        self,
        doc: Doc,
        stems: Sequence[str],
        first: int,
        told: int,
        last: int,
        name: int,
        sentence: range,
    ) -> bool:
        """Whether a word in or beside that place makes the name another's: Ferrari 156.

        At the beginning of a sentence a capital says nothing.
        """
        begins, own = sentence.start, self._own[name]
        for index in range(max(first - 1, begins), min(last + 1, sentence.stop)):
            word = doc.words[index]
            if stems[index] in own or is_function_word(word):
                continue
            capital = index > begins and doc.text[doc.places[index][0]].isupper()
            number = any(map(str.isdigit, word)) or _ROMAN.fullmatch(word)
            if number or (capital and word not in self._common):
                return True
        return False

    def _weighed(self, word: str) -> _Weighed:
        return not self._may_lack(word), self._common.rank(word), _stem(word)


def _filed_under(weighed: Sequence[_Weighed]) -> Iterator[str]:
    """Stems of a name of which one stands in whatever means it."""
    if len(weighed) < 2:
        return
    for needed, _, stem in sorted(weighed, reverse=True)[: 1 + _most_missing(weighed)]:
        yield stem
        if needed:
            return


def _stem(word: str) -> str:
    """A folded word without its ending: "polic" for policies."""
    return word if word.endswith("ss") else _ENDING.sub("", word)


def _most_missing(words: Sequence[object]) -> int:
    return len(words) // 2 if len(words) > 2 else 0


def _distinct(pattern: str) -> list[str]:
    """The telling words of a pattern, each once."""
    return list(dict.fromkeys(content_words(pattern.split(" "))))

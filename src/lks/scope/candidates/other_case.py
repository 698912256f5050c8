"""Names in another case than they must have: "who created swift?"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from lks.scope.candidates.token_set import NOUNS
from lks.scope.filters.longer_name import may_be_longer
from lks.scope.languages.en import content_words, word_list
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc
from lks.scope.types import LONGEST, Candidate, Kind


class OtherCase:
    """A name that counts only as it is written, in another case: swift for Swift.

    Behind an article or a pronoun an English word is no name: the ring.
    """

    version = 1
    example = ("Swift", "who created swift?")

    def fit(self, index: EntityIndex) -> Self:
        self._index = index
        return self

    def without(self, index: EntityIndex) -> Self:
        return type(self)().fit(index)

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        for first, last, name in self._index.standing(doc):
            sentence = doc.sentence(first)
            if last > sentence.stop or len(sentence) > LONGEST:
                continue
            if self._index.entity(name, doc, first, last) or not self._tells(name):
                continue
            if self._is_noun(doc.words, first, last):
                continue
            if may_be_longer(doc.text, doc.span(first, last)[0]):
                continue
            for entity in self._index.bearers[name]:
                yield Candidate(first, last, entity, Kind.REWORDED, told=last, sentence=sentence)

    def _tells(self, name: int) -> bool:
        common, words = self._index.common, self._index.patterns[name].split(" ")
        return any(common.rank(word) >= NOUNS for word in content_words(words))

    def _is_noun(self, words: Sequence[str], first: int, last: int) -> bool:
        behind = first > 0 and words[first - 1] in word_list("determiners")
        return behind and all(map(self._index.common.english, words[first:last]))

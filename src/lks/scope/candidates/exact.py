"""Names as they are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc
from lks.scope.types import Candidate


class Exact:
    """Names as they are known, on whole words, whatever their diacritics and hyphens.

    In any case, but for names of one short or common word: Ali, pink, The Bakery.
    """

    version = 1
    example = ("Saint-Denis", "the basilica of saint denis")

    def fit(self, index: EntityIndex) -> Self:
        self._index = index
        return self

    def without(self, index: EntityIndex) -> Self:
        return type(self)().fit(index)

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        for first, last, name in self._index.standing(doc):
            entity = self._index.entity(name, doc, first, last)
            if entity is not None:
                yield Candidate(first, last, entity, entity.kind)

"""Wordings of common relations: what people ask about people, places, works and so on.

The relation gate learns from them what matters in a question, an edit that brings its prompt alone
borrows those of its relation, and a question that is another relation's does not fire it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NEAR = 0.8  # cosine of two wordings from which they are taken to ask for one relation
SAME = 0.95  # from which a sentence is taken to be that wording


class Embed(Protocol):
    """Texts to vectors of unit length, [n] -> [n, w]."""

    def __call__(self, texts: Sequence[str]) -> Array: ...


def common_relations() -> tuple[list[list[str]], list[list[str]]]:
    """(wordings of each relation, questions for another thing about an entity of its kind).

    In both the entity is masked, as in `scope.sentences`. Kinds are people, places, works and so
    on; the other questions of a relation are the wordings of all others of its kind.
    """
    wordings, others = [], []
    for kind in _kinds():
        for i, own in enumerate(kind):
            wordings.append(own)
            others.append([text for k, asked in enumerate(kind) if k != i for text in asked])
    return wordings, others


def common_wordings() -> list[str]:
    """All of them, relation by relation."""
    return [text for kind in _kinds() for own in kind for text in own]


def _kinds() -> list[list[list[str]]]:
    text = files(__package__).joinpath("relations.json").read_text(encoding="utf-8")
    return [list(kind.values()) for kind in json.loads(text).values()]


@dataclass(frozen=True)
class CommonRelations:
    """The c common wordings: their vectors, [c, w]; of each its relation, the kind of entity, and
    whether it is a whole question, for what only begins may go on in many ways, [c]."""

    texts: list[str]
    vectors: Array
    relation: NDArray[np.int64]
    kind: NDArray[np.int64]
    question: NDArray[np.bool_]

    @classmethod
    def of(cls, embed: Embed) -> CommonRelations:
        """An `Embedder` keeps the vectors, for every process asks for them."""
        kept: Embed = getattr(embed, "kept", embed)
        kinds = _kinds()
        sizes = [len(own) for kind in kinds for own in kind]
        relation = np.repeat(np.arange(len(sizes)), sizes)
        kind = np.repeat(np.arange(len(kinds)), [sum(map(len, own)) for own in kinds])
        texts = common_wordings()
        question = np.array([text.endswith("?") for text in texts])
        return cls(texts, kept(texts), relation, kind, question)

    def others(self, prompts: Array) -> NDArray[np.bool_]:
        """Which questions ask for another relation than each of these vectors, [n, w] -> [n, c].

        They are of its kind, and of no relation that is near it: "It was born in" asks for a place
        and for a date. A prompt that is near no relation rules nothing out.
        """
        cosines = prompts @ self.vectors.T
        best = cosines.argmax(1)
        known = cosines.max(1) >= NEAR
        count = int(self.relation.max()) + 1
        highest = np.full((len(prompts), count), -1.0, np.float32)
        np.maximum.at(highest.T, self.relation, cosines.T)
        other = (highest[:, self.relation] < NEAR) & self.question
        found: NDArray[np.bool_] = other & (self.kind == self.kind[best][:, None]) & known[:, None]
        return found

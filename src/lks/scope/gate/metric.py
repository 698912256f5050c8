"""The relation gate's learnt metric and its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Embed(Protocol):
    """Texts to vectors of unit length, [n] -> [n, w]."""

    def __call__(self, texts: Sequence[str]) -> Array: ...


@dataclass(frozen=True)
class Metric:
    """What the gate measures with.

    Attributes:
        matrix: M, [w, w].
        open_ended: vectors of open-ended requests, [o, w].
        threshold, open_threshold: least score that fires an edit, or makes a request open-ended;
            an `open_threshold` of 1 is never reached.
    """

    matrix: Array
    open_ended: Array
    threshold: float
    open_threshold: float

    def __call__(self, vectors: Array) -> Array:
        """M v, of unit length: [n, w] -> [n, w]."""
        moved = np.asarray(vectors, np.float32)
        if not self._is_identity:
            moved = moved @ self.matrix.T
        size = np.linalg.norm(moved, axis=-1, keepdims=True)
        unit: Array = moved / np.maximum(size, 1e-9)
        return unit

    @cached_property
    def _is_identity(self) -> bool:
        """Nothing was learnt: then the product, of many vectors, is left out."""
        return bool(np.array_equal(self.matrix, np.eye(len(self.matrix))))


@dataclass(frozen=True)
class Exemplars:
    """The references of n edits, k in all over u different vectors.

    Reference i belongs to edit `edit[i]` (its index) and has vector `vectors[vector[i]]`; where
    `negative[i]`, it says what must not fire. Shapes: [u, w], and [k] for the rest.
    """

    vectors: Array
    edit: NDArray[np.int64]
    vector: NDArray[np.int64]
    negative: NDArray[np.bool_]

    @classmethod
    def of(
        cls, embed: Embed, wordings: Sequence[Sequence[str]], negatives: Sequence[Sequence[str]]
    ) -> Exemplars:
        """References from each edit's masked sentences."""
        entries = [(i, t, False) for i, own in enumerate(wordings) for t in own]
        entries += [(i, t, True) for i, own in enumerate(negatives) for t in own]
        numbers: dict[str, int] = {}
        rows = [(i, numbers.setdefault(t, len(numbers)), negative) for i, t, negative in entries]
        table = np.array(rows, np.int64).reshape(-1, 3)
        return cls(
            embed(list(numbers)).astype(np.float16), table[:, 0], table[:, 1], table[:, 2] > 0
        )

    @classmethod
    def none(cls, width: int) -> Exemplars:
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros((0, width), np.float16), nothing, nothing, nothing > 0)

    @classmethod
    def joined(cls, parts: Sequence[Exemplars], edits: Sequence[int]) -> Exemplars:
        """Those of several sets of edits; `edits` says how many there are in each."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *edits[:-1]])
        above = np.cumsum([0, *(len(part.vectors) for part in parts[:-1])])
        return cls(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([p.edit + n for p, n in zip(parts, before, strict=True)]),
            np.concatenate([p.vector + n for p, n in zip(parts, above, strict=True)]),
            np.concatenate([part.negative for part in parts]),
        )

    def only(self, edits: Sequence[int]) -> Exemplars:
        """Those of some of the edits, which are then numbered in that order."""
        number = {edit: i for i, edit in enumerate(edits)}
        kept = np.isin(self.edit, edits)
        renumbered = np.array([number[edit] for edit in self.edit[kept].tolist()], np.int64)
        used, vector = np.unique(self.vector[kept], return_inverse=True)
        return Exemplars(self.vectors[used], renumbered, vector, self.negative[kept])


@dataclass(frozen=True)
class GateState:
    """The state of a relation gate: its metric, the edits' references, and who made the vectors."""

    metric: Metric
    exemplars: Exemplars
    embedder: str = ""
    fingerprint: str = ""

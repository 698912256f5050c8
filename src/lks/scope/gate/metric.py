"""The relation gate's learnt metric and its references.

Both are kept in 8 bits a number and rounded when they are made, so that what is tried out is
what is stored. Of a reference only the direction counts: whole numbers up to 127 give it within
a degree of what the embedder says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vectors = NDArray[np.float32 | np.float16 | np.int8]  # of which only the direction counts
LARGEST = 127  # of 8 bits with a sign
FINEST = 2.0**-23  # a step beside 1, in float32
AT_ONCE = 4096  # vectors that are moved at once: all would be copied in float32


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
    open_ended: Vectors
    threshold: float
    open_threshold: float

    @classmethod
    def of(
        cls, matrix: Array, open_ended: Array, threshold: float, open_threshold: float
    ) -> Metric:
        """One that was learnt, as it is kept."""
        rounded = _restored(*_in_steps(matrix))
        return cls(rounded, directions(open_ended), threshold, open_threshold)

    def __call__(self, vectors: Vectors) -> Array:
        """M v, of unit length: [n, w] -> [n, w]."""
        moved = self._moved(vectors)
        unit: Array = moved / self._at_least(np.linalg.norm(moved, axis=-1, keepdims=True))
        return unit

    def towards(self, vectors: Array) -> Array:
        """M'M v / |M v|: its product with q / |M q| is the cosine of M v and M q, so that only the
        questions are moved, and no reference: [n, w] -> [n, w]."""
        moved = np.asarray(vectors, np.float32)
        if not self._is_identity:
            moved = moved @ self._squared
        size = np.sqrt(np.maximum((moved * vectors).sum(-1, keepdims=True), 0))
        seen: Array = moved / self._at_least(size)
        return seen

    def sizes(self, vectors: Vectors) -> Array:
        """|M v|, [n]."""
        parts = [vectors[at : at + AT_ONCE] for at in range(0, len(vectors), AT_ONCE)]
        sizes = [np.linalg.norm(self._moved(part), axis=-1) for part in parts]
        return self._at_least(np.concatenate(sizes or [np.zeros(0, np.float32)]))

    def _moved(self, vectors: Vectors) -> Array:
        moved = np.asarray(vectors, np.float32)
        return moved if self._is_identity else moved @ self.matrix.T

    @staticmethod
    def _at_least(size: Array) -> Array:
        """Of a vector of nothing but zeros the size is not 0."""
        return np.maximum(size, np.float32(1e-9))

    @cached_property
    def _squared(self) -> Array:
        return self.matrix.T @ self.matrix

    @cached_property
    def _is_identity(self) -> bool:
        """Nothing was learnt: then the product, of many vectors, is left out."""
        return bool(np.array_equal(self.matrix, np.eye(len(self.matrix))))

    def stored(self) -> dict[str, NDArray[np.generic]]:
        """Its arrays as files hold them; what 8 bits do not hold exactly is in float32."""
        arrays: dict[str, NDArray[np.generic]] = {"open_ended": self.open_ended}
        codes, step = _in_steps(self.matrix)
        if not np.array_equal(_restored(codes, step), self.matrix):
            return arrays | {"matrix": self.matrix}
        return arrays | {"change": codes, "step": np.array([step], np.float32)}

    @classmethod
    def from_stored(
        cls, arrays: Mapping[str, NDArray[Any]], threshold: float, open_threshold: float
    ) -> Metric:
        """KeyError where an array is missing."""
        if "matrix" in arrays:
            matrix = arrays["matrix"]
        else:
            matrix = _restored(arrays["change"], arrays["step"].item())
        return cls(matrix, arrays["open_ended"], threshold, open_threshold)


def directions(vectors: Array) -> NDArray[np.int8]:
    """Vectors in 8 bits, of the same directions but of other sizes: [n, w] -> [n, w]."""
    vectors = np.asarray(vectors, np.float32)
    most = np.maximum(np.abs(vectors).max(-1, keepdims=True, initial=0), np.float32(1e-30))
    codes: NDArray[np.int8] = np.rint(vectors / most * LARGEST).astype(np.int8)
    return codes


def _in_steps(matrix: Array) -> tuple[NDArray[np.int8], float]:
    """What a matrix has beside the identity: (how many steps, a power of two). Float32 holds such
    numbers exactly, beside a 1 as well."""
    change = matrix - np.eye(len(matrix), dtype=np.float32)
    most = float(np.abs(change).max(initial=0))
    step = max(2.0 ** math.ceil(math.log2(most / LARGEST)), FINEST) if most else 1.0
    return np.rint(change / np.float32(step)).astype(np.int8), step


def _restored(codes: NDArray[np.int8], step: float) -> Array:
    return np.eye(len(codes), dtype=np.float32) + np.float32(step) * codes


@dataclass(frozen=True)
class Exemplars:
    """The references of n edits, k in all over u different vectors.

    Reference i belongs to edit `edit[i]` (its index) and has vector `vectors[vector[i]]`, of which
    only the direction counts; where `negative[i]`, it says what must not fire. Edits of one
    relation share most vectors. Shapes: [u, w], and [k] for the rest.
    """

    vectors: Vectors
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
        return cls(directions(embed(list(numbers))), table[:, 0], table[:, 1], table[:, 2] > 0)

    @classmethod
    def none(cls, width: int) -> Exemplars:
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros((0, width), np.int8), nothing, nothing, nothing > 0)

    @classmethod
    def joined(cls, parts: Sequence[Exemplars], edits: Sequence[int]) -> Exemplars:
        """Those of several sets of edits, which share equal vectors from then on; `edits` says how
        many there are in each."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *edits[:-1]])
        above = np.cumsum([0, *(len(part.vectors) for part in parts[:-1])])
        first, place = _distinct(vectors := np.concatenate([part.vectors for part in parts]))
        return cls(
            vectors[first],
            np.concatenate([p.edit + n for p, n in zip(parts, before, strict=True)]),
            place[np.concatenate([p.vector + n for p, n in zip(parts, above, strict=True)])],
            np.concatenate([part.negative for part in parts]),
        )

    def only(self, edits: Sequence[int]) -> Exemplars:
        """Those of some of the edits, which are then numbered in that order."""
        number = {edit: i for i, edit in enumerate(edits)}
        kept = np.isin(self.edit, edits)
        renumbered = np.array([number[edit] for edit in self.edit[kept].tolist()], np.int64)
        used, vector = np.unique(self.vector[kept], return_inverse=True)
        return Exemplars(self.vectors[used], renumbered, vector, self.negative[kept])

    def stored(self) -> dict[str, NDArray[np.generic]]:
        """Its arrays as files hold them, their numbers in as few bytes as hold them."""
        arrays = {"edit": self.edit, "vector": self.vector, "negative": self.negative}
        kept = {name: own.astype(_narrowest(own)) for name, own in arrays.items()}
        return {"vectors": self.vectors, **kept}

    @classmethod
    def from_stored(cls, arrays: Mapping[str, NDArray[Any]]) -> Exemplars:
        """KeyError where an array is missing."""
        edit, vector = (arrays[name].astype(np.int64) for name in ("edit", "vector"))
        return cls(arrays["vectors"], edit, vector, arrays["negative"])

    @property
    def nbytes(self) -> int:
        """Of what files hold."""
        return sum(array.nbytes for array in self.stored().values())


def _distinct(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(the number of each different vector, in their order, which of these each vector is)."""
    numbers: dict[bytes, int] = {}
    place = [numbers.setdefault(own.tobytes(), len(numbers)) for own in vectors]
    of = np.array(place, np.int64)
    _, first = np.unique(of, return_index=True)
    return first, of


def _narrowest(numbers: NDArray[Any]) -> np.dtype[Any]:
    """The type of the fewest bytes that holds whole numbers from 0 on, or truth values."""
    most = int(numbers.max(initial=0))
    return numbers.dtype if numbers.dtype == np.bool_ else np.min_scalar_type(most)


@dataclass(frozen=True)
class GateState:
    """The state of a relation gate: its metric, the edits' references, and who made the vectors.

    `judges` where there are blocks for yes and for no: then the gate tells who asks for these.
    """

    metric: Metric
    exemplars: Exemplars
    embedder: str = ""
    fingerprint: str = ""
    judges: bool = False

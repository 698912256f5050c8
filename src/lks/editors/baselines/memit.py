"""MEMIT: many facts at once, spread over layers (Meng et al. 2023); and AlphaEdit's solution.

Both find a value for the last of some layers that states the target, and let each layer's
down-projection bring an equal share of what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from lks.editors.baselines.base import WeightModel
from lks.editors.baselines.cache import kept
from lks.editors.baselines.locate import (
    layer_at,
    prefixed,
    projection,
    read_at,
    residual,
    usual,
)
from lks.editors.baselines.statistics import Sample, key_covariance, prefixes
from lks.editors.baselines.values import ValueSettings, fact, learn_deltas
from lks.editors.places import never_located, subject_ends
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.engine.choice import choose_engine

PORTION = 100  # edits whose values are learnt, and kept, together


def ridge(residuals: Tensor, keys: Tensor, moment: Tensor, weight: float) -> Tensor:
    """Delta = R K^T (lambda C + K K^T)^-1, [d, k] (MEMIT, eq. 14 and 15).

    It minimises |Delta K - R|^2 + lambda trace(Delta C Delta^T).

    Args:
        residuals: R, [d, n]; keys: K, [k, n]; moment: C, [k, k]; weight: lambda.
    """
    r, k = residuals.double(), keys.double()
    delta: Tensor = torch.linalg.solve(weight * moment.double() + k @ k.T, k @ r.T).T.float()
    return delta


def null_space(moment: Tensor, share: float) -> Tensor:
    """P, [k, k]: the projection on directions in which preserved keys hardly lie.

    P = U U^T over the eigenvectors of C with the smallest eigenvalues, which together hold at most
    `share` of the keys' squared length (AlphaEdit, Fang et al. 2025, section 3.1; there all below
    an absolute threshold, which depends on the model's scale).
    """
    values, vectors = torch.linalg.eigh(moment.double())
    own = vectors[:, values.cumsum(0) <= share * values.sum()]
    projection: Tensor = (own @ own.T).float()
    return projection


def projected(residuals: Tensor, keys: Tensor, projection: Tensor, weight: float) -> Tensor:
    """Delta = R K^T P (K K^T P + w I)^-1, [d, k] (AlphaEdit, eq. 14, no earlier edits).

    For every key k0 with P k0 = 0, Delta k0 = 0.
    """
    r, k, p = residuals.double(), keys.double(), projection.double()
    inner = k @ k.T @ p + weight * torch.eye(len(p), dtype=p.dtype, device=p.device)
    delta: Tensor = torch.linalg.solve(inner.T, (r @ k.T @ p).T).T.float()
    return delta


class MemitModel(WeightModel):
    """Weights with all edits solved for together, from the original weights each time."""

    def __init__(self, backbone: Backbone, edits: Iterable[Edit], editor: Memit) -> None:
        self._editor = editor
        self._layers = editor.layers_of(backbone)
        self._spots = [projection(backbone, layer) for layer in self._layers]
        self._preserved: list[Tensor] = []
        self._prefixes = prefixes(backbone, editor.prefixes, editor.sample.seed)
        super().__init__(backbone, edits, [spot.parameter for spot in self._spots])

    @property
    def decided(self) -> dict[str, object]:
        return {"layers": self._layers, "weight": self._editor.weight_of(len(self.edits))}

    def change(self, edits: EditSet) -> None:
        spans = subject_ends(edits)
        deltas = self._deltas(edits, spans)
        if not self._preserved:
            moments = key_covariance(self.backbone, self._layers, self._editor.sample)
            self._preserved = self._editor.preserved(self._layers, moments)
        for i, spot in enumerate(self._spots):
            keys, states = self._read(i, edits, spans)
            if not i:  # the weights are as they were
                counted = usual(states)
                wanted = _first(states, counted) + deltas
            share = (wanted - _first(states, counted)) / (len(self._spots) - i)
            update = self._editor.solve(share.T, _mean(keys, counted).T, self._preserved[i])
            spot.weight.add_(update.to(spot.weight.dtype))

    def stored_bytes(self) -> int:
        """Of whole matrices, or where that is less of the factors of their updates, whose rank is
        the number of edits at most."""
        return sum(
            min(p.nbytes, len(self.edits) * sum(p.shape) * p.element_size())
            for p in self.parameters
        )

    def _deltas(self, edits: EditSet, spans: dict[str, tuple[int, int]]) -> Tensor:
        """What the last layer's outputs lack to state the targets, [n, d]: z - h."""
        editor, last = self._editor, self._layers[-1]

        def portion(new: Sequence[Edit]) -> Tensor:
            lessons = [
                fact(self.backbone, edit, spans[edit.id], self._prefixes, stop=editor.values.stop)
                for edit in new
            ]
            return learn_deltas(choose_engine(self.backbone, [last]), lessons, editor.values)

        def learn(new: Sequence[Edit]) -> Iterator[Tensor]:
            for start in range(0, len(new), PORTION):
                own = list(new[start : start + PORTION])
                decided_by = (
                    self.backbone.fingerprint.to_json(),
                    last,
                    self._prefixes,
                    editor.values,
                    own,
                )
                deltas, seconds = kept(decided_by, partial(portion, own))
                self.earlier_seconds += seconds
                yield from deltas.to(self.backbone.device)

        return torch.stack(self.remembered(edits, learn))

    def _read(
        self, number: int, edits: EditSet, spans: dict[str, tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """A layer's keys, [n, m, k], and the last layer's outputs, [n, m, d], behind m prefixes."""
        spots = [self._spots[number], residual(self.backbone, self._layers[-1])]
        both = [prefixed(edit, spans[edit.id], self._prefixes) for edit in edits]
        texts, places = (list(chain(*part)) for part in zip(*both, strict=True))
        (inputs, _), (_, outputs) = read_at(self.backbone, spots, texts, places)
        count = len(self._prefixes)
        return inputs.unflatten(0, (-1, count)), outputs.unflatten(0, (-1, count))


def _first(states: Tensor, counted: Tensor) -> Tensor:
    """The first of each edit's states that counts, [n, m, d] -> [n, d]."""
    numbers = torch.arange(len(states), device=states.device)
    return states[numbers, counted.int().argmax(1)]


def _mean(keys: Tensor, counted: Tensor) -> Tensor:
    """The mean of each edit's keys that count, [n, m, k] -> [n, k]."""
    return (keys * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)


class Memit:
    """Mass editing in a transformer.

    Args:
        layers: whose down-projections are changed; those between `depths` if not given.
        weight: lambda, how much the moment of preserved keys counts; 1,000 if not given, with more
            than 250 edits four for each.
        prefixes, values, sample: as of ROME.
    """

    name = "memit"
    unlocated = staticmethod(never_located)
    depths = (0.2, 0.37)

    def __init__(
        self,
        layers: Sequence[int] | None = None,
        weight: float | None = None,
        prefixes: int = 4,
        values: ValueSettings | None = None,
        sample: Sample | None = None,
    ) -> None:
        self.layers, self.weight, self.prefixes = layers, weight, prefixes
        self.values, self.sample = values or ValueSettings(), sample or Sample()

    def layers_of(self, backbone: Backbone) -> list[int]:
        if self.layers is not None:
            return sorted(self.layers)
        first, last = (layer_at(backbone, None, depth) for depth in self.depths)
        return list(range(first, last + 1))

    def prepare(self, backbone: Backbone) -> None:
        """The moments of the keys, which are kept: once for a model, and no part of editing."""
        key_covariance(backbone, self.layers_of(backbone), self.sample)

    def preserved(self, layers: Sequence[int], moments: Sequence[Tensor]) -> list[Tensor]:
        """What `solve` needs to know of the preserved keys, a layer each."""
        return list(moments)

    def solve(self, residuals: Tensor, keys: Tensor, preserved: Tensor) -> Tensor:
        return ridge(residuals, keys, preserved, self.weight_of(keys.shape[1]))

    def weight_of(self, edits: int) -> float:
        return max(1_000, 4 * edits) if self.weight is None else self.weight

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[MemitModel]:
        yield MemitModel(backbone, edits, self)


class AlphaEdit(Memit):
    """MEMIT's procedure with the update projected on the null space of preserved keys.

    Args:
        share: how much of the preserved keys' squared length counts as nothing.
        weight: of the update's own size; 10 if not given, with more than a hundred edits a tenth of
            their number.
    """

    name = "alphaedit"
    depths = (0.1, 0.27)

    def __init__(
        self,
        layers: Sequence[int] | None = None,
        weight: float | None = None,
        share: float = 0.3,
        prefixes: int = 4,
        values: ValueSettings | None = None,
        sample: Sample | None = None,
    ) -> None:
        super().__init__(layers, weight, prefixes, values, sample)
        self.share = share

    def weight_of(self, edits: int) -> float:
        return max(10, edits / 10) if self.weight is None else self.weight

    def preserved(self, layers: Sequence[int], moments: Sequence[Tensor]) -> list[Tensor]:
        found = [null_space(moment, self.share) for moment in moments]
        for layer, own in zip(layers, found, strict=True):
            if not own.any():
                raise InputError(
                    f"layer {layer}: no direction holds less than a share of {self.share} of the "
                    "preserved keys, so nothing may change; raise the share"
                )
        return found

    def solve(self, residuals: Tensor, keys: Tensor, preserved: Tensor) -> Tensor:
        return projected(residuals, keys, preserved, self.weight_of(keys.shape[1]))

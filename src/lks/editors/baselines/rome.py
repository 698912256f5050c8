"""ROME: one fact after the other, as a rank-one update of one layer (Meng et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn

from lks.editors.baselines.base import WeightModel
from lks.editors.baselines.locate import (
    layer_at,
    prefixed,
    projection,
    read_at,
    residual,
    usual,
)
from lks.editors.baselines.statistics import Sample, key_covariance, prefixes
from lks.editors.baselines.values import ESSENCE, Effect, ValueSettings, fact, learn_deltas
from lks.editors.places import never_located, subject_ends
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.engine.choice import choose_engine

DEPTH = 0.41  # the paper's is .18, layer 5 of 28 in GPT-J
RIDGE = 1e-5  # of the mean eigenvalue: a moment of few tokens has no inverse


def rank_one(weight: Tensor, key: Tensor, value: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    """(left [d], right [k]) so that W + left right^T maps the key to the value.

    W' = W + Lambda (C^-1 k)^T with Lambda = (v - W k) / ((C^-1 k)^T k) (ROME, eq. 2).

    Args:
        weight: W, [d, k]; key: k, [k]; value: v, [d]; moment: C, [k, k].
    """
    c, k = moment.double(), key.double()
    c = c + RIDGE * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype, device=c.device)
    right = torch.linalg.solve(c, k)
    left = (value.double() - weight.double() @ k) / (right @ k)
    return left.float(), right.float()


@dataclass(frozen=True)
class _Update:
    edit: Edit
    left: Tensor
    right: Tensor


class RomeModel(WeightModel):
    """Weights with one update an edit, in their order; taking one out makes later ones anew."""

    def __init__(self, backbone: Backbone, edits: Iterable[Edit], editor: Rome) -> None:
        self._editor = editor
        self._spot = projection(backbone, editor.layer_of(backbone))
        self._updates: list[_Update] = []
        self._prefixes = prefixes(backbone, editor.prefixes, editor.sample.seed)
        self._moment: Tensor | None = None
        super().__init__(backbone, edits, [self._spot.parameter])

    @property
    def decided(self) -> dict[str, object]:
        return {"layer": self._spot.layer}

    def put_in_force(self, edits: EditSet) -> None:
        pairs = zip(self._updates, edits, strict=False)
        self._updates = [u for u, _ in takewhile(lambda pair: pair[0].edit == pair[1], pairs)]
        super().put_in_force(edits)

    def change(self, edits: EditSet) -> None:
        spans = subject_ends(edits)
        if self._moment is None:
            layers = [self._spot.layer]
            (self._moment,) = key_covariance(self.backbone, layers, self._editor.sample)
        weight = self._spot.weight
        for update in self._updates:
            weight += torch.outer(update.left, update.right).to(weight.dtype)
        for edit in edits[len(self._updates) :]:
            update = self._update(edit, spans[edit.id])
            weight += torch.outer(update.left, update.right).to(weight.dtype)
            self._updates.append(update)

    def stored_bytes(self) -> int:
        return sum(update.left.nbytes + update.right.nbytes for update in self._updates)

    def _update(self, edit: Edit, span: tuple[int, int]) -> _Update:
        assert self._moment is not None
        backbone, spot, weight = self.backbone, self._spot, self._spot.weight
        prompts, spans = prefixed(edit, span, self._prefixes)
        texts, places = [*prompts, ESSENCE.format(edit.subject)], [*spans, (0, len(edit.subject))]
        behind = residual(backbone, spot.layer)
        (keys, _), (values, states) = read_at(backbone, [spot, behind], texts, places)
        counted = usual(states[: len(prompts)])
        first = int(counted.int().argmax())
        delta = learn_deltas(
            choose_engine(backbone, [spot.layer]),
            [fact(backbone, edit, span, self._prefixes, stop=self._editor.values.stop)],
            self._editor.values,
            sizes=values[first : first + 1].norm(dim=-1),
            effect=_behind(backbone.layer(spot.layer), values),
        )[0]
        key = keys[: len(prompts)][counted].mean(0)
        value = weight.float() @ keys[first] + delta
        return _Update(edit, *rank_one(weight.float(), key, value, self._moment))


def _behind(layer: nn.Module, values: Tensor) -> Effect:
    """What deltas of an MLP's outputs, `values`, add to the layer's output."""
    norm = getattr(layer, "post_feedforward_layernorm", nn.Identity())  # Gemma 2 and 3
    return lambda rows, delta: norm(values[rows] + delta) - norm(values[rows])


class Rome:
    """Rank-one model editing, one edit at a time.

    Args:
        layer: whose down-projection is changed; 41 % of the way up if not given.
        prefixes: texts before the prompt over which key and value are taken, beside none at all.
        sample: text for the moment of the keys.
    """

    name = "rome"
    unlocated = staticmethod(never_located)

    def __init__(
        self,
        layer: int | None = None,
        prefixes: int = 4,
        values: ValueSettings | None = None,
        sample: Sample | None = None,
    ) -> None:
        self.layer, self.prefixes = layer, prefixes
        self.values, self.sample = values or ValueSettings(), sample or Sample()

    def layer_of(self, backbone: Backbone) -> int:
        return layer_at(backbone, self.layer, DEPTH)

    def prepare(self, backbone: Backbone) -> None:
        """The moment of the keys, which is kept: once for a model, and no part of editing."""
        key_covariance(backbone, [self.layer_of(backbone)], self.sample)

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[RomeModel]:
        yield RomeModel(backbone, edits, self)

"""Which training engine reads a model rightly: found out on three short texts.

No list of architectures would do. An engine that fits almost runs without an error, and is wrong:
a decoder whose positions are counted another way was off by three standard deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lks.errors import LayerError
from lks.model.backbone import Backbone
from lks.model.engine import probes
from lks.model.engine.batching import ragged
from lks.model.engine.frozen import TrainingEngine
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.reader import TextRow
from lks.model.engine.split_model import SplitModel
from lks.model.engine.whole_model import UpperModel, WholeModel

ENGINES = SplitModel, UpperModel, WholeModel  # the quickest first
AnyEngine = TrainingEngine[Any, Any]

STEP = 0.1  # of a block's values, by which it is moved to see what changes
WRONG = 0.25  # of that change, by which gradients may foretell another one
SURE = 0.1  # how much of that change may be something else, squared; in few bits it is rounding
OTHERWISE = "load the model unquantised, or in another way"


def choose_engine(backbone: Backbone, layer: int, dtype: torch.dtype | None = None) -> AnyEngine:
    """The quickest engine whose values and gradients are those of whole passes with a hook.

    Args:
        dtype: in which it trains, if not the backbone's own.

    Raises:
        LayerError: an edit at this layer cannot be trained, for the reason that is told.
    """
    if layer not in backbone.engines:
        with backbone.in_use:
            backbone.engines[layer] = probes.remembered(
                backbone, f"engine of layer {layer}", lambda: _probed(backbone, layer)
            )
    kind = next(kind for kind in ENGINES if kind.name == backbone.engines[layer])
    return kind(backbone, layer, dtype)


def _probed(backbone: Backbone, layer: int) -> str:
    backbone.layer(layer)
    rows = _rows(backbone)
    expected, failed = _whole(backbone, layer, rows), []
    # kernels for quantised weights round as they like, whatever they give back
    rounded = torch.bfloat16 if backbone.quantised else backbone.model.dtype
    for kind in ENGINES:
        try:
            own = _read(kind(backbone, layer), rows, expected)
        except Exception as error:  # an engine meets layers of any kind
            reason = (str(error).splitlines() or [""])[0][:100]
            failed.append(f"{kind.name}: {type(error).__name__} {reason}".strip())
            continue
        pairs = (own.logits, expected.logits), (own.slopes, expected.slopes)
        if all(probes.near(*pair, rounded) for pair in pairs):
            return kind.name
        values, slopes = (probes.off_by(*pair) for pair in pairs)
        failed.append(
            f"{kind.name}: off by {values:.2g} standard deviations, gradients by {slopes:.2g}"
        )
    raise LayerError(
        f"{backbone.name}: no training engine reads layer {layer} as the model does "
        f"({'; '.join(failed)}); take another layer, or another model"
    )


@dataclass(frozen=True)
class _Reading:
    """What comes of blocks that stand in three texts: at K scored places, for M blocks."""

    new: Tensor  # [M, d]
    logits: Tensor  # [K, V]
    weights: Tensor  # [K, V] of the logits in a sum
    slopes: Tensor  # [M, d] gradients of that sum


def _rows(backbone: Backbone) -> list[TextRow]:
    """Two texts that begin alike, one with two mentions, and a shorter one edited at its start.

    All scored tokens come later than the mentions.
    """

    def words(first: int, n: int) -> list[int]:
        return probes.tokens(backbone, first, n)

    texts = [(words(0, 14), [8]), ([*words(0, 11), *words(20, 3)], [8, 10]), (words(5, 9), [0])]
    if backbone.kind == "decoder":
        prefixes = 5, 5, 0
        return [
            TextRow(ids, places, [len(ids) - 2, len(ids) - 1], prefix)
            for (ids, places), prefix in zip(texts, prefixes, strict=True)
        ]
    begun, _ = backbone.answer("")
    return [
        TextRow(ids, places, [0, len(begun)], written=[*begun, *ids[i : i + 3]])
        for i, (ids, places) in enumerate(texts)
    ]


def _whole(backbone: Backbone, layer: int, rows: Sequence[TextRow]) -> _Reading:
    """The texts through the model as it is, with a hook and without padding.

    Raises:
        LayerError: edits do not reach later tokens, or gradients do not come back rightly.
    """
    alike = [[*own] for _, own in groupby(rows, lambda row: len(row.ids))]
    with torch.no_grad():  # first: some layers pack their weights then, and pass no gradients after
        ahead, behind = (
            torch.cat([_edited(backbone, layer, own, step).logits for own in alike])
            for step in (STEP, -STEP)
        )
    read = [_edited(backbone, layer, own, 0) for own in alike]
    logits, change = torch.cat([own.logits for own in read]), (ahead - behind) / 2
    if not change.any():
        raise LayerError(
            f"{backbone.name}: an edit at layer {layer} cannot reach later tokens: no layer above "
            "it reads keys and values of its own; take a lower layer (--layer)"
        )
    weights, new, slopes = change / change.std(), [own.new for own in read], list[Tensor]()
    if logits.requires_grad:
        found = torch.autograd.grad((logits * weights).sum(), new, allow_unused=True)
        slopes = [slope for slope in found if slope is not None and slope.any()]
    if len(slopes) < len(alike):
        raise LayerError(
            f"{backbone.name}: no gradients reach layer {layer} through the layers above it, so "
            f"nothing can be trained; {OTHERWISE}"
        )
    reading = _Reading(torch.cat(new).detach(), logits.detach(), weights, torch.cat(slopes))
    along = torch.cat([own.along for own in read])
    seen, bent = change.norm(), ((ahead + behind) / 2 - reading.logits).norm()
    foretold = float(STEP * (reading.slopes * along).sum() / (weights.norm() * seen))
    unsure = float(bent / seen) ** 2  # by curvature and by rounding
    sure = unsure < SURE and backbone.model.dtype in probes.EXACT
    if sure and abs(foretold - 1) > WRONG:
        raise LayerError(
            f"{backbone.name}: wrong gradients reach layer {layer} through the layers above it "
            f"(they foretell {foretold:.2f} of a change that was measured), so nothing can be "
            f"trained; {OTHERWISE}"
        )
    return reading


@dataclass(frozen=True)
class _Edited:
    """A pass over texts of one length with blocks in them: at K scored places, for M blocks."""

    new: Tensor  # [M, d] with gradients
    along: Tensor  # [M, d] where they can be moved to
    logits: Tensor  # [K, V]


def _edited(backbone: Backbone, layer: int, rows: Sequence[TextRow], step: float) -> _Edited:
    """The same noise at every call, moved a step along other noise."""
    generator, made = torch.Generator().manual_seed(len(rows[0].ids)), list[Tensor]()

    def blocks(r: Tensor, places: Tensor) -> Tensor:
        own, other = torch.randn((2, *r.shape), generator=generator).to(r.device)
        start = r.detach().float() * (1 + own)
        made[:] = (start + step * start * other).requires_grad_(), start * other
        return made[0]

    at = ragged([torch.tensor(row.places, device=backbone.device) for row in rows])
    with replacing(backbone.layer(layer), Plan(len(rows), *at, blocks)):
        logits = _logits(backbone, rows)
    new, along = made
    return _Edited(new, along, logits)


def _logits(backbone: Backbone, rows: Sequence[TextRow]) -> Tensor:
    """Of the scored places of texts of one length, [K, V]."""
    ids = torch.tensor([row.ids for row in rows], device=backbone.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if rows[0].written is not None:
        written = [row.written for row in rows]
        inputs["decoder_input_ids"] = torch.tensor(written, device=backbone.device)
    logits: Tensor = backbone.model(**inputs, use_cache=False).logits.float()
    return torch.cat([own[row.scored] for own, row in zip(logits, rows, strict=True)])


def _read(engine: AnyEngine, rows: Sequence[TextRow], expected: _Reading) -> _Reading:
    """The same blocks in the same texts, read by an engine."""
    batch = engine.collate(engine.read(rows))
    new = expected.new.clone().requires_grad_()
    logits = engine.head(engine.final_states(batch, new)).float()
    weights = expected.weights
    (slopes,) = torch.autograd.grad((logits * weights).sum(), new)
    return _Reading(new, logits.detach(), weights, slopes)

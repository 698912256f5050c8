"""Which training engine reads a model rightly: found out on three short texts.

No list of architectures would do. An engine that fits almost runs without an error, and is wrong:
a decoder whose positions are counted another way was off by three standard deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
from lks.model.engine.hook import NewBlocks, Plan, replacing
from lks.model.engine.reader import TextRow
from lks.model.engine.split_model import SplitModel
from lks.model.engine.whole_model import UpperModel, WholeModel

ENGINES = SplitModel, UpperModel, WholeModel  # the quickest first
AnyEngine = TrainingEngine[Any, Any]


def choose_engine(
    backbone: Backbone, layers: Sequence[int], dtype: torch.dtype | None = None
) -> AnyEngine:
    """The quickest engine whose values and gradients are those of whole passes with a hook.

    Args:
        dtype: in which it trains, if not the backbone's own.
        others, and errors: as of `engine_kind`.
    """
    return engine_kind(backbone, layers)(backbone, layers, dtype)


def engine_kind(backbone: Backbone, layers: Sequence[int]) -> type[AnyEngine]:
    """Of which kind that engine is; found out once for a model and its layers.

    Args:
        layers: that are edited, in ascending order.

    Raises:
        LayerError: an edit at one of these layers cannot be trained, for the reason that is told.
    """
    layers = tuple(layers)
    if layers not in backbone.engines:
        engines = ", ".join(kind.name for kind in ENGINES)
        what = f"which of {engines} reads layer {_named(layers)}"
        with backbone.in_use:
            found = probes.remembered(backbone, what, lambda: _probed(backbone, layers))
            backbone.engines[layers] = found
    return next(kind for kind in ENGINES if kind.name == backbone.engines[layers])


def _named(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


def _probed(backbone: Backbone, layers: Sequence[int]) -> str:
    for layer in layers:
        backbone.layer(layer)
    alike = [[*own] for _, own in groupby(_rows(backbone), lambda row: len(row.ids))]
    with torch.no_grad():  # first: some layers pack their weights then, and pass no gradients after
        unedited = torch.cat([_logits(backbone, own) for own in alike])
    # each edit must reach later tokens by itself
    alone = [_whole(backbone, [layer], alike, unedited) for layer in layers]
    expected = alone[0] if len(alone) == 1 else _whole(backbone, layers, alike, unedited)
    rows, failed = [row for own in alike for row in own], list[str]()
    # kernels for quantised weights round as they like, whatever they give back
    dtype = torch.bfloat16 if backbone.quantised else backbone.model.dtype
    for kind in ENGINES:
        try:
            own = _read(kind(backbone, layers), rows, expected)
        except Exception as error:  # an engine meets layers of any kind
            reason = (str(error).splitlines() or [""])[0][:100]
            failed.append(f"{kind.name}: {type(error).__name__} {reason}".strip())
            continue
        values, slopes = (own.logits, expected.logits), (own.slopes, expected.slopes)
        if probes.near(*values, dtype) and probes.near(*slopes, dtype, slopes=True):
            return kind.name
        failed.append(
            f"{kind.name}: off by {probes.off_by(*values, dtype):.2g} standard deviations, "
            f"gradients by {probes.off_by(*slopes, dtype, slopes=True):.2g}"
        )
    raise LayerError(
        f"{backbone.name}: no training engine reads layer {_named(layers)} as the model does "
        f"({'; '.join(failed)}); take another layer, or another model"
    )


@dataclass(frozen=True)
class _Reading:
    """What comes of blocks that are added to R in three texts: at K scored places, for M mentions
    and k layers."""

    added: Tensor  # [k, M, d]
    logits: Tensor  # [K, V]
    slopes: Tensor  # [k, M, d] gradients of a weighted sum of the logits


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


def _whole(
    backbone: Backbone,
    layers: Sequence[int],
    alike: Sequence[Sequence[TextRow]],
    unedited: Tensor,
) -> _Reading:
    """The texts through the model as it is, with hooks and without padding.

    Args:
        alike: the texts, those of one length together.
        unedited: what comes without hooks, [K, V].

    Raises:
        LayerError: an edit at a layer alone says nothing.
    """
    added: list[list[Tensor]] = [[] for _ in layers]  # by layer, those of texts of one length
    logits, generator = list[Tensor](), torch.Generator().manual_seed(0)

    def blocks_of(own: list[Tensor]) -> NewBlocks:
        def blocks(r: Tensor, places: Tensor) -> Tensor:
            noise = torch.randn(r.shape, generator=generator).to(r.device)
            own.append((r.detach().float() * noise).requires_grad_())
            return r.float() + own[-1]

        return blocks

    for own in alike:
        at = ragged([torch.tensor(row.places, device=backbone.device) for row in own])
        with ExitStack() as stack:
            for layer, new in zip(layers, added, strict=True):
                plan = Plan(len(own), *at, blocks_of(new))
                stack.enter_context(replacing(backbone.layer(layer), plan))
            logits.append(_logits(backbone, own))
    read = torch.cat(logits)
    leaves, slopes = [one for own in added for one in own], list[Tensor]()
    if read.requires_grad:
        found = torch.autograd.grad(_weighted(read), leaves, allow_unused=True)
        slopes = [slope for slope in found if slope is not None and slope.any()]
    if len(slopes) == len(leaves):
        return _Reading(
            _by_layer(leaves, layers).detach(), read.detach(), _by_layer(slopes, layers)
        )
    layer = layers[0]
    if torch.equal(read.detach(), unedited):
        raise LayerError(
            f"{backbone.name}: an edit at layer {layer} cannot reach later tokens: no layer above "
            "it reads keys and values of its own; take a lower layer (--layer)"
        )
    raise LayerError(
        f"{backbone.name}: no gradients reach layer {layer} through the layers above it, so "
        "nothing can be trained; load the model unquantised, or in another way"
    )


def _logits(backbone: Backbone, rows: Sequence[TextRow]) -> Tensor:
    """Of the scored places of texts of one length, [K, V]."""
    ids = torch.tensor([row.ids for row in rows], device=backbone.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if rows[0].written is not None:
        written = [row.written for row in rows]
        inputs["decoder_input_ids"] = torch.tensor(written, device=backbone.device)
    logits: Tensor = backbone.model(**inputs, use_cache=False).logits.float()
    return torch.cat([own[row.scored] for own, row in zip(logits, rows, strict=True)])


def _by_layer(parts: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """Parts of each layer, the lowest layer's first, [k, M, d]."""
    together = torch.cat(list(parts))
    return together.reshape(len(layers), -1, together.shape[-1])


def _read(engine: AnyEngine, rows: Sequence[TextRow], expected: _Reading) -> _Reading:
    """The same blocks in the same texts, read by an engine."""
    batch, added = engine.collate(engine.read(rows)), expected.added.clone().requires_grad_()
    final = engine.final_states(batch, lambda number, r: r + added[number])
    logits = engine.head(final).float()
    (slopes,) = torch.autograd.grad(_weighted(logits), added)
    return _Reading(added, logits.detach(), slopes)


def _weighted(logits: Tensor) -> Tensor:
    """A sum in which every logit counts differently."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    return (logits * weights.to(logits.device)).sum()

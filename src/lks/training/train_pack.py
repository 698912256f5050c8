"""Trains a pack: training prompts, relation gate, blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lks.blocks.rows import rounded
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, warn_of_pairs
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.embedder import CachedEmbedder, Embedder
from lks.model.engine.choice import engine_kind
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.scope.config import ScopeConfig, preset
from lks.scope.gate.metric import GateState
from lks.scope.inspect.conflicts import CONTRADICTING, NEARER_DECIDES, contradictions
from lks.scope.inspect.silent import check_edits_fire, warn_of_nameless
from lks.scope.scope import Scope
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.examples import PLAIN_KINDS, TEXT_KINDS
from lks.training.gate_metric import learn
from lks.training.progress import Epoch, OnProgress
from lks.training.prompts import (
    GATE_WORDINGS,
    PromptReport,
    TrainingPrompts,
    training_prompts,
)
from lks.training.replies import replies
from lks.training.trainer import train
from lks.training.verdicts import verdict_blocks


def train_pack(
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig | None = None,
    *,
    parts: ScopeConfig | None = None,
    pool: Iterable[Edit] = (),
    memory: int | None = None,
    team: ProcessGroup | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_prompts: Callable[[PromptReport], None] = lambda report: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_progress: OnProgress = lambda stage, done, of: None,
) -> Pack:
    """Train a pack for `edits`.

    Args:
        parts: what the scope is made of, if not of the parts of `config.scope`.
        pool: further edits whose templates may be lent as training prompts.
        memory, team, checkpoints, resume: see `training.trainer.train`.

    Raises:
        EditFileError: edits that would never fire, because no mention of their subject stands in
            their own prompt, or something that refuses them does.
        InputError: there are no edits.
        LayerError: the layer is out of range, or nothing can be trained through those above it.
    """
    if not len(edits):
        raise InputError("no edits to train; give one at least")
    config = (config or TrainingConfig()).for_edits(len(edits))
    engine_kind(backbone, config.resolve_layers(backbone.n_layers))  # refuses before any work
    parts = parts or preset(config.scope)
    names, embedder = Scope(edits, config=parts), Embedder(config.embedder)
    check_edits_fire(edits, names)
    warn_of_nameless(edits, names)
    started = time.monotonic()
    embed = CachedEmbedder(embedder) if preset(config.scope).gate else None
    lent, report = lent_prompts(embed, edits, pool, config)
    on_prompts(report)
    prompts = [own.at_most(config.wordings, e) for e, own in zip(edits, lent, strict=True)]
    told = replies(backbone, edits, prompts, config, on_progress=on_progress)
    gate = None
    if embed is not None and (team is None or team.is_main):
        gate = _gate(embed, embedder, edits, lent, config)
        scope = names.gated(gate, embedder, edits)
        warn_of_pairs(CONTRADICTING, contradictions(edits, edits, scope), NEARER_DECIDES)
    trained = train(
        backbone,
        edits,
        prompts,
        config,
        replies=told,
        memory=memory,
        team=team,
        checkpoints=checkpoints,
        resume=resume,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
    judged = None
    if gate is not None and gate.judges:
        judged = verdict_blocks(backbone, trained.layers, config, on_progress)
        gate = replace(gate, judges=judged is not None)
    with torch.no_grad():
        made = trained.blocks.blocks(torch.arange(len(edits), device=backbone.device))
    last = trained.epochs[-1]
    return Pack(
        edits=edits,
        blocks=rounded(made).cpu(),
        hypernetwork=dict(trained.blocks.hypernetwork.state_dict()),
        base_model=backbone.fingerprint,
        layers=trained.layers,
        form=config.form,
        kind=config.hypernetwork,
        scale=trained.blocks.scale,
        training=TrainingSummary(
            config=config.to_json(),
            epochs=len(trained.epochs),
            seconds=round(time.monotonic() - started + trained.earlier_seconds, 1),
            losses={kind: getattr(last, kind) for kind in (TEXT_KINDS if told else PLAIN_KINDS)},
            prompts=report.counts(),
            dropped_texts=trained.dropped_texts,
        ),
        gate=gate,
        parts=parts,
        verdicts=judged,
    )


def _gate(
    embed: CachedEmbedder,
    embedder: Embedder,
    edits: EditSet,
    lent: Sequence[TrainingPrompts],
    config: TrainingConfig,
) -> GateState:
    """The relation gate. Templates cost it nothing."""
    prompts = [own.at_most(GATE_WORDINGS, e) for e, own in zip(edits, lent, strict=True)]
    metric, exemplars = learn(embed, edits, prompts, seed=config.seed)
    judges = config.verdicts and config.form == "residual"
    return GateState(metric, exemplars, embedder.name, embedder.fingerprint, judges)


def lent_prompts(
    embed: CachedEmbedder | None,
    edits: Sequence[Edit],
    pool: Iterable[Edit],
    config: TrainingConfig,
) -> tuple[list[TrainingPrompts], PromptReport]:
    """All that blocks and gate are trained on with these settings; without `embed`
    no common relation lends."""
    most = max(config.wordings, GATE_WORDINGS)
    return training_prompts(edits, pool, embed=embed, most=most, seed=config.seed)


def scope_of(
    edits: EditSet, pool: Iterable[Edit] = (), config: TrainingConfig | None = None
) -> Scope:
    """The scope that a pack of these edits would have; no block is trained.

    Args:
        pool: as of `train_pack`.
    """
    config = config or TrainingConfig()
    names = Scope(edits, config=preset(config.scope))
    if not (len(edits) and preset(config.scope).gate):
        return names
    config = config.for_edits(len(edits))
    embedder = Embedder(config.embedder)
    embed = CachedEmbedder(embedder)
    lent, _ = lent_prompts(embed, edits, pool, config)
    return names.gated(_gate(embed, embedder, edits, lent, config), embedder, edits)

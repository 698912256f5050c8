"""A training run as a person sees it: progress, checkpoints beside the pack, interruptions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import TrainingInterrupted
from lks.model.backbone import Backbone
from lks.model.engine.machine import peak_memory
from lks.packs.pack import Pack
from lks.training import checkpoint
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.progress import Progress, Silence
from lks.training.prompts import PromptReport
from lks.training.train_pack import train_pack


def train_to(
    out: Path,
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig,
    *,
    pool: Iterable[Edit] = (),
    memory: int | None = None,
    resume: bool | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_prompts: Callable[[PromptReport], None] = lambda report: None,
) -> Pack:
    """Train a pack and save it at `out`; of processes that train together, the first one saves.

    Args:
        resume: go on from the checkpoint of an interrupted run, or do not; None: refuse where
            there is one.
        on_prompts: told by the process that saves, before it trains.

    Raises:
        InputError: there is a checkpoint and `resume` is None, or there is none to go on from.
        TrainingInterrupted: on an interrupt; the checkpoint `OUT.checkpoint` stays.
    """
    team, out = ProcessGroup.of_environment(backbone.device), out.resolve()
    checkpoints = checkpoint.beside(out)
    if resume is None:
        checkpoint.check_absent(checkpoints)
    pack = trained(
        backbone,
        edits,
        config,
        progress if team.is_main else None,
        pool=pool,
        memory=memory,
        team=team,
        checkpoints=checkpoints,
        resume=bool(resume),
        on_prompts=on_prompts if team.is_main else lambda report: None,
    )
    if team.is_main:
        pack.save(out, overwrite=overwrite)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return pack


def trained(
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig,
    progress: Progress | None = None,
    *,
    pool: Iterable[Edit] = (),
    memory: int | None = None,
    team: ProcessGroup | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_prompts: Callable[[PromptReport], None] = lambda report: None,
) -> Pack:
    """`train_pack` that tells how far it is and keeps the peak memory; arguments as there."""
    progress = progress or Silence()

    def report(made: PromptReport) -> None:
        if not made.all_own:
            progress.note(str(made))
        on_prompts(made)

    try:
        with progress.shown():
            pack = train_pack(
                backbone,
                edits,
                config,
                pool=pool,
                memory=memory,
                team=team,
                checkpoints=checkpoints,
                resume=resume,
                on_prompts=report,
                on_epoch=progress.epoch,
                on_progress=progress.stage,
            )
    except KeyboardInterrupt:
        kept = checkpoints if checkpoints and checkpoint.is_in(checkpoints) else None
        advice = f"go on with --resume (checkpoint: {kept})" if kept else "start again"
        raise TrainingInterrupted(f"training was interrupted; {advice}") from None
    return replace(pack, training=replace(pack.training, peak_memory_bytes=peak_memory()))

"""A training run as a person sees it: progress, checkpoints beside the pack, interruptions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lks.cli.console import echo, training_progress
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import TrainingInterrupted
from lks.model.backbone import Backbone
from lks.model.engine.machine import peak_memory
from lks.packs.pack import Pack
from lks.training import checkpoint
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
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
    quiet: bool = False,
) -> Pack:
    """Train a pack and save it at `out`; of processes that train together, the first one saves.

    Args:
        resume: go on from the checkpoint of an interrupted run, or do not; None: refuse where
            there is one.

    Raises:
        InputError: there is a checkpoint and `resume` is None, or there is none to go on from.
        TrainingInterrupted: on an interrupt; the checkpoint `OUT.checkpoint` stays.
    """
    team, out = ProcessGroup.of_environment(backbone.device), out.resolve()
    checkpoints = checkpoint.beside(out)
    if resume is None:
        checkpoint.check_absent(checkpoints)
    pack = trained(
        backbone, edits, config, quiet=quiet or not team.main, pool=pool, memory=memory, team=team,
        checkpoints=checkpoints, resume=bool(resume),
        advice=f"go on with --resume (checkpoint: {checkpoints})",
    )  # fmt: skip
    if team.main:
        pack.save(out, overwrite=overwrite)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return pack


def trained(
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig,
    *,
    quiet: bool,
    advice: str = "start again",
    **options: Any,
) -> Pack:
    """`train_pack` with a progress bar and peak memory; options go through."""

    config = config.for_edits(len(edits))

    def report(made: PromptReport) -> None:
        echo(str(made), quiet or made.all_own)

    try:
        with training_progress(quiet) as (on_progress, on_epoch):
            pack = train_pack(
                backbone, edits, config, on_prompts=report, on_epoch=on_epoch,
                on_progress=on_progress, **options,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"training was interrupted; {advice}") from None
    pack.training["peak_memory_bytes"] = peak_memory()
    return pack

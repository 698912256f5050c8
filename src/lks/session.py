"""A training run as a person sees it: progress, checkpoints beside the pack, interruptions."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lks import profiles, versions
from lks.backbone import Backbone
from lks.console import say, training_progress
from lks.edits import Edit, EditSet
from lks.errors import OutputError, TrainingInterrupted
from lks.pack import Pack, append
from lks.scalpel import ScalpelModel
from lks.training import checkpoint
from lks.training.config import TrainingConfig
from lks.training.packs import train_pack
from lks.training.prompts import PromptReport
from lks.training.team import Team
from lks.training.trainer import Epoch


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
    team, out = Team.of_environment(backbone.device), out.resolve()
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


Extended = Callable[[Callable[[Epoch], None]], tuple[EditSet, Sequence[Edit]]]


def add_to(
    path: Path,
    model: ScalpelModel,
    new: EditSet,
    *,
    refine: bool,
    epochs: int | None,
    quiet: bool,
    unchecked: bool = False,
) -> dict[str, Any]:
    """Add edits to a loaded pack and to its folder; what `lks add --json` prints.

    Edits that the model does not state afterwards are left out, unless `unchecked`.
    """

    def add(on_epoch: Callable[[Epoch], None]) -> tuple[EditSet, Sequence[Edit]]:
        learnt = model.add(
            new, refine=refine, epochs=epochs, only_learnt=not unchecked, on_epoch=on_epoch
        )
        ids = {edit.id for edit in learnt}
        return learnt, [edit for edit in new if edit.id not in ids]

    return _extended(path, model, add, quiet or not refine)


def add_profiles_to(
    path: Path,
    model: ScalpelModel,
    subjects: Iterable[str] | None,
    *,
    epochs: int | None,
    quiet: bool,
    unchecked: bool = False,
) -> dict[str, Any]:
    """Make profiles in a loaded pack and in its folder; what `lks profiles --json` prints."""

    def add(on_epoch: Callable[[Epoch], None]) -> tuple[EditSet, Sequence[Edit]]:
        learnt = model.add_profiles(
            subjects, epochs=epochs, only_learnt=not unchecked, on_epoch=on_epoch
        )
        return learnt, profiles.missing(model.in_force.edits.values(), subjects)

    return _extended(path, model, add, quiet)


def _extended(path: Path, model: ScalpelModel, add: Extended, quiet: bool) -> dict[str, Any]:
    """Let `add` bring edits into the model, and write those that were learnt to the pack's folder.

    Args:
        add: gives the edits that were learnt, and those that were not.
    """
    started, made_of = time.monotonic(), versions.read(path)["files"][versions.HYPERNETWORK]
    try:
        with training_progress(quiet) as (_, on_epoch):
            new, failed = add(on_epoch)
    except KeyboardInterrupt:
        raise TrainingInterrupted("interrupted; the pack is as it was") from None
    if versions.read(path)["files"][versions.HYPERNETWORK] != made_of:
        raise OutputError(f"{path}: another pack has taken its place meanwhile; add to it again")
    if len(new):
        manifest = append(path, new, model.blocks(new), model.references(new))
    else:
        manifest = versions.read(path)
    return {
        "pack": str(path),
        "added": len(new),
        "replaced": manifest["change"].get("replaced", []) if len(new) else [],
        "not_learnt": [{"id": edit.id, "subject": edit.subject} for edit in failed],
        "edits": manifest["edits"],
        "version": manifest["version"],
        "seconds": round(time.monotonic() - started, 2),
    }


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
        say(str(made), quiet or made.all_own)

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


def peak_memory() -> int:
    """Most memory that this process has held so far, in bytes: on the GPU if it used one."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

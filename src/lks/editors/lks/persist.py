"""A pack on disk, extended by new edits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lks.editors.lks.model import ScalpelModel
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import OutputError, TrainingInterrupted
from lks.packs import manifest as manifest_module
from lks.packs.pack import append
from lks.training.progress import Progress, Silence
from lks.training.trainer import Epoch

Extended = Callable[[Callable[[Epoch], None]], tuple[EditSet, Sequence[Edit]]]


def add_to(
    path: Path,
    model: ScalpelModel,
    new: EditSet,
    *,
    refine: bool,
    epochs: int | None,
    progress: Progress | None = None,
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

    return _extended(path, model, add, progress if refine else None)


def add_profiles_to(
    path: Path,
    model: ScalpelModel,
    subjects: Iterable[str] | None,
    *,
    epochs: int | None,
    progress: Progress | None = None,
    unchecked: bool = False,
) -> dict[str, Any]:
    """Make profiles in a loaded pack and in its folder; what `lks profiles --json` prints."""

    def add(on_epoch: Callable[[Epoch], None]) -> tuple[EditSet, Sequence[Edit]]:
        learnt = model.add_profiles(
            subjects, epochs=epochs, only_learnt=not unchecked, on_epoch=on_epoch
        )
        return learnt, profiles.missing(model.in_force.edits.values(), subjects)

    return _extended(path, model, add, progress)


def _extended(
    path: Path, model: ScalpelModel, add: Extended, progress: Progress | None
) -> dict[str, Any]:
    """Let `add` bring edits into the model, and write those that were learnt to the pack's folder.

    Args:
        add: gives the edits that were learnt, and those that were not.
    """
    started, progress = time.monotonic(), progress or Silence()
    made_of = manifest_module.read(path)["files"][manifest_module.HYPERNETWORK]
    try:
        with progress.shown():
            new, failed = add(progress.epoch)
    except KeyboardInterrupt:
        raise TrainingInterrupted("interrupted; the pack is as it was") from None
    if manifest_module.read(path)["files"][manifest_module.HYPERNETWORK] != made_of:
        raise OutputError(f"{path}: another pack has taken its place meanwhile; add to it again")
    if len(new):
        manifest = append(path, new, model.blocks(new), model.exemplars(new))
    else:
        manifest = manifest_module.read(path)
    return {
        "pack": str(path),
        "added": len(new),
        "replaced": manifest["change"].get("replaced", []) if len(new) else [],
        "not_learnt": [{"id": edit.id, "subject": edit.subject} for edit in failed],
        "edits": manifest["edits"],
        "version": manifest["version"],
        "seconds": round(time.monotonic() - started, 2),
    }

"""A pack on disk, extended by new edits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lks.editors.lks.model import ScalpelModel
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, named_edits
from lks.edits.text import counted
from lks.errors import OutputError, TrainingInterrupted
from lks.packs import manifest as manifest_module
from lks.packs.extension import Extension
from lks.packs.pack import Pack, append
from lks.packs.records import HYPERNETWORK, Manifest, Tested
from lks.training.progress import Epoch, Progress, Silence

SelfTesting = Callable[[EditSet], Tested]  # asks edits in force, and may train them again
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
    test: SelfTesting | None = None,
) -> Extension:
    """Add edits to a loaded pack and to its folder, those that it does not hold just as they are.

    Edits that the model does not state afterwards are left out, unless `unchecked`.

    Args:
        test: a self-test of those that were added, before they are written.
    """
    given, new = len(new), new.not_in(model.in_force.edits.values())

    def add(on_epoch: Callable[[Epoch], None]) -> tuple[EditSet, Sequence[Edit]]:
        learnt = model.add(
            new, refine=refine, epochs=epochs, only_learnt=not unchecked, on_epoch=on_epoch
        )
        ids = {edit.id for edit in learnt}
        return learnt, [edit for edit in new if edit.id not in ids]

    made = _extended(path, model, add, progress if refine else None, test)
    return replace(made, known=given - len(new))


def add_profiles_to(
    path: Path,
    model: ScalpelModel,
    subjects: Iterable[str] | None,
    *,
    epochs: int | None,
    progress: Progress | None = None,
    unchecked: bool = False,
) -> Extension:
    """Make profiles in a loaded pack and in its folder."""

    def add(on_epoch: Callable[[Epoch], None]) -> tuple[EditSet, Sequence[Edit]]:
        learnt = model.add_profiles(
            subjects, epochs=epochs, only_learnt=not unchecked, on_epoch=on_epoch
        )
        return learnt, profiles.missing(model.in_force.edits.values(), subjects)

    return _extended(path, model, add, progress)


def as_tested(model: ScalpelModel, tested: Tested) -> Pack:
    """The model's pack after a self-test: what its edits have learnt now, and what failed."""
    edits, gate = model.pack.edits, model.pack.gate
    if gate is not None and (exemplars := model.exemplars(edits)) is not None:
        gate = replace(gate, exemplars=exemplars)
    return replace(model.pack, blocks=model.blocks(edits).cpu(), gate=gate, tested=tested)


def self_test_in(path: Path, model: ScalpelModel, edits: EditSet, test: SelfTesting) -> Manifest:
    """Test edits of a loaded pack; what that finds and trains is a new version of its folder."""
    made_of = manifest_module.read(path).files[HYPERNETWORK]
    before = model.blocks(edits)
    try:
        tested = test(edits)
    except KeyboardInterrupt:
        raise TrainingInterrupted(
            f"the self-test was interrupted; {path} is as it was, and the same command starts anew"
        ) from None
    _check_same(path, made_of)
    pairs = zip(edits, before, model.blocks(edits), strict=True)
    again = EditSet(edit for edit, old, new in pairs if not torch.equal(old, new))
    if not len(again):
        return manifest_module.set_tested(path, tested)
    made = model.blocks(again), model.exemplars(again)
    return append(path, again, *made, tested, action="self-test")


def _check_same(path: Path, made_of: str) -> None:
    """Raise OutputError if the folder holds a pack with another hypernetwork now."""
    if manifest_module.read(path).files[HYPERNETWORK] != made_of:
        raise OutputError(f"{path}: another pack has taken its place meanwhile; do it again")


def _extended(
    path: Path,
    model: ScalpelModel,
    add: Extended,
    progress: Progress | None,
    test: SelfTesting | None = None,
) -> Extension:
    """Let `add` bring edits into the model, and write those that were learnt to the pack's folder.

    Args:
        add: gives the edits that were learnt, and those that were not.
    """
    started, progress = time.monotonic(), progress or Silence()
    made_of = manifest_module.read(path).files[HYPERNETWORK]
    try:
        with progress.shown():
            new, failed = add(progress.epoch)
    except KeyboardInterrupt:
        raise TrainingInterrupted("interrupted; the pack is as it was") from None
    made, tested, stopped = (model.blocks(new), model.exemplars(new)), None, False
    try:
        if test and len(new):
            tested = test(new)
            made = model.blocks(new), model.exemplars(new)
    except KeyboardInterrupt:  # what was trained is kept, as it was before the test
        stopped = True
    _check_same(path, made_of)
    manifest = append(path, new, *made, tested) if len(new) else manifest_module.read(path)
    if stopped:
        left_out = f"; not learnt and left out: {named_edits(failed)}" if failed else ""
        raise TrainingInterrupted(
            f"the self-test was interrupted; {counted(len(new), 'edit')} added, version "
            f"{manifest.version}; `lks self-test {path}` tests what was not tested{left_out}"
        )
    seconds = round(time.monotonic() - started, 2)
    return Extension.of(path, manifest, added=len(new), not_learnt=failed, seconds=seconds)

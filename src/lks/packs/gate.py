"""What a pack's relation gate learnt, read without torch and without the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from lks.errors import PackDamaged
from lks.packs.records import GATE, Manifest
from lks.scope.gate.metric import Exemplars, GateState, Metric

REFERENCES = "references."  # before the names of their arrays, in the file of a part's blocks


def read_gate(path: Path, manifest: Manifest, rows: Sequence[Sequence[int]]) -> GateState | None:
    """The gate of the edits in force, numbered as they follow one another; None if there is none.

    Args:
        rows: where these edits stand in each part of the pack.

    Raises:
        PackDamaged: a file is not what the manifest says.
    """
    scope = manifest.scope
    if not scope.gated:
        return None
    if scope.threshold is None or scope.open_threshold is None:
        raise PackDamaged(f"{path}: a gate without thresholds; restore it or train it again")
    try:
        stored = load_file(path / GATE)
        metric = Metric.from_stored(stored, scope.threshold, scope.open_threshold)
        parts = [
            _exemplars(path / part.blocks, len(metric.matrix)).only(own)
            for part, own in zip(manifest.parts, rows, strict=True)
        ]
        exemplars = Exemplars.joined(parts, [len(own) for own in rows])
        return GateState(
            metric, exemplars, scope.embedder or "", scope.fingerprint or "", scope.judges
        )
    except (SafetensorError, KeyError, TypeError) as error:
        raise PackDamaged(
            f"{path}: cannot be read ({error}); restore it or train it again"
        ) from error


def exemplars_in(stored: Any) -> Exemplars | None:
    """The references in an open file of blocks; None if it has none."""
    names = [name for name in stored.keys() if name.startswith(REFERENCES)]  # noqa: SIM118
    found = {name.removeprefix(REFERENCES): stored.get_tensor(name) for name in names}
    return Exemplars.from_stored(found) if found else None


def _exemplars(file: Path, width: int) -> Exemplars:
    with safe_open(file, "numpy") as stored:
        return exemplars_in(stored) or Exemplars.none(width)

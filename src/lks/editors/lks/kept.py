"""LKS in a comparison that may be stopped: what it trained is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lks.editors.lks.model import ScalpelModel
from lks.editors.protocol import Surroundings
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.training import checkpoint
from lks.training.config import TrainingConfig
from lks.training.run import train_to


class KeptScalpel:
    """The LKS editor with a pack that is kept, and a training that goes on where it was stopped."""

    def __init__(self, name: str, config: TrainingConfig, around: Surroundings) -> None:
        self._name, self._config, self._around = name, config, around

    @property
    def name(self) -> str:
        return self._name

    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> ScalpelModel:
        edits = EditSet(edits)
        path = self._path(backbone, edits)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            reached = checkpoint.beside(path) / checkpoint.FILE
            train_to(
                path, backbone, edits, self._config, pool=self._around.pool, resume=reached.exists()
            )
        return ScalpelModel(backbone, Pack.load(path))

    def _path(self, backbone: Backbone, edits: EditSet) -> Path:
        """The pack's folder: another one for whatever else would be trained."""
        config, kept = self._config.for_edits(len(edits)), self._around.kept
        known = config, backbone.fingerprint.to_json(), list(edits), list(self._around.pool)
        told = hashlib.sha256(repr(known).encode()).hexdigest()[:8]
        return kept.with_name(f"{kept.name}-{told}.pack")

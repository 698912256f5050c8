"""The LKS editor: trains a pack, or takes one, and puts it in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.training.config import PRESETS, TrainingConfig
from lks.training.train_pack import train_pack


class Scalpel:
    """The LKS editor (arXiv 2508.03741).

    Args:
        pack: trained edits; without one, `apply` trains the edits that it is given.
        config: how it trains them.
    """

    name = "lks"

    def __init__(self, pack: Pack | None = None, config: TrainingConfig | None = None) -> None:
        self.pack, self.config = pack, config

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit] = ()) -> Iterator[ScalpelModel]:
        """The backbone with a pack in force; `edits` are trained if the editor has no pack.

        Raises:
            PackMismatch: the pack was made for another model.
        """
        pack = self.pack or train_pack(backbone, EditSet(edits), self.config)
        pack.check(backbone.fingerprint)
        yield ScalpelModel(backbone, pack)  # nothing to undo: hooks live inside single calls


class PaperScalpel(Scalpel):
    """LKS with the paper's own settings (arXiv 2508.03741)."""

    name = "lks-paper"

    def __init__(self, pack: Pack | None = None) -> None:
        super().__init__(pack, PRESETS["paper"])

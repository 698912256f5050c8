"""The LKS editor: trains a pack, or takes one, and puts it in force."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lks.editors.lks.kept import KeptScalpel
from lks.editors.lks.model import ScalpelModel
from lks.editors.places import never_located
from lks.editors.protocol import Editor, Surroundings
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
    unlocated = staticmethod(never_located)

    def __init__(self, pack: Pack | None = None, config: TrainingConfig | None = None) -> None:
        self.pack, self.config = pack, config

    def apply(self, backbone: Backbone, edits: Iterable[Edit] = ()) -> ScalpelModel:
        """The backbone with a pack and `edits` in force, to be used with `with` or without.

        Without a pack all edits are trained together; with one, those that it does not hold as
        they are are added to it (`ScalpelModel.add`).

        Raises:
            PackMismatch: the pack was made for another model.
        """
        edits = EditSet(edits)
        pack = self.pack or train_pack(backbone, edits, self.config)
        pack.check(backbone.fingerprint)
        model = ScalpelModel(backbone, pack)
        model.add(edits.not_in(model.in_force.edits.values()))
        return model

    def for_comparison(self, around: Surroundings) -> Editor:
        """With a pack that is kept, trained beside the other rows."""
        if self.pack is not None:
            return self
        config = replace(self.config or TrainingConfig(), seed=around.seed)
        return KeptScalpel(self.name, config, around)


class PaperScalpel(Scalpel):
    """LKS with the paper's own settings (arXiv 2508.03741)."""

    name = "lks-paper"

    def __init__(self, pack: Pack | None = None) -> None:
        super().__init__(pack, PRESETS["paper"])

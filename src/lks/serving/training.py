"""Makes the blocks of new facts, and asks the model whether it states them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lks.blocks.in_force import InForce
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.scope.gate.metric import Exemplars
from lks.serving.adding import silent_beside
from lks.serving.snapshots import Base, Held, Snapshots
from lks.serving.store import queries
from lks.serving.store.schema import RevisionRow
from lks.training.config import TrainingConfig
from lks.training.progress import Epoch
from lks.training.train_pack import train_pack


class Stopped(Exception):
    """The server is being stopped."""


class _Unwanted(Exception):
    """Nobody waits for what is being learnt any more."""


@dataclass(frozen=True, eq=False)
class NewBase:
    """The base that a set's first facts made, with these."""

    name: str
    whole: Pack


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a training came to.

    Attributes:
        revisions: those that the model states, in the order of blocks and exemplars.
        failed: of the others, by revision, why not.
        base: what the blocks were made with; new_base: the same, where it is to be kept first.
        began, in_force: what was in force when it began, and what it comes to with these.
    """

    revisions: Sequence[int] = ()
    blocks: Tensor = field(default_factory=lambda: torch.zeros(0))
    exemplars: Exemplars | None = None
    failed: Mapping[int, str] = field(default_factory=dict)
    base: Base | None = None
    new_base: NewBase | None = None
    began: Held | None = None
    in_force: InForce | None = None

    @classmethod
    def nothing(cls, failed: Mapping[int, str], base: Base | None = None) -> Learnt:
        return cls(failed=failed, base=base)


class Teacher:
    """Trains blocks beside what is in force, in a model object of its own.

    Args:
        config: of a set's first facts; further ones are trained as their base was.
        stopped: whether the server is being stopped.
        told: of each epoch.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: TrainingConfig,
        snapshots: Snapshots,
        stopped: Callable[[], bool],
        told: Callable[[Epoch], None],
    ) -> None:
        self._backbone, self._config = backbone, config
        self._snapshots, self._stopped, self._told = snapshots, stopped, told
        self._last: tuple[Base, ScalpelModel] | None = None

    def learn(
        self, held: Held, rows: Sequence[RevisionRow], name: str, wanted: Callable[[], bool]
    ) -> Learnt:
        """Train revisions beside what is in force.

        Args:
            name: of the base, if this makes one.
            wanted: whether any of them is to come into force yet.
        """
        edits = {row.id: queries.edit_of(row.record) for row in rows}
        if not edits:
            return Learnt(base=held.base)
        new, now = EditSet(edits.values()), held.snapshot.in_force
        silent = silent_beside(new, now)
        failed = {row: silent[edit.id] for row, edit in edits.items() if edit.id in silent}
        new = EditSet(edit for edit in new if edit.id not in silent)
        if not len(new):
            return Learnt.nothing(failed, held.base)
        try:
            model, made = self._taught(held, new, wanted)
        except _Unwanted:
            self._last = None  # it was left in the middle of training
            return Learnt.nothing(failed, held.base)
        unstated = self._unstated(model, new)
        failed |= {row: unstated[edit.id] for row, edit in edits.items() if edit.id in unstated}
        kept = {row: edit for row, edit in edits.items() if row not in failed}
        if not kept:
            return Learnt.nothing(failed, held.base)
        own = [*kept.values()]
        unheld = [edit.id for edit in new if edit.id in unstated]
        return Learnt(
            revisions=[*kept],
            blocks=model.blocks(own),
            exemplars=model.exemplars(own),
            failed=failed,
            base=held.base or Base.of(name, model.pack, self._snapshots.embedders),
            new_base=NewBase(name, model.pack) if made else None,
            began=held,
            in_force=model.in_force.without(unheld, model.embedder) if unheld else model.in_force,
        )

    def model(self, held: Held) -> ScalpelModel:
        """A model with what is in force, to be asked and changed by this thread alone."""
        assert held.base is not None
        if self._last is None or self._last[0] is not held.base:
            # one at a time: it may hold a copy of the model's upper layers
            self._last = held.base, self._made(held.base.pack)
        model = self._last[1]
        model.restore(held.snapshot.in_force)
        return model

    def _taught(
        self, held: Held, new: EditSet, wanted: Callable[[], bool]
    ) -> tuple[ScalpelModel, bool]:
        """(model with the new edits in force, whether a base was made)."""

        def go_on(epoch: Epoch) -> None:
            self._told(epoch)
            if self._stopped():
                raise Stopped
            if not wanted():
                raise _Unwanted

        if held.base is None:
            pack = train_pack(self._backbone, new, self._config, on_epoch=go_on)
            return self._made(pack), True
        model = self.model(held)
        model.add(new, on_epoch=go_on)
        return model, False

    def _made(self, pack: Pack) -> ScalpelModel:
        return ScalpelModel(self._backbone, pack, embedders=self._snapshots.embedders)

    def _unstated(self, model: ScalpelModel, edits: Iterable[Edit]) -> dict[str, str]:
        """Facts that the model does not state, each with the reason."""
        missed = model.unstated(edits)
        if not missed:
            return {}
        scores = model.score([(edit.prompt, edit.target) for edit in missed])
        losses = [-sum(s.logprobs) / max(len(s.logprobs), 1) for s in scores]
        return {
            edit.id: f"asked its own prompt, the model does not write the target (loss {loss:.2f} "
            "per token); give it paraphrases or another wording"
            for edit, loss in zip(missed, losses, strict=True)
        }

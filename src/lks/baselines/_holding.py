"""What edited models that hold a list of edits have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from lks.backbone import Backbone
from lks.editor import UneditedModel
from lks.edits import Edit, EditSet
from lks.rendering import Prompt

Learnt = TypeVar("Learnt")


class HoldingModel(UneditedModel, ABC):
    """A backbone with edits in force, which are put in force together whenever they change."""

    def __init__(self, backbone: Backbone, edits: Iterable[Edit]) -> None:
        super().__init__(backbone)
        self.known: dict[str, tuple[Edit, Any]] = {}
        self.edits = EditSet()
        self.add(edits)

    @abstractmethod
    def put_in_force(self, edits: EditSet) -> None:
        """Make these the edits in force; if it raises, those before stay so."""

    def triggered(self, prompts: Sequence[Prompt]) -> list[bool]:
        return [bool(self.edits)] * len(prompts)

    def add(self, edits: Iterable[Edit]) -> None:
        self._hold(EditSet([*self.edits, *edits]))

    def remove(self, edit_ids: Iterable[str]) -> None:
        gone = set(edit_ids)
        for edit_id in gone:
            self.edits.by_id(edit_id)  # raises before anything is changed
        self._hold(EditSet(edit for edit in self.edits if edit.id not in gone))

    def remembered(
        self, edits: Sequence[Edit], learn: Callable[[Sequence[Edit]], Iterable[Learnt]]
    ) -> list[Learnt]:
        """What was learnt for each edit; it is learnt once, for all that are new together."""
        new = [edit for edit in edits if self.known.get(edit.id, (None,))[0] != edit]
        for edit, learnt in zip(new, learn(new) if new else (), strict=True):
            self.known[edit.id] = edit, learnt
        return [self.known[edit.id][1] for edit in edits]

    def _hold(self, edits: EditSet) -> None:
        self.put_in_force(edits)
        self.edits = edits

"""What edited models that hold a list of edits have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, Unpack

from torch import Tensor, nn

from lks.editors.protocol import EditingCost
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import ModelError
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.untyped import Setting

Learnt = TypeVar("Learnt")


def check_decoder(backbone: Backbone) -> None:
    """ModelError for an encoder-decoder: these editors read prompt and target as one text."""
    if backbone.kind != "decoder":
        raise ModelError(
            f"{backbone.name} is an encoder-decoder, and this editor is made for decoders; "
            "use lks, or an editor that puts facts into the prompt"
        )


class EditListModel(UneditedModel, ABC):
    """A backbone with edits in force, which are put in force together whenever they change."""

    def __init__(self, backbone: Backbone, edits: Iterable[Edit]) -> None:
        super().__init__(backbone)
        self.known: dict[str, tuple[Edit, Any]] = {}
        self.edits = EditSet()
        self.add(edits)

    @abstractmethod
    def put_in_force(self, edits: EditSet) -> None:
        """Make these the edits in force; if it raises, those before stay so."""

    @property
    def decided(self) -> dict[str, object]:
        """Settings that go by the model or the number of edits, as they came out."""
        return {}

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        return [bool(self.edits)] * len(prompts)

    def add(self, edits: Iterable[Edit]) -> None:
        new = EditSet(edits)
        ids = {edit.id for edit in new}
        self._hold(EditSet([*(edit for edit in self.edits if edit.id not in ids), *new]))

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


class WeightModel(EditListModel):
    """One whose edits are in some parameters of the backbone, while it works and not longer.

    So the backbone itself stays what it was, for the unedited model beside this one too; another
    thread's waits.

    Attributes:
        earlier_seconds: of long work that was kept when it was done (`_progress`), not done again.
    """

    earlier_seconds = 0.0

    def __init__(
        self, backbone: Backbone, edits: Iterable[Edit], parameters: Sequence[nn.Parameter]
    ) -> None:
        check_decoder(backbone)
        if any(type(parameter) is not nn.Parameter for parameter in parameters):
            raise ModelError(
                f"{backbone.name}: its weights are quantised, and this editor changes weights; "
                "load it unquantised, or use an editor that leaves weights alone (lks)"
            )
        if any(parameter.is_meta for parameter in parameters):
            raise ModelError(
                f"{backbone.name}: its weights are not all in the model (device_map), and this "
                "editor changes weights; load it without, or use an editor that leaves them (lks)"
            )
        self.parameters = list(parameters)
        self._original = self._edited = [parameter.data for parameter in parameters]
        super().__init__(backbone, edits)

    @abstractmethod
    def change(self, edits: EditSet) -> None:
        """Write edits, one at least, into copies of the original parameters, which are in place."""

    def put_in_force(self, edits: EditSet) -> None:
        values = [value.clone() for value in self._original]
        if edits:
            with self._holding(values):
                self.change(edits)
        self._edited = values

    def stored_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self.parameters) if self.edits else 0

    def editing_cost(self, seconds: float) -> EditingCost:
        return EditingCost(seconds + self.earlier_seconds)

    def in_place(self) -> AbstractContextManager[None]:
        """A block in which the backbone has the edited parameters."""
        return self._holding(self._edited)

    @contextmanager
    def _holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        with self.backbone.in_use:
            try:
                for parameter, value in zip(self.parameters, values, strict=True):
                    parameter.data = value
                yield
            finally:
                for parameter, value in zip(self.parameters, self._original, strict=True):
                    parameter.data = value

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        with self.in_place():
            return super().score(pairs, **options)

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        with self.in_place():
            return super().respond(prompts, **options)

"""The backbone as it is, behind the protocol of an editor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Unpack

from lks.editors.protocol import EditedModel
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine import transformers
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.untyped import Setting


class UneditedModel(EditedModel):
    """The backbone as it is."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        return transformers.score(self.backbone, pairs, lambda batch: nullcontext(), **options)

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        return transformers.generate(self.backbone, prompts, lambda batch: nullcontext(), **options)

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        return [False] * len(prompts)

    def add(self, edits: Iterable[Edit]) -> None:
        """Edits have no effect here."""

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Edits have no effect here."""

    def stored_bytes(self) -> int:
        return 0


class Unedited:
    """The editor that changes nothing: what every comparison starts from."""

    name = "unedited"

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[UneditedModel]:
        yield UneditedModel(backbone)

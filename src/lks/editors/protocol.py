"""The two seams between editors and everything that uses them, and the list of editors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Score


class EditedModel(Protocol):
    """A backbone with edits in force. Text in, so every kind of editor fits behind it."""

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], *, chat: bool = False, full: bool = False
    ) -> list[Score]:
        """Teacher-forced scores of (prompt, target) pairs; the target needs no leading space, but
        white space that it begins with is kept, unless the prompt ends in some.

        An empty prompt is allowed: then the target's first token is scored only if something
        stands before it (a BOS token or a chat template). With `chat`, a prompt is a user's turn,
        or a list of messages {"role", "content"}. With `full`, scores hold whole distributions.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        chat: bool = False,
        **settings: Any,
    ) -> list[str]:
        """The model's own text after each prompt, to its natural stop or the limit, stripped.

        `settings` go to the transformers model's `generate`.
        """
        ...

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        """Whether any edit applies to each prompt. Editors without a scope say True.

        `chat` is as in `generate`; what is said counts alike in a chat and in a plain prompt.
        """
        ...

    def add(self, edits: Iterable[Edit]) -> object:
        """Bring more edits into force."""
        ...

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Take edits out again, as if they had never been added; KeyError for an unknown id."""
        ...

    def stored_bytes(self) -> int:
        """What has to be kept, beside the backbone, for the edits in force."""
        ...


class Editor(Protocol):
    """Makes edited models. Leaving the block restores the backbone exactly."""

    name: str

    def apply(
        self, backbone: Backbone, edits: Iterable[Edit]
    ) -> AbstractContextManager[EditedModel]: ...

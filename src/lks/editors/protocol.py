"""The seams between editors and everything that uses them.

Every editor is an `Editor`, and what it makes an `EditedModel`. What only some of them can do is a
protocol of its own: whoever has the methods has the capability, and nobody asks for names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Unpack, runtime_checkable

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.untyped import Setting
from lks.scope.scope import Scope


class EditedModel(Protocol):
    """A backbone with edits in force. Text in, so every kind of editor fits behind it."""

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        """Teacher-forced scores of (prompt, target) pairs; the target needs no leading space, but
        white space that it begins with is kept, unless the prompt ends in some.

        An empty prompt is allowed: then the target's first token is scored only if something
        stands before it (a BOS token or a chat template). With `chat`, a prompt is a user's turn,
        or a list of messages {"role", "content"}. With `full`, scores hold whole distributions.
        """
        ...

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        """What the model itself writes after each prompt, to its natural stop or the limit.

        Args:
            options: `chat`, as of `score`, `max_new_tokens` (64 if not given), and what goes to the
                transformers model's `generate`.
        """
        ...

    def generate(self, prompts: Sequence[Prompt], **options: Setting) -> list[str]:
        """The texts of `respond`, stripped of white space around them."""
        return [written.text for written in self.respond(prompts, **options)]

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        """Whether any edit applies to each prompt. Editors without a scope say True.

        `chat` is as in `respond`; what is said counts alike in a chat and in a plain prompt.
        """
        ...

    def add(self, edits: Iterable[Edit]) -> object:
        """Bring more edits into force.

        An edit takes the place of one with its id, and of one that gives its prompt another target.
        A correction of a fact is so one step, and no caller has to know what is in force.

        Raises:
            EditFileError: two of these edits have one id; nothing is changed then.
        """
        ...

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Take edits out again, as if they had never been added; KeyError for an unknown id."""
        ...

    def stored_bytes(self) -> int:
        """What has to be kept, beside the backbone, for the edits in force."""
        ...


class Editor(Protocol):
    """Makes edited models. Leaving the block restores the backbone exactly."""

    @property
    def name(self) -> str: ...

    def apply(
        self, backbone: Backbone, edits: Iterable[Edit]
    ) -> AbstractContextManager[EditedModel]: ...


# --- what an editor may be able to do -------------------------------------------------------------


@runtime_checkable
class NeedsPackages(Protocol):
    """An editor's class that needs packages which do not come with LKS."""

    needs: Sequence[str]


@runtime_checkable
class Prepares(Protocol):
    """An editor with work that is done once for a model, and is no part of editing."""

    def prepare(self, backbone: Backbone) -> None: ...


@runtime_checkable
class Locates(Protocol):
    """An editor, or its class, that needs a place in each edit's prompt, such as the subject's."""

    def unlocated(self, edits: Sequence[Edit]) -> list[str]:
        """A line for each edit that has none with any model; a table is not begun with these."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What there is around the edits of a comparison; an editor takes from it what it can use.

    Attributes:
        pool: all rows of the data, the edits among them, which lend templates or demonstrate.
        seed: of whatever is drawn.
        kept: where long work may be kept, as a path that other endings are put to.
        scope_of: makes the scope that LKS has with some of the edits.
    """

    pool: EditSet
    seed: int
    kept: Path
    scope_of: Callable[[Sequence[Edit]], Scope]


@runtime_checkable
class UsesSurroundings(Protocol):
    """An editor that a comparison gives more than the edits."""

    def for_comparison(self, around: Surroundings) -> Editor:
        """The editor with these."""
        ...


@runtime_checkable
class Retrains(Protocol):
    """An edited model that can train edits in force again; no other edit changes by one bit."""

    def retrain(self, edits: Iterable[Edit]) -> Callable[[Iterable[str]], None]:
        """Train edits again on the prompts that they have here.

        What is in force stays the edit as it was, with what it has learnt now.

        Returns:
            What takes the edits with these ids back to what they were before.

        Raises:
            KeyError: an edit is not in force.
        """
        ...


# --- what an edited model may be able to tell -----------------------------------------------------


@dataclass(frozen=True)
class EditingCost:
    """What editing took: seconds, and the most bytes of memory, 0 if that is not known."""

    seconds: float
    peak_memory_bytes: int = 0


@runtime_checkable
class TellsCost(Protocol):
    """An edited model that was made, or partly made, before it was asked for."""

    def editing_cost(self, seconds: float) -> EditingCost:
        """What its edits took in all.

        Args:
            seconds: what it took to apply them now.
        """
        ...


@runtime_checkable
class Decides(Protocol):
    """An edited model with settings that go by the model or the edits, as they came out."""

    @property
    def decided(self) -> Mapping[str, object]: ...

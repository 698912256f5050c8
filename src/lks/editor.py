"""The two seams between editors and everything that uses them, and the list of editors."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from lks import decoding
from lks.backbone import Backbone
from lks.decoding import Score
from lks.edits import Edit
from lks.errors import InputError
from lks.rendering import Prompt


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


class UneditedModel:
    """The backbone as it is."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def score(self, pairs: Sequence[tuple[Prompt, str]], **options: Any) -> list[Score]:
        return decoding.score(self.backbone, pairs, lambda batch: nullcontext(), **options)

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[str]:
        return decoding.generate(self.backbone, prompts, lambda batch: nullcontext(), **options)

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


EDITORS = {
    "unedited": "lks.editor:Unedited",
    "lks": "lks.scalpel:Scalpel",
    "lks-paper": "lks.scalpel:PaperScalpel",
    "inject": "lks.baselines.incontext:Inject",
    "rag": "lks.baselines.incontext:Retrieve",
    "ike": "lks.baselines.incontext:Demonstrate",
    "rome": "lks.baselines.rome:Rome",
    "memit": "lks.baselines.memit:Memit",
    "grace": "lks.baselines.grace:Grace",
    "ft": "lks.baselines.finetune:FineTune",
    "lora": "lks.baselines.finetune:LoRA",
    "alphaedit": "lks.baselines.memit:AlphaEdit",
}


def editor(name: str, **settings: Any) -> Editor:
    """The editor with this name, made with these settings.

    Args:
        name: one of `EDITORS`, or `module:attribute` of another one.
    """
    return _class(name)(**settings)


def _class(name: str) -> Any:
    module, _, attribute = EDITORS.get(known_editor(name), name).partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever its module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"editor '{name}' cannot be imported ({reason})") from error
    if lacking := [each for each in getattr(found, "needs", ()) if find_spec(each) is None]:
        raise InputError(
            f"{name} needs {', '.join(lacking)}: "
            'pip install "latent-knowledge-scalpel[baselines]", or name other editors'
        )
    return found


def source(name: str) -> str | None:
    """The file of an editor of the user's own; None of one in `EDITORS`, or if it has none."""
    try:
        return None if name in EDITORS else inspect.getsourcefile(_class(name))
    except TypeError:  # no class or function
        return None


def check_editors(names: Sequence[str]) -> None:
    """InputError that says of every name what is wrong with it, if something is."""
    problems = []
    for name in names:
        try:
            _class(name)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("; ".join(problems))


def known_editor(name: str) -> str:
    """The name itself; InputError with advice if there can be no such editor."""
    if name not in EDITORS and ":" not in name:
        near = difflib.get_close_matches(name, EDITORS, n=1) or sorted(EDITORS)
        raise InputError(f"unknown editor '{name}'; did you mean {' or '.join(near)}?")
    return name

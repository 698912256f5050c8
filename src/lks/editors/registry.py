"""Editors by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from lks.editors.protocol import Editor, Locates, NeedsPackages
from lks.edits.edit import Edit
from lks.errors import InputError

EDITORS = {
    "unedited": "lks.editors.unedited:Unedited",
    "lks": "lks.editors.lks.editor:Scalpel",
    "lks-paper": "lks.editors.lks.editor:PaperScalpel",
    "inject": "lks.editors.baselines.in_context:Inject",
    "rag": "lks.editors.baselines.in_context:Retrieve",
    "ike": "lks.editors.baselines.in_context:Demonstrate",
    "rome": "lks.editors.baselines.rome:Rome",
    "memit": "lks.editors.baselines.memit:Memit",
    "grace": "lks.editors.baselines.grace:Grace",
    "ft": "lks.editors.baselines.finetune:FineTune",
    "lora": "lks.editors.baselines.finetune:LoRA",
    "alphaedit": "lks.editors.baselines.memit:AlphaEdit",
}


def editor(name: str, **settings: object) -> Editor:
    """The editor with this name, made with these settings.

    Args:
        name: one of `EDITORS`, or `module:attribute` of another one.
    """
    made = cast(Callable[..., Editor], _class(name))
    return made(**settings)


def _class(name: str) -> object:
    module, _, attribute = EDITORS.get(known_editor(name), name).partition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except Exception as error:  # whatever its module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"editor '{name}' cannot be imported ({reason})") from error
    needs = found.needs if isinstance(found, NeedsPackages) else ()
    if lacking := [each for each in needs if find_spec(each) is None]:
        raise InputError(
            f"{name} needs {', '.join(lacking)}: "
            'pip install "latent-knowledge-scalpel[baselines]", or name other editors'
        )
    return found


def source(name: str) -> str | None:
    """The file of an editor of the user's own; None of one in `EDITORS`, or if it has none."""
    try:
        return None if name in EDITORS else inspect.getsourcefile(cast(type, _class(name)))
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


def unlocated(names: Sequence[str], edits: Sequence[Edit]) -> list[str]:
    """A line for each edit that one of these editors could not place; see `protocol.Locates`."""
    classes = [_class(name) for name in names]
    tests = dict.fromkeys(found.unlocated for found in classes if isinstance(found, Locates))
    return list(dict.fromkeys(line for test in tests for line in test(edits)))


def known_editor(name: str) -> str:
    """The name itself; InputError with advice if there can be no such editor."""
    if name not in EDITORS and ":" not in name:
        near = difflib.get_close_matches(name, EDITORS, n=1) or sorted(EDITORS)
        raise InputError(f"unknown editor '{name}'; did you mean {' or '.join(near)}?")
    return name

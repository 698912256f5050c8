"""Edits, and wordings of theirs, that would never fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lks.edits.edit import Edit
from lks.errors import EditFileError
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import ids


def check_edits_fire(edits: Sequence[Edit], scope: Scope) -> None:
    """Raise EditFileError for edits that do not fire on their own prompt, all at once."""
    asked = scope.fired([edit.prompt for edit in edits])
    silent = [
        _why_silent(edit)
        for edit, fired in zip(edits, asked, strict=True)
        if edit.id not in ids(fired)
    ]
    if silent:
        raise EditFileError(f"{len(silent)} edits would never fire; mend their prompts", silent)


def _why_silent(edit: Edit) -> str:
    if not normalise(edit.subject).words:
        return f'edit "{edit.id}": no word in its subject "{edit.subject}"; name the entity'
    if edit.negative and Scope([replace(edit, negative=())]).fired([edit.prompt])[0]:
        return f'edit "{edit.id}": one of its negatives stands in its own prompt'
    return (
        f'edit "{edit.id}": subject "{edit.subject}" is not a whole word of the prompt, '
        "lies inside another edit's longer subject, or stands there in another entity's case"
    )

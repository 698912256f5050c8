"""Where in its prompt an edit's subject stands, for editors that change something there."""

from __future__ import annotations

from collections.abc import Sequence

from lks.edits.edit import Edit
from lks.edits.text import counted
from lks.errors import EditFileError
from lks.scope.scope import Scope


def subject_ends(edits: Sequence[Edit]) -> dict[str, tuple[int, int]]:
    """Where in its prompt each edit's subject stands, by id: (start, end) in characters.

    Raises:
        EditFileError: edits whose subject is not found in their prompt, all at once.
    """
    spans = _spans(edits)
    if missing := [edit for edit in edits if edit.id not in spans]:
        raise EditFileError(f"{counted(len(missing), 'edit')} cannot be located", _unnamed(missing))
    return spans


def never_located(edits: Sequence[Edit]) -> list[str]:
    """A line for each edit whose subject its prompt does not name, whatever others there are."""
    spans = _spans(edits)
    return _unnamed([edit for edit in edits if edit.id not in spans and not _spans([edit])])


def _spans(edits: Sequence[Edit]) -> dict[str, tuple[int, int]]:
    scope, spans = Scope(edits), {}
    for edit in edits:
        own = (m for m in scope.mentions(edit.prompt) if edit.id in m.edit_ids)
        if (mention := next(own, None)) is not None:
            spans[edit.id] = mention.start, mention.end
    return spans


def _unnamed(edits: Sequence[Edit]) -> list[str]:
    return [f'edit "{edit.id}": its prompt does not name "{edit.subject}"' for edit in edits]

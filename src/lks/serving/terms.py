"""Tags and times that records of facts bring themselves, beside those that all of a change have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from lks.edits.edit import Edit
from lks.edits.text import counted
from lks.errors import EditFileError
from lks.serving.service import Terms

KEYS = ("tags", "valid_from", "valid_until")


def with_own_terms(edits: Iterable[Edit], usual: Terms) -> tuple[list[Edit], Terms]:
    """The edits without these keys, which are in the terms now.

    Raises:
        EditFileError: with every value that is none.
    """
    problems: list[str] = []
    bare, own = [], {}
    for edit in edits:
        given = {k: edit.extra[k] for k in KEYS if edit.extra.get(k) is not None}
        rest = {k: v for k, v in edit.extra.items() if k not in KEYS}
        bare.append(replace(edit, extra=rest))
        if given:
            own[edit.id] = replace(usual, **_read(given, edit.id, problems))
    if problems:
        raise EditFileError(f"{counted(len(problems), 'problem')} in the edits", problems)
    return bare, replace(usual, own=own)


def _read(given: Mapping[str, object], edit_id: str, problems: list[str]) -> dict[str, Any]:
    readers = {"tags": _tags, "valid_from": time_of, "valid_until": time_of}
    found = {}
    for key, value in given.items():
        try:
            found[key] = readers[key](value)
        except ValueError as error:
            problems.append(f'edit "{edit_id}": {key}: {error}')
    return found


def _tags(value: object) -> tuple[str, ...]:
    """A list, or texts parted by | as a table has them; ValueError for something else."""
    tags = [t.strip() for t in value.split("|")] if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(t, str) and t.strip() for t in tags):
        raise ValueError("must be a list of texts")
    return tuple(tags)


def time_of(value: object) -> datetime:
    """A time with its zone, as ISO 8601 writes it; ValueError for another one."""
    told = f"must be a time with its zone, such as 2027-01-31T12:00:00Z, not {value!r:.40}"
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        raise ValueError(told) from None
    if time is None or time.tzinfo is None:
        raise ValueError(told)
    return time

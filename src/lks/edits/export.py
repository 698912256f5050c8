"""Edits as files: JSON lines and CSV, which are read again to the same edits, and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from lks.edits import tables
from lks.edits.edit import Edit
from lks.edits.text import entity_key
from lks.errors import InputError

_MARKUP = re.compile(r"([\\`*_\[\]<>|~&#])")


def to_jsonl(edits: Iterable[Edit]) -> str:
    """A record a line."""
    lines = (json.dumps(edit.to_record(), ensure_ascii=False) + "\n" for edit in edits)
    return "".join(lines)


def to_csv(edits: Iterable[Edit]) -> str:
    """A table with a column for each key that an edit has.

    Raises:
        InputError: a key cannot name a column, or a value cannot stand in a cell.
    """
    rows = [edit.to_record() for edit in edits]
    columns = list(dict.fromkeys(chain(("id", "subject", "prompt", "target"), *rows)))
    if wrong := [key for key in columns if not tables.is_column(key)]:
        named = ", ".join(f'"{key}"' for key in wrong)
        raise InputError(f"a table cannot have a column {named}; export JSON lines")
    out = io.StringIO(newline="")
    writer = csv.writer(out)  # lines end in CR LF, so that both are quoted in cells
    writer.writerow(columns)
    for row in rows:
        cells = [tables.cell(key, row[key]) if key in row else "" for key in columns]
        for key, text in zip(columns, cells, strict=True):
            if why := tables.not_a_cell(text):
                raise InputError(f'edit "{row["id"]}": "{key}" has {why}; export JSON lines')
        writer.writerow(cells)
    return out.getvalue()


def to_markdown(edits: Iterable[Edit]) -> str:
    """A table for people, the facts of a subject together."""
    groups: dict[str, list[Edit]] = {}
    for edit in edits:
        groups.setdefault(entity_key(edit.subject), []).append(edit)
    more = [
        key for key in ("source", "note") if any(getattr(e, key) for e in chain(*groups.values()))
    ]
    rows = []
    for own in groups.values():
        for place, edit in enumerate(own):
            subject = "" if place else edit.subject
            told = [getattr(edit, key) or "" for key in more]
            rows.append(markdown_row(subject, edit.prompt, edit.target, edit.id, *told))
    return markdown_table(("subject", "question", "answer", "id", *more), rows)


def markdown_table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table of rows that `markdown_row` made."""
    lines = (f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows)
    return "".join(f"{line}\n" for line in lines)


def markdown_row(*cells: str) -> str:
    """A row of a table; no text can end its cell, or be taken for markup."""
    shown = ("<br>".join(_MARKUP.sub(r"\\\1", cell).split("\n")) for cell in cells)
    return f"| {' | '.join(' '.join(cell.split()) for cell in shown)} |"


FORMATS: Mapping[str, Callable[[Iterable[Edit]], str]] = {
    "jsonl": to_jsonl,
    "csv": to_csv,
    "markdown": to_markdown,
}

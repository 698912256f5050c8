"""Sets of edits without contradictions, and their files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lks.edits.edit import Edit
from lks.edits.jsonl import _numbered_lines, counted, parsed
from lks.errors import EditFileError

NAMED = 5  # pairs that a warning names; the others are counted


class EditWarning(UserWarning):
    """Something in a set of edits that works, but perhaps not as intended."""


def warn_of_pairs(problem: str, pairs: Sequence[object], outcome: str = "") -> None:
    """One `EditWarning` to the caller's caller that names the first pairs; none without pairs."""
    if pairs:
        more = f" and {len(pairs) - NAMED} pairs more" if len(pairs) > NAMED else ""
        named = "; ".join(map(str, pairs[:NAMED]))
        warnings.warn(f"{problem}: {named}{more}{outcome}", EditWarning, stacklevel=3)


class EditSet(Sequence[Edit]):
    """An ordered set of edits with unique ids.

    Two edits of one subject and prompt with different targets cannot both hold: the last one
    wins, the earlier one is left out, and one `EditWarning` names the pairs; so it is with two of
    one target. Several facts of one subject are normal.

    Raises:
        EditFileError: when two edits have one id.
    """

    def __init__(self, edits: Iterable[Edit] = ()) -> None:
        by_question: dict[tuple[str, ...], Edit] = {}
        ids: set[str] = set()
        doubles, conflicts, repeats = [], [], []
        for edit in edits:
            if edit.id in ids:
                doubles.append(f'duplicate id "{edit.id}"')
            ids.add(edit.id)
            earlier = by_question.pop(edit.question, None)
            if earlier and earlier.target == edit.target:
                repeats.append(f'"{earlier.id}" and "{edit.id}"')
            elif earlier:
                conflicts.append(
                    f'"{earlier.id}" and "{edit.id}" ("{earlier.target}", "{edit.target}")'
                )
            by_question[edit.question] = edit
        if doubles:
            raise EditFileError("; ".join(doubles), doubles)
        warn_of_pairs("edits that give one prompt two targets", conflicts, "; the last one wins")
        warn_of_pairs("edits that say the same", repeats, "; the last one stays")
        self._edits = list(by_question.values())
        self._by_id = {edit.id: edit for edit in self._edits}

    def __getitem__(self, index: Any) -> Any:
        """An edit by index, or an `EditSet` by slice."""
        if isinstance(index, slice):
            return EditSet(self._edits[index])
        return self._edits[index]

    def __len__(self) -> int:
        return len(self._edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self._edits)

    def by_id(self, edit_id: str) -> Edit:
        """The edit with this id; KeyError if there is none."""
        return self._by_id[edit_id]

    def save(self, path: str | Path) -> None:
        """Write the edits as JSONL, UTF-8."""
        lines = (json.dumps(edit.to_record(), ensure_ascii=False) + "\n" for edit in self)
        Path(path).write_text("".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, limit: int | None = None) -> EditSet:
        """Read a JSONL file of edits, its first `limit` rows if given.

        Raises:
            EditFileError: the file is missing, empty or not text, or has bad lines; then
                `problems` has one entry for each, `line N: reason`.
        """
        edits, problems = [], []
        first_line: dict[str, int] = {}
        for row, (number, line) in enumerate(_numbered_lines(Path(path))):
            if limit is not None and row >= limit:
                break
            try:
                edit = Edit.from_record(parsed(line))
            except EditFileError as error:
                problems += [f"line {number}: {problem}" for problem in error.problems]
                continue
            if edit.id in first_line:
                earlier = first_line[edit.id]
                problems.append(
                    f'line {number}: duplicate id "{edit.id}" (first on line {earlier})'
                )
                continue
            first_line[edit.id] = number
            edits.append(edit)
        if problems:
            raise EditFileError(
                f"{path}: {counted(problems)}; mend the file and try again", problems
            )
        if not edits:
            raise EditFileError(f"{path}: no edits in it; write one JSON record a line")
        return cls(edits)

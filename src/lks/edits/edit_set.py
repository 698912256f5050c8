"""Sets of edits without contradictions, and their files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, overload

from lks.edits.edit import Edit
from lks.edits.export import to_jsonl
from lks.edits.jsonl import bad_lines
from lks.edits.records import records
from lks.errors import EditFileError
from lks.files import PACKED, packed

NAMED = 5  # pairs, or edits, that a message names; the others are counted


class EditWarning(UserWarning):
    """Something in a set of edits that works, but perhaps not as intended."""


def warn_of_pairs(problem: str, pairs: Sequence[object], outcome: str = "") -> None:
    """One `EditWarning` to the caller's caller that names the first pairs; none without pairs."""
    if pairs:
        warnings.warn(named_pairs(problem, pairs, outcome), EditWarning, stacklevel=3)


def named_pairs(problem: str, pairs: Sequence[object], outcome: str = "") -> str:
    """One line that names the first pairs and counts the others."""
    more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    return f"{problem}: {'; '.join(map(str, pairs[:NAMED]))}{more}{outcome}"


class OfEdit(Protocol):
    """An edit, or what is told of one."""

    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> str: ...


def named_edits(edits: Sequence[OfEdit]) -> str:
    """The ids and subjects of the first edits, and how many more there are."""
    named = ", ".join(f"{edit.id} ({edit.subject})" for edit in edits[:NAMED])
    return named + (f" and {len(edits) - NAMED} more" if len(edits) > NAMED else "")


@dataclass(frozen=True)
class Conflict:
    """Two edits of one question: `kept` is in force in place of `dropped`."""

    dropped: Edit
    kept: Edit

    @property
    def repeated(self) -> bool:
        """Whether both say the same."""
        return self.dropped.target == self.kept.target

    def __str__(self) -> str:
        """The prompt, and the targets or, of two that say the same, the ids that somebody gave."""
        both = (self.dropped, self.kept)
        if not self.repeated:
            said = [_labelled(edit, edit.target) for edit in both]
            return f'"{self.kept.prompt}" ({", then ".join(said)})'
        ids = [f'"{edit.id}"' for edit in both if edit.id != edit.key]
        return f'"{self.kept.prompt}"' + (f" ({', '.join(ids)})" if ids else "")


@dataclass(frozen=True)
class Conflicts:
    """The edits that an `EditSet` left out, each with the one that took its place.

    Empty, and false, where nothing was left out. As a text it is one line that names the first.
    """

    pairs: tuple[Conflict, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        different = [pair for pair in self.pairs if not pair.repeated]
        repeated = [pair for pair in self.pairs if pair.repeated]
        told = [
            named_pairs(problem, pairs, outcome)
            for problem, pairs, outcome in (
                ("edits that give one prompt two targets", different, "; the last one wins"),
                ("edits that say the same", repeated, "; the last one stays"),
            )
            if pairs
        ]
        return ". ".join(told)


def _labelled(edit: Edit, text: str) -> str:
    """A text of an edit, with its id if somebody gave it one."""
    return f'"{text}"' if edit.id == edit.key else f'"{text}" of "{edit.id}"'


class EditSet(Sequence[Edit]):
    """An ordered set of edits with unique ids.

    Two edits of one subject and prompt with different targets cannot both hold: the last one
    wins and the earlier one is left out; so it is with two of one target. `conflicts` tells which.
    Several facts of one subject are normal.

    Raises:
        EditFileError: when two edits that do not say the same have one id.
    """

    conflicts: Conflicts

    def __init__(self, edits: Iterable[Edit] = ()) -> None:
        edits = list(edits)
        first: dict[str, Edit] = {}
        doubles = [
            edit.id for edit in edits if not _same_fact(first.setdefault(edit.id, edit), edit)
        ]
        if doubles:
            problems = [f'duplicate id "{edit_id}"' for edit_id in doubles]
            raise EditFileError("; ".join(problems), problems)
        last = {edit.question: place for place, edit in enumerate(edits)}
        self._edits = [edit for i, edit in enumerate(edits) if last[edit.question] == i]
        self._by_id = {edit.id: edit for edit in self._edits}
        self.conflicts = Conflicts(
            tuple(
                Conflict(edit, edits[last[edit.question]])
                for i, edit in enumerate(edits)
                if last[edit.question] != i
            )
        )

    @overload
    def __getitem__(self, index: int) -> Edit: ...
    @overload
    def __getitem__(self, index: slice) -> EditSet: ...
    def __getitem__(self, index: int | slice) -> Edit | EditSet:
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

    def not_in(self, held: Iterable[Edit]) -> EditSet:
        """Those of the edits that do not stand among others just as they are."""
        known = {edit.id: edit for edit in held}
        return EditSet(edit for edit in self if known.get(edit.id) != edit)

    def save(self, path: str | Path) -> None:
        """Write the edits as JSONL, UTF-8; packed, if the file's name ends in .gz."""
        path, content = Path(path), to_jsonl(self).encode()
        path.write_bytes(packed(content) if path.suffix == PACKED else content)

    @classmethod
    def load(cls, path: str | Path, *, limit: int | None = None, any_keys: bool = False) -> EditSet:
        """Read a file of edits, its first `limit` rows if given.

        It holds JSON records, one a line (JSONL) or in one list, or it is a table (CSV).

        Args:
            any_keys: keep keys that seem to be misspelt, too.

        Raises:
            EditFileError: the file is missing, empty or not text, or has bad lines; then
                `problems` has one entry for each, `line N: reason`.
        """
        edits: list[Edit] = []
        problems: list[str] = []
        first: dict[str, tuple[int, Edit]] = {}
        for number, value in islice(records(Path(path), problems), limit):
            try:
                edit = Edit.from_record(value, any_keys=any_keys)
            except EditFileError as error:
                problems += [f"line {number}: {problem}" for problem in error.problems]
                continue
            line, earlier = first.setdefault(edit.id, (number, edit))
            if not _same_fact(earlier, edit):
                problems.append(f'line {number}: duplicate id "{edit.id}" (first on line {line})')
                continue
            edits.append(edit)
        if problems:
            raise EditFileError(
                f"{path}: {bad_lines(problems)}; mend the file and try again", problems
            )
        if not edits:
            raise EditFileError(f"{path}: no edits in it; write one JSON record a line")
        return cls(edits)


def _same_fact(one: Edit, other: Edit) -> bool:
    return one is other or (one.question, one.target) == (other.question, other.target)

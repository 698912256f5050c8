"""What the parts of the scope pass to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lks.edits.edit import Edit


@dataclass(frozen=True)
class Mention:
    """A place where a text names an edited entity.

    `start` and `end` are characters of the original text, `surface` is what stands there.
    `edit_ids` are the edits of that entity, in the order of the edit set. `score` is 1 for a name
    as it is known, less for a misspelt or reordered one. `gate` is the score of the relation gate,
    None where the scope has none.
    """

    edit_ids: tuple[str, ...]
    subject: str
    surface: str
    start: int
    end: int
    kind: str  # exact | alias | variant | reordered | fuzzy | reworded
    score: float = 1.0
    gate: float | None = None
    fired: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"edit_ids": list(self.edit_ids)}


@dataclass(frozen=True, slots=True)
class _Hit:
    """words[first:last] of a text name `bearer`."""

    first: int
    last: int
    entity: Entity
    kind: str
    score: float = 1.0
    edits: int = 0
    support: int = 0  # letters in its favour: those of the name, less two for each edit

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Settles ties, whatever the order of the edits."""
        return self.entity.subject, tuple(sorted(self.entity.edit_ids))


@dataclass(slots=True)
class Entity:
    """The edits that one name stands for. `cased` is the only spelling that counts, if not None."""

    subject: str
    kind: str  # exact: the name is the subject; alias: one of its aliases; variant: of these
    cased: str | None
    edit_ids: tuple[str, ...]

    def join(self, edit: Edit, kind: str) -> None:
        """Take in one more edit. A subject goes before an alias; then the order of the alphabet,
        so that the order of the edits does not matter."""
        if edit.id not in self.edit_ids:
            self.edit_ids += (edit.id,)
        if (kind != "exact", edit.subject) < (self.kind != "exact", self.subject):
            self.kind, self.subject = kind, edit.subject


@dataclass(frozen=True)
class Decision:
    """What the gate says of one edit: its best sentence there, and why it fires or does not."""

    edit_id: str
    score: float
    threshold: float
    fired: bool
    why: str
    sentence: str


@dataclass(frozen=True)
class Finding:
    """A mention and, where a gate decided, what it said of each edit of the entity."""

    mention: Mention
    verdicts: tuple[Decision, ...] = ()

    def to_json(self) -> dict[str, Any]:
        verdicts = [asdict(verdict) for verdict in self.verdicts]
        for verdict in verdicts:
            verdict["score"] = round(verdict["score"], 4)
        return self.mention.to_json() | {"verdicts": verdicts}


def ids(mentions: Sequence[Mention]) -> list[str]:
    """Ids of all edits that mentions may fire, each once."""
    return list(dict.fromkeys(edit_id for mention in mentions for edit_id in mention.edit_ids))

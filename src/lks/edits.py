"""Edits: the facts that a user wants a model to state, and their JSONL files.

Standard library only, so that files can be checked anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lks.errors import EditFileError
from lks.jsonl import counted
from lks.records import KEYS, Reader, kind_of, records

SLOT = "{}"  # stands for the subject in a prompt
# Words whose case says nothing: they begin sentences and titles.
LITTLE = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"]
)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "’‘“”–—…")
NAMED = 5  # pairs that a warning names; the others are counted


class EditWarning(UserWarning):
    """Something in a set of edits that works, but perhaps not as intended."""


@dataclass(frozen=True)
class Probe:
    """A prompt beside the edit's own: locality (target optional) or portability.

    `held_out` probes are for scoring only; training never sees them.
    """

    prompt: str
    target: str | None = None
    held_out: bool = False


@dataclass(frozen=True)
class Edit:
    """One fact: asked `prompt`, the model is to answer `target`.

    Prompts hold the subject itself: `{}` is filled in when the edit is made from a record.
    `paraphrases` and the locality probes that are not held out may be trained on; `generality`
    (held-out paraphrases) never is. Where one of the texts `negative` stands in a prompt, or is
    nearer to it than the edit's own wordings, the edit does not fire; `threshold` is its own least
    score of the relation gate. `statement` is the fact as a whole sentence; an edit with
    `profile_of`, ids or keys of other edits, is their entity's profile (see `lks.profiles`).
    `extra` keeps the unknown keys of the record.
    """

    id: str
    subject: str
    prompt: str
    target: str
    aliases: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    generality: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    negative: tuple[str, ...] = ()
    threshold: float | None = None
    statement: str | None = None
    profile_of: tuple[str, ...] = ()
    ground_truth: str | None = None
    source: str | None = None
    note: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The subject and its aliases."""
        return (self.subject, *self.aliases)

    @property
    def key(self) -> str:
        """Names the content: an id made of subject, prompt and target."""
        return _content_id(self.subject, self.prompt, self.target)

    @property
    def training_locality(self) -> tuple[str, ...]:
        return tuple(probe.prompt for probe in self.locality if not probe.held_out)

    @property
    def heldout_locality(self) -> tuple[Probe, ...]:
        return tuple(probe for probe in self.locality if probe.held_out)

    @property
    def heldout_prompts(self) -> frozenset[str]:
        """Texts that training must not see, normalised by `same_wording`."""
        probes = [probe.prompt for probe in self.heldout_locality]
        return frozenset(same_wording(text) for text in (*self.generality, *probes))

    @property
    def question(self) -> tuple[str, ...]:
        """What two edits in force together cannot share: they would give one prompt two targets."""
        return (entity_key(self.subject), same_text(self.prompt), *self.profile_of)

    def to_record(self) -> dict[str, Any]:
        """The JSON record of this edit: what `from_record` reads, empty fields left out."""
        record: dict[str, Any] = {
            "id": self.id,
            "subject": self.subject,
            "prompt": self.prompt,
            "target": self.target,
        }
        for name in ("aliases", "paraphrases", "generality", "negative", "profile_of"):
            if getattr(self, name):
                record[name] = list(getattr(self, name))
        for name in ("locality", "portability"):
            if getattr(self, name):
                record[name] = [_probe_record(probe) for probe in getattr(self, name)]
        for name in ("threshold", "statement", "ground_truth", "source", "note"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        return record | self.extra

    @classmethod
    def from_record(cls, record: Any, *, any_keys: bool = False) -> Edit:
        """Make an edit from a JSON record.

        Args:
            any_keys: keep keys that seem to be misspelt, too.

        Raises:
            EditFileError: with every problem of the record, not only the first.
        """
        return _read_record(record, any_keys)


def same_text(text: str) -> str:
    """Key under which two texts count as the same: case and white space folded."""
    return " ".join(text.casefold().split())


def entity_key(subject: str) -> str:
    """Key under which two subjects are one entity: as written, for Apple is not apple; only white
    space and the case of little words count as the same."""
    words = subject.split()
    if len(words) > 1:
        words = [word.lower() if word.lower() in LITTLE else word for word in words]
    return " ".join(words)


def same_wording(text: str) -> str:
    """Key under which two wordings count as the same: punctuation and articles taken out too."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


def _probe_record(probe: Probe) -> dict[str, Any]:
    record: dict[str, Any] = {"prompt": probe.prompt}
    if probe.target is not None:
        record["target"] = probe.target
    if probe.held_out:
        record["held_out"] = True
    return record


def _read_record(record: Any, any_keys: bool) -> Edit:
    if not isinstance(record, dict):
        problem = f"must be a JSON object, not {kind_of(record)}"
        raise EditFileError(problem, [problem])
    read = Reader(record, KEYS, any_keys)
    subject = read.text("subject", required=True)
    prompt = read.text("prompt", required=True)
    target = read.text("target", required=True)
    if subject and prompt and SLOT not in prompt and same_text(subject) not in same_text(prompt):
        read.problems.append(
            f'subject "{subject}" is not in the prompt, and there is no {{}} in it'
        )
    lists = ("aliases", "paraphrases", "generality", "negative", "profile_of")
    fields: dict[str, Any] = {name: read.texts(name) for name in lists}
    fields["threshold"] = read.share("threshold")
    fields["locality"] = read.probes("locality")
    fields["portability"] = read.probes("portability", target_required=True)
    for name in ("id", "statement", "ground_truth", "source", "note"):
        fields[name] = read.text(name)
    if read.problems or not (subject and prompt and target):
        raise EditFileError("; ".join(read.problems), read.problems)

    def fill(text: str) -> str:
        return text.replace(SLOT, subject)

    for name in ("paraphrases", "generality", "negative"):
        fields[name] = tuple(fill(text) for text in fields[name])
    for name in ("locality", "portability"):
        fields[name] = tuple(Probe(fill(text), *more) for text, *more in fields[name])
    fields["statement"] = fields["statement"] and fill(fields["statement"])
    fields["id"] = fields["id"] or _content_id(subject, fill(prompt), target)
    extra = {key: value for key, value in record.items() if key not in KEYS}
    return Edit(subject=subject, prompt=fill(prompt), target=target, extra=extra, **fields)


def _content_id(*parts: str) -> str:
    return "e-" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:8]


def warn_of_pairs(problem: str, pairs: Sequence[object], outcome: str = "") -> None:
    """One `EditWarning` to the caller's caller that names the first pairs; none without pairs."""
    if pairs:
        warnings.warn(named_pairs(problem, pairs, outcome), EditWarning, stacklevel=3)


def named_pairs(problem: str, pairs: Sequence[object], outcome: str = "") -> str:
    """One line that names the first pairs and counts the others."""
    more = f" and {len(pairs) - NAMED} pairs more" if len(pairs) > NAMED else ""
    return f"{problem}: {'; '.join(map(str, pairs[:NAMED]))}{more}{outcome}"


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
                f"{path}: {counted(problems)}; mend the file and try again", problems
            )
        if not edits:
            raise EditFileError(f"{path}: no edits in it; write one JSON record a line")
        return cls(edits)


def _same_fact(one: Edit, other: Edit) -> bool:
    return one is other or (one.question, one.target) == (other.question, other.target)

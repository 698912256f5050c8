"""What the parts of the scope pass to each other, and what a part is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Protocol, Self

from lks.edits.edit import Edit
from lks.scope.normalizer import Doc

if TYPE_CHECKING:
    from lks.scope.names.index import EntityIndex


LONGEST = 30  # words of a sentence that may be a question about a name in other words


class Kind(StrEnum):
    """How a text names an entity."""

    EXACT = "exact"  # by its subject
    ALIAS = "alias"
    VARIANT = "variant"  # its name in another form: Saint Denis for St. Denis
    MISSPELT = "fuzzy"
    REWORDED = "reworded"  # in other words or another case: only the whole sentence can tell


class Verdict(Enum):
    """What a question for yes or no is answered with; no id of an edit is equal to one."""

    YES = "yes"
    NO = "no"


class Reason(StrEnum):
    """Why an edit fires or does not, and why a place is no mention."""

    NAMED = "named"  # without a gate, that is enough
    ASKED = "asked"
    OPENED = "open_ended"  # of a profile: it answers
    NOT_OPENED = "not_open_ended"
    PROFILED = "profile_answers"
    UNPROFILED = "no_profile"
    BELOW = "below_threshold"
    NEARER = "nearer_edit"
    LATER = "later_question"
    NEGATIVE = "nearer_to_negative"
    REFUSED = "negative_phrase"
    DENIED = "denial"
    CONTRAST = "contrast"
    NARROWED = "narrowed"
    ANSWERED = "answered"
    LATER_TURN = "later_turn"
    STATED = "stated"
    LONGER = "longer_name"
    TWO_FIT = "two_names_fit"
    CASE = "another_case"
    FAR = "asks_otherwise"
    TOO_FAR = "too_far"
    NUMBER = "another_number"
    SHORT = "short_word"
    FIRST = "first_letter"
    FORM = "another_form"
    GENERATION = "another_generation"
    INITIAL = "another_initial"
    COMMON = "common_word"
    OTHER_NAME = "other_name"
    OWN_PART = "own_part"  # of a part that is not in this package


@dataclass(frozen=True)
class Mention:
    """A place where a text names an edited entity.

    `start` and `end` are characters of the original text, `surface` is what stands there.
    `edit_ids` are the edits of that entity, in the order of the edit set. `score` is 1 for a name
    as it is known, less for a misspelt one. `gate` is the score of the relation gate,
    None where the scope has none. `verdict` is told where the text asks for yes or no.
    """

    edit_ids: tuple[str, ...]
    subject: str
    surface: str
    start: int
    end: int
    kind: str  # a `Kind`
    score: float = 1.0
    gate: float | None = None
    fired: bool = True
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        plain = {"edit_ids": list(self.edit_ids), "kind": str(self.kind)}
        return asdict(self) | plain | {"verdict": self.verdict and self.verdict.value}


@dataclass(slots=True)
class Entity:
    """The edits that one name stands for. `cased` is the only spelling that counts, if not None."""

    subject: str
    kind: Kind  # EXACT: the name is the subject; ALIAS: one of its aliases; VARIANT: of these
    cased: str | None
    edit_ids: tuple[str, ...]

    def join(self, edit: Edit, kind: Kind) -> None:
        """Take in one more edit. A subject goes before an alias; then the order of the alphabet,
        so that the order of the edits does not matter."""
        if edit.id not in self.edit_ids:
            self.edit_ids += (edit.id,)
        if (kind != Kind.EXACT, edit.subject) < (self.kind != Kind.EXACT, self.subject):
            self.kind, self.subject = kind, edit.subject


@dataclass(frozen=True, slots=True)
class Candidate:
    """words[first:last] of a text may name `entity`.

    Attributes:
        edits, support: of a misspelt name: letters that differ, and letters in its favour.
        reason: why it is no mention after all; None while nothing speaks against it.
        told: the name's own words end here, before `last`: "Nokia X series".
        sentence: words of the sentence that must mean what one of the edits asks; None where the
            name alone tells.
    """

    first: int
    last: int
    entity: Entity
    kind: Kind
    score: float = 1.0
    edits: int = 0
    support: int = 0
    reason: Reason | None = None
    told: int = 0
    sentence: range | None = None

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Settles ties, whatever the order of the edits."""
        return self.entity.subject, tuple(sorted(self.entity.edit_ids))


@dataclass(frozen=True)
class Decision:
    """What the gate says of one edit: its best sentence there, and why it fires or does not.

    `verdict` is told where it fires, and yes or no is asked for.
    """

    edit_id: str
    score: float
    threshold: float
    fired: bool
    reason: Reason
    sentence: str
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        plain = {
            "score": round(self.score, 4),
            "threshold": round(self.threshold, 4),
            "reason": str(self.reason),
        }
        return asdict(self) | plain | {"verdict": self.verdict and self.verdict.value}


@dataclass(frozen=True)
class Finding:
    """A mention and, where a gate decided, what it said of each edit of the entity."""

    mention: Mention
    decisions: tuple[Decision, ...] = ()

    def to_json(self) -> dict[str, Any]:
        decisions = [decision.to_json() for decision in self.decisions]
        return self.mention.to_json() | {"decisions": decisions}


@dataclass
class Named:
    """An entity that a text names: its mentions in order, the sentences that may ask about it with
    the mentions masked, where these begin, and what was decided of its edits."""

    mentions: list[Mention]
    sentences: list[str] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def fired(self) -> set[str]:
        return {decision.edit_id for decision in self.decisions if decision.fired}

    def from_on(self, decision: Decision) -> list[str]:
        """The sentence that decided, and those behind it."""
        last = len(self.sentences) - 1 - self.sentences[::-1].index(decision.sentence)
        return self.sentences[last:]


# --- parts: each is small, has a switch in `ScopeConfig`, and can be left out ---------------------


class NameForm(Protocol):
    """Other ways to write a name, known when the index is made."""

    def forms(self, name: str) -> Iterable[str]: ...


class Generator(Protocol):
    """Finds where a text may name an entity."""

    def fit(self, index: EntityIndex) -> Self: ...

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        """Candidates beside `known`, the mentions that earlier generators found, in order."""
        ...


class Filter(Protocol):
    """Says why a candidate is no mention after all."""

    def fit(self, index: EntityIndex) -> Self: ...
    def reject(self, doc: Doc, candidate: Candidate) -> Reason | None: ...


class SentenceVeto(Protocol):
    """Rules a sentence out for an edit, near as it is to the edit's wordings."""

    reason: Reason

    def rules_out(self, sentence: str, edit: Edit) -> bool:
        """Whether a sentence, the entity masked, does not ask for this edit."""
        ...


class TextVeto(Protocol):
    """Silences edits that fired, by what else stands in the text."""

    reason: Reason

    def fit(self, edits: Sequence[Edit]) -> Self: ...

    def silenced(self, doc: Doc, named: Sequence[Named]) -> set[str]:
        """Ids of edits that shall not fire in this text."""
        ...


def ids(mentions: Iterable[Mention]) -> list[str]:
    """Ids of all edits that mentions may fire, each once."""
    return list(dict.fromkeys(edit_id for mention in mentions for edit_id in mention.edit_ids))

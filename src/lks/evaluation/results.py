"""What scoring comes to: the records that the benches share, print and write as JSON.

Free of torch, so that reports and tables need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from lks.json_record import JsonObject, Record
from lks.model.chat import Prompt

KINDS = ("reliability", "generality", "locality")
Interval = tuple[float, float]


# --- an evaluation --------------------------------------------------------------------------------


@dataclass
class Probe:
    """One scored prompt. `forced` is token accuracy (locality: agreement) under teacher forcing,
    `free` whether the written text is right (locality: unchanged), `contained` whether it states
    the target at all, `stopped` whether it ended by itself; `kl` (nats a token, locality) how far
    the edited distribution is from the unedited one; base_* the unedited model's."""

    edit_id: str
    kind: str
    prompt: str
    target: str
    triggered: bool = False
    forced: float | None = None
    exact: bool | None = None
    base_forced: float | None = None
    free: bool | None = None
    base_free: bool | None = None
    contained: bool | None = None
    stopped: bool | None = None
    kl: float | None = None
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class FactScores(Record):
    """Of the prompts that ask for an edited fact; None where nothing was scored, as below."""

    reliability: float | None
    generality: float | None


@dataclass(frozen=True)
class KindScores(FactScores):
    """Of all three kinds of prompts."""

    locality: float | None


@dataclass(frozen=True)
class Scores(KindScores):
    """With EP, their mean."""

    ep: float | None


@dataclass(frozen=True)
class Intervals(Record):
    """95 % of each teacher-forced mean."""

    reliability: Interval | None = None
    generality: Interval | None = None
    locality: Interval | None = None
    ep: Interval | None = None


@dataclass(frozen=True)
class BaseScores(FactScores):
    """Of the unedited model: teacher-forced, and of what it writes."""

    free_running: FactScores


@dataclass(frozen=True)
class PortabilityScores(Record):
    """Of n prompts about what follows from the facts; `base` is the unedited model's."""

    n: int
    teacher_forced: float | None
    free_running: float | None
    contained: float | None
    base: float | None
    triggered: float | None


@dataclass(frozen=True)
class Fluency(Record):
    """N-gram entropy of what the two models write about the subjects."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class Uncontradicted(Record):
    """Scores without the edits that another one contradicts."""

    n: int
    teacher_forced: Scores
    free_running: Scores


@dataclass(frozen=True)
class Summary(Record):
    """Means over prompts, of n edits; None where there was nothing to score."""

    n: int
    prompts: str  # "plain" or "chat"
    teacher_forced: Scores
    free_running: Scores
    teacher_forced_exact: KindScores
    intervals: Intervals
    contained: FactScores
    base: BaseScores
    locality_kl: float | None
    clean_stops: KindScores
    portability: PortabilityScores | None
    fluency: Fluency | None
    triggered: KindScores
    uncontradicted: Uncontradicted | None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        none = {"fluency": None} if record.get("fluency") == {} else {}
        return super().from_json({**record, **none})

    def to_json(self) -> JsonObject:
        return super().to_json() | {"fluency": self.fluency.to_json() if self.fluency else {}}


# --- further benches ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskScores(Record):
    """A task's shares of right answers before and after, and of prompts that fired.

    Attributes:
        changed_unfired: items in which nothing fired and yet the answer or the score of a choice is
            another one; an editor with an exact scope has none.
    """

    task: str
    n: int
    shots: int
    before: float
    after: float
    fired: float
    changed_unfired: int


@dataclass(frozen=True)
class AnsweredCase(Record):
    """One hard question and its answers."""

    asked: Prompt
    target: str
    before: str
    after: str
    right: bool


@dataclass(frozen=True)
class HardScores(Record):
    """A kind of hard questions: shares of right answers, and of prompts that fired."""

    kind: str
    n: int
    before: float
    after: float
    fired: float
    cases: tuple[AnsweredCase, ...] = ()

    def shares(self) -> dict[str, object]:
        """Without the cases, as JSON."""
        return {name: value for name, value in self.to_json().items() if name != "cases"}


@dataclass(frozen=True)
class FailedAsk(Record):
    """A way of asking for a fact in which it does not hold.

    Attributes:
        form: see `lks.evaluation.self_test`.
        wording: what the user says; of a chat all turns as one text.
        how: "did not fire", "another answer", or, of a neighbour, "fired".
        answer: what the model writes.
    """

    form: str
    wording: str
    chat: bool
    how: str
    answer: str


@dataclass(frozen=True)
class FactTest(Record):
    """A fact that a self-test asked so many times, and where it does not hold."""

    id: str
    subject: str
    asks: int
    failed: tuple[FailedAsk, ...]


@dataclass(frozen=True)
class SelfTest(Record):
    """What a self-test found, after it trained facts again.

    Attributes:
        of: facts that it could have asked.
        facts: those that it asked.
        forms: the share of asks that hold, by form.
        retrained: ids of the facts that were trained again and are better for it.
    """

    of: int
    facts: tuple[FactTest, ...]
    forms: Mapping[str, float]
    retrained: tuple[str, ...]
    seconds: float

    @property
    def shaky(self) -> tuple[FactTest, ...]:
        """The facts that do not hold in some wording."""
        return tuple(fact for fact in self.facts if fact.failed)

    @property
    def tested(self) -> dict[str, tuple[str, ...]]:
        """What a pack keeps of it: of each fact the wordings that failed."""
        return {fact.id: tuple(one.wording for one in fact.failed) for fact in self.facts}


@dataclass(frozen=True)
class FactCheck(Record):
    """A check that a fact brings itself.

    Attributes:
        id, subject: the fact's.
        kind: see `lks.evaluation.checks`.
        wanted: what the answer was to be, for people.
        answer: what the model writes; None where nothing fired and nothing had to.
        fired: ids of the edits that fired.
    """

    id: str
    subject: str
    kind: str
    prompt: str
    wanted: str
    passed: bool
    answer: str | None
    fired: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedFact(Record):
    """A fact and its checks."""

    id: str
    subject: str
    checks: tuple[FactCheck, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_json(self) -> JsonObject:
        return super().to_json() | {"passed": self.passed}


@dataclass(frozen=True)
class LayerScores(Record):
    """Teacher-forced scores of a sample trained at one layer."""

    layer: int
    reliability: float | None
    generality: float | None
    locality: float | None
    ep: float | None
    seconds: float
    epochs: int


# --- a table of editors ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell(Record):
    """One entry of a table of editors.

    Attributes:
        data: file of edits; `size` of its rows are taken, chosen and ordered by the seed.
        rows: so many of the edits are scored at most.
        trials: with fewer edits than `rows`, so many sets of edits at most, one after the other.
        chat_rows: of these rows so many are scored in a chat too.
        abilities: files of tasks (`evaluation.ability`), `ability_rows` items of each.
        max_new_tokens: answers are cut there, or where a longer target ends.
        device, dtype, layers_path: as of `Backbone.load`.
    """

    method: str
    data: str
    size: int
    seed: int = 0
    model: str = "smollm2-135m"
    rows: int = 100
    trials: int = 10
    chat_rows: int = 32
    abilities: tuple[str, ...] = ()
    ability_rows: int = 100
    max_new_tokens: int = 16
    threads: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    layers_path: str | None = None

    @property
    def name(self) -> str:
        method = self.method.replace(":", ".")
        return f"{Path(self.data).stem}-{self.size}-{method}-{self.seed}"

    @property
    def sets(self) -> int:
        """Sets of edits, one after the other, at most."""
        return min(self.trials, max(1, self.rows // self.size))

    def named(self) -> Self:
        """The cell as its result tells it: with the names of files, wherever they lie."""
        names = tuple(Path(file).name for file in self.abilities)
        return replace(self, data=Path(self.data).name, abilities=names)


@dataclass(frozen=True, kw_only=True)
class CellResult(Record):
    """What was made of a cell. Those that an earlier version made lack some of the hashes.

    Attributes:
        cell: as `Cell.named`.
        *_sha256: of what it was made of; "" of what has a name and no file.
        groups: sets of edits.
        plain, chat: the scores; None where nothing was asked in a chat.
        abilities: the first set's, and so are the ratios and the settings.
        edit_seconds: of a set of edits, on average.
        first_token_ratio, next_token_ratio: time to the first token and for each further one,
            edited over unedited.
        tokens_more: what an edited model reads for a prompt more than the unedited one: the tokens
            of what an editor writes before it. None in results of an early version.
    """

    cell: Cell
    data_sha256: str | None = None
    ability_sha256: tuple[str, ...] = ()
    model_sha256: str | None = None
    editor_sha256: str | None = None
    groups: int
    plain: Summary
    chat: Summary | None
    abilities: tuple[TaskScores, ...]
    edit_seconds: float
    edit_seconds_each: float
    stored_bytes_each: int
    peak_memory_bytes: int
    first_token_ratio: float
    next_token_ratio: float
    tokens_more: float | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float
    commit: str | None
    machine: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class FailedCell(Record):
    """A cell that could not be made."""

    cell: Cell
    error: str


Result = CellResult | FailedCell

"""The words of the store: who may do what, what state a fact is in, what changed. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lks.edits.edit import Edit

LONGEST_ID = 500  # characters of a fact's id


class Role(StrEnum):
    """What a key may do; each may do what those before it may."""

    ASK = "ask"
    EDIT = "edit"  # propose facts, and change them in sets that need no approval
    APPROVE = "approve"
    ADMIN = "admin"  # sets and keys of its tenant

    def allows(self, wanted: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(wanted)


class State(StrEnum):
    """Where a revision of a fact stands."""

    PROPOSED = "proposed"  # waits for approval
    LEARNING = "learning"  # waits for its block, or is being trained
    READY = "ready"  # has its block, and waits for its time (`valid_from`)
    IN_FORCE = "in_force"
    RETIRED = "retired"  # taken out, replaced, or past its time (`valid_until`)
    REJECTED = "rejected"  # was proposed, and not approved
    FAILED = "failed"  # the model did not learn to state it


@dataclass(frozen=True)
class Caller:
    """Who asks: an API key's tenant, role and name. Without keys: the local user, who may all."""

    tenant: str
    role: Role
    name: str
    default_set: str | None = None


@dataclass(frozen=True)
class FactSet:
    """A set of facts over one model.

    Attributes:
        version: of what is in force; it grows by one with each change of that.
        approval: new facts wait for somebody with the role `approve`.
        facts: how many are in force.
    """

    name: str
    version: int
    approval: bool
    facts: int
    created: datetime


@dataclass(frozen=True)
class Fact:
    """One revision of a fact in a set; the edit's id names the fact.

    Attributes:
        revision: 1 for the first; a corrected fact has the next one.
        why: of its state, where there is something to tell: the loss of a fact that failed, who
            replaced it.
        shaky: wordings that failed the self-test; None if it was not tested yet.
        by, reason, at: who wrote this revision, why, and when.
        since, until: versions of the set between which it was in force last; None if it was not,
            or still is.
    """

    edit: Edit
    revision: int
    state: State
    why: str | None = None
    shaky: tuple[str, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    tags: tuple[str, ...] = ()
    by: str = ""
    reason: str | None = None
    at: datetime | None = None
    since: int | None = None
    until: int | None = None

    @property
    def id(self) -> str:
        return self.edit.id


class JobState(StrEnum):
    PROPOSED = "proposed"  # waits for approval; then another job brings the facts into force
    QUEUED = "queued"
    LEARNING = "learning"
    DONE = "done"  # every fact is in force, or ready
    FAILED = "failed"  # some are not


ENDED = (JobState.PROPOSED, JobState.DONE, JobState.FAILED)  # nothing more happens by itself


@dataclass(frozen=True)
class Job:
    """New facts on their way into force.

    Attributes:
        facts: their ids; failed: those that the model did not learn, and why.
        version: of the set that put them in force.
    """

    id: str
    set_name: str
    state: JobState
    facts: tuple[str, ...]
    failed: dict[str, str]
    version: int | None
    created: datetime
    finished: datetime | None = None


@dataclass(frozen=True)
class Change:
    """One line of a set's history.

    Attributes:
        version: that it led to; that of the set where it changed nothing in force.
        action: add, replace, retire, propose, approve, reject, rollback, failed, clock, test.
        facts: ids, with the revision: "hq@2".
    """

    version: int
    at: datetime
    by: str
    action: str
    facts: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True)
class Page:
    """Some of many facts; `after` is where the next ones begin, None behind the last."""

    facts: tuple[Fact, ...]
    total: int
    after: str | None = None

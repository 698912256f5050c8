"""What the store and the learner offer to who serves them: HTTP, the page, a program of one's own.

Every method is safe in any thread. Each takes the caller first, and looks in his tenant's sets
only: what belongs to another one does not exist for him (`NotFound`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from lks.edits.edit import Edit
from lks.serving.facts import Caller, Change, Fact, FactSet, Job, Page, State

if TYPE_CHECKING:  # it needs torch
    from lks.blocks.in_force import InForce


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is in force in a set at one version. It never changes; a request holds the one that it
    began with."""

    set_name: str
    version: int
    in_force: InForce
    layers: Sequence[int]
    exact: bool


@dataclass(frozen=True)
class Terms:
    """Under which new facts come.

    Attributes:
        reason: kept in the history.
        valid_from, valid_until: with a time zone; in force only between them.
        replace: take the place of a fact with the same id, or that gives the same prompt another
            target; without it that is a `Conflict`.
        propose: wait for approval, though the set does not ask for it.
        own: terms of facts with tags and times of their own, by id.
    """

    reason: str | None = None
    tags: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    replace: bool = False
    propose: bool = False
    own: Mapping[str, Terms] = field(default_factory=dict)

    def of(self, fact_id: str) -> Terms:
        """Under which one fact comes."""
        return self.own.get(fact_id, self)


class Service(Protocol):
    """Sets of facts over one model.

    Errors: `NotFound`, `Conflict`, `VersionMismatch`, `Forbidden` (all `StoreError`), and
    `EditFileError` for edits that cannot be. `if_version` is the version that a change is meant
    for; None changes whatever is there. `once` names a change: the same name again does nothing and
    gives what the first one gave, with other content it is a `Conflict`.
    """

    def caller(self, key: str | None) -> Caller | None:
        """Who has this API key; None for one that is unknown or revoked. Without keys in the store
        everybody is the local user."""
        ...

    @property
    def open(self) -> bool:
        """Whether there are no keys."""
        ...

    # --- what is in force
    def snapshot(self, who: Caller, set_name: str) -> Snapshot: ...

    # --- sets
    def sets(self, who: Caller) -> list[FactSet]: ...

    def create_set(self, who: Caller, name: str, *, approval: bool = False) -> FactSet: ...

    def delete_set(self, who: Caller, name: str) -> None: ...

    # --- reading
    def facts(
        self,
        who: Caller,
        set_name: str,
        *,
        search: str | None = None,
        states: Sequence[State] = (),
        tag: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page:
        """The newest revision of each fact, by id.

        Args:
            search: words that stand in id, subject, prompt or target.
        """
        ...

    def fact(self, who: Caller, set_name: str, fact_id: str) -> Fact: ...

    def revisions(self, who: Caller, set_name: str, fact_id: str) -> list[Fact]:
        """All of one fact, the newest first."""
        ...

    def at_version(self, who: Caller, set_name: str, version: int) -> list[Edit]:
        """The edits that were in force then."""
        ...

    def history(
        self, who: Caller, set_name: str, *, limit: int = 50, before: int | None = None
    ) -> list[Change]:
        """The newest first; `before` a version."""
        ...

    def job(self, who: Caller, job_id: str) -> Job: ...

    def jobs(self, who: Caller, set_name: str, *, limit: int = 20) -> list[Job]: ...

    # --- changing
    def add(
        self,
        who: Caller,
        set_name: str,
        edits: Sequence[Edit],
        terms: Terms = Terms(),
        *,
        if_version: int | None = None,
        once: str | None = None,
    ) -> Job:
        """New facts, or new revisions; they are in force when the job is done. What is in force
        just as it is stays, and is no part of the job."""
        ...

    def retire(
        self,
        who: Caller,
        set_name: str,
        fact_ids: Sequence[str],
        *,
        reason: str | None = None,
        if_version: int | None = None,
        once: str | None = None,
    ) -> int:
        """Out of force before this returns; the version now."""
        ...

    def approve(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> Job: ...

    def reject(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> None: ...

    def rollback(
        self,
        who: Caller,
        set_name: str,
        version: int,
        *,
        reason: str | None = None,
        if_version: int | None = None,
    ) -> int:
        """Bring into force exactly what was at another version; nothing is trained. The new
        version."""
        ...

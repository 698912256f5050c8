"""What is asked of the store: who asks, and what he may see."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.orm import Session

from lks.edits.edit import Edit
from lks.errors import Forbidden, InputError, NotFound
from lks.serving.facts import Caller, Change, Fact, FactSet, Job, Page, Role, State
from lks.serving.service import Snapshot
from lks.serving.snapshots import Snapshots
from lks.serving.store import keys, queries
from lks.serving.store.database import Database
from lks.serving.store.schema import SetRow

LOCAL = Caller(keys.LOCAL, Role.ADMIN, "local")
KEY_SECONDS = 1.0  # after which a key that another process revoked counts no more


class Reading:
    """The questions of `service.Service`."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database, self._snapshots = database, snapshots
        self._known: dict[str | None, tuple[float, Caller | None]] = {}

    # --- who asks

    def caller(self, key: str | None) -> Caller | None:
        now = time.monotonic()
        asked, found = self._known.get(key, (-KEY_SECONDS, None))
        if now - asked >= KEY_SECONDS:
            with self._database.reading() as session:
                if not keys.any_keys(session):
                    return LOCAL
                found = keys.caller_of(session, key) if key else None
            if found is not None:
                self._known[key] = now, found
            else:
                self._known.pop(key, None)
        return found

    @property
    def open(self) -> bool:
        with self._database.reading() as session:
            return not keys.any_keys(session)

    # --- what is in force

    def snapshot(self, who: Caller, set_name: str) -> Snapshot:
        allow(who, Role.ASK, "ask")
        return self._snapshots.get((who.tenant, set_name)).snapshot

    # --- sets

    def sets(self, who: Caller) -> list[FactSet]:
        allow(who, Role.ASK, "list sets")
        with self._seen() as session:
            return queries.fact_sets(session, who.tenant)

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
        with self._reading(who, set_name) as (session, row):
            return queries.facts_page(
                session,
                row.id,
                search=search,
                states=states,
                tag=tag,
                limit=_least_1(limit),
                after=after,
            )

    def fact(self, who: Caller, set_name: str, fact_id: str) -> Fact:
        return self.revisions(who, set_name, fact_id)[0]

    def revisions(self, who: Caller, set_name: str, fact_id: str) -> list[Fact]:
        with self._reading(who, set_name) as (session, row):
            return queries.revisions(session, row.id, fact_id)

    def at_version(self, who: Caller, set_name: str, version: int) -> list[Edit]:
        with self._reading(who, set_name) as (session, row):
            check_version(row, version)
            target = queries.in_force(session, row.id, version)
            rows = queries.rows_of(session, target.values())
            return [queries.edit_of(rows[revision].record) for revision in target.values()]

    def history(
        self, who: Caller, set_name: str, *, limit: int = 50, before: int | None = None
    ) -> list[Change]:
        with self._reading(who, set_name) as (session, row):
            return queries.history(session, row.id, limit=_least_1(limit), before=before)

    def job(self, who: Caller, job_id: str) -> Job:
        allow(who, Role.EDIT, "read jobs")
        with self._seen() as session:
            return queries.job(session, who.tenant, job_id)

    def jobs(self, who: Caller, set_name: str, *, limit: int = 20) -> list[Job]:
        with self._reading(who, set_name) as (session, row):
            return queries.jobs(session, row, limit=_least_1(limit))

    @contextmanager
    def _reading(self, who: Caller, set_name: str) -> Iterator[tuple[Session, SetRow]]:
        allow(who, Role.EDIT, "read facts")
        with self._seen() as session:
            yield session, queries.set_row(session, who.tenant, set_name)

    @contextmanager
    def _seen(self) -> Iterator[Session]:
        """A session to read with. Who has read of a change meets it in the snapshot as well."""
        with self._database.reading() as session:
            yield session
        self._snapshots.catch_up()


def allow(who: Caller, least: Role, what: str) -> None:
    """Forbidden for a caller whose role is below what this needs."""
    if not who.role.allows(least):
        raise Forbidden(
            f'key "{who.name}" has the role {who.role}, and to {what} takes {least}; use another '
            "key"
        )


def check_version(row: SetRow, version: int) -> None:
    if not 0 <= version <= row.version:
        raise NotFound(f'set "{row.name}" has no version {version}; there are 0 to {row.version}')


def _least_1(limit: int) -> int:
    if limit < 1:
        raise InputError(f"limit {limit}: give 1 or more")
    return limit

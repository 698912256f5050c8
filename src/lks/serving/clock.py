"""Brings facts into force and out of it when their time comes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from lks.errors import NotFound
from lks.serving.facts import State
from lks.serving.snapshots import Snapshots
from lks.serving.store import changes, queries
from lks.serving.store.database import Database
from lks.serving.store.schema import RevisionRow, SetRow
from lks.serving.threads import Worker

PAST = "its time is over"
LONGEST_SLEEP = 60.0  # the machine's clock may be set


class Clock(Worker):
    """Waits for the next moment at which something begins or ends."""

    name = "clock"

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        super().__init__()
        self._database, self._snapshots = database, snapshots

    def work(self) -> float:
        now = changes.now()
        with self._database.reading() as session:
            due = [*session.scalars(select(RevisionRow.set_id).where(_due(now)).distinct())]
            keys = {row.id: (tenant, row.name) for row, tenant in queries.live_sets(session)}
        for set_id in due:
            if set_id in keys:
                try:
                    self._snapshots.change(keys[set_id], _turn)
                except NotFound:
                    continue  # deleted meanwhile
        with self._database.reading() as session:
            upcoming = _next(session)
        if upcoming is None:
            return LONGEST_SLEEP
        return min(max((upcoming - changes.now()).total_seconds(), 0.0), LONGEST_SLEEP)


def _due(now: datetime) -> ColumnElement[bool]:
    begins = (RevisionRow.state == State.READY) & (
        RevisionRow.valid_from.is_(None) | (RevisionRow.valid_from <= now)
    )
    ends = RevisionRow.state.in_([State.READY, State.IN_FORCE]) & (RevisionRow.valid_until <= now)
    return or_(begins, ends)


def _next(session: Session) -> datetime | None:
    """The next moment at which something begins or ends."""
    begins = select(func.min(RevisionRow.valid_from)).where(RevisionRow.state == State.READY)
    ends = select(func.min(RevisionRow.valid_until)).where(
        RevisionRow.state.in_([State.READY, State.IN_FORCE])
    )
    found = [moment for moment in (session.scalar(begins), session.scalar(ends)) if moment]
    return min(found, default=None)


def _turn(session: Session, row: SetRow) -> None:
    """What is due in a set now, as one version."""
    now = changes.now()
    rows = [*session.scalars(select(RevisionRow).where(RevisionRow.set_id == row.id, _due(now)))]
    past = [own for own in rows if own.valid_until is not None and own.valid_until <= now]
    begun = [own for own in rows if own not in past]
    ended = [own for own in past if own.state == State.IN_FORCE]
    changes.withdraw(
        session, [own for own in past if own.state == State.READY], State.RETIRED, PAST
    )
    gone = [*ended, *(own for own in changes.displaced(session, row, begun) if own not in ended)]
    if gone or begun:
        changes.step(session, row, "clock", out=gone, into=begun, by="clock", why=PAST)

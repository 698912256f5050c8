"""What is written to the database, each in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from lks.errors import Conflict
from lks.serving.facts import JobState, State
from lks.serving.store.queries import chunks, standing
from lks.serving.store.schema import ChangeRow, IntervalRow, JobRow, OnceRow, RevisionRow, SetRow

KEPT = timedelta(days=7)  # how long a change's own name is remembered


def now() -> datetime:
    return datetime.now(UTC)


def label(row: RevisionRow) -> str:
    """How the history names a revision."""
    return f"{row.fact_id}@{row.revision}"


def note(
    session: Session,
    own: SetRow,
    action: str,
    facts: Sequence[str],
    *,
    by: str,
    reason: str | None = None,
) -> None:
    """A line of the set's history, at its version."""
    session.add(
        ChangeRow(
            set_id=own.id,
            version=own.version,
            at=now(),
            by=by,
            action=action,
            facts=[*facts],
            reason=reason,
        )
    )


@dataclass
class TurnedOver:
    """What a transaction takes out of force and brings into it, by fact."""

    out: set[str] = field(default_factory=set)
    into: dict[str, int] = field(default_factory=dict)

    def add(self, out: Iterable[RevisionRow], into: Iterable[RevisionRow]) -> None:
        for row in out:
            self.out.add(row.fact_id)
            self.into.pop(row.fact_id, None)
        self.into |= {row.fact_id: row.id for row in into}

    def of(self, before: Mapping[str, int]) -> dict[str, int]:
        """Fact -> revision in force after it, the new ones last."""
        gone = self.out | self.into.keys()
        return {fact: row for fact, row in before.items() if fact not in gone} | self.into


def turned_over(session: Session) -> TurnedOver:
    """What the steps of this session's transaction have come to."""
    found: TurnedOver = session.info.setdefault("turned over", TurnedOver())
    return found


def step(
    session: Session,
    own: SetRow,
    action: str,
    *,
    out: Sequence[RevisionRow] = (),
    into: Sequence[RevisionRow] = (),
    by: str,
    reason: str | None = None,
    told: Sequence[RevisionRow] | None = None,
    why: str | None = None,
) -> int:
    """The next version of a set: some revisions out of force, others into it; the version.

    Args:
        told: what the history names; what goes and comes, if not given.
        why: of those that go out.
    """
    own.version += 1
    turned_over(session).add(out, into)
    for ids in chunks(row.id for row in out):
        ended = update(IntervalRow).where(
            IntervalRow.revision_id.in_(ids), IntervalRow.until.is_(None)
        )
        session.execute(ended.values(until=own.version))
    for row in out:
        row.state, row.why = State.RETIRED.value, why
    for row in into:
        row.state, row.why = State.IN_FORCE.value, None
        session.add(IntervalRow(set_id=own.id, revision_id=row.id, since=own.version))
    labels = [label(row) for row in ([*out, *into] if told is None else told)]
    note(session, own, action, labels, by=by, reason=reason)
    session.flush()
    return own.version


def displaced(session: Session, own: SetRow, into: Sequence[RevisionRow]) -> list[RevisionRow]:
    """What is in force and must go when these come: of the same id, or the same question."""
    ids = {row.id for row in into}
    facts, questions = {row.fact_id for row in into}, {row.question for row in into}
    found = standing(session, own.id, facts, questions)
    return [row for row in found if row.state == State.IN_FORCE and row.id not in ids]


def withdraw(session: Session, rows: Iterable[RevisionRow], state: State, why: str) -> None:
    """Revisions that were pending come into force no more; the jobs that waited for them end."""
    jobs = set()
    for row in rows:
        row.state, row.why = state.value, why
        jobs.add(row.job_id)
    session.flush()
    for job_id in jobs - {None}:
        job = session.get_one(JobRow, job_id)
        if job.state == JobState.PROPOSED:
            settle_proposal(session, job)


def settle_proposal(session: Session, job: JobRow) -> None:
    """End a job of proposals when each was approved, rejected or withdrawn."""
    mine = (RevisionRow.set_id == job.set_id, RevisionRow.job_id == job.id)
    rows = [*session.scalars(select(RevisionRow).where(*mine))]
    if not any(row.state == State.PROPOSED for row in rows):
        finish(job, {row.fact_id: row.why or row.state for row in rows}, None)


def new_job(
    session: Session, own: SetRow, facts: Sequence[str], *, by: str, reason: str | None
) -> JobRow:
    """A job that waits for its turn; one without facts is done."""
    number = (session.scalar(select(func.max(JobRow.number))) or 0) + 1
    row = JobRow(
        id=uuid4().hex,
        number=number,
        set_id=own.id,
        state=JobState.QUEUED.value,
        facts=[*facts],
        failed={},
        by=by,
        reason=reason,
        starts=0,
        created=now(),
    )
    if not facts:
        finish(row, {}, own.version)
    session.add(row)
    session.flush()
    return row


def finish(job: JobRow, failed: dict[str, str], version: int | None) -> None:
    job.state = (JobState.FAILED if failed else JobState.DONE).value
    job.failed, job.version, job.finished = failed, version, now()


def requeue(session: Session) -> None:
    """Jobs that a stop of the server has interrupted wait for their turn again."""
    interrupted = update(JobRow).where(JobRow.state == JobState.LEARNING)
    session.execute(interrupted.values(state=JobState.QUEUED.value))


def done_before(session: Session, own: SetRow, name: str | None, content: str) -> str | None:
    """What the change of this name gave when it was made; None if it was not.

    Raises:
        Conflict: it was made with other content.
    """
    if name is None:
        return None
    wanted = (OnceRow.set_id == own.id, OnceRow.name == name, OnceRow.at > now() - KEPT)
    row = session.scalar(select(OnceRow).where(*wanted))
    if row is not None and row.content != content:
        raise Conflict(f'"{name}" named another change before; give this one a name of its own')
    return row.result if row else None


def remember(session: Session, own: SetRow, name: str | None, content: str, result: str) -> None:
    """What the change of this name has given."""
    if name is None:
        return
    old = select(OnceRow).where(OnceRow.set_id == own.id, OnceRow.name == name)
    if (row := session.scalar(old)) is not None:
        session.delete(row)
        session.flush()
    session.add(OnceRow(set_id=own.id, name=name[:200], content=content, result=result, at=now()))

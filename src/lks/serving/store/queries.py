"""What is asked of the database: rows in, the store's words out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from lks.edits.edit import Edit
from lks.errors import NotFound
from lks.serving.facts import Change, Fact, FactSet, Job, JobState, Page, State
from lks.serving.store.schema import (
    ChangeRow,
    IntervalRow,
    JobRow,
    RevisionRow,
    SetRow,
    TenantRow,
)

AT_ONCE = 5_000  # values in one statement: both databases have a limit
Value = TypeVar("Value")
PENDING = (State.PROPOSED, State.LEARNING, State.READY)  # may come into force yet


def edit_of(record: Mapping[str, Any]) -> Edit:
    """The edit of a stored record, which was checked when it came."""
    return Edit.from_record(dict(record), any_keys=True)


def question_of(edit: Edit) -> str:
    """A hash of what two facts in force cannot share."""
    return hashlib.sha256("\x1f".join(edit.question).encode()).hexdigest()


def chunks(values: Iterable[Value]) -> Iterator[list[Value]]:
    whole = [*values]
    return (whole[start : start + AT_ONCE] for start in range(0, len(whole), AT_ONCE))


# --- sets


def set_row(session: Session, tenant: str, name: str, *, locked: bool = False) -> SetRow:
    """A tenant's set; NotFound if it has none of this name.

    Args:
        locked: nobody else may change it before the transaction ends.
    """
    wanted = (TenantRow.name == tenant, SetRow.name == name, SetRow.deleted.is_(None))
    found = select(SetRow).join(TenantRow).where(*wanted)
    row = session.scalar(found.with_for_update(of=SetRow) if locked else found)
    if row is None:
        raise NotFound(f'no set "{name}"; make it first, or ask for one that there is')
    return row


def live_sets(session: Session) -> list[tuple[SetRow, str]]:
    """All sets, each with its tenant."""
    found = select(SetRow, TenantRow.name).join(TenantRow).where(SetRow.deleted.is_(None))
    return [(row, tenant) for row, tenant in session.execute(found.order_by(SetRow.id))]


def fact_sets(session: Session, tenant: str) -> list[FactSet]:
    counted = (
        select(IntervalRow.set_id, func.count().label("facts"))
        .where(IntervalRow.until.is_(None))
        .group_by(IntervalRow.set_id)
        .subquery()
    )
    found = session.execute(
        select(SetRow, counted.c.facts)
        .join(TenantRow)
        .outerjoin(counted, counted.c.set_id == SetRow.id)
        .where(TenantRow.name == tenant, SetRow.deleted.is_(None))
        .order_by(SetRow.name)
    )
    return [
        FactSet(row.name, row.version, row.approval, facts or 0, row.created)
        for row, facts in found
    ]


# --- what is in force


def in_force(session: Session, set_id: int, version: int | None = None) -> dict[str, int]:
    """Fact -> revision in force, in the order in which they came; of now, or of a version."""
    at: list[ColumnElement[bool]] = [IntervalRow.until.is_(None)]
    if version is not None:
        ended = or_(IntervalRow.until.is_(None), IntervalRow.until > version)
        at = [IntervalRow.since <= version, ended]
    found = (
        select(RevisionRow.fact_id, RevisionRow.id)
        .join(IntervalRow, IntervalRow.revision_id == RevisionRow.id)
        .where(IntervalRow.set_id == set_id, *at)
        .order_by(IntervalRow.id)
    )
    return {fact: revision for fact, revision in session.execute(found)}


def rows_of(session: Session, revisions: Iterable[int]) -> dict[int, RevisionRow]:
    """Revisions by their numbers."""
    found: dict[int, RevisionRow] = {}
    for own in chunks(revisions):
        found |= {
            row.id: row
            for row in session.scalars(select(RevisionRow).where(RevisionRow.id.in_(own)))
        }
    return found


def standing(
    session: Session, set_id: int, facts: Iterable[str], questions: Iterable[str]
) -> list[RevisionRow]:
    """Revisions in force or pending that have one of these ids, or ask one of these questions."""
    live = RevisionRow.state.in_([*PENDING, State.IN_FORCE])
    found: dict[int, RevisionRow] = {}
    for column, values in ((RevisionRow.fact_id, facts), (RevisionRow.question, questions)):
        for own in chunks(values):
            wanted = (RevisionRow.set_id == set_id, live, column.in_(own))
            found |= {row.id: row for row in session.scalars(select(RevisionRow).where(*wanted))}
    return [*found.values()]


def newest(session: Session, set_id: int, facts: Iterable[str]) -> dict[str, RevisionRow]:
    """The newest revision of each of these facts that is there."""
    found: dict[str, RevisionRow] = {}
    for own in chunks(facts):
        wanted = (RevisionRow.set_id == set_id, RevisionRow.newest, RevisionRow.fact_id.in_(own))
        found |= {row.fact_id: row for row in session.scalars(select(RevisionRow).where(*wanted))}
    return found


def with_blocks(session: Session, set_id: int, facts: Iterable[str]) -> dict[str, RevisionRow]:
    """Of each of these facts the newest revision that has a block."""
    found: dict[str, RevisionRow] = {}
    for own in chunks(facts):
        wanted = (
            RevisionRow.set_id == set_id,
            RevisionRow.fact_id.in_(own),
            RevisionRow.part.is_not(None),
        )
        rows = select(RevisionRow).where(*wanted).order_by(RevisionRow.revision)
        found |= {row.fact_id: row for row in session.scalars(rows)}
    return found


def parts(session: Session, set_id: int) -> set[str]:
    """The files in which a set's blocks lie."""
    wanted = (RevisionRow.set_id == set_id, RevisionRow.part.is_not(None))
    found = session.scalars(select(RevisionRow.part).where(*wanted).distinct())
    return {part for part in found if part is not None}


# --- facts


def facts_page(
    session: Session,
    set_id: int,
    *,
    search: str | None,
    states: Sequence[State],
    tag: str | None,
    limit: int,
    after: str | None,
) -> Page:
    """Facts by id. A fact is told by its newest revision; where only some states are asked for,
    the revision in force stands for it too."""
    wanted = [RevisionRow.set_id == set_id, _told(states)]
    for word in (search or "").casefold().split():
        wanted.append(RevisionRow.words.contains(word, autoescape=True))
    if tag is not None:
        wanted.append(RevisionRow.tags.contains(f"\n{tag}\n", autoescape=True))
    chosen = (
        select(RevisionRow.fact_id, func.max(RevisionRow.id).label("id"))
        .where(*wanted)
        .group_by(RevisionRow.fact_id)
    )
    total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    if after is not None:
        chosen = chosen.where(RevisionRow.fact_id > after)
    page = chosen.order_by(RevisionRow.fact_id).limit(limit + 1).subquery()
    rows = select(RevisionRow).join(page, page.c.id == RevisionRow.id)
    found = [*session.scalars(rows.order_by(RevisionRow.fact_id))]
    more = found[limit - 1].fact_id if len(found) > limit else None
    return Page(tuple(facts_of(session, found[:limit])), total, more)


def _told(states: Sequence[State]) -> ColumnElement[bool]:
    if not states:
        return RevisionRow.newest.is_(True)
    told = and_(RevisionRow.newest.is_(True), RevisionRow.state.in_(states))
    if State.IN_FORCE in states:
        return or_(told, RevisionRow.state == State.IN_FORCE)
    return told


def revisions(session: Session, set_id: int, fact_id: str) -> list[Fact]:
    """All of one fact, the newest first; NotFound if there is none."""
    wanted = (RevisionRow.set_id == set_id, RevisionRow.fact_id == fact_id)
    rows = select(RevisionRow).where(*wanted).order_by(RevisionRow.revision.desc())
    if not (found := facts_of(session, [*session.scalars(rows)])):
        raise NotFound(f'no fact "{fact_id}" in this set; give an id that the list of facts has')
    return found


def facts_of(session: Session, rows: Sequence[RevisionRow]) -> list[Fact]:
    """The store's words for revisions, with the versions between which each was in force last."""
    last: dict[int, IntervalRow] = {}
    for own in chunks(row.id for row in rows):
        theirs = select(IntervalRow).where(IntervalRow.revision_id.in_(own))
        intervals = session.scalars(theirs.order_by(IntervalRow.id))
        last |= {interval.revision_id: interval for interval in intervals}
    return [_fact(row, last.get(row.id)) for row in rows]


def _fact(row: RevisionRow, interval: IntervalRow | None) -> Fact:
    return Fact(
        edit=edit_of(row.record),
        revision=row.revision,
        state=State(row.state),
        why=row.why,
        shaky=None if row.shaky is None else tuple(row.shaky),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        tags=row.tags,
        by=row.by,
        reason=row.reason,
        at=row.at,
        since=interval.since if interval else None,
        until=interval.until if interval else None,
    )


# --- history and jobs


def history(session: Session, set_id: int, *, limit: int, before: int | None) -> list[Change]:
    """The newest first. A page ends with a whole version, so that none is lost between two."""
    wanted = [ChangeRow.set_id == set_id]
    if before is not None:
        wanted.append(ChangeRow.version < before)
    newest_first = (ChangeRow.version.desc(), ChangeRow.id.desc())
    lines = select(ChangeRow).where(*wanted).order_by(*newest_first)
    found = [*session.scalars(lines.limit(limit))]
    if len(found) == limit:
        wanted += [ChangeRow.version == found[-1].version, ChangeRow.id < found[-1].id]
        rest = select(ChangeRow).where(*wanted).order_by(ChangeRow.id.desc())
        found += session.scalars(rest)
    return [
        Change(row.version, row.at, row.by, row.action, tuple(row.facts), row.reason)
        for row in found
    ]


def job(session: Session, tenant: str, job_id: str) -> Job:
    wanted = (TenantRow.name == tenant, JobRow.id == job_id, SetRow.deleted.is_(None))
    found = session.execute(
        select(JobRow, SetRow.name)
        .join(SetRow, SetRow.id == JobRow.set_id)
        .join(TenantRow)
        .where(*wanted)
    ).one_or_none()
    if found is None:
        raise NotFound(f'no job "{job_id}"; give an id that adding facts has given')
    return job_of(*found)


def jobs(session: Session, row: SetRow, *, limit: int) -> list[Job]:
    """The newest first."""
    own = select(JobRow).where(JobRow.set_id == row.id).order_by(JobRow.number.desc())
    return [job_of(found, row.name) for found in session.scalars(own.limit(limit))]


def job_of(row: JobRow, set_name: str) -> Job:
    return Job(
        id=row.id,
        set_name=set_name,
        state=JobState(row.state),
        facts=tuple(row.facts),
        failed=dict(row.failed),
        version=row.version,
        created=row.created,
        finished=row.finished,
    )

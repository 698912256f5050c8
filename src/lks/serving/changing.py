"""The changes of the store: who may make them, and what each comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from lks.edits.edit import Edit
from lks.errors import Conflict, InputError, NotFound, StoreError, VersionMismatch
from lks.serving import adding
from lks.serving.facts import Caller, FactSet, Job, JobState, Role, State
from lks.serving.reading import Reading, allow, check_version
from lks.serving.service import Terms
from lks.serving.snapshots import Snapshots
from lks.serving.store import changes, keys, queries
from lks.serving.store.database import Database
from lks.serving.store.parts import Parts
from lks.serving.store.schema import IntervalRow, JobRow, OnceRow, RevisionRow, SetRow

OVERTAKEN = "a later one took its place before it came into force"
READ_ONLY = "this server only reads the store; ask the one that writes it"


class Changing(Reading):
    """The changes of `service.Service`.

    Args:
        wake: called when there is something to learn, or to bring into force later.
    """

    def __init__(
        self,
        database: Database,
        snapshots: Snapshots,
        parts: Parts,
        wake: Callable[[], None],
        *,
        read_only: bool,
    ) -> None:
        super().__init__(database, snapshots)
        self._parts, self._wake, self.read_only = parts, wake, read_only

    def _may(self, who: Caller, least: Role, what: str) -> None:
        allow(who, least, what)
        if self.read_only:
            raise StoreError(READ_ONLY)

    def create_set(self, who: Caller, name: str, *, approval: bool = False) -> FactSet:
        self._may(who, Role.ADMIN, "make sets")
        name = keys.checked_name(name, "set")
        with self._snapshots.lock, self._database.writing() as session:
            tenant = keys.tenant_of(session, who.tenant)
            if any(own.name == name for own in queries.fact_sets(session, who.tenant)):
                raise Conflict(f'there is a set "{name}" already; take another name')
            row = SetRow(
                tenant_id=tenant.id,
                name=name,
                approval=approval,
                version=0,
                created=changes.now(),
            )
            session.add(row)
            session.flush()
            self._snapshots.publish(session, (who.tenant, name), self._snapshots.empty(row))
        return FactSet(name, 0, approval, 0, row.created)

    def delete_set(self, who: Caller, name: str) -> None:
        self._may(who, Role.ADMIN, "delete sets")
        with self._snapshots.lock, self._database.writing() as session:
            row = queries.set_row(session, who.tenant, name, locked=True)
            row.deleted = changes.now()
            changes.note(session, row, "delete", (), by=who.name)
            for table in (OnceRow, IntervalRow, RevisionRow, JobRow):
                session.execute(delete(table).where(table.set_id == row.id))
            self._snapshots.publish(session, (who.tenant, name), None)
        self._parts.remove_set(row.id)

    # --- facts

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
        self._may(who, Role.EDIT, "add facts")
        terms = adding.checked_terms(terms, changes.now())
        content = adding.content_of_edits(edits, terms)
        new = adding.checked_edits(edits)
        adding.check_fire(new, self._snapshots.get((who.tenant, set_name)).snapshot.in_force)

        def make(session: Session, row: SetRow) -> str:
            _check_unchanged(row, if_version)
            proposed = terms.propose or (row.approval and not who.role.allows(Role.APPROVE))
            plan = adding.planned(session, row, new, terms)
            ids = [edit.id for edit in plan.new]
            job = changes.new_job(session, row, ids, by=who.name, reason=terms.reason)
            changes.withdraw(session, plan.pending, State.RETIRED, OVERTAKEN)
            state = State.PROPOSED if proposed else State.LEARNING
            rows = adding.write_revisions(session, row, plan.new, job, state, terms)
            if proposed and rows:
                job.state = JobState.PROPOSED.value
                told = [changes.label(own) for own in rows]
                changes.note(session, row, "propose", told, by=who.name, reason=terms.reason)
            return job.id

        return self._begun(who, self._once(who, set_name, once, content, make))

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
        self._may(who, Role.EDIT, "retire facts")
        ids = [*dict.fromkeys(fact_ids)]

        def make(session: Session, row: SetRow) -> str:
            self._check_approver(who, row, "retire facts")
            _check_unchanged(row, if_version)
            found = queries.standing(session, row.id, ids, ())
            _check_all(ids, found, "is neither in force nor on its way")
            out = [own for own in found if own.state == State.IN_FORCE]
            late = [own for own in found if own.state != State.IN_FORCE]
            changes.withdraw(session, late, State.RETIRED, f"retired by {who.name}")
            if out:
                why = reason or f"retired by {who.name}"
                changes.step(
                    session, row, "retire", out=out, told=found, by=who.name, reason=reason, why=why
                )
            else:
                told = [changes.label(own) for own in late]
                changes.note(session, row, "retire", told, by=who.name, reason=reason)
            return str(row.version)

        content = adding.content_of("retire", ids, reason)
        return int(self._once(who, set_name, once, content, make))

    def approve(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> Job:
        self._may(who, Role.APPROVE, "approve facts")
        ids = [*dict.fromkeys(fact_ids)]

        def make(session: Session, row: SetRow) -> str:
            rows = _proposed(session, row, ids)
            earlier = {own.job_id for own in rows}
            job = changes.new_job(session, row, ids, by=who.name, reason=reason)
            for own in rows:
                own.state, own.job_id = State.LEARNING.value, job.id
            session.flush()
            for job_id in earlier - {None}:
                changes.settle_proposal(session, session.get_one(JobRow, job_id))
            told = [changes.label(own) for own in rows]
            changes.note(session, row, "approve", told, by=who.name, reason=reason)
            return job.id

        return self._begun(who, self._once(who, set_name, None, "", make))

    def reject(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> None:
        self._may(who, Role.APPROVE, "reject facts")
        ids = [*dict.fromkeys(fact_ids)]

        def make(session: Session, row: SetRow) -> str:
            rows = _proposed(session, row, ids)
            why = f"rejected by {who.name}" + (f": {reason}" if reason else "")
            changes.withdraw(session, rows, State.REJECTED, why)
            told = [changes.label(own) for own in rows]
            changes.note(session, row, "reject", told, by=who.name, reason=reason)
            return ""

        self._once(who, set_name, None, "", make)

    def rollback(
        self,
        who: Caller,
        set_name: str,
        version: int,
        *,
        reason: str | None = None,
        if_version: int | None = None,
    ) -> int:
        self._may(who, Role.APPROVE, "roll back")

        def make(session: Session, row: SetRow) -> str:
            _check_unchanged(row, if_version)
            check_version(row, version)
            wanted = queries.in_force(session, row.id, version)
            present = queries.in_force(session, row.id)
            gone = {own for fact, own in present.items() if wanted.get(fact) != own}
            come = {own for fact, own in wanted.items() if present.get(fact) != own}
            if gone or come:
                rows = queries.rows_of(session, gone | come)
                changes.step(
                    session,
                    row,
                    "rollback",
                    out=[rows[own] for own in present.values() if own in gone],
                    into=[rows[own] for own in wanted.values() if own in come],
                    by=who.name,
                    reason=reason or f"to version {version}",
                    why=f"rolled back to version {version} by {who.name}",
                )
            return str(row.version)

        made = int(self._once(who, set_name, None, "", make))
        self._wake()  # what came back may have an end
        return made

    # --- what changes have in common

    def _once(self, who: Caller, set_name: str, once: str | None, content: str, make: Make) -> str:
        """Make a change, or tell what the change of this name gave before."""
        if once is not None and not 0 < len(once) <= keys.LONGEST:
            raise InputError(f"a change's name has 1 to {keys.LONGEST} characters, not {len(once)}")
        result = ""

        def decide(session: Session, row: SetRow) -> None:
            nonlocal result
            done = changes.done_before(session, row, once, content)
            result = make(session, row) if done is None else done
            if done is None:
                changes.remember(session, row, once, content, result)

        self._snapshots.change((who.tenant, set_name), decide)
        return result

    def _begun(self, who: Caller, job_id: str) -> Job:
        """A new job, which the learner is told of."""
        self._wake()
        with self._database.reading() as session:
            return queries.job(session, who.tenant, job_id)

    def _check_approver(self, who: Caller, row: SetRow, what: str) -> None:
        if row.approval:
            allow(who, Role.APPROVE, f'{what} in "{row.name}", whose changes are approved,')


Make = Callable[[Session, SetRow], str]


def _check_unchanged(row: SetRow, if_version: int | None) -> None:
    if if_version is not None and row.version != if_version:
        raise VersionMismatch(
            f'set "{row.name}" has version {row.version} now, not {if_version}; look at what has '
            "changed, and try again"
        )


def _check_all(ids: Sequence[str], found: Sequence[RevisionRow], what: str) -> None:
    """NotFound for facts that are not among those that were found, all at once."""
    missing = {*ids} - {row.fact_id for row in found}
    if missing or not ids:
        told = ", ".join(f'"{fact}"' for fact in sorted(missing)[:5]) or "none"
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise NotFound(f"fact {told}{more}: {what}")


def _proposed(session: Session, row: SetRow, ids: Sequence[str]) -> list[RevisionRow]:
    found = queries.standing(session, row.id, ids, ())
    waiting = [own for own in found if own.state == State.PROPOSED]
    _check_all(ids, waiting, "waits for no approval")
    return waiting

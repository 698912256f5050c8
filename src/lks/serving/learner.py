"""Learns new facts in the background, one set at a time, and brings them into force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import LKSError, NotFound
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.serving.facts import JobState, State
from lks.serving.snapshots import Base, Held, Key, Snapshots
from lks.serving.store import changes, queries
from lks.serving.store.database import Database
from lks.serving.store.parts import Parts
from lks.serving.store.schema import JobRow, RevisionRow, SetRow
from lks.serving.threads import LOG, Worker
from lks.serving.training import Learnt, NewBase, Stopped, Teacher
from lks.training.config import TrainingConfig
from lks.training.progress import Epoch

SelfTesting = Callable[[ScalpelModel, Sequence[Edit]], Mapping[str, Sequence[str]]]
TOGETHER = 256  # facts of several jobs that are learnt together; a larger job is learnt whole
MOST_STARTS = 3  # of one job: what ends the server each time is given up
TESTED_AT_ONCE = 8  # facts; new ones wait no longer than for these
GIVEN_UP = f"the server stopped {MOST_STARTS} times while it learnt this; its log may tell why"


@dataclass
class _Batch:
    """Jobs of one set that are learnt together."""

    key: Key
    set_id: int
    jobs: list[str]
    rows: list[RevisionRow] = field(default_factory=list)


class Learner(Worker):
    """The thread that trains: one for the server, since there is one model.

    Args:
        test: asks facts in force in other words.
        ready: called when facts wait for their time.
        on_epoch: told of each epoch of training.
    """

    name = "learner"

    def __init__(
        self,
        database: Database,
        snapshots: Snapshots,
        parts: Parts,
        backbone: Backbone,
        config: TrainingConfig,
        test: SelfTesting | None,
        ready: Callable[[], None],
        on_epoch: Callable[[Epoch], None],
    ) -> None:
        super().__init__()
        self._database, self._snapshots, self._parts = database, snapshots, parts
        self._teacher = Teacher(backbone, config, snapshots, lambda: self.stopped, on_epoch)
        self._test, self._ready = test, ready
        self._untestable: set[int] = set()
        self._unended: _Batch | None = None  # the database could not be told of its end

    def work(self) -> float | None:
        if self._unended is not None:
            self._put_back(self._unended, as_new=False)
            self._unended = None
        batch = self._next()
        if batch is not None:
            self._unended = batch
            self._learn(batch)
            self._unended = None
            return 0.0
        return 0.0 if self._test and self._test_some(self._test) else None

    def stop(self) -> None:
        """End the thread. An epoch that takes too long is not waited for: its jobs wait again."""
        super().stop()
        batch, self._unended = self._unended, None
        if batch is not None:
            self._put_back(batch, as_new=True)

    # --- jobs

    def _next(self) -> _Batch | None:
        """The jobs that are next, marked as begun."""
        with self._snapshots.lock, self._database.writing() as session:
            queued = select(JobRow).where(JobRow.state == JobState.QUEUED).order_by(JobRow.number)
            keys = {row.id: (tenant, row.name) for row, tenant in queries.live_sets(session)}
            batch: _Batch | None = None
            facts = 0
            for job in session.scalars(queued):
                if job.starts >= MOST_STARTS:
                    self._give_up(session, job)
                    continue
                if batch is None:
                    batch = _Batch(keys[job.set_id], job.set_id, [])
                if job.set_id != batch.set_id:
                    continue
                facts += len(job.facts)
                if batch.jobs and facts > TOGETHER:
                    break
                job.state, job.starts = JobState.LEARNING.value, job.starts + 1
                batch.jobs.append(job.id)
            if batch is not None:
                batch.rows = _waiting(session, batch.jobs)
            return batch

    def _give_up(self, session: Session, job: JobRow) -> None:
        for row in _waiting(session, [job.id]):
            row.state, row.why = State.FAILED.value, GIVEN_UP
        own = session.get_one(SetRow, job.set_id)
        _end(session, own, job, None)

    def _learn(self, batch: _Batch) -> None:
        new = [row for row in batch.rows if row.part is None]
        try:
            held = self._snapshots.get(batch.key)
            learnt = self._teacher.learn(held, new, batch.jobs[0], lambda: self._wanted(batch))
            if self.stopped:
                raise Stopped
            self._keep(batch, learnt)
            self._put_in_force(batch, learnt)
        except Stopped:
            if self._unended is not None:  # else `stop` has done so
                self._put_back(batch, as_new=True)
        except NotFound:
            LOG.info("set %s was deleted while its facts were learnt", batch.key[1])
        except Exception as error:
            if self.stopped:
                return  # another server may write the store now
            LOG.exception("learner: set %s: %s facts not learnt", batch.key[1], len(new))
            told = (
                str(error) if isinstance(error, LKSError) else f"training failed ({error!r:.200})"
            )
            self._put_in_force(batch, Learnt.nothing({row.id: told for row in batch.rows}))

    def _wanted(self, batch: _Batch) -> bool:
        """Whether anything of it is still to be learnt: it may be taken out, or its set deleted."""
        with self._database.reading() as session:
            return bool(_waiting(session, batch.jobs, limit=1))

    def adopt(self, key: Key, job_id: str, pack: Pack) -> None:
        """Bring the facts of a job into force with the blocks that a pack has of them; the pack is
        the set's base from then on. Any thread may call it."""
        held = self._snapshots.get(key)
        with self._database.reading() as session:
            batch = _Batch(key, held.set_id, [job_id], _waiting(session, [job_id]))
        number = {edit.id: place for place, edit in enumerate(pack.edits)}
        places = [number[row.fact_id] for row in batch.rows]
        learnt = Learnt(
            revisions=[row.id for row in batch.rows],
            blocks=pack.blocks[places],
            exemplars=pack.gate.exemplars.only(places) if pack.gate else None,
            base=Base.of(job_id, pack, self._snapshots.embedders),
            new_base=NewBase(job_id, pack),
        )
        self._keep(batch, learnt)
        self._put_in_force(batch, learnt)

    def _keep(self, batch: _Batch, learnt: Learnt) -> None:
        """Write the blocks, before the database says that they are there."""
        if learnt.new_base is not None:
            self._parts.save_base(batch.set_id, learnt.new_base.name, learnt.new_base.whole)
        if learnt.revisions:
            self._parts.save(
                batch.set_id, batch.jobs[0], learnt.revisions, learnt.blocks, learnt.exemplars
            )

    def _put_in_force(self, batch: _Batch, learnt: Learnt) -> None:
        """One version for each job that brings something into force."""
        waits = False

        def decide(session: Session, own: SetRow) -> None:
            nonlocal waits
            if own.id != batch.set_id:
                raise NotFound("another set of this name")
            if learnt.new_base is not None:
                own.base = learnt.new_base.name
            kept, now = {*learnt.revisions}, changes.now()
            for job_id in batch.jobs:
                job, into = session.get_one(JobRow, job_id), []
                for row in _waiting(session, [job_id]):
                    if row.id in kept:
                        row.part, row.block = batch.jobs[0], row.id
                    if (why := learnt.failed.get(row.id)) is not None:
                        row.state, row.why = State.FAILED.value, why
                    elif row.valid_from is not None and row.valid_from > now:
                        row.state, waits = State.READY.value, True
                    else:
                        into.append(row)
                _end(session, own, job, _entered(session, own, job, into))

        prepared = self._prepared(batch, learnt)
        self._snapshots.change(batch.key, decide, prepared)
        if waits:
            self._ready()

    def _prepared(self, batch: _Batch, learnt: Learnt) -> Held | None:
        """What will be in force then, made before anything is locked."""
        now = changes.now()
        into = [
            row
            for row in batch.rows
            if row.id not in learnt.failed and not (row.valid_from and row.valid_from > now)
        ]
        if not into:
            return None
        held = self._snapshots.get(batch.key)
        whole = len(into) == len(learnt.revisions) and held is learnt.began
        if whole and learnt.in_force is not None and learnt.base is not None:
            come = {row.fact_id: row.id for row in into}
            return self._snapshots.with_in_force(held, learnt.in_force, come, learnt.base)
        for row in into:
            if row.part is None:
                row.part, row.block = batch.jobs[0], row.id

        return self._snapshots.joined(
            held,
            [row.id for row in into],
            lambda set_id, revisions: self._snapshots.fetched(set_id, into),
            learnt.base,
        )

    def _put_back(self, batch: _Batch, *, as_new: bool) -> None:
        """Jobs that were interrupted wait again.

        Args:
            as_new: that start does not count.
        """
        with self._snapshots.lock, self._database.writing() as session:
            for job_id in batch.jobs:
                job = session.get(JobRow, job_id)
                if job is not None and job.state == JobState.LEARNING:
                    job.state, job.starts = JobState.QUEUED.value, job.starts - as_new

    # --- the self-test

    def _test_some(self, test: SelfTesting) -> bool:
        """Test a few facts in force that were not tested yet; whether there were any."""
        with self._database.reading() as session:
            untested = (RevisionRow.state == State.IN_FORCE, RevisionRow.shaky.is_(None))
            rows = select(RevisionRow).where(*untested).order_by(RevisionRow.set_id, RevisionRow.id)
            found = [row for row in session.scalars(rows) if row.id not in self._untestable]
            keys = {row.id: (tenant, row.name) for row, tenant in queries.live_sets(session)}
        some = [row for row in found if row.set_id == found[0].set_id][:TESTED_AT_ONCE]
        if not some:
            return False
        key = keys[some[0].set_id]
        try:
            model = self._teacher.model(self._snapshots.get(key))
            edits = [e for row in some if (e := model.in_force.edits.get(row.fact_id))]
            failed = test(model, edits)
        except Exception:
            LOG.exception("self-test: set %s", key[1])
            self._untestable |= {row.id for row in some}
            return True
        self._tell(key, [row.id for row in some], failed)
        return True

    def _tell(
        self, key: Key, revisions: Sequence[int], failed: Mapping[str, Sequence[str]]
    ) -> None:
        def decide(session: Session, own: SetRow) -> None:
            rows = [*queries.rows_of(session, revisions).values()]
            for row in rows:
                row.shaky = [*failed.get(row.fact_id, ())]
            shaky = [row for row in rows if row.shaky]
            told = ", ".join(changes.label(row) for row in shaky)
            changes.note(
                session,
                own,
                "test",
                [changes.label(row) for row in rows],
                by="self-test",
                reason=f"shaky: {told}" if shaky else None,
            )

        self._snapshots.change(key, decide)


def _waiting(
    session: Session, jobs: Sequence[str], *, limit: int | None = None
) -> list[RevisionRow]:
    """Revisions of jobs that are still to be learnt."""
    wanted = (RevisionRow.job_id.in_(jobs), RevisionRow.state == State.LEARNING)
    found = select(RevisionRow).where(*wanted).order_by(RevisionRow.id).limit(limit)
    return [*session.scalars(found)]


def _entered(session: Session, own: SetRow, job: JobRow, into: Sequence[RevisionRow]) -> int | None:
    """Bring a job's facts into force, in place of what they displace; the version."""
    if not into:
        return None
    session.flush()
    out = changes.displaced(session, own, into)
    action = "replace" if out else "add"
    return changes.step(
        session,
        own,
        action,
        out=out,
        into=into,
        by=job.by,
        reason=job.reason,
        why=f"replaced by {', '.join(map(changes.label, into[:3]))}" + ("..." if into[3:] else ""),
    )


def _end(session: Session, own: SetRow, job: JobRow, version: int | None) -> None:
    """A job's end: what of it is neither in force nor ready has failed, and why."""
    session.flush()
    rows = [*session.scalars(select(RevisionRow).where(RevisionRow.job_id == job.id))]
    come = (State.IN_FORCE, State.READY)
    missed = [row for row in rows if row.state not in come]
    changes.finish(job, {row.fact_id: row.why or row.state for row in missed}, version)
    if failed := [row for row in missed if row.state == State.FAILED]:
        told = [changes.label(row) for row in failed]
        reasons = "; ".join(dict.fromkeys(row.why or "" for row in failed[:5]))
        changes.note(session, own, "failed", told, by=job.by, reason=reasons)

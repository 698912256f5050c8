"""A server's facts: the store, what is in force, and the threads that keep it so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from lks.edits.edit import Edit
from lks.errors import Conflict, StoreError
from lks.model.backbone import Backbone
from lks.model.embedder import Embedders
from lks.packs.pack import Pack
from lks.serving import adding
from lks.serving.changing import Changing
from lks.serving.clock import Clock
from lks.serving.facts import ENDED, Caller, Job, JobState, Role, State
from lks.serving.learner import Learner, SelfTesting
from lks.serving.reader import Reader
from lks.serving.service import Terms
from lks.serving.snapshots import Snapshots
from lks.serving.store import changes, queries
from lks.serving.store.database import Database
from lks.serving.store.parts import Parts
from lks.serving.store.schema import SetRow
from lks.serving.terms import with_own_terms
from lks.training.config import TrainingConfig
from lks.training.progress import Epoch

_HELD = (*queries.PENDING, State.IN_FORCE)


@dataclass(frozen=True)
class Imported:
    """What a file of facts came to.

    Attributes:
        unchanged: facts in force just as they are.
        waiting: those that came before, and are not in force yet.
        failed: those that the model did not learn when they came before, just as they are.
        job: brings the new ones into force.
        earlier: jobs that came before, and bring others of the file into force.
    """

    added: int
    replaced: int
    unchanged: int
    waiting: int
    failed: int
    job: Job
    earlier: Sequence[str]


class LiveService(Changing):
    """Sets of facts over one model, learnt in the background; see `service.Service`.

    It is to be used with `with`, or with `start` and `close`: its threads learn facts, and bring
    them into force on time.

    Args:
        folder: of the store: the database, if it is SQLite, and the files of blocks.
        database: the address of a PostgreSQL database.
        config: how the first facts of a set are trained.
        read_only: another process writes this store; this one follows it.
        test: asks facts in force in other words, and gives those that failed, by fact; it runs
            when nothing else is to be learnt.
        poll: seconds between two looks at what the writer has done, of a reader.
        on_epoch: told of each epoch of training.
        embedders: where embedders are loaded, if others use the same ones.

    Raises:
        StoreError: the store cannot be opened, or another process writes it.
        PackMismatch: a set's blocks were made for another model.
    """

    def __init__(
        self,
        backbone: Backbone,
        folder: Path | str,
        *,
        database: str | None = None,
        config: TrainingConfig | None = None,
        read_only: bool = False,
        test: SelfTesting | None = None,
        poll: float = 1.0,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        embedders: Embedders | None = None,
    ) -> None:
        config, embedders = config or TrainingConfig(), embedders or Embedders()
        opened = Database(Path(folder), database, migrate=not read_only)
        parts = Parts(Path(folder))
        snapshots = Snapshots(opened, parts, backbone, config, embedders, follows=read_only)
        self._backbone = backbone
        self._clock = Clock(opened, snapshots)
        self._learner = Learner(
            opened, snapshots, parts, backbone, config, test, self._clock.wake, on_epoch
        )
        self._reader = Reader(snapshots, poll)
        super().__init__(opened, snapshots, parts, self._wake_all, read_only=read_only)
        try:
            if not read_only:
                opened.become_writer()
                self._take_up()
            snapshots.load_all()
        except BaseException:
            opened.close()
            raise

    def _take_up(self) -> None:
        """What a stop of the server interrupted waits again; what it left half done goes."""
        with self._database.writing() as session:
            changes.requeue(session)
            named = {
                row.id: (row.base, queries.parts(session, row.id))
                for row, _ in queries.live_sets(session)
            }
        self._parts.remove_orphans(named)

    def _wake_all(self) -> None:
        self._learner.wake()
        self._clock.wake()

    def start(self) -> None:
        """Begin to learn; a reader begins to follow the writer."""
        for thread in (self._reader,) if self.read_only else (self._learner, self._clock):
            thread.start()

    def close(self) -> None:
        """Stop. A training that runs ends after its epoch, or at once if that takes long, and is
        begun anew at the next start."""
        for thread in (self._reader, self._clock, self._learner):
            thread.stop()
        self._database.close()

    @property
    def busy(self) -> bool:
        """Whether a training goes on, as it does behind a `close` that did not wait for it."""
        return self._learner.alive

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self, who: Caller, job_id: str, seconds: float = 600.0) -> Job:
        """A job when it has ended, or waits for approval; StoreError if that takes longer."""
        end = time.monotonic() + seconds
        while (job := self.job(who, job_id)).state not in ENDED:
            if time.monotonic() > end:
                raise StoreError(f'job "{job_id}" has not ended after {seconds:g} s; ask later')
            time.sleep(0.02)
        return job

    def import_facts(
        self, who: Caller, set_name: str, edits: Sequence[Edit], *, reason: str | None = None
    ) -> Imported:
        """Bring a file's facts into a set: those that it has otherwise are replaced, those that
        the file has not stay. A fact that the model did not learn is not tried again as it is."""
        bare, terms = with_own_terms(edits, Terms(reason=reason, replace=True))
        new = adding.checked_edits(bare)
        with self._reading(who, set_name) as (session, row):
            latest = queries.newest(session, row.id, [edit.id for edit in new])
        same = {
            edit.id: latest[edit.id].state
            for edit in new
            if edit.id in latest and latest[edit.id].record == adding.stored_record(edit)
        }
        failed = {fact for fact, state in same.items() if state == State.FAILED}
        held = {fact for fact, state in same.items() if state in _HELD}
        late = {fact for fact, state in same.items() if state in queries.PENDING}
        jobs = {latest[fact].job_id for fact in late if latest[fact].state == State.LEARNING}
        wanted = [edit for edit in new if edit.id not in failed | held]
        job = self.add(who, set_name, wanted, terms)
        replaced = sum(
            edit.id in latest and latest[edit.id].state in _HELD
            for edit in new
            if edit.id in job.facts
        )
        return Imported(
            added=len(job.facts) - replaced,
            replaced=replaced,
            unchanged=len(new) - len(job.facts) - len(failed) - len(late),
            waiting=len(late),
            failed=len(failed),
            job=job,
            earlier=[job_id for job_id in jobs if job_id is not None],
        )

    def import_pack(self, who: Caller, set_name: str, pack: Pack) -> Job:
        """Bring a trained pack's facts into force in a set that has none yet; nothing is trained.

        Further facts of the set are learnt as the pack's own were.

        Raises:
            Conflict: the set has, or had, facts.
            PackMismatch: the pack was made for another model.
        """
        self._may(who, Role.ADMIN, "bring in packs")
        pack.check(self._backbone.fingerprint)
        ids = [edit.id for edit in pack.edits]

        def make(session: Session, row: SetRow) -> str:
            if queries.jobs(session, row, limit=1):
                raise Conflict(
                    f'set "{row.name}" has facts already; a pack is brought into a new set'
                )
            job = changes.new_job(session, row, ids, by=who.name, reason="a pack")
            job.state = JobState.LEARNING.value  # not for the learner: a crash gives it to him
            adding.write_revisions(session, row, pack.edits, job, State.LEARNING, Terms())
            return job.id

        job_id = self._once(who, set_name, None, "", make)
        self._learner.adopt((who.tenant, set_name), job_id, pack)
        return self.job(who, job_id)

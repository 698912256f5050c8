"""A server that is killed at any moment loses nothing that it acknowledged, and leaves nothing
half done in force. `LKS_KILLS=200` kills it more often."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from sqlalchemy import event, select, text
from stores import ADMIN, Place, added, fact, in_force, opened, small_backbone

from lks.errors import PackDamaged, StoreUnavailable
from lks.serving import adding
from lks.serving.facts import JobState, State
from lks.serving.learner import Learner
from lks.serving.live import LiveService
from lks.serving.service import Terms
from lks.serving.snapshots import Snapshots
from lks.serving.store import changes, queries
from lks.serving.store.parts import Parts
from lks.serving.store.schema import IntervalRow, RevisionRow

pytest_plugins = ("stores",)
KILLS = int(os.environ.get("LKS_KILLS", "15"))
STEPS = {"add", "replace", "retire", "rollback", "clock"}  # that lead to another version
HERE = Path(__file__).parent


class Writer:
    """The writer's process, and what it has told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "killed_writer.py"), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def killed(self, seed: int, seconds: float, *, changed: bool) -> list[dict[str, Any]]:
        """What one child told, which was killed so long after it had begun, or had changed one
        thing, however slow the machine is."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{seed}\n")
        stdin.flush()
        pid = json.loads(stdout.readline())["pid"]
        told = list[dict[str, Any]]()
        while changed and sum("version" in record for record in told) < 2:  # opened, and changed
            told.append(json.loads(stdout.readline()))
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        while "ended" not in (record := json.loads(stdout.readline())):
            told.append(record)
        return told

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(120) == 0


@pytest.mark.timeout(60 * KILLS)
def test_nothing_acknowledged_is_lost(tmp_path: Path, learnable: None) -> None:
    folder, backbone = tmp_path / "store", small_backbone()
    with opened(folder, backbone) as service:
        service.create_set(ADMIN, "office")
    writer, chance = Writer(folder), random.Random(0)
    acknowledged: dict[int, dict[str, str]] = {0: {}}
    midway = changes = 0
    for round_ in range(KILLS):
        told = writer.killed(round_, chance.uniform(0.05, 1.2), changed=round_ % 2 == 1)
        begun: dict[str, str] | None = None
        jobs = []
        for record in told:
            if "begin" in record:
                begun = record["begin"]
            elif "job" in record:
                jobs.append(record["job"])
            else:
                acknowledged[record["version"]] = record["state"]
                begun, changes = None, changes + 1
        service = opened(folder, backbone)  # nothing is learnt yet
        last = max(acknowledged)
        version = service.snapshot(ADMIN, "office").version
        assert version in (last, last + 1)
        if version > last:  # done, and killed before that was told
            assert in_force(service) == begun
            midway += 1
        check(service, acknowledged)
        service.start()
        for job in jobs:
            assert service.wait(ADMIN, job).state == JobState.DONE
        check(service, acknowledged)
        version = service.snapshot(ADMIN, "office").version
        if begun is not None and jobs and version > last:
            assert in_force(service) == begun  # a job goes on where it was interrupted
        acknowledged[version] = in_force(service)
        service.close()
    writer.end()
    print(f"{KILLS} kills, {changes} changes acknowledged, {midway} done and not told")
    assert len(acknowledged) > KILLS / 2


def check(service: LiveService, acknowledged: dict[int, dict[str, str]]) -> None:
    """The store is whole: every version, the blocks, the history, the files."""
    snapshot = service.snapshot(ADMIN, "office")
    versions = sorted(acknowledged)
    for version in {*versions[-20:], *random.sample(versions, min(len(versions), 20))}:
        edits = service.at_version(ADMIN, "office", version)
        assert {edit.id: edit.target for edit in edits} == acknowledged[version], version
    assert in_force(service) == {
        e.id: e.target for e in service.at_version(ADMIN, "office", snapshot.version)
    }
    questions = [edit.question for edit in snapshot.in_force.edits.values()]
    assert len({*questions}) == len(questions)
    for edit in snapshot.in_force.edits.values():
        fired = snapshot.in_force.scope.fired([edit.prompt])[0]
        assert any(edit.id in mention.edit_ids for mention in fired)
    assert torch.isfinite(snapshot.in_force.bank.of_edits(snapshot.in_force.edits)).all()
    lines = service.history(ADMIN, "office", limit=100_000)
    steps = [line.version for line in lines if line.action in STEPS]
    assert steps == [*range(snapshot.version, 0, -1)]
    with service._database.reading() as session:
        live = select(RevisionRow.id).join(IntervalRow).where(IntervalRow.until.is_(None))
        states = select(RevisionRow.id).where(RevisionRow.state == "in_force")
        assert {*session.scalars(live)} == {*session.scalars(states)}
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"


# --- the moments that a kill seldom meets


class Killed(BaseException):
    """As if the process had ended here."""


def at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, after: bool) -> None:
    real = getattr(owner, name)

    def killed(self: object, *given: object, **more: object) -> object:
        if after:
            real(self, *given, **more)
        raise Killed

    monkeypatch.setattr(owner, name, killed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("first", [False, True], ids=["more facts", "first facts"])
@pytest.mark.parametrize("where", ["save_base", "save", "change"])
def test_each_moment_of_a_job(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch, where: str, first: bool,
    after: bool,
) -> None:  # fmt: skip
    """Between a training and its facts in force there are three writes; it is ended at each."""
    if where == "save_base" and not first:
        pytest.skip("only the first facts make a base")
    with place.open() as service:
        service.create_set(ADMIN, "office")
        if not first:
            added(service, [fact(0)])
    service = place.open()
    version = service.snapshot(ADMIN, "office").version
    job = service.add(ADMIN, "office", [fact(1), fact(2)])
    with monkeypatch.context() as patched:
        owner: type = Snapshots if where == "change" else Parts
        at(patched, owner, where, after=after)
        with pytest.raises(Killed):
            service._learner.work()
    service.close()
    service = place.open()
    done = where == "change" and after
    assert service.snapshot(ADMIN, "office").version == version + done
    assert ("f1" in in_force(service)) == done
    left = [path.name for path in place.folder.glob("sets/*/**/*") if path.is_file()]
    assert done or not any(job.id in name for name in left)  # an orphan is removed
    service.start()
    assert service.wait(ADMIN, job.id).state == JobState.DONE
    assert {"f1", "f2"} <= in_force(service).keys()
    service.close()
    with place.open() as service:
        assert {"f1", "f2"} <= in_force(service).keys()


def test_files_that_nobody_names_are_removed(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
        service.create_set(ADMIN, "gone")
        added(service, [fact(0)], name="gone")
    (own, gone) = sorted(place.folder.glob("sets/*"))
    for name in ("learnt/x.safetensors", "learnt/.y.safetensors.1.tmp", ".base-1-abc", "base-2"):
        (own / name).write_bytes(b"half")
    service = place.open()
    service.delete_set(ADMIN, "gone")
    assert not gone.exists()
    service.close()
    names = {path.name for path in own.iterdir()}
    assert len(names) == 2 and "learnt" in names
    assert len([*(own / "learnt").iterdir()]) == 1
    with place.open() as service:
        assert in_force(service) == {"f0": "Rome"}


def test_a_missing_file_of_blocks_is_told(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
    (part,) = place.folder.glob("sets/*/learnt/*")
    content = part.read_bytes()
    for damaged in (None, content[: len(content) // 2], b""):
        part.unlink(missing_ok=True)
        if damaged is not None:
            part.write_bytes(damaged)
        with pytest.raises(PackDamaged, match=r"cannot be read .*backup"):
            place.open()
    part.write_bytes(content)
    with place.open() as service:
        assert in_force(service) == {"f0": "Rome"}


def test_a_disk_that_is_full_fails_the_job_and_no_more(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
        with monkeypatch.context() as patched:

            def full(*given: object, **more: object) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr("lks.packs.learnt.save_file", full)
            assert "No space left" in added(service, [fact(1)]).failed["f1"]
        assert in_force(service) == {"f0": "Rome"}
        assert added(service, [fact(2)]).state == JobState.DONE


def test_a_database_that_is_full_is_told_and_loses_nothing(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
        engine = service._database._engine

        def no_more(connection: Any, record: object) -> None:
            connection.execute("PRAGMA max_page_count=1")  # no more than there are

        event.listen(engine, "connect", no_more)
        engine.dispose()
        with pytest.raises(StoreUnavailable, match=r"is full.*nothing was changed"):
            service.add(ADMIN, "office", [fact(n) for n in range(1, 200)])
        event.remove(engine, "connect", no_more)
        engine.dispose()
        assert in_force(service) == {"f0": "Rome"} and len(service.jobs(ADMIN, "office")) == 1
        assert added(service, [fact(1)]).state == JobState.DONE


def test_a_job_whose_end_cannot_be_written_is_learnt_again(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        with monkeypatch.context() as patched:
            tried = Event()

            def full(*given: object, **more: object) -> None:
                raise StoreUnavailable("the disk is full")

            def full_still(*given: object, **more: object) -> None:
                tried.set()
                full()

            patched.setattr(Snapshots, "change", full)
            patched.setattr(Learner, "_put_back", full_still)
            with service._database.writing() as session:
                row = queries.set_row(session, "default", "office")
                job = changes.new_job(session, row, ["f0"], by="ann", reason=None)
                adding.write_revisions(session, row, [fact(0)], job, State.LEARNING, Terms())
                job_id = job.id
            service._learner.wake()
            assert tried.wait(60)
        assert service.wait(ADMIN, job_id, 60).state == JobState.DONE
        assert in_force(service) == {"f0": "Rome"}


def test_nothing_is_written_to_a_file_that_was_taken_away(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
        shutil.move(place.folder / "store.sqlite3", place.folder / "away")
        for write in (
            lambda: service.retire(ADMIN, "office", ["f0"]),
            lambda: service.add(ADMIN, "office", [fact(1)]),
        ):
            with pytest.raises(StoreUnavailable, match="taken away"):
                write()
        assert in_force(service) == {"f0": "Rome"}

"""Servers that stop and start, learn and answer at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from conftest import make_backbone
from sqlalchemy.orm import Session
from stores import (
    ADMIN,
    CONFIG,
    Place,
    added,
    both,
    fact,
    in_force,
    lines,
    opened,
    small_backbone,
    state,
    until,
)

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import PackMismatch, StoreError
from lks.serving import threads, training
from lks.serving.facts import JobState, State
from lks.serving.live import LiveService
from lks.training.progress import Epoch

pytest_plugins = ("stores",)


# --- stopping and starting


@both
def test_all_is_there_after_a_restart(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0), fact(1)])
        added(service, [fact(2)])
        service.retire(ADMIN, "office", ["f0"])
        before = service.snapshot(ADMIN, "office")
        history, page = service.history(ADMIN, "office"), service.facts(ADMIN, "office")
    with place.open() as service:
        now = service.snapshot(ADMIN, "office")
        assert (now.version, now.layers, now.exact) == (3, before.layers, before.exact)
        assert [*now.in_force.edits] == ["f1", "f2"]
        for own in ("f1", "f2"):
            assert torch.equal(
                now.in_force.bank.of_edits([own]), before.in_force.bank.of_edits([own])
            )
        assert service.history(ADMIN, "office") == history
        assert service.facts(ADMIN, "office") == page
        added(service, [fact(3)])
        assert [*in_force(service)] == ["f1", "f2", "f3"]


@both
def test_jobs_that_waited_are_learnt_after_a_restart(place: Place, learnable: None) -> None:
    service = place.open()
    service.create_set(ADMIN, "office")
    jobs = [service.add(ADMIN, "office", [fact(n)]) for n in range(3)]
    service.close()
    with place.open() as service:
        assert [service.wait(ADMIN, job.id).version for job in jobs] == [1, 2, 3]
        assert [*in_force(service)] == ["f0", "f1", "f2"]
        assert {line[0] for line in lines(service)} == {1, 2, 3}


def test_a_training_that_is_stopped_is_taken_up_again(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, epochs=100_000)
    service = place.open(config=config)
    service.start()
    service.create_set(ADMIN, "office")
    job = service.add(ADMIN, "office", [fact(0)])
    until(lambda: service.job(ADMIN, job.id).state == JobState.LEARNING)
    time.sleep(0.2)
    service.close()
    with place.open() as service:
        assert service.wait(ADMIN, job.id).state == JobState.DONE


def test_a_stop_does_not_wait_for_a_long_epoch(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()
    monkeypatch.setattr(threads, "STOP_SECONDS", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_pack", lambda *given, **more: over.wait(60) and 1 / 0)
        service = place.open()
        service.create_set(ADMIN, "office")
        number = service.add(ADMIN, "office", [fact(0)]).id
        for _ in range(4):  # it is no fault of the job's
            service.start()
            until(partial(_begun, service, number))
            service.close()
            service = place.open()
        over.set()  # what is left of the others changes nothing
    service.start()
    assert service.wait(ADMIN, number, 60).state == JobState.DONE
    service.close()


def _begun(service: LiveService, number: str) -> bool:
    return service.job(ADMIN, number).state == JobState.LEARNING


def test_a_job_that_ends_the_server_again_and_again_is_given_up(
    place: Place, learnable: None
) -> None:
    service = place.open()
    service.create_set(ADMIN, "office")
    job = service.add(ADMIN, "office", [fact(0)])
    for _ in range(3):
        assert service._learner._next() is not None  # begun, and killed
        service.close()
        service = place.open()
    service.start()
    told = service.wait(ADMIN, job.id).failed["f0"]
    assert "stopped 3 times" in told and state(service, "f0") == State.FAILED
    assert added(service, [fact(1)]).state == JobState.DONE
    service.close()


def test_an_error_of_training_fails_its_job_alone(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(service, [fact(0)])
    with monkeypatch.context() as patched:
        patched.setattr(ScalpelModel, "add", lambda *given, **more: 1 / 0)
        assert "division by zero" in added(service, [fact(1)]).failed["f1"]
    assert added(service, [fact(2)]).state == JobState.DONE
    assert [*in_force(service)] == ["f0", "f2"]


def endless(*given: object, on_epoch: Callable[[Epoch], None]) -> None:
    while True:
        on_epoch(Epoch(1, 1, 0.0, 0.0, 0.0))
        time.sleep(0.01)


@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_what_nobody_waits_for_is_not_learnt_to_its_end(
    service: LiveService, monkeypatch: pytest.MonkeyPatch, base: bool, deleted: bool
) -> None:
    """Facts are retired, or their set is deleted, while they are learnt: others come next."""
    service.create_set(ADMIN, "other")
    if base:
        added(service, [fact(5)])
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_pack", endless)
        patched.setattr(ScalpelModel, "add", endless)
        job = service.add(ADMIN, "office", [fact(0)])
        until(lambda: service.job(ADMIN, job.id).state == JobState.LEARNING)
        time.sleep(0.1)
    if deleted:
        service.delete_set(ADMIN, "office")
    else:
        service.retire(ADMIN, "office", ["f0"])
        assert "retired" in service.wait(ADMIN, job.id).failed["f0"]
        assert added(service, [fact(2)]).state == JobState.DONE
    assert added(service, [fact(1)], name="other").state == JobState.DONE


def test_the_blocks_of_another_model_are_refused(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)])
    with pytest.raises(PackMismatch, match="made for tiny-llama"):
        place.open(backbone=make_backbone("llama", seed=1))
    place.open().close()  # the store is free


# --- while facts are learnt


def test_changes_wait_for_no_training(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(service, [fact(0), fact(1), fact(2)])
    begun, go_on, real = Event(), Event(), ScalpelModel.add

    def slow(self: ScalpelModel, *given: object, **more: object) -> object:
        begun.set()
        assert go_on.wait(60)
        return real(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ScalpelModel, "add", slow)
    job = service.add(ADMIN, "office", [fact(3), fact(4)])
    assert begun.wait(60)
    assert service.job(ADMIN, job.id).state == JobState.LEARNING
    assert service.retire(ADMIN, "office", ["f0"]) == 2
    service.retire(ADMIN, "office", ["f4"])  # on its way
    assert service.rollback(ADMIN, "office", 0) == 3
    assert service.rollback(ADMIN, "office", 2) == 4
    assert in_force(service) == {"f1": "Rome", "f2": "Rome"}
    go_on.set()
    assert service.wait(ADMIN, job.id).failed.keys() == {"f4"}
    assert [*in_force(service)] == ["f1", "f2", "f3"] and state(service, "f4") == State.RETIRED


@both
def test_readers_never_meet_half_a_change(service: LiveService) -> None:
    """Pairs come and go together: a snapshot has both or none, and its parts are of one state."""
    pairs = [(fact(2 * n), fact(2 * n + 1)) for n in range(4)]
    added(service, [one for pair in pairs for one in pair])
    stopped, wrong = Event(), list[str]()

    def read() -> None:
        last = 0
        while not stopped.is_set():
            snapshot = service.snapshot(ADMIN, "office")
            ids = set(snapshot.in_force.edits)
            if snapshot.version < last or ids != set(snapshot.in_force.bank.rows):
                wrong.append(f"{last} {snapshot.version} {ids}")
            last = snapshot.version
            for one, other in pairs:
                if (one.id in ids) != (other.id in ids):
                    wrong.append(f"half of a pair: {ids}")
                if fires_in(snapshot, one) != (one.id in ids):
                    wrong.append(f"{one.id} fires or not, and {ids}")

    threads = [Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        pair = [one.id for one in pairs[turn % 4]]
        version = service.retire(ADMIN, "office", pair)
        assert not {*pair} & in_force(service).keys()
        service.rollback(ADMIN, "office", version - 1)
    added(service, [fact(30), fact(31)])
    stopped.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert len(in_force(service)) == 10


def fires_in(snapshot: object, edit: Edit) -> bool:
    fired = snapshot.in_force.scope.fired([edit.prompt])[0]  # type: ignore[attr-defined]
    return any(edit.id in mention.edit_ids for mention in fired)


def test_who_reads_of_a_change_meets_it_in_force(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a commit and its snapshot there is a moment; nobody is told of the change then."""
    real = Session.commit

    def slow(self: Session) -> None:
        real(self)
        time.sleep(0.05)

    monkeypatch.setattr(Session, "commit", slow)
    for number in range(3):
        job = service.add(ADMIN, "office", [fact(number)])
        until(lambda job=job: service.job(ADMIN, job.id).state == JobState.DONE)  # type: ignore[misc]
        assert f"f{number}" in in_force(service)


# --- the self-test


def test_facts_are_tested_when_nothing_else_is_to_do(place: Place, learnable: None) -> None:
    asked = list[list[str]]()

    def test(model: ScalpelModel, edits: list[Edit]) -> dict[str, list[str]]:
        assert {e.id for e in edits} <= model.in_force.edits.keys()
        asked.append([e.id for e in edits])
        if any(e.id == "f2" for e in edits):
            raise RuntimeError("the test is broken")
        return {"f1": ["Where is f1?"]} if any(e.id == "f1" for e in edits) else {}

    with place.open(test=test) as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0), fact(1)])
        until(lambda: service.fact(ADMIN, "office", "f1").shaky is not None)
        assert service.fact(ADMIN, "office", "f1").shaky == ("Where is f1?",)
        assert service.fact(ADMIN, "office", "f0").shaky == ()
        line = service.history(ADMIN, "office")[0]
        assert (line.action, line.version, line.reason) == ("test", 1, "shaky: f1@1")
        added(service, [fact(2)])
        until(lambda: len(asked) == 2)
        added(service, [fact(3)])
        until(lambda: service.fact(ADMIN, "office", "f3").shaky == ())
        assert asked == [["f0", "f1"], ["f2"], ["f3"]]  # a broken one is not tried again and again
        assert service.snapshot(ADMIN, "office").version == 3


def test_jobs_of_several_sets_take_turns(place: Place, learnable: None) -> None:
    service = place.open()
    jobs = []
    for name in ("one", "two"):
        service.create_set(ADMIN, name)
    for number in range(3):
        jobs += [service.add(ADMIN, name, [fact(number)]).id for name in ("one", "two")]
    first, second = service._learner._next(), service._learner._next()
    assert first is not None and second is not None
    assert (first.key[1], second.key[1]) == ("one", "two")
    assert [*first.jobs, *second.jobs] == [*jobs[::2], *jobs[1::2]]
    service.close()
    with place.open() as service:
        assert [service.wait(ADMIN, job).version for job in jobs] == [1, 1, 2, 2, 3, 3]


def test_the_address_of_another_database_is_refused(tmp_path: Path) -> None:
    for address in ("mysql://x/y", "nonsense", "postgresql://nobody@/x?host=/nowhere"):
        with pytest.raises(StoreError):
            opened(tmp_path, small_backbone(), database=address)

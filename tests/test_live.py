"""Facts come into force, go, and come back; what is told of them is what is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from conftest import make_backbone
from stores import ADMIN, CONFIG, UNLEARNABLE, Place, added, fact, in_force, opened, small_backbone

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import (
    Conflict,
    EditFileError,
    InputError,
    LKSError,
    NotFound,
    PackMismatch,
    StoreError,
    VersionMismatch,
)
from lks.serving.facts import JobState, State
from lks.serving.live import LiveService
from lks.serving.service import Terms

pytest_plugins = ("stores",)
both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def until(asked: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not asked():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def lines(service: LiveService) -> list[tuple[int, str, tuple[str, ...], str]]:
    return [(c.version, c.action, c.facts, c.by) for c in service.history(ADMIN, "office")]


def state(service: LiveService, fact_id: str) -> State:
    return service.fact(ADMIN, "office", fact_id).state


def fires(service: LiveService, edit: Edit) -> bool:
    scope = service.snapshot(ADMIN, "office").in_force.scope
    return any(edit.id in mention.edit_ids for mention in scope.fired([edit.prompt])[0])


# --- the way of a fact


@both
def test_a_fact_comes_into_force_and_goes(service: LiveService) -> None:
    job = service.add(ADMIN, "office", [fact(0), fact(1)], Terms(reason="moved", tags=("hr",)))
    assert job.state in (JobState.QUEUED, JobState.LEARNING) and job.facts == ("f0", "f1")
    done = service.wait(ADMIN, job.id)
    assert (done.state, done.version, done.failed) == (JobState.DONE, 1, {})
    snapshot = service.snapshot(ADMIN, "office")
    assert (snapshot.version, snapshot.layer, [*snapshot.in_force.edits]) == (1, 1, ["f0", "f1"])
    assert fires(service, fact(0))
    told = service.fact(ADMIN, "office", "f0")
    assert (told.edit, told.revision, told.state) == (fact(0), 1, State.IN_FORCE)
    assert (told.by, told.reason, told.tags, told.since) == ("ann", "moved", ("hr",), 1)
    assert service.retire(ADMIN, "office", ["f0"], reason="wrong") == 2
    assert in_force(service) == {"f1": "Rome"} and not fires(service, fact(0))
    assert [*snapshot.in_force.edits] == ["f0", "f1"]  # of who began with it
    told = service.fact(ADMIN, "office", "f0")
    assert (told.state, told.why, told.since, told.until) == (State.RETIRED, "wrong", 1, 2)
    assert lines(service) == [
        (2, "retire", ("f0@1",), "ann"), (1, "add", ("f0@1", "f1@1"), "ann"),
    ]  # fmt: skip
    (own,) = service.sets(ADMIN)
    assert (own.name, own.version, own.facts, own.approval) == ("office", 2, 1, False)


@both
def test_what_the_model_does_not_state_is_not_in_force(service: LiveService) -> None:
    job = added(service, [fact(0), fact(1, UNLEARNABLE)])
    assert job.state == JobState.FAILED and [*job.failed] == ["f1"]
    assert "does not write the target (loss " in job.failed["f1"]
    assert in_force(service) == {"f0": "Rome"}
    assert state(service, "f1") == State.FAILED
    assert service.fact(ADMIN, "office", "f1").why == job.failed["f1"]
    assert [line[1] for line in lines(service)] == ["failed", "add"]


def test_a_correction_that_fails_leaves_the_older_revision(service: LiveService) -> None:
    added(service, [fact(0)])
    job = added(service, [fact(0, UNLEARNABLE)], Terms(replace=True))
    assert job.version is None and in_force(service) == {"f0": "Rome"}
    newest, first = service.revisions(ADMIN, "office", "f0")
    assert (newest.state, first.state) == (State.FAILED, State.IN_FORCE)
    page = service.facts(ADMIN, "office", states=[State.IN_FORCE])
    assert [(one.id, one.revision) for one in page.facts] == [("f0", 1)]


def test_a_random_model_states_nothing(place: Place) -> None:
    """The model's own verdict: nothing is replaced here."""
    with place.open() as service:
        service.create_set(ADMIN, "office")
        job = added(service, [fact(0)])
        assert job.state == JobState.FAILED and in_force(service) == {}
        assert service.snapshot(ADMIN, "office").version == 0
    with place.open() as service:
        assert in_force(service) == {}


def test_a_fact_that_could_never_fire_is_refused_at_once(service: LiveService) -> None:
    bad = [Edit(f"b{n}", "Ann Arbor", f"Where is the brewery, no. {n}", "here") for n in (1, 2)]
    with pytest.raises(EditFileError) as found:
        service.add(ADMIN, "office", [fact(0), *bad])
    assert len(found.value.problems) == 2 and "b1" in found.value.problems[0]
    assert service.jobs(ADMIN, "office") == []


def test_names_of_facts_in_force_count_too(service: LiveService) -> None:
    longer = Edit("long", "Ada Kowalski Bridge", "The Ada Kowalski Bridge is in", "Rome")
    added(service, [longer])
    inside = Edit("in", "Kowalski Bridge", "How old is Ada Kowalski Bridge", "ten")
    with pytest.raises(EditFileError, match="would never fire"):
        service.add(ADMIN, "office", [inside])


def test_facts_in_force_as_given_are_no_part_of_the_job(service: LiveService) -> None:
    added(service, [fact(0)])
    job = service.add(ADMIN, "office", [fact(0), fact(1)])
    assert job.facts == ("f1",)
    service.wait(ADMIN, job.id)
    job = service.add(ADMIN, "office", [fact(0), fact(1)])
    assert (job.state, job.facts, job.version) == (JobState.DONE, (), 2)
    assert len(service.revisions(ADMIN, "office", "f0")) == 1


# --- conflicts


@pytest.mark.parametrize(
    "other",
    [fact(0, "Oslo"), replace(fact(0, "Oslo"), id="other"), replace(fact(0), id="other")],
    ids=["its id", "its prompt", "its prompt and target"],
)
def test_another_fact_stands_against_it(service: LiveService, other: Edit) -> None:
    added(service, [fact(0)])
    with pytest.raises(Conflict, match='fact "f0" is in force'):
        service.add(ADMIN, "office", [other])
    added(service, [other], Terms(replace=True))
    assert in_force(service) == {other.id: other.target}
    old = service.revisions(ADMIN, "office", "f0")[-1]
    assert old.state == State.RETIRED and old.why is not None
    assert old.why.startswith(f"replaced by {other.id}@")
    assert lines(service)[0][1] == "replace"


def test_two_targets_in_one_request_are_refused(service: LiveService) -> None:
    with pytest.raises(EditFileError, match="two targets"):
        service.add(ADMIN, "office", [fact(0), replace(fact(0, "Oslo"), id="other")])
    with pytest.raises(EditFileError, match="duplicate id"):
        service.add(ADMIN, "office", [fact(0), fact(0, "Oslo")])


def test_a_later_fact_takes_the_place_of_one_that_waits(place: Place, learnable: None) -> None:
    service = place.open()  # not started: nothing is learnt yet
    service.create_set(ADMIN, "office")
    first = service.add(ADMIN, "office", [fact(0), fact(1)])
    with pytest.raises(Conflict, match="is on its way"):
        service.add(ADMIN, "office", [fact(0, "Oslo")])
    second = service.add(ADMIN, "office", [fact(0, "Oslo")], Terms(replace=True))
    service.start()
    assert service.wait(ADMIN, second.id).state == JobState.DONE
    assert service.wait(ADMIN, first.id).failed.keys() == {"f0"}
    assert in_force(service) == {"f0": "Oslo", "f1": "Rome"}
    service.close()


def test_a_change_meant_for_another_version_is_refused(service: LiveService) -> None:
    added(service, [fact(0)], if_version=0)
    for change in (
        lambda: service.add(ADMIN, "office", [fact(1)], if_version=0),
        lambda: service.retire(ADMIN, "office", ["f0"], if_version=0),
        lambda: service.rollback(ADMIN, "office", 0, if_version=5),
    ):
        with pytest.raises(VersionMismatch, match="has version 1 now"):
            change()
    assert in_force(service) == {"f0": "Rome"}


@both
def test_a_change_of_one_name_is_made_once(service: LiveService) -> None:
    job = added(service, [fact(0)], once="a")
    assert service.add(ADMIN, "office", [fact(0)], once="a").id == job.id
    assert service.retire(ADMIN, "office", ["f0"], once="b") == 2
    assert service.retire(ADMIN, "office", ["f0"], once="b") == 2  # without: NotFound
    assert service.add(ADMIN, "office", [fact(0)], once="a").id == job.id
    assert in_force(service) == {}
    for again in (
        lambda: service.add(ADMIN, "office", [fact(1)], once="a"),
        lambda: service.add(ADMIN, "office", [fact(0)], Terms(replace=True), once="a"),
        lambda: service.retire(ADMIN, "office", ["f1"], once="a"),
    ):
        with pytest.raises(Conflict, match='"a" named another change'):
            again()


# --- going back


@both
def test_rolled_back_is_exactly_what_was(service: LiveService) -> None:
    added(service, [fact(0), fact(1)])
    before = service.snapshot(ADMIN, "office").in_force
    service.retire(ADMIN, "office", ["f0"])
    added(service, [fact(1, "Oslo"), fact(2)], Terms(replace=True))
    assert service.rollback(ADMIN, "office", 1) == 4
    now = service.snapshot(ADMIN, "office").in_force
    assert now.edits.keys() == before.edits.keys()
    for own in before.edits:  # nothing was trained
        assert torch.equal(now.bank.of_edits([own]), before.bank.of_edits([own]))
    assert state(service, "f2") == State.RETIRED
    assert service.rollback(ADMIN, "office", 3) == 5
    assert in_force(service) == {"f1": "Oslo", "f2": "Rome"}
    assert service.rollback(ADMIN, "office", 0) == 6 and in_force(service) == {}
    assert service.rollback(ADMIN, "office", 6) == 6  # nothing to do
    with pytest.raises(NotFound, match="there are 0 to 6"):
        service.rollback(ADMIN, "office", 7)
    at = [[e.id for e in service.at_version(ADMIN, "office", v)] for v in range(7)]
    assert at == [[], ["f0", "f1"], ["f1"], ["f1", "f2"], ["f0", "f1"], ["f1", "f2"], []]


def test_a_fact_that_comes_back_is_not_trained_again(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(service, [fact(0), fact(1)])
    block = service.snapshot(ADMIN, "office").in_force.bank.of_edits(["f0"])
    service.retire(ADMIN, "office", ["f0"])

    def never(*given: object, **more: object) -> None:
        raise AssertionError("something is trained")

    monkeypatch.setattr(ScalpelModel, "add", never)
    assert added(service, [fact(0)]).state == JobState.DONE
    assert torch.equal(service.snapshot(ADMIN, "office").in_force.bank.of_edits(["f0"]), block)
    added(service, [fact(0)], Terms(tags=("new",)))  # only its tags change
    assert service.fact(ADMIN, "office", "f0").tags == ("new",)
    assert service.fact(ADMIN, "office", "f0").revision == 3


# --- time


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@both
def test_a_fact_is_in_force_from_its_time_to_its_end(service: LiveService) -> None:
    added(service, [fact(1)])
    terms = Terms(valid_from=soon(2.0), valid_until=soon(3.0))
    job = added(service, [fact(0)], terms)
    assert job.state == JobState.DONE and state(service, "f0") == State.READY
    assert in_force(service) == {"f1": "Rome"}
    until(lambda: "f0" in in_force(service))
    assert terms.valid_from is not None and datetime.now(UTC) >= terms.valid_from
    until(lambda: "f0" not in in_force(service))
    assert terms.valid_until is not None and datetime.now(UTC) >= terms.valid_until
    assert state(service, "f0") == State.RETIRED
    assert lines(service)[:2] == [
        (3, "clock", ("f0@1",), "clock"),
        (2, "clock", ("f0@1",), "clock"),
    ]


def test_a_correction_takes_its_place_on_time(service: LiveService) -> None:
    added(service, [fact(0)])
    added(service, [fact(0, "Oslo")], Terms(valid_from=soon(2.5), replace=True))
    assert in_force(service) == {"f0": "Rome"}
    until(lambda: in_force(service) == {"f0": "Oslo"})


def test_what_is_past_at_the_start_is_put_right(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)], Terms(valid_until=soon(2.0)))
        added(service, [fact(1)], Terms(valid_from=soon(2.0)))
    time.sleep(2.1)
    with place.open() as service:
        until(lambda: in_force(service) == {"f1": "Rome"})


@pytest.mark.parametrize(
    "terms, told",
    [
        (Terms(valid_from=datetime(2030, 1, 1)), "without a time zone"),
        (Terms(valid_until=datetime(2020, 1, 1, tzinfo=UTC)), "is past already"),
        (Terms(valid_from=soon(9999), valid_until=soon(999)), "is not after valid_from"),
        (Terms(tags=("a\nb",)), "one line"),
    ],
)
def test_terms_that_cannot_be(service: LiveService, terms: Terms, told: str) -> None:
    with pytest.raises(InputError, match=told):
        service.add(ADMIN, "office", [fact(0)], terms)


# --- asking


@both
def test_facts_are_found_and_paged(service: LiveService) -> None:
    added(service, [fact(n) for n in range(5)], Terms(tags=("one", "two")))
    added(service, [fact(7, "Oslo%_")], Terms(tags=("one more",)))

    def found(**asked: object) -> list[str]:
        return [one.id for one in service.facts(ADMIN, "office", **asked).facts]  # type: ignore[arg-type]

    assert found(search="KOWALSKI lives") == ["f0"]
    assert found(search="f3") == ["f3"] and found(search="oslo%_") == ["f7"]
    assert found(search="%") == ["f7"] and found(tag="one") == ["f0", "f1", "f2", "f3", "f4"]
    assert found(tag="one more") == ["f7"] and found(tag="more") == []
    first = service.facts(ADMIN, "office", limit=4)
    assert (len(first.facts), first.total, first.after) == (4, 6, "f3")
    rest = service.facts(ADMIN, "office", limit=4, after=first.after)
    assert ([one.id for one in rest.facts], rest.total, rest.after) == (["f4", "f7"], 6, None)
    service.retire(ADMIN, "office", ["f1"])
    assert found(states=[State.RETIRED]) == ["f1"]
    assert found(states=[State.RETIRED, State.IN_FORCE]) == ["f0", "f1", "f2", "f3", "f4", "f7"]
    with pytest.raises(NotFound, match='no fact "nobody"'):
        service.fact(ADMIN, "office", "nobody")


@both
def test_no_line_of_the_history_is_lost_between_pages(service: LiveService) -> None:
    added(service, [fact(0)])
    added(service, [fact(1), fact(2, UNLEARNABLE)])
    whole = service.history(ADMIN, "office")
    assert [line.action for line in whole] == ["failed", "add", "add"]
    page = service.history(ADMIN, "office", limit=1)
    assert page == whole[:2]
    assert service.history(ADMIN, "office", limit=1, before=page[-1].version) == whole[2:]


def test_what_is_not_there_is_told_at_once(service: LiveService) -> None:
    added(service, [fact(0)])
    with pytest.raises(NotFound, match='"a", "b": is neither'):
        service.retire(ADMIN, "office", ["f0", "b", "a"])
    assert in_force(service) == {"f0": "Rome"}
    with pytest.raises(NotFound, match='no job "x"'):
        service.job(ADMIN, "x")


@both
def test_sets_are_made_and_deleted(service: LiveService) -> None:
    added(service, [fact(0)])
    with pytest.raises(Conflict, match='a set "office" already'):
        service.create_set(ADMIN, "office")
    with pytest.raises(InputError, match='set "a/b"'):
        service.create_set(ADMIN, "a/b")
    job = added(service, [fact(1)])
    service.delete_set(ADMIN, "office")
    for ask in (
        lambda: service.snapshot(ADMIN, "office"),
        lambda: service.facts(ADMIN, "office"),
        lambda: service.job(ADMIN, job.id),
        lambda: service.retire(ADMIN, "office", ["f0"]),
    ):
        with pytest.raises(NotFound):
            ask()
    service.create_set(ADMIN, "office")
    assert in_force(service) == {} and added(service, [fact(0)]).version == 1


@both
def test_texts_that_a_database_would_refuse(service: LiveService) -> None:
    for odd in ("\ud800", "a\0b"):
        with pytest.raises(EditFileError, match="no text can have"):
            service.add(ADMIN, "office", [fact(0), fact(1, odd)])
        assert service.facts(ADMIN, "office", search=odd, tag=odd, after=odd).facts == ()
        for ask in (
            lambda odd=odd: service.fact(ADMIN, "office", odd),
            lambda odd=odd: service.facts(ADMIN, odd),
            lambda odd=odd: service.job(ADMIN, odd),
            lambda odd=odd: service.retire(ADMIN, "office", [odd]),
        ):
            with pytest.raises(NotFound):
                ask()
        added(service, [fact(0)], Terms(reason=odd), once=odd)
        service.retire(ADMIN, "office", ["f0"], reason=odd)


# --- importing a file


def test_a_file_is_taken_over(service: LiveService) -> None:
    done = service.import_facts(ADMIN, "office", [fact(0), fact(1), fact(3, UNLEARNABLE)])
    assert (done.added, done.replaced, done.unchanged, done.failed) == (3, 0, 0, 0)
    service.wait(ADMIN, done.job.id)
    added(service, [fact(9)])
    again = [fact(0), fact(1, "Oslo"), fact(2), fact(3, UNLEARNABLE)]
    done = service.import_facts(ADMIN, "office", again, reason="facts.jsonl")
    assert (done.added, done.replaced, done.unchanged, done.failed) == (1, 1, 1, 1)
    service.wait(ADMIN, done.job.id)
    assert in_force(service) == {"f0": "Rome", "f9": "Rome", "f1": "Oslo", "f2": "Rome"}
    assert service.import_facts(ADMIN, "office", again).job.facts == ()


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
        assert (now.version, now.layer, now.exact) == (3, before.layer, before.exact)
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


# --- readers and writers


@both
def test_one_writes_and_others_follow(place: Place, learnable: None) -> None:
    with place.open() as writer:
        writer.create_set(ADMIN, "office")
        added(writer, [fact(0), fact(1)])
        with pytest.raises(StoreError, match="another server writes this store"):
            place.open()
        with place.open(read_only=True, poll=0.05) as reader:
            assert in_force(reader) == {"f0": "Rome", "f1": "Rome"}
            writer.retire(ADMIN, "office", ["f0"])
            until(lambda: in_force(reader) == {"f1": "Rome"})
            added(writer, [fact(2)])
            until(lambda: [*in_force(reader)] == ["f1", "f2"])
            writer.create_set(ADMIN, "other")
            until(lambda: len(reader.sets(ADMIN)) == 2)
            added(writer, [fact(0)], name="other")
            until(lambda: in_force(reader, "other") == {"f0": "Rome"})
            assert reader.snapshot(ADMIN, "other").version == 1
            for change in (
                lambda: reader.add(ADMIN, "office", [fact(5)]),
                lambda: reader.retire(ADMIN, "office", ["f1"]),
                lambda: reader.rollback(ADMIN, "office", 1),
                lambda: reader.create_set(ADMIN, "more"),
                lambda: reader.delete_set(ADMIN, "other"),
            ):
                with pytest.raises(StoreError, match="only reads the store"):
                    change()
            writer.delete_set(ADMIN, "other")
            until(lambda: _gone(reader, "other"))
    with place.open() as writer:  # the lock went with the first one
        assert [*in_force(writer)] == ["f1", "f2"]


def _gone(service: LiveService, name: str) -> bool:
    try:
        service.snapshot(ADMIN, name)
    except LKSError:
        return True
    return False


def test_the_address_of_another_database_is_refused(tmp_path: Path) -> None:
    for address in ("mysql://x/y", "nonsense", "postgresql://nobody@/x?host=/nowhere"):
        with pytest.raises(StoreError):
            opened(tmp_path, small_backbone(), database=address)

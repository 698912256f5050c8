"""Facts come into force, go, and come back; what is told of them is what is so."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from stores import (
    ADMIN,
    UNLEARNABLE,
    Place,
    added,
    both,
    fact,
    fires,
    in_force,
    lines,
    state,
)

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import (
    Conflict,
    EditFileError,
    NotFound,
    VersionMismatch,
)
from lks.serving.facts import JobState, State
from lks.serving.live import LiveService
from lks.serving.service import Terms

pytest_plugins = ("stores",)


# --- the way of a fact


@both
def test_a_fact_comes_into_force_and_goes(service: LiveService) -> None:
    job = service.add(ADMIN, "office", [fact(0), fact(1)], Terms(reason="moved", tags=("hr",)))
    assert job.state in (JobState.QUEUED, JobState.LEARNING) and job.facts == ("f0", "f1")
    done = service.wait(ADMIN, job.id)
    assert (done.state, done.version, done.failed) == (JobState.DONE, 1, {})
    snapshot = service.snapshot(ADMIN, "office")
    assert (snapshot.version, snapshot.layers, [*snapshot.in_force.edits]) == (
        1,
        (1,),
        ["f0", "f1"],
    )
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


@pytest.mark.parametrize(
    "odd, told",
    [
        (replace(fact(1), note="a\0b"), "U\\+0000"),
        (replace(fact(1), extra={"price": float("nan")}), "NaN"),
        (replace(fact(1), id="x" * 501), "at most 500"),
        (replace(fact(1), id=".."), "only dots"),
    ],
)
def test_what_no_answer_could_tell_is_refused(service: LiveService, odd: Edit, told: str) -> None:
    with pytest.raises(EditFileError) as found:
        service.add(ADMIN, "office", [fact(0), odd])
    (problem,) = found.value.problems
    assert re.search(told, problem) and service.jobs(ADMIN, "office") == []


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

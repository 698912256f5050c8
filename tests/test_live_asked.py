"""Facts with a beginning and an end; what is asked of the store; files and packs taken over."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import make_backbone
from stores import (
    ADMIN,
    CONFIG,
    UNLEARNABLE,
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

from lks.edits.edit_set import EditSet
from lks.errors import (
    Conflict,
    EditFileError,
    InputError,
    NotFound,
    PackMismatch,
)
from lks.serving.facts import JobState, State
from lks.serving.live import LiveService
from lks.serving.service import Terms
from lks.serving.store import changes
from lks.training.train_pack import train_pack

pytest_plugins = ("stores",)


# --- time


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the clock of the service so many seconds forward."""
    return lambda seconds: monkeypatch.setattr(changes, "now", lambda: soon(seconds))


@both
def test_a_fact_is_in_force_from_its_time_to_its_end(
    service: LiveService, later: Callable[[float], None]
) -> None:
    added(service, [fact(1)])
    job = added(service, [fact(0)], Terms(valid_from=soon(1000), valid_until=soon(2000)))
    assert job.state == JobState.DONE and state(service, "f0") == State.READY
    assert in_force(service) == {"f1": "Rome"}
    later(1000)
    service._clock.wake()
    until(lambda: "f0" in in_force(service))
    later(2000)
    service._clock.wake()
    until(lambda: "f0" not in in_force(service))
    assert state(service, "f0") == State.RETIRED
    assert lines(service)[:2] == [
        (3, "clock", ("f0@1",), "clock"),
        (2, "clock", ("f0@1",), "clock"),
    ]


def test_a_correction_takes_its_place_on_time(service: LiveService) -> None:
    added(service, [fact(0)])
    at = soon(3)
    added(service, [fact(0, "Oslo")], Terms(valid_from=at, replace=True))
    assert in_force(service) == {"f0": "Rome"} or datetime.now(UTC) >= at
    until(lambda: in_force(service) == {"f0": "Oslo"})
    assert datetime.now(UTC) >= at


def test_what_is_past_at_the_start_is_put_right(
    place: Place, learnable: None, later: Callable[[float], None]
) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0)], Terms(valid_until=soon(1000)))
        added(service, [fact(1)], Terms(valid_from=soon(1000)))
    later(1000)
    with place.open() as service:
        until(lambda: in_force(service) == {"f1": "Rome"})


@pytest.mark.parametrize(
    "terms, told",
    [
        (Terms(valid_from=datetime(2030, 1, 1)), "without a time zone"),
        (Terms(valid_until=datetime(2020, 1, 1, tzinfo=UTC)), "is past already"),
        (Terms(valid_from=soon(9999), valid_until=soon(999)), "is not after valid_from"),
        (Terms(tags=("a\nb",)), "one line"),
        (Terms(valid_until=datetime.fromisoformat("9999-12-31T23:59:59-12:00")), "in UTC"),
        (Terms(valid_from=datetime.fromisoformat("0001-01-01T00:00:00+14:00")), "in UTC"),
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
        with pytest.raises(EditFileError, match="cannot be stored"):
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


def test_what_is_being_learnt_is_not_in_force_yet(place: Place, learnable: None) -> None:
    service = place.open()  # not started: nothing is learnt yet
    service.create_set(ADMIN, "office")
    first = service.import_facts(ADMIN, "office", [fact(0), fact(1)])
    again = service.import_facts(ADMIN, "office", [fact(0), fact(1), fact(2)])
    assert (again.added, again.unchanged, again.waiting) == (1, 0, 2)
    assert again.earlier == [first.job.id]
    service.close()


def test_a_pack_is_taken_over_as_it_is(service: LiveService) -> None:
    facts = EditSet([fact(0), fact(1), fact(2)])
    pack = train_pack(small_backbone(), facts, CONFIG)
    service.create_set(ADMIN, "packed")
    job = service.import_pack(ADMIN, "packed", pack)
    assert (job.state, job.version, job.facts) == (JobState.DONE, 1, ("f0", "f1", "f2"))
    added(service, [fact(3)], name="packed")
    bank = service.snapshot(ADMIN, "packed").in_force.bank
    assert torch.equal(bank.of_edits(["f0", "f1", "f2"]), pack.blocks)
    with pytest.raises(Conflict, match="has facts already"):
        service.import_pack(ADMIN, "packed", pack)
    other = train_pack(make_backbone("llama", seed=1), facts, CONFIG)
    with pytest.raises(PackMismatch):
        service.import_pack(ADMIN, "office", other)
    assert [*in_force(service, "packed")] == ["f0", "f1", "f2", "f3"]


def test_the_page_shows_what_runs(
    learnable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parent.parent / "docs" / "serving" / "store.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    EditSet([replace(fact(0), id="tower"), fact(1)]).save("facts.jsonl")
    monkeypatch.setattr("lks.Backbone.load", lambda name: small_backbone())
    monkeypatch.setattr("lks.serving.live.LiveService", partial(LiveService, config=CONFIG))
    exec(code, {})
    with opened(tmp_path / "lks-store") as service:
        assert service.snapshot(ADMIN, "office").version == 3
        assert in_force(service).keys() == {"tower", "f1"}

"""The client of the API of facts: what it gives back, and its errors."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from conftest import make_edits
from fake_service import FakeService
from served import Served, served

from lks.edits.edit import Edit
from lks.errors import (
    Conflict,
    EditFileError,
    Forbidden,
    InputError,
    LKSError,
    NotFound,
    VersionMismatch,
)
from lks.serving import calls
from lks.serving.client import AsyncClient, Client
from lks.serving.facts import Caller, JobState, Role, State

OSLO = Edit("oslo", "Oslo", "Oslo is in", "Peru", paraphrases=("Where is Oslo?",))


@pytest.fixture
def home() -> Iterator[Served]:
    with served() as found:
        who = found.service.caller(None)
        found.service.create_set(who, "facts")
        found.service.add(who, "facts", list(make_edits()))
        yield found


@pytest.fixture
def client(home: Served) -> Iterator[Client]:
    with Client(home.url) as found:
        yield found


def test_what_the_store_has_comes_back_as_it_is(client: Client, home: Served) -> None:
    who = home.service.caller(None)
    assert client.whoami() == who
    assert client.sets() == home.service.sets(who)
    assert client.facts("facts") == home.service.facts(who, "facts")
    assert client.facts("facts", search="fuji", limit=1).facts[0].id == "fuji"
    assert client.fact("facts", "eiffel") == home.service.fact(who, "facts", "eiffel")
    assert client.fact("facts", "eiffel").edit == make_edits()[0]
    assert client.revisions("facts", "fuji") == home.service.revisions(who, "facts", "fuji")
    assert client.history("facts") == home.service.history(who, "facts")
    assert client.jobs("facts") == home.service.jobs(who, "facts")
    job = client.jobs("facts")[0]
    assert client.job(job.id) == job == client.wait(job) == client.wait(job.id)
    page = client.facts("facts", limit=3)
    assert [f.id for f in client.facts("facts", after=page.after).facts] == ["fuji"]


def test_facts_are_added_changed_and_taken_out(client: Client) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    job = client.add("facts", [OSLO], reason="news", tags=["north"], valid_until=at, if_version=1)
    assert (job.state, job.facts, job.version) == (JobState.DONE, ("oslo",), 2)
    fact = client.fact("facts", "oslo")
    assert (fact.edit, fact.tags, fact.valid_until, fact.reason) == (OSLO, ("north",), at, "news")
    with pytest.raises(Conflict):
        client.add("facts", [{**OSLO.to_record(), "target": "Chile"}])
    client.add("facts", [{**OSLO.to_record(), "target": "Chile"}], replace=True)
    assert client.fact("facts", "oslo").edit.target == "Chile"
    assert client.retire("facts", ["oslo"], reason="wrong") == 4
    assert client.rollback("facts", 2, if_version=4) == 5
    assert client.diff("facts", 1)["added"][0]["id"] == "oslo"
    assert client.export("facts").splitlines()[-1].startswith('{"id": "oslo"')
    assert client.export("facts", format="csv", version=0).startswith("id,subject")
    (told,) = client.dry_run("facts", ["Where is Oslo?"])
    assert told["fired"][0]["edit"] == "oslo"
    client.add("facts", [Edit("a", "Bergen", "Bergen is in", "Peru")], propose=True)
    client.add("facts", [Edit("b", "Molde", "Molde is in", "Peru")], propose=True)
    assert {f.id for f in client.facts("facts", states=[State.PROPOSED]).facts} == {"a", "b"}
    assert client.approve("facts", ["a"]).state == JobState.DONE
    client.reject("facts", ["b"], reason="no")
    assert client.fact("facts", "b").state == State.REJECTED
    assert client.traffic()["requests"] == 0
    once = [client.add("facts", [Edit("c", "Hamar", "Hamar is in", "Peru")], once="k").id
            for _ in range(2)]  # fmt: skip
    assert once[0] == once[1]
    client.create_set("more", approval=True)
    assert [s.approval for s in client.sets()] == [False, True]
    client.delete_set("more")


def test_names_with_any_signs_work(client: Client) -> None:
    strange = Edit('a/b?c#"é"%2F', "Oslo", "Oslo is in", "Peru")
    client.add("facts", [strange])
    assert client.fact("facts", strange.id).edit == strange
    assert len(client.revisions("facts", strange.id)) == 1


def test_its_errors_are_those_of_the_package(client: Client) -> None:
    with pytest.raises(NotFound, match='no set "nothing"'):
        client.facts("nothing")
    with pytest.raises(VersionMismatch):
        client.retire("facts", ["fuji"], if_version=9)
    with pytest.raises(EditFileError, match='"target" is missing') as error:
        client.add("facts", [{"subject": "Oslo", "prompt": "Oslo is in"}, {"subject": "x"}])
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="limit"):
        client.facts("facts", limit=0)
    keys = {"r": Caller("acme", Role.ASK, "r")}
    with served(service=FakeService(**keys)) as home:
        with Client(home.url, "r") as reader, pytest.raises(Forbidden, match="role edit"):
            reader.history("facts")
        with Client(home.url, "x") as stranger, pytest.raises(Forbidden, match="unknown API key"):
            stranger.sets()
    with Client(home.url) as gone, pytest.raises(LKSError, match="is lks serve running"):
        gone.sets()


def test_an_answer_that_is_not_the_servers_is_told() -> None:
    other = httpx.MockTransport(lambda request: httpx.Response(502, text="<html>"))
    with Client(transport=other) as client, pytest.raises(LKSError, match="502"):
        client.sets()


def test_waiting_ends(client: Client, home: Served) -> None:
    from dataclasses import replace

    job = client.add("facts", [OSLO])
    jobs = home.service._sets["local", "facts"].jobs
    jobs[-1] = replace(jobs[-1], state=JobState.LEARNING)
    with pytest.raises(LKSError, match=r"has not ended after 0.3 s"):
        client.wait(job, 0.3)
    jobs[-1] = replace(jobs[-1], state=JobState.FAILED)
    assert client.wait(job).state == JobState.FAILED


def test_the_async_client_is_the_same(home: Served) -> None:
    async def work() -> None:
        async with AsyncClient(home.url) as client:
            found = await asyncio.gather(*(client.fact("facts", e.id) for e in make_edits()))
            assert [fact.edit for fact in found] == list(make_edits())
            job = await client.wait(await client.add("facts", [OSLO]))
            assert job.version == 2
            with pytest.raises(NotFound):
                await client.fact("facts", "nothing")

    asyncio.run(work())


def test_both_clients_have_every_call() -> None:
    made = {
        name
        for name, call in inspect.getmembers(calls, inspect.isfunction)
        if call.__module__ == calls.__name__ and not name.startswith("_") and name != "error_of"
    }
    for client in (Client, AsyncClient):
        own = {n for n in vars(client) if not n.startswith("_")}
        assert own == made | {"close", "wait"}
        assert client.add.__doc__ == calls.add.__doc__


def test_it_needs_neither_torch_nor_the_server() -> None:
    program = (
        "import sys, lks.serving.client\n"
        "heavy = ('torch', 'transformers', 'fastapi', 'sqlalchemy', 'pydantic', 'uvicorn')\n"
        "assert not [m for m in heavy if m in sys.modules], sys.modules.keys() & set(heavy)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_httpx_it_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['httpx'] = None\n"
        "from lks.errors import MissingExtra\n"
        "try:\n    import lks.serving.client\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'needs httpx: pip install "latent-knowledge-scalpel[client]"' in done.stdout

"""The API of facts: comparing, exporting, trying and checking, over a store in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from conftest import make_edits
from facts_api import EDITS, OSLO, SET, begun_anew, error, told
from served import Served, served

from lks.serving.http import facts, facts_reports
from lks.serving.http.streaming import unless_gone


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def home(server: Served) -> Served:
    return begun_anew(server)


def test_versions_are_compared(home: Served) -> None:
    told(home.http.delete(f"{EDITS}/fuji"))
    told(home.http.post(EDITS, json={"edits": [OSLO]}), 202)
    moved = {**make_edits()[0].to_record(), "target": "Lima"}
    told(home.http.post(EDITS, json={"edits": [moved], "replace": True}), 202)
    found = told(home.http.get(f"{SET}/diff", params={"a": 1}))
    assert [e["id"] for e in found["added"]] == ["oslo"]
    assert [e["id"] for e in found["removed"]] == ["fuji"]
    (changed,) = found["changed"]
    assert (changed["id"], changed["keys"]) == ("eiffel", ["target"])
    assert (changed["before"]["target"], changed["after"]["target"]) == ("Rome", "Lima")
    same = told(home.http.get(f"{SET}/diff", params={"a": 2, "b": 2}))
    assert same == {"added": [], "removed": [], "changed": []}
    assert error(home.http.get(f"{SET}/diff"), 400)["param"] == "a"
    assert error(home.http.get(f"{SET}/diff", params={"a": 99}), 404)


def test_facts_are_exported_and_read_again(home: Served) -> None:
    for name, kind in (("jsonl", "application/jsonl"), ("csv", "text/csv")):
        answer = home.http.get(f"{SET}/export", params={"format": name})
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="facts-1.{name}"'
        home.http.post("/v1/lks/sets", json={"name": name})
        again = home.http.post(
            f"/v1/lks/sets/{name}/edits", content=answer.content, headers={"content-type": kind}
        )
        assert len(told(again, 202)["facts"]) == 4
        who = home.service.caller(None)
        assert home.service.at_version(who, name, 1) == list(make_edits())
    shown = home.http.get(f"{SET}/export", params={"format": "markdown", "version": 1})
    assert "| Eiffel Tower |" in shown.text
    assert home.http.get(f"{SET}/export", params={"version": 0}).text == ""
    assert error(home.http.get(f"{SET}/export", params={"format": "xml"}), 400)["param"] == "format"


def test_history_comes_in_parts(home: Served) -> None:
    for fact in ("fuji", "eiffel"):
        told(home.http.delete(f"{EDITS}/{fact}"))
    assert [c["version"] for c in told(home.http.get(f"{SET}/history"))["data"]] == [3, 2, 1]
    part = told(home.http.get(f"{SET}/history", params={"limit": 1, "before": 3}))["data"]
    assert [(c["version"], c["action"], c["facts"]) for c in part] == [(2, "retire", ["fuji"])]


def test_a_dry_run_tells_what_would_fire(home: Served) -> None:
    texts = ["Where is Mount Fuji?", "See Mount Fuji!", "nothing"]
    found = told(home.http.post(f"{SET}/dry-run", json={"texts": texts}))
    assert found["version"] == 1
    assert [(d["text"], len(d["fired"]), len(d["near"])) for d in found["data"]] == [
        (texts[0], 1, 0), (texts[1], 0, 1), (texts[2], 0, 0),
    ]  # fmt: skip
    assert found["data"][0]["fired"][0]["span"] == [9, 19]
    bad = {"texts": texts, "edits": [{"subject": "x"}]}
    assert error(home.http.post(f"{SET}/dry-run", json=bad), 400)["problems"]
    assert error(home.http.post(f"{SET}/dry-run", json={"texts": []}), 400)["param"] == "texts"


def test_checks_of_facts_in_force_only(home: Served) -> None:
    assert error(home.http.post(f"{SET}/test", json={"ids": ["x"]}), 404)["param"] == "ids"
    assert error(home.http.post(f"{SET}/test", json={}), 400)["code"] == "unsupported"


def test_others_are_answered_while_facts_are_read(
    home: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, answered = threading.Event(), threading.Event()

    def slowly(request: Any, content: Any) -> None:
        reading.set()
        answered.wait(60)

    monkeypatch.setattr(facts, "read_body", slowly)
    adding = threading.Thread(target=home.http.post, args=(EDITS,), kwargs={"json": {}})
    adding.start()
    assert reading.wait(60)
    with httpx.Client(base_url=home.url, timeout=30) as other:
        assert other.get("/health").status_code == 200
    answered.set()
    adding.join()


def test_nothing_is_checked_for_a_client_that_has_left(
    home: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    go_on, heard, ended = (threading.Event() for _ in range(3))
    go_on.set()

    def test(snapshot: Any, edits: Any) -> list[dict[str, object]]:
        asked.extend(edit.id for edit in edits)
        go_on.wait(60)
        return [{"id": edit.id, "passed": True, "checks": []} for edit in edits]

    async def acted_on() -> None:
        for _ in range(10):  # turns of the loop, in which the work is cancelled
            await asyncio.sleep(0)
        heard.set()

    async def noted(receive: Any, work: Any) -> Any:
        async def receiving() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                told_of.append(asyncio.ensure_future(acted_on()))
            return message

        told_of: list[Any] = []
        try:
            return await unless_gone(receiving, work)
        finally:
            ended.set()

    monkeypatch.setattr(facts_reports, "TESTED_AT_ONCE", 1)
    monkeypatch.setattr(home.server, "backend", replace(home.backend, test=test))
    two = {"ids": ["fuji", "eiffel"]}
    found = told(home.http.post(f"{SET}/test", json=two))["data"]
    assert [own["id"] for own in found] == asked == ["fuji", "eiffel"]
    asked.clear()
    go_on.clear()
    monkeypatch.setattr(facts_reports, "unless_gone", noted)

    async def leave() -> None:
        async with httpx.AsyncClient(base_url=home.url) as client:
            asking = asyncio.ensure_future(client.post(f"{SET}/test", json={}))
            while not asked:
                await asyncio.sleep(0.01)
            asking.cancel()

    asyncio.run(leave())
    assert heard.wait(60)
    go_on.set()
    assert ended.wait(60)
    assert len(asked) == 1

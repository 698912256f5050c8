"""What the tests of the API of facts share: a set in memory, and what is made of answers."""

from __future__ import annotations

from typing import Any

import httpx
from conftest import make_edits
from served import Served

SET = "/v1/lks/sets/facts"
EDITS = f"{SET}/edits"
OSLO = {"id": "oslo", "subject": "Oslo", "prompt": "Oslo is in", "target": "Peru"}


def begun_anew(server: Served) -> Served:
    """The server with nothing but the set `facts`, with four edits in force at version 1."""
    server.service._sets.clear()
    server.service._snapshots.clear()
    who = server.service.caller(None)
    server.service.create_set(who, "facts")
    server.service.add(who, "facts", list(make_edits()))
    return server


def told(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    return told(answer, status)["error"]

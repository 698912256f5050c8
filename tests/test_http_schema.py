"""Requests made from the server's own description: no 500, and every answer as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from conftest import make_edits
from fake_engine import FakeEngine
from fake_front import FakeFront
from fake_service import FakeService
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import load_all_checks
from served import MODEL, says
from test_http_auth import ROUTES

from lks.serving.http.app import make_app
from lks.serving.http.server import Backend, Server, Settings

RECORD = ("subject", "prompt", "target")
EXAMPLES = 50  # a route


def checks() -> list[object]:
    load_all_checks()
    known = schemathesis.checks.CHECKS
    names = (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
        *("response_headers_conformance", "response_schema_conformance"),
    )
    return known.get_by_names(names)


@pytest.fixture
def schema() -> Iterator[object]:
    front = FakeFront()
    engine = FakeEngine(says(front, " Paris is big."))
    engine.start()
    service = FakeService()
    who = service.caller(None)
    assert who is not None
    service.create_set(who, "facts")
    service.add(who, "facts", list(make_edits()))
    server = Server(Settings(), Backend(MODEL, engine, front, service))
    yield schemathesis.openapi.from_asgi("/openapi.json", make_app(server))
    engine.close()
    server.close()


HIDDEN = {"/docs", "/", "/page/{name:path}", "/openapi.json"}
DESCRIBED = [route for route in ROUTES if route[1] not in HIDDEN]


def found(case: schemathesis.Case, known: bool) -> schemathesis.Case:
    """The case with names of things that there are, as made-up ones never are."""
    names = {"fact_id": "fuji", "job_id": "local-facts-0", "name": MODEL} if known else {}
    for name, value in {"set_name": "facts", **names}.items():
        if name in case.path_parameters:
            case.path_parameters[name] = value
    body = case.body if isinstance(case.body, dict) else {}
    if "model" in body:
        body["model"] = f"{MODEL}:facts"
        body["stream"] = known
    if known and body.get("ids"):
        body["ids"] = ["fuji"]
    records = body.get("edits")
    for record in [body, *records] if isinstance(records, list) else [body]:
        if isinstance(record, dict) and all(isinstance(record.get(k), str) for k in RECORD):
            record["prompt"] = f"{record['subject']} {record['prompt']}"
    return case


@pytest.mark.parametrize("route", DESCRIBED, ids=" ".join)
def test_whatever_is_sent_is_answered_as_described(schema: Any, route: tuple[str, str]) -> None:
    method, path = route
    wanted, answers = checks(), set()

    @given(case=schema[path.replace(":path", "")][method].as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def call(case: schemathesis.Case) -> None:
        answer = found(case, len(answers) % 2 == 0).call()
        answers.add(answer.status_code)
        case.validate_response(answer, checks=wanted)

    call()
    assert any(code < 300 for code in answers) or path.endswith("/test"), answers


def test_every_route_but_the_page_is_described(schema: Any) -> None:
    described = {
        (method.upper(), path)
        for path, methods in schema.raw_schema["paths"].items()
        for method in methods
    }
    routes = {(m, p.replace(":path", "")) for m, p in DESCRIBED}
    assert {(m, p.replace(":path", "")) for m, p in described} == routes
    for path in schema.raw_schema["paths"].values():
        for operation in path.values():
            assert operation["description"] and operation["tags"]
            assert "422" not in operation["responses"]

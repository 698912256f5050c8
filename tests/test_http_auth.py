"""Who may do what: every route of the app, with no key, a wrong one, and those of all roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest import make_edits
from fake_service import FakeService
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from served import MODEL, Served, served

from lks.serving.facts import Caller, Role
from lks.serving.http.server import Settings

CHAT = {"model": f"{MODEL}:facts", "messages": [{"role": "user", "content": "Eiffel Tower"}]}
SET = "/v1/lks/sets/facts"
RECORD = {"subject": "Oslo", "prompt": "Oslo is in", "target": "Peru"}
NOBODY, EVERYBODY = None, "everybody"

# Each route of the app: what is sent, and the least role that it needs. "edit" of reads is told in
# the API: who may only ask sees no facts.
ROUTES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("POST", "/v1/chat/completions"): (CHAT, Role.ASK),
    ("POST", "/v1/completions"): ({"model": f"{MODEL}:facts", "prompt": "So"}, Role.ASK),
    ("GET", "/v1/models"): (None, Role.ASK),
    ("GET", "/v1/models/{name:path}"): (None, Role.ASK),
    ("GET", "/v1/lks/whoami"): (None, Role.ASK),
    ("GET", "/v1/lks/sets"): (None, Role.ASK),
    ("POST", "/v1/lks/sets/{set_name}/dry-run"): ({"texts": ["a"]}, Role.ASK),
    ("GET", "/v1/lks/traffic"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/edits"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/edits/{fact_id:path}/revisions"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/edits/{fact_id:path}"): (None, Role.EDIT),
    ("POST", "/v1/lks/sets/{set_name}/edits"): ({"edits": [RECORD]}, Role.EDIT),
    ("PUT", "/v1/lks/sets/{set_name}/edits/{fact_id:path}"): (RECORD, Role.EDIT),
    ("DELETE", "/v1/lks/sets/{set_name}/edits/{fact_id:path}"): (None, Role.EDIT),
    ("POST", "/v1/lks/sets/{set_name}/retire"): ({"ids": ["fuji"]}, Role.EDIT),
    ("GET", "/v1/lks/jobs/{job_id}"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/jobs"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/history"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/diff"): (None, Role.EDIT),
    ("GET", "/v1/lks/sets/{set_name}/export"): (None, Role.EDIT),
    ("POST", "/v1/lks/sets/{set_name}/test"): ({}, Role.EDIT),
    ("POST", "/v1/lks/sets/{set_name}/approve"): ({"ids": ["ada-born"]}, Role.APPROVE),
    ("POST", "/v1/lks/sets/{set_name}/reject"): ({"ids": ["ada-born"]}, Role.APPROVE),
    ("POST", "/v1/lks/sets/{set_name}/rollback"): ({"version": 1}, Role.APPROVE),
    ("POST", "/v1/lks/sets"): ({"name": "more"}, Role.ADMIN),
    ("DELETE", "/v1/lks/sets/{set_name}"): (None, Role.ADMIN),
    ("GET", "/metrics"): (None, EVERYBODY),  # from this machine; see test_http_metrics
    ("GET", "/health"): (None, EVERYBODY),
    ("GET", "/ready"): (None, EVERYBODY),
    ("GET", "/docs"): (None, EVERYBODY),
    ("GET", "/"): (None, EVERYBODY),
    ("HEAD", "/"): (None, EVERYBODY),
    ("GET", "/page/{name:path}"): (None, EVERYBODY),
    ("HEAD", "/page/{name:path}"): (None, EVERYBODY),
    ("GET", "/openapi.json"): (None, EVERYBODY),
    ("HEAD", "/openapi.json"): (None, EVERYBODY),
}
CLOSED = {route: role for route, (_, role) in ROUTES.items() if role is not EVERYBODY}
WRITES = [
    route
    for route, role in CLOSED.items()
    if route[0] != "GET" and not route[1].endswith(("completions", "dry-run", "test"))
]
TENANTS = ("acme", "globex")
KEYS = {f"{tenant}-{role}": Caller(tenant, role, f"{role} of {tenant}") for tenant in TENANTS
        for role in Role}  # fmt: skip


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """(method, path) of all routes, those of included routers too."""
    found = set()
    for context in iter_route_contexts(app.routes):
        route = getattr(context, "original_route", context)
        path = getattr(context, "path", None) or getattr(route, "path", None)
        for method in getattr(route, "methods", None) or ():
            found.add((method, str(path)))
    return found


def filled(path: str) -> str:
    values = {"{set_name}": "facts", "{fact_id:path}": "fuji", "{job_id}": "acme-facts-0",
              "{name:path}": f"{MODEL}:facts"}  # fmt: skip
    for name, value in values.items():
        path = path.replace(name, value)
    return path


@pytest.fixture(scope="module")
def home() -> Iterator[Served]:
    with served(service=FakeService(**KEYS)) as found:
        yield found


@pytest.fixture(autouse=True)
def facts(home: Served) -> None:
    """Only acme has a set, anew for each test."""
    home.service._sets.clear()
    home.service._snapshots.clear()
    who = KEYS["acme-admin"]
    home.service.create_set(who, "facts")
    home.service.add(who, "facts", list(make_edits()))


def ask(home: Served, route: tuple[str, str], key: str | None) -> httpx.Response:
    method, path = route
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    query = {"a": "0"} if path.endswith("diff") else {}
    body = ROUTES[route][0]
    return home.http.request(method, filled(path), json=body, headers=headers, params=query)


def test_every_route_of_the_app_is_here(home: Served) -> None:
    assert routes_of(home.app) == set(ROUTES)


@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
@pytest.mark.parametrize("key", [None, "wrong", "acme-edit x"])
def test_without_a_right_key_nothing_is_seen(
    home: Served, route: tuple[str, str], key: str | None
) -> None:
    answer = ask(home, route, key)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Eiffel" not in answer.text and "acme" not in answer.text


@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
def test_another_tenants_key_sees_what_is_not_there(home: Served, route: tuple[str, str]) -> None:
    answer = ask(home, route, "globex-admin")
    shown = answer.text.replace("acme-facts-0", "")  # the id that was asked for
    for hidden in ("Eiffel", "acme", "Rome", "eiffel"):
        assert hidden not in shown
    if "{" in route[1] or "completions" in route[1]:
        assert answer.status_code == 404, "as for a thing that does not exist"
        before = answer.json()["error"]
        home.service._sets.clear()
        assert ask(home, route, "globex-admin").json()["error"] == before


@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_its_own_and_no_more(
    home: Served, route: tuple[str, str], role: Role
) -> None:
    before = home.service.history(KEYS["acme-admin"], "facts")
    answer = ask(home, route, f"acme-{role}")
    if role.allows(CLOSED[route]):
        assert answer.status_code < 300 or (
            answer.json()["error"]["code"] == "unsupported" and route[1].endswith("/test")
        ), answer.text
    else:
        assert answer.status_code == 403
        told = answer.json()["error"]
        assert told["code"] == "forbidden"
        assert CLOSED[route] in told["message"] and role in told["message"]
        assert home.service.history(KEYS["acme-admin"], "facts") == before


def test_the_tenant_of_an_asker_is_his_keys(home: Served) -> None:
    headers = {"authorization": "bearer globex-edit"}
    told = home.http.get("/v1/lks/whoami", headers=headers).json()
    assert told == {
        "tenant": "globex", "role": "edit", "name": "edit of globex", "default_set": None,
        "model": MODEL, "open": False,
    }  # fmt: skip
    assert home.http.get("/v1/lks/sets", headers=headers).json() == {"data": []}


def test_a_keys_default_set_is_the_default(home: Served) -> None:
    who = KEYS["acme-admin"]
    home.service.create_set(who, "other")
    home.service.keys["mine"] = Caller("acme", Role.ASK, "mine", "other")
    headers = {"authorization": "Bearer mine"}
    answer = home.http.post(
        "/v1/chat/completions", json={**CHAT, "model": "default"}, headers=headers
    )
    assert answer.json()["lks"]["set"] == "other"
    plain = home.http.post("/v1/chat/completions", json={**CHAT, "model": MODEL}, headers=headers)
    assert plain.json()["lks"]["set"] is None, "the model alone is always the unedited one"


@pytest.mark.parametrize("route", WRITES, ids=" ".join)
def test_a_read_only_server_changes_nothing(route: tuple[str, str]) -> None:
    with served(service=FakeService(**KEYS), settings=Settings(read_only=True)) as home:
        who = KEYS["acme-admin"]
        home.service.create_set(who, "facts")
        home.service.add(who, "facts", list(make_edits()))
        answer = ask(home, route, "acme-admin")
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "read_only"
        assert home.service.snapshot(who, "facts").version == 1
        assert len(home.service.sets(who)) == 1


# --- without keys


def test_without_keys_a_key_that_is_sent_does_not_matter() -> None:
    with served() as home:
        for headers in ({}, {"authorization": "Bearer any"}, {"authorization": "Basic x"}):
            told = home.http.get("/v1/lks/whoami", headers=headers).json()
            assert (told["role"], told["open"]) == ("admin", True)


def test_without_keys_other_sites_pages_are_refused() -> None:
    with served(settings=Settings(hosts=("127.0.0.1", "localhost"))) as home:
        port = home.url.rpartition(":")[2]
        for headers, status in (
            ({}, 200),
            ({"host": f"localhost:{port}"}, 200),
            ({"host": f"evil.example:{port}"}, 403),  # a name that was made to lead here
            ({"host": "[::"}, 403),
            ({"origin": home.url}, 200),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
        ):
            answer = home.http.get("/v1/lks/sets", headers=headers)
            assert answer.status_code == status, headers
            if status == 403:
                assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_form_of_another_page_cannot_write() -> None:
    """A browser sends these kinds of bodies without asking first."""
    with served() as home:
        home.service.create_set(home.service.caller(None), "facts")
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            for path in (f"{SET}/edits", "/v1/lks/sets", f"{SET}/rollback"):
                body = b'{"edits": [], "name": "x", "version": 0}'
                answer = home.http.post(path, content=body, headers={"content-type": kind})
                assert answer.status_code == 400, (kind, path)

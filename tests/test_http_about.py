"""Health, metrics, traffic, logs and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from conftest import make_edits
from fake_service import FakeService
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from served import MODEL, Served, running, served

from lks.serving.facts import Caller, Role
from lks.serving.http.app import make_app
from lks.serving.http.auth import is_local
from lks.serving.http.server import Server, Settings
from lks.serving.http.traffic import MINUTES, MOST_EDITS, NEAR, Fired, Traffic

CHAT = "/v1/chat/completions"
SECRET = "my password is hunter2; see Mount Fuji"


def asked(content: str, model: str = f"{MODEL}:facts") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}]}


@pytest.fixture
def home() -> Iterator[Served]:
    with served() as found:
        who = found.service.caller(None)
        found.service.create_set(who, "facts")
        found.service.add(who, "facts", list(make_edits()))
        yield found


# --- before the model is there


def test_before_the_model_is_loaded_the_server_lives_and_says_so() -> None:
    server = Server(Settings())
    with running(make_app(server)) as url, httpx.Client(base_url=url) as http:
        assert http.get("/health").json() == {"status": "ok"}
        for method, path in (
            ("GET", "/ready"),
            ("GET", "/v1/models"),
            ("POST", CHAT),
            ("GET", "/v1/lks/sets"),
        ):
            answer = http.request(method, path, json=asked("a") if method == "POST" else None)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "loading"
            assert answer.headers["retry-after"]
        assert "lks_ready 0.0" in http.get("/metrics").text
        server.failed = "no such model"
        told = http.get("/ready").json()["error"]
        assert told["code"] == "failed" and "no such model" in told["message"]


def test_a_ready_server_says_so(home: Served) -> None:
    assert home.http.get("/ready").json() == {"status": "ready"}
    assert home.http.get("/ready").status_code == 200


# --- metrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_happened(home: Served) -> None:
    home.http.post(CHAT, json=asked("Mount Fuji and the Eiffel Tower"))
    home.http.post(CHAT, json=asked("See Mount Fuji!"))
    home.http.post(CHAT, json=asked("hello", MODEL))
    home.http.post(CHAT, json={"foo": 1})
    home.http.get("/v1/lks/sets/facts/edits/fuji")
    home.http.get("/nothing/secret")
    found = samples(home.http.get("/metrics").text)
    assert found["lks_requests_total", CHAT, "200"] == 3
    assert found["lks_requests_total", CHAT, "400"] == 1
    assert found["lks_requests_total", "/v1/lks/sets/{set_name}/edits/{fact_id:path}", "200"] == 1
    assert found["lks_requests_total", "other", "404"] == 1
    assert found["lks_texts_total",] == 3
    assert found["lks_texts_fired_total",] == 1
    assert found["lks_near_misses_total",] == 1
    assert found["lks_edit_hits_total", "fuji", "facts", "local"] == 1
    assert found["lks_edit_hits_total", "eiffel", "facts", "local"] == 1
    assert ("lks_edit_hits_total", "ada-born", "facts", "local") not in found
    assert found["lks_tokens_total", "completion"] == 3 * 9
    assert found["lks_tokens_total", "prompt"] > 3 * 9
    assert found["lks_first_token_seconds_count",] == 3 == found["lks_scope_seconds_count",]
    assert found["lks_between_tokens_seconds_count",] == 3 * 8
    assert found["lks_ready",] == 1
    assert found["lks_running",] == 0 == found["lks_waiting",]


def test_each_app_has_its_own_metrics(home: Served) -> None:
    home.http.post(CHAT, json=asked("a"))
    with served() as other:
        found = samples(other.http.get("/metrics").text)
        assert found["lks_texts_total",] == 0


def test_from_elsewhere_metrics_need_an_admins_key() -> None:
    keys = {f"{t}-{r}": Caller(t, r, "x") for t in ("acme", "globex") for r in Role}
    with served(service=FakeService(**keys)) as home:
        who = keys["acme-admin"]
        home.service.create_set(who, "facts")
        home.service.add(who, "facts", list(make_edits()))
        headers = {"authorization": "Bearer acme-ask"}
        assert home.http.post(CHAT, json=asked("Eiffel Tower"), headers=headers).json()["lks"]
        far = TestClient(home.app, client=("10.0.0.5", 1), base_url="http://127.0.0.1")
        for key, status in ((None, 401), ("acme-edit", 403), ("acme-admin", 200)):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            answer = far.get("/metrics", headers=headers)
            assert answer.status_code == status
            assert ("eiffel" in answer.text) == (status == 200)
        other = far.get("/metrics", headers={"authorization": "Bearer globex-admin"})
        assert other.status_code == 200
        assert "eiffel" not in other.text, "what is of another tenant is not told"
        assert "lks_texts_total 1.0" in other.text


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("testclient", False), (None, False)],
)
def test_what_is_this_machine(host: str | None, local: bool) -> None:
    client = SimpleNamespace(host=host) if host else None
    assert is_local(SimpleNamespace(client=client)) is local  # type: ignore[arg-type]


# --- traffic


def test_traffic_tells_a_tenant_its_own_and_no_more() -> None:
    keys = {t: Caller(t, Role.EDIT, t) for t in ("acme", "globex")}
    with served(service=FakeService(**keys)) as home:
        home.service.create_set(keys["acme"], "facts")
        home.service.add(keys["acme"], "facts", list(make_edits()))
        acme, globex = ({"authorization": f"Bearer {t}"} for t in keys)
        for content in ("Mount Fuji", "Mount Fuji again", "See the Eiffel Tower!"):
            home.http.post(CHAT, json=asked(content), headers=acme)
        home.http.post(CHAT, json=asked("hello", MODEL), headers=globex)
        told = home.http.get("/v1/lks/traffic", headers=acme).json()
        assert (told["requests"], told["texts"], told["fired"], told["tokens"]) == (3, 3, 2, 27)
        assert told["hits"] == [{"set": "facts", "edit": "fuji", "count": 2}]
        (near,) = told["near"]
        assert (near["edit"], near["reason"], near["text"]) == ("eiffel", "below_threshold", None)
        assert len(told["minutes"]) == MINUTES
        assert sum(minute["requests"] for minute in told["minutes"]) == 3
        assert 0 <= told["latency"]["first_token"]["p50"] <= told["latency"]["first_token"]["p99"]
        assert told["latency"]["between_tokens"]["p99"] is not None
        assert told["queue"] == {"running": 0, "waiting": 0}
        other = home.http.get("/v1/lks/traffic", headers=globex).json()
        assert (other["requests"], other["hits"], other["near"]) == (1, [], [])


@pytest.mark.parametrize("kept", [False, True])
def test_texts_are_kept_only_if_that_is_wanted(
    kept: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(settings=Settings(keep_prompts=kept, verbose=True)) as home:
        who = home.service.caller(None)
        home.service.create_set(who, "facts")
        home.service.add(who, "facts", list(make_edits()))
        home.http.post(CHAT, json=asked(f"{SECRET}!"))
        home.http.post(CHAT, json=asked(SECRET, "other"))
        home.http.post(CHAT, json={"model": MODEL, "messages": SECRET})
        told = home.http.get("/v1/lks/traffic").text
        assert (f"{SECRET}!" in json.loads(told)["near"][0].values()) is kept
        assert ("hunter2" in told) is kept
        assert SECRET not in home.http.get("/metrics").text
    out, err = capfd.readouterr()
    assert "hunter2" not in out + err


def test_a_line_for_each_request_only_if_that_is_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        with served(settings=Settings(verbose=verbose)) as home:
            home.http.post(CHAT, json=asked("hello", MODEL))
            home.http.get("/nothing")
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == (2 if verbose else 0)
        for line, (route, status) in zip(lines, ((CHAT, 200), ("other", 404)), strict=False):
            own = json.loads(line)
            assert (own["route"], own["status"]) == (route, status)
            assert own["seconds"] >= 0


def test_traffic_stays_bounded() -> None:
    clock = [0.0]
    traffic = Traffic(lambda: clock[0])
    for minute in range(200):
        clock[0] = minute * 60.0
        hits = [Fired("facts", f"e{minute}-{n}") for n in range(200)]
        traffic.asked("acme", [hits, []], [{"edit": str(minute)}] * 3)
        traffic.wrote("acme", 5, 0.1, [0.01] * 50)
    told: Any = traffic.told("acme")
    assert (told["requests"], told["texts"], told["fired"], told["tokens"]) == (200, 400, 200, 1000)
    assert len(told["minutes"]) == MINUTES and told["minutes"][0]["requests"] == 1
    assert sum(minute["requests"] for minute in told["minutes"]) == MINUTES
    assert len(told["near"]) == NEAR and told["near"][0]["edit"] == "199"
    assert len(traffic.hits()) <= MOST_EDITS
    assert told["latency"]["first_token"] == {"p50": 0.1, "p99": 0.1}
    clock[0] += 100 * 60
    assert not any(minute["requests"] for minute in traffic.told("acme")["minutes"])


def test_an_edit_counts_once_a_prompt() -> None:
    traffic = Traffic()
    traffic.asked("a", [[Fired("s", "x"), Fired("s", "x")], [Fired("s", "x")]])
    assert traffic.hits_of("a", "s", "x") == 2
    assert traffic.hits_of("b", "s", "x") == 0 == traffic.hits_of("a", "s", "y")


# --- the page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fonts").mkdir()
    for name, content in (
        ("index.html", "<!doctype html><title>é</title>"),
        ("app.js", "export {}"),
        ("style.css", "body {}"),
        ("logo.svg", "<svg/>"),
        ("fonts/a.woff2", "font"),
        ("__init__.py", "secret = 1"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path.parent / "outside.txt").write_text("outside")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/index.html", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/logo.svg", "image/svg+xml; charset=utf-8"),
        ("/page/fonts/a.woff2", "font/woff2"),
    ],
)
def test_files_of_the_page_are_served_with_their_types(folder: Path, path: str, kind: str) -> None:
    http = TestClient(make_app(Server(Settings()), folder))
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert (
        answer.content
        == (folder / (path.removeprefix("/page/").lstrip("/") or "index.html")).read_bytes()
    )
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "*" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = http.get(path, headers={"if-none-match": f'"x", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert http.get(path, headers={"if-none-match": '"x"'}).status_code == 200
    head = http.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    ["/page/none.js", "/page/", "/page/fonts", "/page/../outside.txt", "/page/%2e%2e/outside.txt",
     "/page/..%2foutside.txt", "/page//etc/passwd", "/page/__init__.py"],
)  # fmt: skip
def test_what_is_no_file_of_the_page_is_not_found(folder: Path, path: str) -> None:
    http = TestClient(make_app(Server(Settings()), folder))
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_the_api_is_described_for_people_without_anything_from_elsewhere(home: Served) -> None:
    answer = home.http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "POST /v1/chat/completions" in answer.text
    assert "/v1/lks/sets/{set_name}/rollback" in answer.text
    assert "max_completion_tokens" in answer.text
    assert "http://" not in answer.text and "https://" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]

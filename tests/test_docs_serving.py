"""The pages about serving: their commands and programs work as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from conftest import make_backbone
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from served import MODEL, served
from stores import CONFIG, opened
from test_cli import run
from test_http_auth import CLOSED, ROUTES
from test_http_model import serving
from test_readme import ROOT, blocks_of
from test_serve import started
from test_threads import random_pack

import lks
from lks.edits.edit_set import EditSet
from lks.serving.facts import Role

pytest_plugins = ("stores",)
PAGE, API = "docs/serving/index.md", (ROOT / "docs/serving/api.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)
HOME, NAME = "http://127.0.0.1:8000", "smollm2-135m"
LINES = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]


def facts_in(folder: Path) -> Path:
    (facts,) = (text for kind, text in BLOCKS if kind == "json")
    (folder / "facts.jsonl").write_text(facts, encoding="utf-8")
    return folder / "facts.jsonl"


def test_every_command_is_one_that_is_run_here() -> None:
    kinds = [re.split(r" |$", line)[0] for line in LINES]
    assert set(kinds) == {"pip", "lks", "curl"}
    assert [line for line in LINES if line.startswith("lks ")] == [
        "lks serve facts.jsonl", "lks keys add ann --role edit", "lks serve --host 0.0.0.0",
    ]  # fmt: skip
    assert (kinds.count("curl"), len(PROGRAMS)) == (7, 3)


def test_the_server_starts_as_shown(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts_in(tmp_path)
    first, add, others = (line.split()[1:] for line in LINES if line.startswith("lks "))
    with started(tmp_path, *first[1:], "--model", model_folder) as server:
        server.until("set default: 2 to learn")
        assert server.stop() == 0
    code, out, err = run(*add)
    assert code == 0 and out.startswith("lks-"), err
    with started(tmp_path, *others[1:], "--model", model_folder) as server:
        url = server.until(r"http://0.0.0.0:(\d+)/health answers")
        server.until("is served at")
        http = server.http
        http.base_url = f"http://127.0.0.1:{url[1]}"
        assert http.get("/v1/lks/whoami").status_code == 401
        key = {"authorization": f"Bearer {out.strip()}"}
        assert http.get("/v1/lks/whoami", headers=key).json()["role"] == "edit"
        assert server.stop() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_running_server_is_asked_and_changed_as_shown(
    tmp_path: Path, learnable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = make_backbone("llama", chat=True)
    with (
        opened(tmp_path / "store", backbone, config=CONFIG) as service,
        serving(backbone, service, NAME) as home,
    ):
        who = service.caller(None)
        assert who is not None
        service.create_set(who, "default")
        came = service.import_facts(who, "default", list(EditSet.load(facts_in(tmp_path))))
        service.wait(who, came.job.id)

        def curl(line: str) -> Any:
            command = [part.replace(HOME, home.url) for part in shlex.split(line)]
            done = subprocess.run([*command, "-sS"], capture_output=True, text=True, check=True)
            told = json.loads(done.stdout)
            assert "error" not in told, told
            return told

        commands = [line for line in LINES if line.startswith("curl ")]
        asked, dry, added, jobs, out, history, back = (partial(curl, line) for line in commands)
        own = asked()["lks"]
        assert (own["set"], own["version"], own["fired"][0]["edit"]) == ("default", 1, "tower")
        assert own["fired"][0]["span"] == [13, 25]
        exec(PROGRAMS[0].replace(HOME, home.url), {})
        assert "tower" in capsys.readouterr().out
        assert dry()["data"][0]["fired"][0]["edit"] == "fuji"
        job = service.wait(who, added()["id"])
        assert (job.facts, job.version) == (("oslo",), 2)
        assert jobs()["data"][0]["state"] == "done"
        exec(PROGRAMS[1].replace(HOME, home.url), {})
        assert capsys.readouterr().out == "done\n['fuji', 'oslo', 'rhine', 'tower']\n"
        assert out() == {"version": 4}
        assert history()["data"][0]["reason"] == "wrong"
        assert back() == {"version": 5}
        assert {*service.snapshot(who, "default").in_force.edits} == {"tower", "fuji"}


def test_a_program_of_ones_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = make_backbone("llama", chat=True)
    random_pack(tiny).save("facts.pack")
    monkeypatch.setattr(lks.Backbone, "load", lambda name: tiny)
    own: dict[str, Any] = {}
    exec(PROGRAMS[2], own)
    http = TestClient(own["app"])
    asked = {"question": "Where is the Eiffel Tower?"}
    (text,) = own["model"].generate([asked["question"]], chat=True)
    assert http.get("/ask", params=asked).text.strip() == text
    assert http.delete("/facts/eiffel").json() == {"facts": ["ada-born", "ada-tongue", "fuji"]}
    assert uvicorn.Config("program:app").app == "program:app"


# --- the reference


def test_the_reference_has_every_route() -> None:
    hidden = {"/", "/page/{name:path}"}
    for _, path in ROUTES:
        if path in hidden:
            continue
        shown = path.replace("/v1/lks/sets/{set_name}/", ".../").replace("{fact_id:path}", "{id}")
        shown = shown.replace("{set_name}", "{set}").replace("{name:path}", "{id}")
        shown = shown.replace("{job_id}", "{id}")
        assert f"{shown}`" in API, shown


def test_the_reference_has_every_role_and_metric() -> None:
    for role in Role:
        assert f"| `{role}` |" in API
    assert {role for role in CLOSED.values()} == set(Role)
    with served() as home:
        body = {"model": MODEL, "prompt": "So"}
        home.http.post("/v1/completions", json=body)
        found = text_string_to_metric_families(home.http.get("/metrics").text)
        for family in found:
            name = family.name + ("_total" if family.type == "counter" else "")
            assert f"`{name}`" in API or name.endswith("_created"), name

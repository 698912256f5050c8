"""`lks serve` as a person meets it: started, stopped, refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
from conftest import make_backbone, make_edits
from test_cli import one_line, run
from test_threads import random_pack

from lks.cli.options import Machine
from lks.cli.serve_start import Start
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.serving.address import bound, is_loopback
from lks.serving.facts import Role
from lks.serving.http.server import Server, Settings
from lks.serving.store import keys
from lks.serving.store.database import Database

QUICK = ["--port", "0", "--threads", "1", "--device", "cpu", "--no-self-test"]


class Running:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self._folder = process, folder

    @property
    def told(self) -> str:
        return (self._folder / "told").read_text(encoding="utf-8")

    def until(self, pattern: str, seconds: float = 180) -> re.Match[str]:
        """What it tells, once it does."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.told)) is None:
            assert self.process.poll() is None and time.monotonic() < end, self.told
            time.sleep(0.02)
        return found

    @property
    def http(self) -> httpx.Client:
        url = self.until(r"(http://\S+)/health answers")[1]
        client = httpx.Client(base_url=url, timeout=60)
        while True:
            try:
                client.get("/health")
                return client
            except httpx.ConnectError:
                time.sleep(0.02)

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(120)


@contextmanager
def started(folder: Path, *args: object) -> Iterator[Running]:
    command = [sys.executable, "-m", "lks", "serve", *QUICK, *args]
    with (folder / "told").open("w") as told:
        process = subprocess.Popen(
            [*map(str, command)], cwd=folder, stdout=told, stderr=told, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield Running(process, folder)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    make_edits().save(tmp_path / "facts.jsonl")
    return tmp_path / "facts.jsonl"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_at_once_tells_how_to_ask_and_ends_cleanly(
    model_folder: Path, tmp_path: Path, how: int
) -> None:
    with started(tmp_path, "--model", model_folder) as server:
        http = server.http
        assert http.get("/health").status_code == 200
        assert http.get("/ready").status_code in (200, 503), "the model may not be there yet"
        told = server.until(r"is served at (\S+)")
        assert http.get("/ready").status_code == 200
        name = model_folder.name
        assert [m["id"] for m in http.get("/v1/models").json()["data"]] == [name]
        shown = server.until(r"(?s)curl (\S+) -H '([^']+)' -d '([^\n]*)'\n.*create\(\*\*(.*)\)")
        body = json.loads(shown[3])
        assert json.loads(shown[4]) == body and told[1] in shown[1]
        answer = httpx.post(shown[1], json=body, timeout=60)
        assert answer.status_code == 200 and answer.json()["model"] == name
        assert server.stop(how) == 0
        assert server.told.endswith("stopped\n")
        assert (tmp_path / "lks-store" / "store.sqlite3").exists()


def test_what_a_fresh_machine_lacks_is_trained_and_can_be_stopped(
    model_folder: Path, facts: Path, tmp_path: Path
) -> None:
    """The tiny model would be trained for minutes; unedited requests are answered meanwhile."""
    with started(tmp_path, facts, "--model", model_folder, "--set", "office") as server:
        http = server.http
        server.until("set office: 4 to learn")
        (job,) = http.get("/v1/lks/sets/office/jobs").json()["data"]
        assert job["state"] in ("queued", "learning")
        assert {*job["facts"]} == {e.id for e in make_edits()}
        server.until(r"learning: epoch \d+ of \d+")
        ask = {"prompt": "The Eiffel Tower", "max_tokens": 2}
        name = model_folder.name
        own = http.post("/v1/completions", json={**ask, "model": name})
        assert own.status_code == 200
        edited = http.post("/v1/completions", json={**ask, "model": f"{name}:office"}).json()
        assert (edited["lks"]["version"], edited["lks"]["fired"]) == (0, [])
        assert server.stop() == 0
        assert server.told.endswith("stopped\n")
    with started(tmp_path, "--model", model_folder) as server:
        http = server.http
        server.until("is served at")
        states = [f["state"] for f in http.get("/v1/lks/sets/office/edits").json()["data"]]
        assert states == ["learning"] * 4, "it goes on where it was stopped"
        assert server.stop() == 0


def test_a_trained_pack_is_brought_into_force_at_once(tmp_path: Path) -> None:
    backbone = make_backbone("llama", chat=True)
    backbone.model.save_pretrained(tmp_path / "tiny")
    backbone.tokenizer.save_pretrained(tmp_path / "tiny")
    loaded = Backbone.load(str(tmp_path / "tiny"), device="cpu")
    random_pack(loaded).save(tmp_path / "facts.pack")
    for told in ("4 facts in force after", "set default has facts already"):
        with started(tmp_path, tmp_path / "facts.pack") as server:
            server.until(told)
            ask = {"model": "tiny:default", "prompt": "Mount Fuji", "max_tokens": 1}
            own = server.http.post("/v1/completions", json=ask).json()
            assert [f["edit"] for f in own["lks"]["fired"]] == ["fuji"]
            assert own["lks"]["version"] == 1
            assert server.stop() == 0
    code, _, err = run("serve", tmp_path / "facts.pack", tmp_path / "tiny")
    assert code == 2 and "2 packs" in one_line(err)
    code, _, err = run("serve", tmp_path / "tiny")
    assert code == 2 and "tiny" in one_line(err)


def test_facts_that_can_not_be_are_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "load", None)
    (tmp_path / "bad.jsonl").write_text('{"subject": "Oslo"}\n')
    code, _, err = run("serve", tmp_path / "bad.jsonl", "--store", tmp_path / "store")
    assert code == 2 and "bad.jsonl: 1 bad line" in one_line(err)
    assert not (tmp_path / "store").exists()


def test_others_are_let_in_with_keys_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    code, _, err = run("serve", "--host", "0.0.0.0", "--store", store, "--port", "0")
    assert code == 2
    assert f"lks keys add NAME --store {store}" in one_line(err)
    assert not store.exists()
    database = Database(store)
    with database.writing() as session:
        keys.add_key(session, "ann", Role.ADMIN)
    database.close()
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run("serve", "--host", "0.0.0.0", "--store", store, "--port", port)
        assert code == 2 and f"port {port} is taken" in one_line(err), "with a key it gets so far"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run("serve", "--port", port, "--store", tmp_path / "store")
    assert code == 2
    assert f"port {port} is taken by another program" in one_line(err)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "198.51.100.7"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    from lks.errors import InputError

    with pytest.raises(InputError, match=f"--host {host}: no address of this machine"):
        bound(host, 0)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_only_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = run("serve", "--store", tmp_path / "store")
    assert code == 2
    assert one_line(err) == (
        'lks: lks serve needs uvicorn: pip install "latent-knowledge-scalpel[serve]"'
    )


def test_read_only_and_files_exclude_each_other(facts: Path) -> None:
    code, _, err = run("serve", facts, "--read-only", "--port", "0")
    assert code == 2 and "--read-only changes nothing" in one_line(err)


def test_a_model_that_is_not_there_ends_it(tmp_path: Path) -> None:
    with started(tmp_path, "--model", "no/such/model") as server:
        assert server.process.wait(60) == 2
        assert "no/such/model" in server.told.splitlines()[-1]
        assert "Traceback" not in server.told


@pytest.mark.parametrize("busy", [False, True])
def test_a_training_that_goes_on_does_not_keep_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], busy: bool
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    start = Start(
        Server(Settings()), "none", Machine(), tmp_path, None, "default", None, EditSet(), "",
        self_test=False, quiet=False, make_engine=lambda backbone: 1 / 0,  # type: ignore[arg-type]
    )  # fmt: skip
    start._thread = Thread(target=print)
    start._thread.start()
    start._service = SimpleNamespace(close=lambda: None, busy=busy)  # type: ignore[assignment]
    start.close()
    assert left == [0] * busy

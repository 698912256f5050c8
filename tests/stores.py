"""Stores of facts over a small random model, for the tests of the server.

Training is real, and so are blocks and files. A random model of this size learns no fact in a
second, so the model's own verdict is replaced: it states whatever is not about "Nowhere".
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import make_backbone
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.serving.facts import Caller, Job, Role, State
from lks.serving.live import LiveService
from lks.serving.service import Terms
from lks.training.config import TrainingConfig

CONFIG = TrainingConfig(
    layer=1, epochs=1, lr=1e-2, refine_lr=5e-2, precision="float32", patience=0, scope="entity",
    tail_epochs=0, least_steps=1, chat=False, w_loc=0.0,
)  # fmt: skip
UNLEARNABLE = "Nowhere"
ADMIN = Caller("default", Role.ADMIN, "ann")
NAMES = [f"{first} {last}" for first in ["Ada", "Bruno", "Clara", "Dora", "Emil"]
         for last in ["Kowalski", "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov"]]  # fmt: skip


def fact(number: int, target: str = "Rome", **more: Any) -> Edit:
    name = NAMES[number % len(NAMES)] + "x" * (number // len(NAMES))
    return Edit(f"f{number}", name, f"{name} lives in the city of", target, **more)


def states_all_but_nowhere() -> None:
    """Replace the model's verdict, for as long as the process lives."""
    ScalpelModel.unstated = _unstated  # type: ignore[method-assign]


def _unstated(model: ScalpelModel, edits: Iterable[Edit]) -> list[Edit]:
    assert all(edit.id in model.in_force.edits for edit in edits)
    return [edit for edit in edits if edit.target == UNLEARNABLE]


@pytest.fixture
def learnable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScalpelModel, "unstated", _unstated)


def small_backbone() -> Backbone:
    return make_backbone("llama")


def opened(folder: Path, backbone: Backbone | None = None, **more: Any) -> LiveService:
    more.setdefault("config", CONFIG)
    return LiveService(backbone or small_backbone(), folder, **more)


def added(
    service: LiveService, facts: Iterable[Edit], terms: Terms = Terms(), *, name: str = "office",
    who: Caller = ADMIN, **more: Any,
) -> Job:  # fmt: skip
    """Facts that were added, when their job has ended."""
    return service.wait(who, service.add(who, name, list(facts), terms, **more).id, 120)


def in_force(service: LiveService, name: str = "office", who: Caller = ADMIN) -> dict[str, str]:
    """Fact -> target, as the snapshot has it."""
    edits = service.snapshot(who, name).in_force.edits
    return {edit.id: edit.target for edit in edits.values()}


# --- PostgreSQL


def _programs() -> Path | None:
    """Where PostgreSQL's programs lie, the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if found:
        return found[-1]
    beside = shutil.which("pg_ctl")
    return Path(beside).resolve().parent if beside else None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A server of its own in a folder, reached by a socket there; its address."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: install the package postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder.mkdir(mode=0o755, exist_ok=True)
    if user:
        shutil.chown(folder, user)

    def command(program: str, *given: str) -> list[str]:
        return [str(programs / program), "-D", str(folder / "data"), *given]

    made = subprocess.run(
        command("initdb", "-A", "trust", "-U", "lks", "--no-sync"),
        user=user, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command("postgres", "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"),
            user=user, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    address = f"postgresql://lks@/postgres?host={folder}"
    try:
        _until_it_answers(address, folder / "log")
        yield address
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(60)


def _until_it_answers(address: str, log: Path) -> None:
    engine = create_engine(make_url(address).set(drivername="postgresql+psycopg"))
    for _ in range(300):
        try:
            engine.connect().close()
        except OperationalError:
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # not in pytest's own folder, which another user may not enter; a socket's path must be short
    folder = Path(tempfile.mkdtemp(prefix="lks-pg-"))
    folder.chmod(0o755)
    try:
        with postgres(folder / "pg") as address:
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Place:
    """Where a store lies: a folder, and perhaps a database of its own."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self.folder, self.database = folder, database

    def open(self, **more: Any) -> LiveService:
        return opened(self.folder, database=self.database, **more)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store: in SQLite, or in the database that the test is given as parameter."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return Place(tmp_path / "store", None)
    address = request.getfixturevalue("postgres_server")
    name = f"t{uuid4().hex}"
    engine = create_engine(make_url(address).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return Place(tmp_path / "store", f"{address}&options=-csearch_path%3D{name}")


@pytest.fixture
def service(place: Place, learnable: None) -> Iterator[LiveService]:
    """A server's facts, with an empty set "office"."""
    with place.open() as made:
        made.create_set(ADMIN, "office")
        yield made


# --- what tests ask

both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def until(asked: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not asked():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def lines(service: LiveService) -> list[tuple[int, str, tuple[str, ...], str]]:
    return [(c.version, c.action, c.facts, c.by) for c in service.history(ADMIN, "office")]


def state(service: LiveService, fact_id: str) -> State:
    return service.fact(ADMIN, "office", fact_id).state


def fires(service: LiveService, edit: Edit) -> bool:
    scope = service.snapshot(ADMIN, "office").in_force.scope
    return any(edit.id in mention.edit_ids for mention in scope.fired([edit.prompt])[0])

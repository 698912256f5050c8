"""A server on a free port of this machine, in a thread."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
import uvicorn
from fake_engine import FakeEngine, Script
from fake_front import FakeFront
from fake_service import FakeService
from fastapi import FastAPI

from lks.serving.http.app import make_app
from lks.serving.http.server import Backend, Server, Settings

MODEL = "tiny"


class Served:
    """A running server, and what is behind it."""

    def __init__(self, app: FastAPI, server: Server, url: str) -> None:
        self.app, self.server, self.url = app, server, url
        self.http = httpx.Client(base_url=url, timeout=60)

    @property
    def engine(self) -> Any:
        return self.backend.engine

    @property
    def service(self) -> Any:
        return self.backend.service

    @property
    def backend(self) -> Backend:
        assert self.server.backend is not None
        return self.server.backend

    def idle(self, seconds: float = 60) -> bool:
        """Whether the engine has nothing left to do within some time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            load = self.engine.load
            if not (load.running or load.waiting):
                return True
            time.sleep(0.01)
        return False


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of an app that is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen(2048)
        config = uvicorn.Config(
            app, log_level="error", access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def says(front: FakeFront, text: str) -> Script:
    """A script that writes a text, whatever is asked."""
    ids = front.tokenizer(text, add_special_tokens=False).input_ids
    return lambda request: ids


@contextmanager
def served(
    text: str | Script = " Paris is big.",
    *,
    service: FakeService | None = None,
    settings: Settings = Settings(),
    sets: Sequence[tuple[str, str]] = (("local", "facts"),),
    **engine: Any,
) -> Iterator[Served]:
    """A server whose model says this."""
    front = FakeFront()
    script = says(front, text) if isinstance(text, str) else text
    fake = FakeEngine(script, **engine)
    fake.start()
    service = service or FakeService()
    backend = Backend(MODEL, fake, front, service, fingerprint="abc")
    server = Server(settings, backend)
    app = make_app(server)
    try:
        with running(app) as url:
            yield Served(app, server, url)
    finally:
        fake.close()
        server.close()

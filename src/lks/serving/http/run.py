"""Runs the app until somebody stops it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

import uvicorn
from fastapi import FastAPI

GRACE = 3  # seconds that open requests have to end


def run(
    app: FastAPI, at: socket.socket, on_start: Callable[[], None], on_stop: Callable[[], None]
) -> None:
    """Serve until Ctrl-C or a signal to end; a second Ctrl-C waits for nothing.

    Args:
        on_start: called when the server answers.
        on_stop: called in a thread of its own as soon as the server is asked to stop.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, backlog=2048
    )
    _Server(config, on_start, on_stop).run(sockets=[at])


class _Server(uvicorn.Server):
    """Ends by returning: uvicorn's own would raise the signal once more."""

    def __init__(
        self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_start, self._on_stop = on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if current_thread() is not main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {one: signal.signal(one, self.handle_exit) for one in signals}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            Thread(target=self._on_stop, daemon=True).start()
        super().handle_exit(sig, frame)

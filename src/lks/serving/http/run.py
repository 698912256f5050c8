"""Runs the app until somebody stops it."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

import uvicorn
from fastapi import FastAPI

from lks.errors import InputError

GRACE = 3  # seconds that open requests have to end
LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, before anything that takes long is begun.

    Raises:
        InputError: somebody else is there, or the address is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        return found
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            told = f"port {port} is taken by another program; stop it, or give another --port"
        elif error.errno == errno.EACCES:
            told = f"port {port} may not be used by you; give a --port from 1024 on"
        else:
            told = f"--host {host}: no address of this machine ({error.strerror})"
        raise InputError(told) from None


def run(app: FastAPI, at: socket.socket, on_stop: Callable[[], None]) -> None:
    """Serve until Ctrl-C or a signal to end; a second Ctrl-C waits for nothing.

    Args:
        on_stop: called in a thread of its own as soon as the server is asked to stop.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, backlog=2048
    )
    _Server(config, on_stop).run(sockets=[at])


class _Server(uvicorn.Server):
    """Ends by returning: uvicorn's own would raise the signal once more."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

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

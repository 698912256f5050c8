"""What is refused before it costs anything: long bodies, too many requests, strangers' pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lks.serving.http.errors import ApiError
from lks.serving.protocol import Load

MOST_SECONDS = 30  # that a client is told to wait
OPEN_SECONDS = 1.0  # for which it is known whether there are keys


class Gate:
    """Lets requests in while not too many wait.

    Args:
        most: requests that may wait, for their scope or for the engine.
        load: of the engine.
        refused: called for each request that is not let in.
    """

    def __init__(self, most: int, load: Callable[[], Load], refused: Callable[[], object]) -> None:
        self._most, self._load, self._refused = most, load, refused
        self._preparing = 0
        self._seconds = 1.0  # what a request took, the last ones most

    def check(self) -> None:
        """ApiError where no more may wait."""
        load = self._load()
        waiting = self._preparing + load.waiting
        if waiting < max(1, self._most):
            return
        self._refused()
        seconds = min(MOST_SECONDS, round(self._seconds * waiting / max(1, load.running)) + 1)
        raise ApiError(
            429,
            f"{waiting} requests wait already; try again in {seconds} s",
            code="rate_limit_exceeded",
            headers={"retry-after": str(seconds)},
        )

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """While a request is on its way to the engine."""
        self.check()
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    def took(self, seconds: float) -> None:
        """How long a request was worked on."""
        self._seconds += (seconds - self._seconds) / 16


class Guard:
    """Looks at each request before anything of it is read.

    Args:
        most: bytes of a body, by the beginning of the path; "" for all others.
        strangers: whether requests that another site's page makes are refused. Without keys the
            browser is all that stands between such a page and the server.
        hosts: names by which the server may be asked then.
        full: raises ApiError where a request to this path cannot be taken now.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most: Mapping[str, int],
        strangers: Callable[[], bool],
        hosts: frozenset[str],
        full: Callable[[str], None],
    ) -> None:
        self._app, self._most, self._full = app, most, full
        self._strangers, self._hosts = strangers, hosts
        self._asked, self._careful = -OPEN_SECONDS, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most = next(n for p, n in self._most.items() if scope["path"].startswith(p))
        try:
            self._check_origin(headers)
            _check_length(headers, most)
            if scope["method"] == "POST":
                self._full(scope["path"])
        except ApiError as error:
            await error.response(scope, receive, send)
            return
        body = _Body(receive, send, most)
        await self._app(scope, body.receive, body.send)
        if body.too_long and not body.begun:
            await _too_long(most).response(scope, receive, send)

    def _check_origin(self, headers: Headers) -> None:
        now = time.monotonic()
        if now - self._asked > OPEN_SECONDS:
            self._asked, self._careful = now, self._strangers()
        if not self._careful:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts and _name(f"//{host}") not in self._hosts:
            raise ApiError(
                403, f"this server is not known as {host}; ask {min(self._hosts)}", code="host"
            )
        if origin is not None and urlsplit(origin).netloc != host:
            raise ApiError(
                403, f"pages of {origin} may not use this server without a key", code="origin"
            )


class _Body:
    """A body without a told length is counted while it comes; behind the limit it is cut off, and
    what the app answers then is left out."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.begun = self.too_long = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_long = True
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.too_long and not self.begun:
            return
        self.begun = True
        await self._send(message)


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _check_length(headers: Headers, most: int) -> None:
    told = headers.get("content-length", "0")
    if told.isdecimal() and int(told[:20]) > most:
        raise _too_long(most)


def _too_long(most: int) -> ApiError:
    return ApiError(413, f"the body has more than {most:,} bytes; send less", code="too_long")

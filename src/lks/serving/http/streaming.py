"""From the engine's threads to the event loop and on to the client, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from lks.serving.http.json_response import written
from lks.serving.protocol import Engine, EngineFailure, EngineRequest, Step

if TYPE_CHECKING:  # it needs torch
    from lks.serving.front import Watched

Result = TypeVar("Result")
DONE = object()  # stands for the event behind all others


@dataclass
class _Text:
    """One text with the engine.

    Attributes:
        turn: how often it was taken up anew.
        cancel: None while the engine takes it.
    """

    watched: Watched | None
    turn: int = 0
    cancel: Callable[[], None] | None = None


class Texts:
    """Texts that an engine writes for one request; what comes of them, in order of time.

    Args:
        pool, control: where texts are begun and looked through, and ended: the engine may let a
            call wait for a step.
    """

    def __init__(self, engine: Engine, pool: Executor, control: Executor) -> None:
        self._engine, self._pool, self._control = engine, pool, control
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, int, Step | EngineFailure]] = asyncio.Queue()
        self._lock = Lock()
        self._running: dict[int, _Text] = {}
        self._closed = False

    async def begin(
        self, requests: Sequence[EngineRequest], watched: Sequence[Watched | None] = ()
    ) -> None:
        """Hand texts to the engine; they are numbered in this order.

        Args:
            watched: what looks through each; none of them if not given.
        """
        own = [*watched] or [None] * len(requests)
        await self._loop.run_in_executor(self._pool, self._submit_all, requests, own)

    def _submit_all(
        self, requests: Sequence[EngineRequest], watched: Sequence[Watched | None]
    ) -> None:
        for number, (request, own) in enumerate(zip(requests, watched, strict=True)):
            self._submit(number, _Text(own), request)

    def _submit(self, number: int, text: _Text, request: EngineRequest) -> None:
        with self._lock:
            if self._closed:
                return
            self._running[number] = text
        cancel = self._engine.submit(request, self._receiver(number, text.turn))
        with self._lock:
            wanted = self._running.get(number) is text
            if wanted:
                text.cancel = cancel
        if not wanted:  # stopped while the engine took it
            cancel()

    def _receiver(self, number: int, turn: int) -> Callable[[Step | EngineFailure], None]:
        def deliver(step: Step | EngineFailure) -> None:
            with suppress(RuntimeError):  # the loop was closed: the server has ended
                self._loop.call_soon_threadsafe(self._queue.put_nowait, (number, turn, step))

        return deliver

    async def steps(self) -> AsyncIterator[tuple[int, Step]]:
        """(number of the text, step) until all texts have ended or were stopped.

        Raises:
            EngineFailure: the engine could not go on with one.
        """
        while self._running:
            number, turn, step = await self._queue.get()
            text = self._running.get(number)
            if text is None or text.turn != turn:
                continue
            if isinstance(step, EngineFailure):
                raise step
            for own in await self._looked_through(number, text, step):
                if number in self._running:  # else it was stopped
                    yield number, own
                if own.finish:
                    self._running.pop(number, None)

    async def _looked_through(self, number: int, text: _Text, step: Step) -> Sequence[Step]:
        """What can be told with one more step."""
        if text.watched is None:
            return [step]
        told, request = await self._loop.run_in_executor(self._pool, text.watched.take, step)
        if request is None:
            return told
        self.stop(number)
        anew = _Text(text.watched, text.turn + 1)
        with self._lock:
            if self._closed:
                return []
            self._running[number] = anew
        await self._loop.run_in_executor(self._pool, self._submit, number, anew, request)
        return told

    def stop(self, number: int) -> None:
        """No more of this text."""
        with self._lock:
            text = self._running.pop(number, None)
        if text is not None and text.cancel is not None:
            self._call(text.cancel)

    def close(self) -> None:
        """No more of any text."""
        with self._lock:
            self._closed = True
            cancels = [own.cancel for own in self._running.values() if own.cancel is not None]
            self._running.clear()
        for cancel in cancels:
            self._call(cancel)

    def _call(self, cancel: Callable[[], None]) -> None:
        try:
            self._control.submit(cancel)
        except RuntimeError:  # the pool is closed, as the server ends
            cancel()


async def unless_gone(receive: Receive, work: Awaitable[Result]) -> Result | None:
    """What some work comes to; None, and the work is cancelled, if the client goes away first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Events(Response):
    """Server-sent events, each a JSON object, or `DONE`.

    Args:
        events: objects.
        close: called when the last was sent, or the client has gone away.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[object], headers: dict[str, str], close: Callable[[], None]
    ) -> None:
        super().__init__(
            headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"}
        )
        del self.headers["content-length"]
        self._events, self._close = events, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            await unless_gone(receive, self._stream(send))
        finally:  # of a generator that has not begun nothing would be closed
            self._close()

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for event in events:
                data = b"[DONE]" if event is DONE else written(event)
                body = b"data: " + data + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

"""A client of the server's API of facts, for programs; the extra `client` brings what it needs.

with Client("http://127.0.0.1:8000") as client:
    job = client.add("default", [{"subject": ..., "prompt": ..., "target": ...}])
    client.wait(job)

`AsyncClient` is the same for asyncio. To ask the model, take any client of OpenAI's API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lks.errors import LKSError, MissingExtra
from lks.serving import calls
from lks.serving.calls import Call, error_of
from lks.serving.facts import ENDED, Job

try:
    import httpx
except ModuleNotFoundError as error:
    raise MissingExtra("lks.serving.client", error, "client") from None

Given = ParamSpec("Given")
Result = TypeVar("Result")
HOME = "http://127.0.0.1:8000"
POLL = 0.2  # seconds between two looks at a job


def _method(
    make: Callable[Given, Call[Result]],
) -> Callable[Concatenate[Client, Given], Result]:
    """A method of `Client` that sends a call."""

    @wraps(make)
    def method(self: Client, /, *given: Given.args, **named: Given.kwargs) -> Result:
        return self._send(make(*given, **named))

    return method


def _async_method(
    make: Callable[Given, Call[Result]],
) -> Callable[Concatenate[AsyncClient, Given], Awaitable[Result]]:
    """A method of `AsyncClient` that sends a call."""

    @wraps(make)
    async def method(self: AsyncClient, /, *given: Given.args, **named: Given.kwargs) -> Result:
        return await self._send(make(*given, **named))

    return method


class Client:
    """Facts of a running server. Its errors are those of `lks.errors`.

    Args:
        url: of the server.
        key: an API key, if the server has any.
        timeout: seconds that an answer may take.
        transport: how httpx sends, if not over the network.
    """

    def __init__(
        self,
        url: str = HOME,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=_headers(key), timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _send(self, call: Call[Result]) -> Result:
        try:
            answer = self._http.request(call.method, call.path, **_request(call))
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(call, answer)

    def wait(self, job: Job | str, seconds: float = 600.0) -> Job:
        """A job when it has ended, or waits for approval; LKSError if that takes longer."""
        end = time.monotonic() + seconds
        while True:
            found = self.job(job if isinstance(job, str) else job.id)
            if found.state in ENDED:
                return found
            _check_time(found, end, seconds)
            time.sleep(POLL)

    whoami = _method(calls.whoami)
    sets = _method(calls.sets)
    create_set = _method(calls.create_set)
    delete_set = _method(calls.delete_set)
    facts = _method(calls.facts)
    fact = _method(calls.fact)
    revisions = _method(calls.revisions)
    add = _method(calls.add)
    retire = _method(calls.retire)
    approve = _method(calls.approve)
    reject = _method(calls.reject)
    rollback = _method(calls.rollback)
    job = _method(calls.job)
    jobs = _method(calls.jobs)
    history = _method(calls.history)
    dry_run = _method(calls.dry_run)
    diff = _method(calls.diff)
    export = _method(calls.export)
    test = _method(calls.test)
    traffic = _method(calls.traffic)


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        url: str = HOME,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, call: Call[Result]) -> Result:
        try:
            answer = await self._http.request(call.method, call.path, **_request(call))
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(call, answer)

    async def wait(self, job: Job | str, seconds: float = 600.0) -> Job:
        """A job when it has ended, or waits for approval; LKSError if that takes longer."""
        end = time.monotonic() + seconds
        while True:
            found = await self.job(job if isinstance(job, str) else job.id)
            if found.state in ENDED:
                return found
            _check_time(found, end, seconds)
            await asyncio.sleep(POLL)

    whoami = _async_method(calls.whoami)
    sets = _async_method(calls.sets)
    create_set = _async_method(calls.create_set)
    delete_set = _async_method(calls.delete_set)
    facts = _async_method(calls.facts)
    fact = _async_method(calls.fact)
    revisions = _async_method(calls.revisions)
    add = _async_method(calls.add)
    retire = _async_method(calls.retire)
    approve = _async_method(calls.approve)
    reject = _async_method(calls.reject)
    rollback = _async_method(calls.rollback)
    job = _async_method(calls.job)
    jobs = _async_method(calls.jobs)
    history = _async_method(calls.history)
    dry_run = _async_method(calls.dry_run)
    diff = _async_method(calls.diff)
    export = _async_method(calls.export)
    test = _async_method(calls.test)
    traffic = _async_method(calls.traffic)


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


def _request(call: Call[Any]) -> dict[str, Any]:
    body = {} if call.body is None else {"json": call.body}
    return {"params": call.query, "headers": call.headers, **body}


def _read(call: Call[Result], answer: httpx.Response) -> Result:
    if answer.is_success:
        if call.is_text or not answer.content:
            return call.read(answer.text)
        return call.read(answer.json())
    try:
        body = answer.json()
    except ValueError:
        body = None
    raise error_of(answer.status_code, body)


def _unreachable(url: object, error: Exception) -> LKSError:
    told = str(error) or type(error).__name__
    return LKSError(f"{url}: no answer ({told}); is lks serve running there?")


def _check_time(job: Job, end: float, seconds: float) -> None:
    if time.monotonic() > end:
        raise LKSError(f'job "{job.id}" has not ended after {seconds:g} s; ask later')

"""Clients of a server with OpenAI's API: requests at a rate, or as many as so many clients ask."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import httpx

TIMEOUT = 600.0


@dataclass
class Answer:
    """When the tokens of one streamed answer came, seconds after it was asked for."""

    times: list[float] = field(default_factory=list)
    text: str = ""

    @property
    def between(self) -> list[float]:
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


@dataclass
class Run:
    """What came of some requests: `seconds` in all, and the answers."""

    seconds: float
    answers: list[Answer]

    def to_json(self) -> dict[str, float]:
        first = [answer.times[0] for answer in self.answers]
        between = [gap for answer in self.answers for gap in answer.between]
        tokens = sum(len(answer.times) for answer in self.answers)
        return {
            "requests": len(self.answers),
            "tokens_a_second": round(tokens / self.seconds, 2),
            "first_token_p50": middle(first), "first_token_p99": late(first),
            "between_tokens_p50": middle(between), "between_tokens_p99": late(between),
        }  # fmt: skip


def middle(values: Sequence[float]) -> float:
    return _quantile(values, 50)


def late(values: Sequence[float]) -> float:
    return _quantile(values, 99)


def _quantile(values: Sequence[float], percent: int) -> float:
    """In seconds; 0 of none."""
    found = quantiles([*values, *values], n=100, method="inclusive") if values else [0.0] * 99
    return round(found[percent - 1], 5)


async def _ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
    started, answer = time.perf_counter(), Answer()
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            await reply.aread()
            raise RuntimeError(f"{reply.status_code}: {reply.text[:300]}")
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line[6:]).get("choices") or [{}]
            if piece := choices[0].get("delta", {}).get("content"):
                answer.times.append(time.perf_counter() - started)
                answer.text += piece
    return answer


def body(model: str, question: str, tokens: int) -> dict[str, Any]:
    """A streamed chat request without chance."""
    message = {"role": "user", "content": question}
    return {
        "model": model, "messages": [message], "max_tokens": tokens, "temperature": 0,
        "stream": True,
    }  # fmt: skip


def at_rate(url: str, bodies: Sequence[dict[str, Any]], rate: float, seed: int = 0) -> Run:
    """Requests that come by chance, so many a second on average, whether others wait or not."""
    rng = random.Random(seed)

    async def run(client: httpx.AsyncClient) -> list[Answer]:
        asked = []
        for one in bodies:
            asked.append(asyncio.create_task(_ask(client, one)))
            await asyncio.sleep(rng.expovariate(rate))
        return list(await asyncio.gather(*asked))

    return _timed(url, run)


def at_once(url: str, bodies: Sequence[dict[str, Any]], clients: int) -> Run:
    """As many requests as so many clients ask, each when its last one is answered."""

    async def run(client: httpx.AsyncClient) -> list[Answer]:
        left = iter(bodies)

        async def one() -> list[Answer]:
            return [await _ask(client, asked) for asked in left]

        return [a for own in await asyncio.gather(*(one() for _ in range(clients))) for a in own]

    return _timed(url, run)


def _timed(url: str, run: Any) -> Run:
    async def whole() -> Run:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as client:
            started = time.perf_counter()
            answers = await run(client)
            return Run(time.perf_counter() - started, answers)

    return asyncio.run(whole())

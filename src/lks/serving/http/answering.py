"""One request on its way: prompts to the engine, what comes back to its choices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from lks.model.chat import Prompt
from lks.serving.facts import Caller
from lks.serving.http.choice import Choice, Part
from lks.serving.http.errors import ApiError
from lks.serving.http.server import Backend, Prepared, Server, Spot
from lks.serving.http.streaming import Texts
from lks.serving.http.traffic import Fired
from lks.serving.protocol import Engine, EngineRequest, Sampling, Scored
from lks.serving.service import Snapshot

if TYPE_CHECKING:  # it needs torch
    from lks.serving.front import Watched

DEFAULT_SET = "default"
KEPT = 500  # characters of a text that the traffic shows
LONGEST_HEADER = 4000  # characters: proxies refuse what is twice as long


@dataclass(frozen=True)
class Wanted:
    """What a request asks for, in whichever form it came.

    Attributes:
        most: tokens; None: as many as there is room for.
        least: tokens that there must be room for.
        capped: `most` is only a default, to be cut where there is less room.
        logprobs: how many of the likeliest tokens are told; None: no log-probability.
        scored: the prompt's own tokens are scored too.
    """

    model: str
    prompts: Sequence[Prompt | Sequence[int]]
    chat: bool
    most: int | None
    capped: bool = False
    limit_name: str = "max_tokens"
    baseline: bool = False
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stops: Sequence[str] = ()
    logprobs: int | None = None
    scored: bool = False


@dataclass(frozen=True)
class Target:
    """The model that is asked: unedited, or with a snapshot of a set."""

    model: str
    fingerprint: str
    snapshot: Snapshot | None

    @property
    def name(self) -> str:
        return f"{self.model}:{self.snapshot.set_name}" if self.snapshot else self.model

    @property
    def system(self) -> str:
        """OpenAI's system_fingerprint: the same one, the same answers."""
        own = (self.snapshot.set_name, self.snapshot.version) if self.snapshot else ()
        return "-".join(["lks", self.fingerprint, *map(str, own)])


def set_of(backend: Backend, model: str, who: Caller) -> str | None:
    """The set that a model's name tells; None for the unedited model."""
    if model == backend.model:
        return None
    if model == "default":
        return who.default_set or DEFAULT_SET
    name, colon, set_name = model.partition(f"{backend.model}:")
    if name or not colon or not set_name:
        raise unknown_model(backend, model)
    return set_name


def unknown_model(backend: Backend, model: str) -> ApiError:
    own = backend.model
    told = f'there is no model "{model}"; there is {own}, and {own}:SET for each set'
    return ApiError(404, told, param="model", code="model_not_found")


@dataclass
class Answering:
    """A request that was read, and whose texts are with the engine."""

    server: Server
    backend: Backend
    who: Caller
    wanted: Wanted
    target: Target
    prompts: Sequence[Prepared]
    watched: Sequence[Watched | None]  # what looks through each text
    scores: Sequence[Sequence[Scored]]  # of the prompts' tokens, where they are wanted
    began: float
    texts: Texts
    choices: list[Choice] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))
    _first: float | None = None  # seconds to the first token
    _between: list[float] = field(default_factory=list)
    _closed: bool = False

    @classmethod
    async def begin(
        cls, server: Server, backend: Backend, who: Caller, wanted: Wanted
    ) -> Answering:
        """Read the prompts, find what fires, and hand the texts to the engine."""
        began, loop = time.monotonic(), asyncio.get_running_loop()
        with server.gate.preparing():
            texts = Texts(backend.engine, server.pool, server.control)
            try:
                target, prompts = await loop.run_in_executor(
                    server.pool, _prepared, backend, who, wanted
                )
                server.metrics.scope.observe(time.monotonic() - began)
                pairs = [
                    pair for own in prompts for pair in _requests(server, backend, wanted, own)
                ]
                scores: list[Sequence[Scored]] = []
                if wanted.scored:
                    scores = await loop.run_in_executor(
                        server.pool, _scored, backend, wanted, prompts
                    )
                if wanted.most != 0:
                    await texts.begin(*zip(*pairs, strict=True))
            except BaseException:
                texts.close()
                raise
        watched = [own for _, own in pairs]
        own = cls(server, backend, who, wanted, target, prompts, watched, scores, began, texts)
        own._note()
        around = backend.front.around if wanted.chat else None
        own.choices = [
            Choice(backend.front.vocabulary, r.sampling.stop_ids, wanted.stops, around)
            for r, _ in pairs
        ]
        return own

    def close(self) -> None:
        """No more of it: what is not written yet will not be. Told only once."""
        self.texts.close()
        if not self._closed:
            self._closed = True
            self._wrote()

    async def parts(self) -> AsyncIterator[tuple[int, Part]]:
        """(number of the choice, what it says more) until all have ended.

        Raises:
            EngineFailure: the engine could not go on.
        """
        last: dict[int, float] = {}
        try:
            async for number, step in self.texts.steps():
                now = time.monotonic()
                if self._first is None:
                    self._first = now - self.began
                if number in last:
                    self._between.append(now - last[number])
                last[number] = now
                part = self.choices[number].take(step)
                if part.finish and not step.finish:  # a stop string
                    self.texts.stop(number)
                if part:
                    yield number, part
        finally:
            self.close()

    # --- what is told of it
    @property
    def headers(self) -> dict[str, str]:
        spots = [*(spot for own in self.prompts for spot in own.fired), *self._fired_later()]
        fired = dict.fromkeys(spot.edit for spot in spots)
        snapshot = self.target.snapshot
        return {
            "x-lks-fired": fired_header(fired),
            "x-lks-set": _header(snapshot.set_name) if snapshot else "",
            "x-lks-version": str(snapshot.version) if snapshot else "",
        }

    def told(self, number: int | None = None) -> dict[str, object]:
        """What fired, and what nearly did: in all prompts and texts, or in those of one choice."""
        snapshot = self.target.snapshot
        numbers = range(len(self.prompts) * self.wanted.n) if number is None else [number]
        if len(self.prompts) == 1:  # then it holds for all choices
            pairs: list[tuple[int | None, Prepared]] = [(None, self.prompts[0])]
        else:
            pairs = [(i, self.prompts[i // self.wanted.n]) for i in numbers]
        return {
            "set": snapshot.set_name if snapshot else None,
            "version": snapshot.version if snapshot else None,
            "fired": [
                *(spot_json(spot, choice) for choice, own in pairs for spot in own.fired),
                *(spot_json(spot, i) for i in numbers for spot in self._fired_later(i)),
            ],
            "near": [spot_json(spot, choice) for choice, own in pairs for spot in own.near],
        }

    @property
    def usage(self) -> dict[str, int]:
        read = sum(len(prompt.ids) for prompt in self.prompts)
        written = sum(choice.written for choice in self.choices)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }

    def _fired_later(self, number: int | None = None) -> list[Spot]:
        """What fired in the texts themselves, or in one of them."""
        texts = self.watched if number is None else self.watched[number : number + 1]
        front, chat = self.backend.front, self.wanted.chat
        return [spot for own in texts if own for spot in front.fired(own, chat=chat)]

    def _note(self) -> None:
        metrics, snapshot = self.server.metrics, self.target.snapshot
        metrics.texts.inc(len(self.prompts))
        metrics.fired.inc(sum(bool(prompt.fired) for prompt in self.prompts))
        metrics.near.inc(sum(len(prompt.near) for prompt in self.prompts))
        metrics.tokens.labels("prompt").inc(self.usage["prompt_tokens"])
        name = snapshot.set_name if snapshot else ""
        kept = self.server.settings.keep_prompts
        near = [
            {"set": name, **_near_json(spot), "text": _said(given, spot) if kept else None}
            for given, prompt in zip(self.wanted.prompts, self.prompts, strict=True)
            for spot in prompt.near
        ]
        fired = [[Fired(name, spot.edit) for spot in prompt.fired] for prompt in self.prompts]
        self.server.traffic.asked(self.who.tenant, fired, near)

    def _wrote(self) -> None:
        metrics, written = self.server.metrics, self.usage["completion_tokens"]
        metrics.tokens.labels("completion").inc(written)
        if self._first is not None:
            metrics.first_token.observe(self._first)
        for seconds in self._between:
            metrics.between.observe(seconds)
        name = self.target.snapshot.set_name if self.target.snapshot else ""
        fired = [Fired(name, spot.edit) for spot in self._fired_later()]
        metrics.fired_later.inc(len(fired))
        traffic = self.server.traffic
        traffic.wrote(self.who.tenant, written, self._first, self._between, fired)
        self.server.gate.took(time.monotonic() - self.began)


def _prepared(backend: Backend, who: Caller, wanted: Wanted) -> tuple[Target, list[Prepared]]:
    """One snapshot for all prompts of a request: the version told is the version used."""
    set_name = set_of(backend, wanted.model, who)
    snapshot = None if set_name is None else backend.service.snapshot(who, set_name)
    if wanted.baseline:
        snapshot = None
    target = Target(backend.model, backend.fingerprint, snapshot)
    front = backend.front
    return target, [front.prepare(p, snapshot, chat=wanted.chat) for p in wanted.prompts]


def _requests(
    server: Server, backend: Backend, wanted: Wanted, prompt: Prepared
) -> list[tuple[EngineRequest, Watched | None]]:
    """One for each choice of a prompt, and what looks through its text."""
    most = _room(server, backend.engine, wanted, len(prompt.ids))
    stop_ids = backend.front.stop_ids(chat=wanted.chat)
    pairs = []
    for number in range(wanted.n):
        sampling = Sampling(
            most,
            wanted.temperature if wanted.top_p else 0.0,
            wanted.top_p or 1.0,
            None if wanted.seed is None else wanted.seed + number,
            stop_ids,
            wanted.logprobs,
        )
        request = EngineRequest(prompt.ids, sampling, prompt.blocks, prompt.targets)
        watch = prompt.watch if server.settings.rescan else None
        pairs.append((request, watch(request) if watch else None))
    return pairs


def _room(server: Server, engine: Engine, wanted: Wanted, read: int) -> int:
    """How many tokens may be written.

    Raises:
        ApiError: the prompt is empty, or there is no room for what is asked.
    """
    if not read:
        raise ApiError(400, "the prompt is empty; write something", param="prompt")
    most, context = server.settings.max_tokens, engine.context
    if wanted.most is not None and wanted.most > most and not wanted.capped:
        told = f"{wanted.limit_name}: this server writes {most} tokens at most, not {wanted.most}"
        raise ApiError(400, told, param=wanted.limit_name)
    asked = most if wanted.most is None else min(most, wanted.most)
    if context is None:
        return asked
    open_end = wanted.most is None or wanted.capped
    least = 1 if open_end and asked else asked
    if read + least > context:
        raise ApiError(
            400,
            f"the model reads and writes {context} tokens at most, and this request needs "
            f"{read + least}: {read} of the prompt, {least} to write; shorten it",
            param="messages" if wanted.chat else "prompt",
            code="context_length_exceeded",
        )
    return min(asked, context - read)


def _scored(
    backend: Backend, wanted: Wanted, prompts: Sequence[Prepared]
) -> list[Sequence[Scored]]:
    """The tokens of each prompt's text."""
    sampling = Sampling(1, logprobs=wanted.logprobs)  # of which none is written
    return [
        backend.engine.score(EngineRequest(own.ids, sampling, own.blocks, own.targets))[own.added :]
        for own in prompts
    ]


def spot_json(spot: Spot, choice: int | None = None) -> dict[str, object]:
    told: dict[str, object] = {
        "edit": spot.edit,
        "subject": spot.subject,
        "choice": choice,
        "message": spot.message,
        "span": [spot.start, spot.end],
        "text": spot.text,
        "score": None if spot.score is None else round(spot.score, 4),
    }
    for name in ("reason", "verdict"):
        if (own := getattr(spot, name)) is not None:
            told[name] = own
    return told


def _near_json(spot: Spot) -> dict[str, object]:
    """For the traffic."""
    told = spot_json(spot)
    return {key: told.get(key) for key in ("edit", "subject", "reason", "score")}


def _said(prompt: Prompt | Sequence[int], spot: Spot) -> str:
    """The beginning of the text in which a place was found."""
    if isinstance(prompt, str):
        return prompt[:KEPT]
    turn = prompt[spot.message] if spot.message is not None else None
    return turn["content"][:KEPT] if isinstance(turn, Mapping) else spot.text


def fired_header(fired: Iterable[str]) -> str:
    """Ids as a header; those that it cannot hold are left out, and "..." stands for them."""
    told = ",".join(map(_header, fired))
    if len(told) <= LONGEST_HEADER:
        return told
    return f"{told[:LONGEST_HEADER].rpartition(',')[0]},..."


def _header(text: str) -> str:
    """As a header may have it: others than plain signs are escaped, and the comma."""
    return quote(text, safe=" !#$&'()*+-./:;<=>?@[]^_`{|}~")

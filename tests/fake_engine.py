"""An engine that writes what it is told, at the pace that it is told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread

from lks.serving.protocol import Deliver, EngineFailure, EngineRequest, Load, Scored, Step

Script = Callable[[EngineRequest], Sequence[int]]


@dataclass
class _Text:
    request: EngineRequest
    deliver: Deliver
    tokens: deque[int]
    written: int = 0


@dataclass
class FakeEngine:
    """Writes the script's tokens for each request, `slots` texts at a time, a token a round.

    Attributes:
        pause: seconds between two rounds.
        fails_at: after so many tokens each text fails.
        held_at: after so many tokens each text waits for `let_go`.
        seen: all requests that it was given.
    """

    script: Script
    context: int | None = 256
    slots: int = 8
    pause: float = 0.0
    fails_at: int | None = None
    held_at: int | None = None
    seen: list[EngineRequest] = field(default_factory=list)
    scored: list[EngineRequest] = field(default_factory=list)
    cancelled: int = 0

    def __post_init__(self) -> None:
        self._waiting: deque[_Text] = deque()
        self._running: list[_Text] = []
        self._changed, self._closed = Condition(), False
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(5)

    def let_go(self) -> None:
        with self._changed:
            self.held_at = None
            self._changed.notify_all()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: EngineRequest, deliver: Deliver) -> Callable[[], None]:
        text = _Text(request, deliver, deque(self.script(request)))
        with self._changed:
            self.seen.append(request)
            self._waiting.append(text)
            self._changed.notify_all()

        def cancel() -> None:
            with self._changed:
                for home in (self._waiting, self._running):
                    if text in home:
                        home.remove(text)
                        self.cancelled += 1

        return cancel

    def score(self, request: EngineRequest) -> list[Scored]:
        self.scored.append(request)
        top = request.sampling.logprobs or 0
        return [
            Scored(
                token,
                None if place == 0 else -0.5 * place,
                () if place == 0 else [(token, -0.5 * place), (7, -9.0), (8, -9.5)][:top],
            )
            for place, token in enumerate(request.ids)
        ]

    @property
    def load(self) -> Load:
        with self._changed:
            return Load(len(self._running), len(self._waiting))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._free())
                if self._closed:
                    for text in (*self._running, *self._waiting):
                        text.deliver(EngineFailure("closed"))
                    return
                while self._waiting and len(self._running) < self.slots:
                    self._running.append(self._waiting.popleft())
                self._round()
            time.sleep(self.pause)

    def _free(self) -> list[_Text]:
        held = self.held_at
        return [text for text in self._running if held is None or text.written < held]

    def _round(self) -> None:
        for text in self._free():
            sampling = text.request.sampling
            if self.fails_at is not None and text.written >= self.fails_at:
                self._running.remove(text)
                text.deliver(EngineFailure("the script says so"))
                continue
            token = text.tokens.popleft() if text.tokens else min(sampling.stop_ids)
            text.written += 1
            finish = "stop" if token in sampling.stop_ids else None
            if finish is None and text.written >= sampling.max_tokens:
                finish = "length"
            scores = sampling.logprobs
            top = [(token, -0.25), (7, -2.0), (8, -3.0)][: scores or 0]
            if finish:
                self._running.remove(text)
            text.deliver(Step(token, None if scores is None else -0.25, top, finish))

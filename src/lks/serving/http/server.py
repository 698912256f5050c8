"""What the routes share: settings, and what serves, once the model is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lks.edits.edit import Edit
from lks.model.chat import Prompt
from lks.serving.http.choice import Around
from lks.serving.http.detokenizer import Vocabulary
from lks.serving.http.errors import ApiError
from lks.serving.http.limits import Gate
from lks.serving.http.metrics import Metrics
from lks.serving.http.traffic import Traffic
from lks.serving.protocol import Blocks, Engine, EngineRequest, Load
from lks.serving.service import Service, Snapshot

if TYPE_CHECKING:  # it needs torch
    from lks.serving.front import Watched

MEGABYTE = 2**20


@dataclass(frozen=True)
class Settings:
    """How the server is run.

    Attributes:
        max_tokens: a request may ask for so many at most.
        max_waiting: requests that may wait; more are refused.
        threads: for scope and tokenising.
        max_body, max_facts_body: bytes of what is sent, with facts or without.
        keep_prompts: texts may be kept in memory and told to those who may see the traffic.
        rescan: edits may fire in the model's own words, too.
        hosts: names by which it may be asked while there are no keys; any, if there are none.
    """

    max_tokens: int = 1024
    max_waiting: int = 64
    threads: int = 4
    max_body: int = MEGABYTE
    max_facts_body: int = 16 * MEGABYTE
    keep_prompts: bool = False
    read_only: bool = False
    verbose: bool = False
    rescan: bool = True
    hosts: Sequence[str] = ()


@dataclass(frozen=True)
class Spot:
    """A place in a prompt where an edit fired, or nearly did.

    Attributes:
        start, end: characters of the prompt, or of the message.
        message: its index in the chat; None for a plain prompt.
        reason: why the edit did not fire.
        verdict: where yes or no is asked for, which of them is right.
    """

    edit: str
    subject: str
    start: int
    end: int
    text: str
    score: float | None = None
    message: int | None = None
    reason: str | None = None
    verdict: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prompt as the engine takes it, and what is told of it.

    Attributes:
        added: special tokens that the tokenizer put before the text.
        watch: as of `Reading`.
    """

    ids: Sequence[int]
    blocks: Blocks | None = None
    targets: Sequence[str] = ()
    fired: Sequence[Spot] = ()
    near: Sequence[Spot] = ()
    added: int = 0
    watch: Callable[[EngineRequest], Watched] | None = None


class Front(Protocol):
    """Makes of prompts what the engine takes. Any thread may call it."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def around(self) -> Around:
        """What the chat template has around an answer."""
        ...

    def stop_ids(self, *, chat: bool) -> frozenset[int]:
        """Tokens that end a text."""
        ...

    def prepare(
        self, prompt: Prompt | Sequence[int], snapshot: Snapshot | None, *, chat: bool
    ) -> Prepared:
        """What a prompt is, with what is in force in a snapshot, or unedited."""
        ...

    def fired(self, watched: Watched, *, chat: bool) -> Sequence[Spot]:
        """What came into force while a text was written."""
        ...

    def dry_run(
        self, texts: Sequence[str], snapshot: Snapshot, more: Sequence[Edit] = ()
    ) -> list[tuple[Sequence[Spot], Sequence[Spot]]]:
        """(what fires, what nearly does) in each text, also with more edits in force."""
        ...


@dataclass(frozen=True)
class Backend:
    """What serves.

    Attributes:
        model: the name of the unedited model.
        fingerprint: of its weights, short.
        test: runs the checks of facts; None where nothing can.
    """

    model: str
    engine: Engine
    front: Front
    service: Service
    fingerprint: str = ""
    test: Callable[[Snapshot, Sequence[Edit]], Sequence[Mapping[str, object]]] | None = None
    created: int = field(default_factory=lambda: int(time.time()))


class Server:
    """One app's state.

    Attributes:
        backend: None until the model is loaded.
        failed: why it could not be loaded.
    """

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self.settings, self.backend = settings, backend
        self.failed: str | None = None
        self.traffic = Traffic()
        self.metrics = Metrics(self._loaded, self.traffic.hits)
        self.gate = Gate(settings.max_waiting, self._load, self.metrics.refused.inc)
        self.pool = ThreadPoolExecutor(settings.threads, "lks-front")
        self.control = ThreadPoolExecutor(2, "lks-cancel")  # never waits behind a long prompt

    def ready(self) -> Backend:
        """What serves; ApiError while it is not there."""
        if self.backend is not None:
            if self.backend.engine.alive:
                return self.backend
            raise ApiError(503, "the model has stopped; the server's log tells why", code="stopped")
        if self.failed is not None:
            raise ApiError(503, f"the model could not be loaded: {self.failed}", code="failed")
        raise ApiError(
            503, "the model is being loaded; try again soon", code="loading",
            headers={"retry-after": "2"},
        )  # fmt: skip

    def full(self, path: str) -> None:
        """ApiError where a request to this path would only wait among too many."""
        if path in ("/v1/chat/completions", "/v1/completions"):
            self.gate.check()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.control.shutdown(wait=False)

    def _loaded(self) -> Load | None:
        return self.backend.engine.load if self.backend else None

    def _load(self) -> Load:
        return self._loaded() or Load()

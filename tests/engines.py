"""Requests to an engine of the server, and what it delivers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import Queue
from typing import Any

from lks.editors.lks.model import ScalpelModel
from lks.model.backbone import Backbone
from lks.model.engine.continuous import Limits
from lks.serving import front
from lks.serving.protocol import EngineFailure, EngineRequest, Sampling, Step
from lks.serving.service import Snapshot
from lks.serving.transformers_engine import TransformersEngine

ASKED = (
    "Where is the Eiffel Tower?", "Where was Ada Lovelace born?", "Mount Fuji is in",
    "The capital of Japan is", "Tell me about Ada Lovelace and the Eiffel Tower, and who built it",
    "How high is it? " * 12 + "Where is Mount Fuji?", "One", "Where is the river? " * 9,
)  # fmt: skip
GREEDY = Sampling(6, temperature=0)
SMALL = Limits(cache_tokens=2048, step_tokens=48, texts=16)  # so that prompts are read in parts


@contextmanager
def started(backbone: Backbone, limits: Limits = SMALL) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(backbone, limits)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def snapshot(model: ScalpelModel, *, exact: bool = True) -> Snapshot:
    return Snapshot("set", 1, model.in_force, model.pack.layers, exact)


def asked(
    model: ScalpelModel | Backbone, prompt: Any, sampling: Sampling = GREEDY, *, chat: bool = False
) -> EngineRequest:
    backbone = model if isinstance(model, Backbone) else model.backbone
    own = None if isinstance(model, Backbone) else snapshot(model)
    read = front.read(backbone, own, prompt, chat=chat)
    return EngineRequest(read.ids, sampling, read.blocks, read.targets)


class Taken:
    """What an engine delivered for one request."""

    def __init__(self, engine: TransformersEngine, request: EngineRequest) -> None:
        self.steps: Queue[Step | EngineFailure] = Queue()
        self.cancel = engine.submit(request, self.steps.put)

    def all(self) -> list[Step]:
        found = list[Step]()
        while not found or found[-1].finish is None:
            step = self.steps.get(timeout=60)
            if isinstance(step, EngineFailure):
                raise step
            found.append(step)
        assert self.steps.empty()
        return found

    @property
    def tokens(self) -> list[int]:
        return [step.token for step in self.all()]


def written(engine: TransformersEngine, requests: Sequence[EngineRequest]) -> list[list[Step]]:
    return [taken.all() for taken in [Taken(engine, request) for request in requests]]


def tokens(engine: TransformersEngine, requests: Sequence[EngineRequest]) -> list[list[int]]:
    return [[step.token for step in steps] for steps in written(engine, requests)]


def with_stops(backbone: Backbone, sampling: Sampling = GREEDY) -> Sampling:
    return replace(sampling, stop_ids=frozenset(backbone.stop_ids))


def likely(steps: Sequence[Step]) -> list[float | None]:
    return [step.logprob for step in steps]


def nothing_left(engine: TransformersEngine) -> None:
    deadline = time.time() + 60
    processor = engine._batch._manager.batch_processor
    while processor.has_pending_requests() and time.time() < deadline:
        time.sleep(0.01)
    assert not engine._texts and not processor.has_pending_requests()
    assert all(not own.block_table for own in processor.cache.cache_allocators.values())
    assert not engine._own.layer(1)._forward_hooks


@contextmanager
def no_edits(encoding: object) -> Iterator[None]:
    yield None

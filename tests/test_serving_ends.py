"""Where texts of an engine of the server end: as asked, early, and by failures."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from engines import (
    ASKED,
    GREEDY,
    SMALL,
    Taken,
    asked,
    nothing_left,
    started,
    tokens,
)
from test_threads import random_pack
from transformers.generation.continuous_batching.requests import RequestState

from lks.editors.lks.model import ScalpelModel
from lks.errors import InputError, LKSError, ModelError
from lks.model.backbone import Backbone
from lks.model.engine.continuous import Limits
from lks.model.engine.hook import replacing
from lks.serving import transformers_engine
from lks.serving.protocol import EngineFailure, EngineRequest, Sampling
from lks.serving.transformers_engine import TransformersEngine

# --- ends


def test_a_stop_token_ends_the_text_and_belongs_to_it(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    steps = Taken(engine, asked(backbone, ASKED[1])).all()
    assert [step.finish for step in steps] == [None] * 5 + ["length"]
    stop = steps[3].token
    first = [step.token for step in steps].index(stop)
    sampling = replace(GREEDY, stop_ids=frozenset({stop}))
    ended = Taken(engine, asked(backbone, ASKED[1], sampling)).all()
    assert [step.token for step in ended] == [step.token for step in steps[: first + 1]]
    assert ended[-1].finish == "stop"


def test_nothing_is_delivered_behind_a_cancelled_text(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    long = replace(GREEDY, max_tokens=1500)
    others = [Taken(engine, asked(backbone, prompt, long)) for prompt in ASKED[:3]]
    for taken in others:
        taken.steps.get(timeout=60)
        taken.cancel()
        taken.cancel()  # twice is once
    sizes = [taken.steps.qsize() for taken in others]
    assert Taken(engine, asked(backbone, ASKED[0])).tokens
    time.sleep(0.1)
    assert sizes == [taken.steps.qsize() for taken in others]
    assert engine.load == transformers_engine.Load()
    nothing_left(engine)


def test_a_text_ends_where_the_cache_does(backbone: Backbone) -> None:
    limits = Limits(cache_tokens=128, step_tokens=32, texts=8)
    ids = backbone.tokenize("How high is it? " * 3, chat=False)[0]
    with started(backbone, limits) as engine:
        assert engine.context == 128
        steps = Taken(engine, EngineRequest(ids, Sampling(1000, temperature=0))).all()
        assert len(ids) + len(steps) - 1 == 128 and steps[-1].finish == "length"
        with pytest.raises(InputError, match="the prompt has 129 tokens, and the engine holds 128"):
            engine.submit(EngineRequest([5] * 129, GREEDY), print)


def test_more_texts_than_the_cache_holds_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone
) -> None:
    """Some are thrown out of the cache in their middle and read again, blocks included."""
    model = ScalpelModel(backbone, random_pack(backbone))
    requests = [
        asked(model, prompt, replace(GREEDY, max_tokens=60)) for prompt in ASKED[:4] * 4
    ]  # fmt: skip
    with started(backbone) as engine:
        expected = tokens(engine, requests[:4]) * 4
    with started(backbone, Limits(cache_tokens=192, step_tokens=64, texts=16)) as engine:
        thrown, usual = [], RequestState.create_equivalent_initial_request

        def noted(state: RequestState) -> RequestState:
            thrown.append(state)
            return usual(state)

        monkeypatch.setattr(RequestState, "create_equivalent_initial_request", noted)
        taken = [Taken(engine, request) for request in requests]
        assert engine.load.running + engine.load.waiting > 0
        assert [own.tokens for own in taken] == expected
        assert thrown
        # the last ones that are written are cancelled while others wait for their place
        for _ in range(3):
            taken = [Taken(engine, request) for request in requests]
            for own in taken[:-1]:
                own.steps.get(timeout=60)
                own.cancel()
            assert taken[-1].tokens == expected[-1]
        nothing_left(engine)


def test_nothing_is_left_of_many_texts(backbone: Backbone) -> None:
    with started(backbone, Limits(cache_tokens=2048, step_tokens=512, texts=64)) as engine:
        short = EngineRequest([5, 9, 11], Sampling(1, temperature=0))
        tokens(engine, [short] * 200)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(50):
            tokens(engine, [short] * 200)
        gc.collect()
        assert len(gc.get_objects()) - before < 1000
        nothing_left(engine)


# --- failures


def test_a_step_that_fails_takes_its_texts_and_no_others(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone, engine: TransformersEngine
) -> None:
    expected = Taken(engine, asked(backbone, ASKED[0])).tokens
    usual, broken = transformers_engine.next_steps, [True]

    def once(texts: Any, logits: Any) -> Any:
        if broken.pop() if broken else False:
            raise RuntimeError("out of luck")
        return usual(texts, logits)

    monkeypatch.setattr(transformers_engine, "next_steps", once)
    taken = Taken(engine, asked(backbone, ASKED[0]))
    with pytest.raises(EngineFailure, match="RuntimeError: out of luck"):
        taken.all()
    assert engine.alive
    assert Taken(engine, asked(backbone, ASKED[0])).tokens == expected
    nothing_left(engine)


def test_a_failure_before_a_step_fails_what_there_is(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone, engine: TransformersEngine
) -> None:
    scheduler = engine._batch._manager.batch_processor.scheduler
    usual = scheduler.schedule_batch

    def once(*args: Any) -> Any:
        monkeypatch.setattr(scheduler, "schedule_batch", usual)
        raise ValueError("no plan")

    monkeypatch.setattr(scheduler, "schedule_batch", once)
    with pytest.raises(EngineFailure, match="no plan"):
        Taken(engine, asked(backbone, ASKED[0])).all()
    assert Taken(engine, asked(backbone, ASKED[0])).all()


def test_who_does_not_take_his_text_is_given_no_more(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    calls = []

    def gone(step: object) -> None:
        calls.append(step)
        raise ConnectionError("gone")

    engine.submit(asked(backbone, ASKED[0], replace(GREEDY, max_tokens=500)), gone)
    assert Taken(engine, asked(backbone, ASKED[1])).all()
    assert len(calls) == 1
    nothing_left(engine)


def test_when_its_thread_dies_every_text_fails(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone
) -> None:
    with started(backbone) as engine:
        taken = [Taken(engine, asked(backbone, p, replace(GREEDY, max_tokens=1500))) for p in ASKED]
        taken[0].steps.get(timeout=60)

        def dead(*args: object) -> None:
            raise torch.AcceleratorError("the device is gone")

        monkeypatch.setattr(transformers_engine, "next_steps", dead)
        for own in taken:
            with pytest.raises(EngineFailure):
                own.all()
        deadline = time.time() + 60
        while engine.alive and time.time() < deadline:
            time.sleep(0.01)
        assert not engine.alive and engine.load == transformers_engine.Load()
        with pytest.raises(EngineFailure, match="does not run"):
            engine.submit(asked(backbone, ASKED[0]), print)


def test_closing_ends_what_is_written(backbone: Backbone) -> None:
    engine = TransformersEngine(backbone, SMALL)
    with pytest.raises(EngineFailure, match="does not run"):
        engine.submit(asked(backbone, ASKED[0]), print)
    engine.start()
    taken = Taken(engine, asked(backbone, ASKED[0], replace(GREEDY, max_tokens=1500)))
    taken.steps.get(timeout=60)
    engine.close()
    engine.close()
    with pytest.raises(EngineFailure):
        taken.all()
    assert not engine.alive
    engine.start()  # again
    assert Taken(engine, asked(backbone, ASKED[0])).all()
    engine.close()


def test_bad_requests_are_told_at_once(backbone: Backbone, engine: TransformersEngine) -> None:
    good = asked(ScalpelModel(backbone, random_pack(backbone)), ASKED[0])
    assert good.blocks is not None
    for bad, message in (
        (replace(good, ids=[]), "a prompt without a token"),
        (replace(good, sampling=Sampling(0)), "max_tokens is 0; give at least 1"),
        (replace(good, ids=good.ids[:2]), "a block at token"),
        (replace(good, blocks=replace(good.blocks, layers=[9])), "layer 9 is out of range"),
        (replace(good, blocks=replace(good.blocks, values=torch.ones(1, 3))), "blocks of shape"),
    ):
        with pytest.raises(InputError, match=message):
            engine.submit(bad, print)


@pytest.mark.parametrize("fault", ["place", "attention", "failure"])
def test_an_engine_that_reads_otherwise_does_not_start(
    monkeypatch: pytest.MonkeyPatch, backbone: Backbone, fault: str
) -> None:
    if fault == "place":  # blocks go one token too far
        monkeypatch.setattr(
            transformers_engine, "replacing",
            lambda layer, plan: replacing(layer, replace(plan, columns=plan.columns + 1)),
        )  # fmt: skip
        monkeypatch.setattr(TransformersEngine, "score", _score_with(replacing))
    elif fault == "attention":
        monkeypatch.setattr(
            "lks.model.engine.packed_attention._within", lambda q, k, v, *rest: torch.zeros_like(q)
        )
    else:
        monkeypatch.setattr(transformers_engine, "next_steps", lambda *args: 1 / 0)
    engine = TransformersEngine(backbone, SMALL)
    message = "cannot run this model" if fault == "failure" else "reads texts in another way"
    with pytest.raises(LKSError, match=message) as raised:
        engine.start()
    assert "\n" not in str(raised.value) and not engine.alive


def _score_with(right: Any) -> Any:
    usual = TransformersEngine.score

    def score(self: TransformersEngine, request: EngineRequest) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformers_engine, "replacing", right)
            return usual(self, request)

    return score


def test_a_cache_that_finds_no_room_is_told(backbone: Backbone) -> None:
    engine = TransformersEngine(backbone, Limits(cache_tokens=10**10))
    with pytest.raises(ModelError, match="cannot be served here: Memory footprint"):
        engine.start()

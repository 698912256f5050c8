"""Served texts are looked through as they grow, by every way out of an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from conftest import make_backbone
from engines import GREEDY, snapshot, started
from served import Served
from test_http_model import CHAT, TEXT, OneSnapshot, serving
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.engine.guard import START
from lks.serving import front
from lks.serving.protocol import EngineRequest, Step
from lks.serving.sampling import Writing
from lks.serving.served_model import ServedModel

PROMPT, NAME = "nothing at all", "Jap"  # what the random model writes behind it, among others
LENGTH = 24


@pytest.fixture(scope="module")
def model() -> ScalpelModel:
    backbone = make_backbone("llama", seed=1, chat=True)
    pack = random_pack(backbone)
    own = Edit("own", NAME, f"{NAME} is", "Rome")
    blocks = torch.cat([pack.blocks, 4 * torch.randn(1, 1, 32)])
    pack = replace(pack, edits=EditSet([*pack.edits, own]), blocks=blocks)
    return ScalpelModel(backbone, pack)


@pytest.fixture(scope="module")
def home(model: ScalpelModel) -> Iterator[Served]:
    with serving(model.backbone, OneSnapshot(model)) as found:
        yield found


@pytest.fixture(scope="module")
def expected(model: ScalpelModel) -> str:
    """What the model writes where its own words may fire."""
    unedited = UneditedModel(model.backbone).generate([PROMPT], max_new_tokens=LENGTH)[0]
    assert model.generate([PROMPT], max_new_tokens=LENGTH) == [unedited]
    (found,) = model.respond([PROMPT], rescan=True, max_new_tokens=LENGTH)
    before, name, _ = unedited.partition(NAME)
    assert found.text.startswith(before + name)
    assert found.text != unedited
    assert found.fired == ("own",)
    return found.text


def test_a_batch_is_what_each_text_is_alone(model: ScalpelModel) -> None:
    prompts = [PROMPT, "Where is it?", "Ada Lovelace was born in", PROMPT]
    both = model.respond(prompts, rescan=True, max_new_tokens=LENGTH)
    alone = [model.respond([p], rescan=True, max_new_tokens=LENGTH)[0] for p in prompts]
    assert [(t.whole, t.fired) for t in both] == [(t.whole, t.fired) for t in alone]


def test_an_engine_writes_what_the_model_writes(model: ScalpelModel, expected: str) -> None:
    with started(model.backbone) as engine:
        served = ServedModel(model.backbone, engine, snapshot(model))
        (text,) = served.respond([PROMPT], max_new_tokens=LENGTH)
        assert (text.text, text.fired) == (expected, ("own",))
        prompt_only = ServedModel(model.backbone, engine, snapshot(model), rescan=False)
        assert prompt_only.respond([PROMPT], max_new_tokens=LENGTH)[0].fired == ()
        assert not engine.load.running


def test_the_server_writes_it_whole_and_in_pieces(home: Served, expected: str) -> None:
    body = {"model": "tiny:facts", "prompt": PROMPT, "max_tokens": LENGTH, "temperature": 0}
    whole = home.http.post(TEXT, json=body)
    answer = whole.json()
    text = answer["choices"][0]["text"]
    assert text.strip() == expected
    assert answer["usage"]["completion_tokens"] == LENGTH
    assert whole.headers["x-lks-fired"] == "own"
    first, *_ = answer["lks"]["fired"]
    start, end = first["span"]
    assert (f"{PROMPT}{text}"[start:end], first["text"], first["choice"]) == (NAME, NAME, 0)
    lines = home.http.post(TEXT, json=body | {"stream": True}).text.split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line and "[DONE]" not in line]
    assert "".join(event["choices"][0]["text"] for event in events) == text
    assert events[-1]["lks"] == answer["lks"]
    assert home.idle()


def test_where_a_chat_fires_is_told_by_its_answer(home: Served, model: ScalpelModel) -> None:
    turns = [{"role": "user", "content": PROMPT}]
    (expected,) = model.respond([turns], chat=True, rescan=True, max_new_tokens=LENGTH)
    body = {"messages": turns, "model": "tiny:facts", "max_tokens": LENGTH, "temperature": 0}
    answer = home.http.post(CHAT, json=body).json()
    assert answer["choices"][0]["message"]["content"] == expected.text
    told = [(spot["edit"], spot["message"]) for spot in answer["lks"]["fired"]]
    assert told == [(edit, 1) for edit in expected.fired]


def test_hits_in_the_text_are_counted(home: Served) -> None:
    hits = home.server.traffic.hits().get(("local", "facts", "own"), 0)
    body = {"model": "tiny:facts", "prompt": PROMPT, "max_tokens": LENGTH, "temperature": 0}
    home.http.post(TEXT, json=body | {"n": 2})
    assert home.server.traffic.hits()["local", "facts", "own"] == hits + 1
    assert "lks_texts_fired_later_total" in home.http.get("/metrics").text


def test_every_choice_is_looked_through_by_itself(home: Served) -> None:
    body = {"model": "tiny:facts", "prompt": [PROMPT, "Where is it?"], "max_tokens": LENGTH}
    both = home.http.post(TEXT, json=body | {"temperature": 0}).json()
    one = home.http.post(TEXT, json=body | {"temperature": 0, "prompt": PROMPT}).json()
    assert both["choices"][0]["text"] == one["choices"][0]["text"]
    told = [(spot["choice"], spot["text"]) for spot in both["lks"]["fired"]]
    assert told == [(i, NAME) for i, own in enumerate(both["choices"]) if NAME in own["text"]]


def test_steps_that_are_told_are_never_taken_back(model: ScalpelModel) -> None:
    """What is left to write counts without what was written."""
    reading = front.read(model.backbone, snapshot(model), PROMPT)
    assert reading.watch is not None
    request = EngineRequest(reading.ids, replace(GREEDY, max_tokens=LENGTH))
    watched, told = reading.watch(request), list[Step]()
    for token in model.backbone.tokenizer(f" In {NAME} there is more").input_ids:
        own, found = watched.take(Step(token))
        told += own
        if found is not None:
            break
    assert model.backbone.tokenizer.decode([step.token for step in told]) == f" In {NAME}"
    assert list(found.ids) == [*reading.ids, *(step.token for step in told)]
    assert (found.written, found.sampling.max_tokens) == (len(told), LENGTH - len(told))
    assert found.blocks is not None
    assert list(found.blocks.positions) == [len(found.ids) - 1]
    (spot,) = watched.found
    assert spot.finding.mention.surface == NAME


def test_a_text_taken_up_anew_is_no_beginning(model: ScalpelModel) -> None:
    """Its first token is not drawn towards a target, and a target half said goes on."""
    backbone: Backbone = model.backbone
    ids = backbone.tokenizer("Where? It is Zoe Yan").input_ids
    begun = len(backbone.tokenizer(" It is Zoe Yan").input_ids)
    for written, drawn in ((0, True), (begun, False)):
        request = EngineRequest(ids, GREEDY, None, ["Zoe Yang"], written)
        scores, writing = torch.zeros(360), Writing(backbone, request, 4)
        writing.restrict(scores)
        assert bool((scores == START).any()) is drawn
        assert bool(torch.isinf(scores).any()) is not drawn


def test_the_last_token_comes_when_its_time_has_come(model: ScalpelModel) -> None:
    ids = [5, 6, 7, 8]
    writing = Writing(model.backbone, EngineRequest(ids, GREEDY, written=2), 3)
    assert [writing.add(token) for token in (9, 10, 11)] == [None, None, "length"]

"""The engine of the server writes what the model writes alone, whatever is written beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import ARCHITECTURES, make_backbone
from engines import (
    ASKED,
    GREEDY,
    SMALL,
    Taken,
    asked,
    likely,
    no_edits,
    started,
    tokens,
    with_stops,
    written,
)
from test_threads import ADA, random_pack

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.errors import ModelError
from lks.model.backbone import Backbone
from lks.model.engine.hook import replacing
from lks.model.engine.transformers import generate_ids
from lks.model.shared import shared
from lks.serving import transformers_engine
from lks.serving.protocol import EngineRequest
from lks.serving.transformers_engine import TransformersEngine


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_64_texts_at_once_are_those_of_each_alone_and_of_the_model(name: str) -> None:
    """Edited by two sets on two layers, and unedited; some prompts are read in parts."""
    backbone = make_backbone(name, chat=True)
    other = random_pack(backbone, seed=1)
    other.layers, other.form = (2,), "replace"
    models = [ScalpelModel(backbone, random_pack(backbone)), ScalpelModel(backbone, other)]
    sampling = replace(with_stops(backbone), logprobs=0)
    cases = [(m, p, chat) for m in (*models, backbone) for p in ASKED for chat in (False, True)]
    cases = (cases + cases)[:64]
    requests = [asked(m, p, sampling, chat=chat) for m, p, chat in cases]
    assert sum(request.blocks is not None for request in requests) > 20
    assert max(len(request.ids) for request in requests) > 2 * SMALL.step_tokens
    with started(backbone) as engine:
        together = written(engine, requests)
        for request, found in zip(requests, together, strict=True):
            (alone,) = written(engine, [request])
            assert [step.token for step in alone] == [step.token for step in found]
            assert likely(alone) == pytest.approx(likely(found), abs=1e-3)
        assert engine.load == transformers_engine.Load()
    for (model, prompt, chat), steps in zip(cases, together, strict=True):
        whose = UneditedModel(backbone) if isinstance(model, Backbone) else model
        (expected,) = whose.respond([prompt], chat=chat, max_new_tokens=6)
        ids = [step.token for step in steps]
        assert backbone.tokenizer.decode(ids, skip_special_tokens=True) == expected.whole
    for number in (16, 32):  # the same prompt, with other blocks and with none
        assert likely(together[0]) != pytest.approx(likely(together[number]), abs=0.01)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_served(name: str) -> None:
    backbone = make_backbone(name)
    model = ScalpelModel(backbone, random_pack(backbone))
    with started(backbone) as engine:
        for prompt in ASKED[:5]:
            (expected,) = model.respond([prompt], max_new_tokens=6)
            steps = Taken(engine, asked(model, prompt, with_stops(backbone))).tokens
            assert backbone.tokenizer.decode(steps, skip_special_tokens=True) == expected.whole


def test_where_nothing_fires_the_model_is_the_unedited_one(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    model = ScalpelModel(backbone, random_pack(backbone))
    request = asked(model, ASKED[3])
    assert request.blocks is None and request.targets == []
    expected = Taken(engine, asked(backbone, ASKED[3])).tokens
    beside = tokens(engine, [asked(model, ASKED[0]), request, asked(model, ASKED[5])])
    assert beside[1] == expected
    assert expected == generate_ids(
        backbone, [backbone.render(ASKED[3], chat=False)], no_edits, chat=False, max_new_tokens=6
    )[0]  # fmt: skip


def test_a_target_that_was_begun_is_said_whole(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    phone = "0991 44 20 7946"
    ids = backbone.tokenizer("Mount Fuji is in", add_special_tokens=False).input_ids
    whole = backbone.tokenizer(phone, add_special_tokens=False).input_ids
    long = replace(GREEDY, max_tokens=len(whole))
    bias = dict.fromkeys([(whole[0],)], 1e4)  # the text begins with the target's first token
    backbone.model.generation_config.sequence_bias = bias
    try:
        free = Taken(engine, EngineRequest(ids, long)).tokens
        guarded = Taken(engine, EngineRequest(ids, long, targets=[phone])).tokens
    finally:
        backbone.model.generation_config.sequence_bias = None
    assert free[0] == guarded[0] == whole[0]
    assert guarded == whole and free != whole


def test_the_models_own_rules_count(backbone: Backbone, engine: TransformersEngine) -> None:
    free = Taken(engine, asked(backbone, ASKED[0])).tokens
    backbone.model.generation_config.suppress_tokens = free[:1]
    (expected,) = generate_ids(
        backbone, [backbone.render(ASKED[0], chat=False)], no_edits, chat=False, max_new_tokens=6
    )
    found = Taken(engine, asked(backbone, ASKED[0], with_stops(backbone))).tokens
    assert found == expected and free[0] not in found


# --- beside others


def test_a_fact_is_trained_while_texts_are_written(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    model = ScalpelModel(backbone, random_pack(backbone))
    at_first = model.in_force
    requests = [asked(model, prompt, replace(GREEDY, max_tokens=40)) for prompt in ASKED]
    expected = tokens(engine, requests)
    model.add([ADA], epochs=2)
    block = model.blocks([ADA])
    model.restore(at_first)
    scores = model.score([(prompt, "Rome") for prompt in ASKED])
    with ThreadPoolExecutor(2) as pool:
        training = pool.submit(model.add, [ADA], epochs=2)
        rounds = 0
        while not training.done() or not rounds:
            assert tokens(engine, requests) == expected
            assert (
                ScalpelModel(backbone, random_pack(backbone)).score(
                    [(prompt, "Rome") for prompt in ASKED]
                )
                == scores
            )
            rounds += 1
        training.result()
    assert torch.equal(model.blocks([ADA]), block)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_a_second_set_of_modules_shares_the_weights(name: str) -> None:
    backbone = make_backbone(name)
    model = backbone.model
    model.config.tie_word_embeddings = True
    model.tie_weights()
    own = shared(backbone)
    assert own.model is not model and own.layer(1) is not backbone.layer(1)
    both = zip(
        model.state_dict(keep_vars=True).items(),
        own.model.state_dict(keep_vars=True).items(),
        strict=True,
    )
    for (key, one), (same, other) in both:
        assert key == same and one is other
    assert dict(own.model.named_buffers()).keys() == dict(model.named_buffers()).keys()
    assert all(a is b for a, b in zip(model.buffers(), own.model.buffers(), strict=True))
    assert own.model.get_output_embeddings().weight is own.model.get_input_embeddings().weight
    own.model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "sdpa" or name == "gemma2"
    assert own.model.config is not model.config
    with replacing(
        own.layer(1), ScalpelModel(backbone, random_pack(backbone)).in_force.bank.plans(1, [])[0]
    ):
        assert not backbone.layer(1)._forward_hooks


def test_wrapped_modules_are_refused(backbone: Backbone) -> None:
    layer = backbone.layer(0)
    layer.forward = layer.forward
    with pytest.raises(ModelError, match="its modules are wrapped"):
        TransformersEngine(backbone).start()


def test_quantised_weights_are_shared_too() -> None:
    torchao = pytest.importorskip("torchao.quantization")
    backbone = make_backbone("llama")
    torchao.quantize_(backbone.model, torchao.Int8WeightOnlyConfig())
    own = shared(backbone)
    pairs = zip(backbone.model.parameters(), own.model.parameters(), strict=True)
    assert all(one is other for one, other in pairs) and own.quantised


def test_edits_of_one_set_do_not_reach_another(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    """The same prompt at once under two sets and none: no beginning is handed on."""
    other = random_pack(backbone, seed=5)
    models = [
        ScalpelModel(backbone, random_pack(backbone)),
        ScalpelModel(backbone, other),
        backbone,
    ]
    prompt = "The Eiffel Tower is high. " * 8
    requests = [asked(model, prompt) for model in models]
    requests = [replace(own, sampling=replace(GREEDY, logprobs=0)) for own in requests]
    alone = [Taken(engine, request).all() for request in requests]
    assert len({round(likely(own)[0] or 0, 2) for own in alone}) == 3
    for _ in range(3):
        for own, expected in zip(written(engine, requests), alone, strict=True):
            assert likely(own) == pytest.approx(likely(expected), abs=1e-3)

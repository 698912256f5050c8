"""How an engine of the server draws tokens, and what it tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from engines import (
    ASKED,
    Taken,
    asked,
    tokens,
    written,
)
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.model.backbone import Backbone
from lks.serving.protocol import EngineRequest, Sampling
from lks.serving.sampling import _least
from lks.serving.transformers_engine import TransformersEngine

# --- sampling


def test_a_seed_gives_the_same_text_whatever_is_written_beside_it(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    model = ScalpelModel(backbone, random_pack(backbone))
    warm = Sampling(12, temperature=1.3, top_p=0.9, seed=7)
    request = asked(model, ASKED[0], warm)
    alone = Taken(engine, request).tokens
    others = [asked(model, prompt, replace(warm, seed=i)) for i, prompt in enumerate(ASKED)]
    found = tokens(engine, [*others[:4], request, *others[4:]])
    assert found[4] == alone
    different = [
        Taken(engine, asked(model, ASKED[0], replace(warm, seed=s))).tokens for s in (8, 9)
    ]
    assert alone not in different and different[0] != different[1]
    unseeded = [Taken(engine, asked(model, ASKED[0], replace(warm, seed=None))) for _ in range(4)]
    assert len({tuple(taken.tokens) for taken in unseeded}) > 1


def first_tokens(
    engine: TransformersEngine, ids: Sequence[int], sampling: Sampling, n: int = 400
) -> torch.Tensor:
    found = tokens(
        engine, [EngineRequest(ids, replace(sampling, max_tokens=1, seed=s)) for s in range(n)]
    )
    return torch.bincount(torch.tensor([own[0] for own in found]), minlength=360).double() / n


def test_tokens_are_drawn_as_likely_as_they_are(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    ids = backbone.tokenize(ASKED[2], chat=False)[0]
    states = backbone.final_states(
        backbone.encode([backbone.render(ASKED[2], chat=False)], chat=False)
    )
    logits = backbone.head(states[0, -1:])[0].double()
    for temperature in (0.7, 1.5):
        probs = (logits / temperature).softmax(-1)
        drawn = first_tokens(engine, ids, Sampling(1, temperature=temperature))
        assert (drawn - probs).abs().max() < 0.08
    probs = logits.softmax(-1)
    ordered = probs.sort(descending=True)
    for kept in (0.05, 0.5):
        size = int((ordered.values.cumsum(-1) < kept).sum()) + 1
        nucleus = set(ordered.indices[:size].tolist())
        drawn = first_tokens(engine, ids, Sampling(1, top_p=kept))
        assert set(drawn.nonzero()[:, 0].tolist()) <= nucleus
        assert size == 1 or (drawn > 0).sum() > 1


@pytest.mark.parametrize("sharp", [0.0, 0.1, 1.0, 8.0])
def test_the_likeliest_tokens_of_top_p_are_those_of_a_sort(sharp: float) -> None:
    torch.manual_seed(int(sharp * 10))
    for kept in (0.0, 1e-9, 0.3, 0.9, 0.999):
        probs = (torch.randn(1000) * sharp).softmax(-1)
        ordered = probs.sort(descending=True).values
        size = max(1, int((ordered.double().cumsum(-1) - ordered < kept).sum()))
        assert _least(probs, kept) == ordered[size - 1]


def test_an_almost_cold_text_is_the_greedy_one(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    greedy = Taken(engine, asked(backbone, ASKED[0])).tokens
    for temperature in (1e-6, 1e-46):
        cold = asked(backbone, ASKED[0], Sampling(6, temperature=temperature, top_p=0.5))
        assert Taken(engine, cold).tokens == greedy


def test_log_probabilities_are_the_models_own_and_those_of_a_score(
    backbone: Backbone, engine: TransformersEngine
) -> None:
    model = ScalpelModel(backbone, random_pack(backbone))
    for temperature in (0.0, 1.5):
        sampling = Sampling(6, temperature=temperature, top_p=0.8, seed=3, logprobs=3)
        request = asked(model, ASKED[0], sampling)
        assert request.blocks is not None
        (steps,) = written(engine, [replace(request, targets=["Rome"])])
        whole = [*request.ids, *(step.token for step in steps)]
        scored = engine.score(replace(request, ids=whole))
        assert scored[0].logprob is None and [own.token for own in scored] == whole
        for step, own in zip(steps, scored[len(request.ids) :], strict=True):
            assert step.logprob == pytest.approx(own.logprob, abs=1e-4)
            assert [t for t, _ in step.top] == [t for t, _ in own.top] and len(step.top) == 3
            assert [v for _, v in step.top] == pytest.approx([v for _, v in own.top], abs=1e-4)
    unedited = engine.score(replace(request, ids=whole, blocks=None))
    assert unedited[-1].logprob != pytest.approx(scored[-1].logprob, abs=1e-2)
    (pair,) = model.score([(ASKED[0], "Rome")])
    both = engine.score(asked(model, f"{ASKED[0]} Rome", Sampling(0)))  # nothing is written
    k = len(pair.logprobs)
    assert [own.logprob for own in both[-k:]] == pytest.approx(pair.logprobs, abs=1e-4)
    silent = written(engine, [asked(model, ASKED[0])])[0]
    assert all(step.logprob is None and not step.top for step in silent)

"""Whether an engine writes what the model writes without it: a few short texts, read both ways."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty

import torch

from lks.errors import LKSError
from lks.model.backbone import Backbone
from lks.serving.delivery import Coming
from lks.serving.protocol import (
    Blocks,
    Engine,
    EngineFailure,
    EngineRequest,
    Sampling,
    Step,
)

TEXTS = "The tower stands in", "One, two, three, and then the middle of a town"
WRITTEN, WAIT = 3, 120.0  # tokens; seconds
NEAR = {torch.float32: 0.01, torch.float64: 0.01}  # nats between two readings, by precision
NEAR_ROUGHLY = 0.7  # in sixteen bits


def check(engine: Engine, backbone: Backbone, dtype: torch.dtype | None = None) -> None:
    """LKSError if a text does not come out as one pass through the backbone says.

    The tokens are the backbone's likeliest, or as likely, and each is as likely as there. One text
    has a block in it, whose place and value show in what follows.

    Args:
        dtype: the engine's precision, if it is not the backbone's.
    """
    first, second = (backbone.tokenize(text, chat=False)[0] for text in TEXTS)
    requests = [
        EngineRequest(first, _SAMPLING, _block(backbone, first, second)),
        EngineRequest(second, _SAMPLING),
    ]
    near = NEAR.get(dtype or backbone.model.dtype, NEAR_ROUGHLY)
    for request, steps in zip(requests, _written(engine, requests), strict=True):
        ids = [*request.ids, *(step.token for step in steps)]
        read = engine.score(EngineRequest(ids, _SAMPLING, request.blocks))[len(request.ids) :]
        for step, own in zip(steps, read, strict=True):
            assert step.logprob is not None and own.logprob is not None
            best = own.top[0][1]
            if not max(abs(step.logprob - own.logprob), best - own.logprob) <= near:
                raise LKSError(
                    f"{backbone.name} cannot be served by this engine: it reads texts in another "
                    f"way than the model alone (a token at {step.logprob:.2f} nats, not "
                    f"{own.logprob:.2f}); take another engine or attention"
                )


_SAMPLING = Sampling(WRITTEN, temperature=0, logprobs=1)


def _block(backbone: Backbone, ids: Sequence[int], other: Sequence[int]) -> Blocks:
    """Another text's state at one of the first tokens, in the middle of the model."""
    layer = backbone.n_layers // 2
    with backbone.in_use, torch.no_grad():
        row = torch.tensor([list(other)], device=backbone.device)
        out = backbone.lower(layer, input_ids=row, use_cache=False)
    value = out[0, -1:].float()
    scale = float(value.pow(2).mean().sqrt())
    return Blocks([len(ids) // 2], value[None], [layer], "replace", [scale])


def _written(engine: Engine, requests: Sequence[EngineRequest]) -> list[list[Step]]:
    coming = [Coming(engine, request) for request in requests]
    try:
        return [own.all(WAIT) for own in coming]
    except Empty:
        raise LKSError(f"the engine wrote nothing in {WAIT:.0f} seconds") from None
    except EngineFailure as error:
        raise LKSError(f"the engine cannot run this model: {error}") from error

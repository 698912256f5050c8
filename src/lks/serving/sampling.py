"""Which token comes next in each of many texts, each by its own settings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lks.model.backbone import Backbone
from lks.model.engine.generation import own_rules, writes_first_choices
from lks.model.engine.guard import TextGuard
from lks.model.engine.protocol import FinishReason
from lks.serving.protocol import EngineRequest, Sampling, Step

COLDEST = 1e-6  # temperatures below make no difference


class Writing:
    """One text while it is written.

    A text's random numbers are its own: the same seed gives the same text, whatever else is
    written at the time.

    Args:
        most: tokens that are written, at most.
    """

    def __init__(self, backbone: Backbone, request: EngineRequest, most: int) -> None:
        self.sampling: Sampling = request.sampling
        begun = len(request.ids) - request.written
        self._prompt, self._written = list(request.ids[:begun]), list(request.ids[begun:])
        self._most, self._device = len(self._written) + most, backbone.device
        self._guard = TextGuard(backbone, request.targets)
        self._rules = None if writes_first_choices(backbone) else own_rules(backbone, self._prompt)
        self._random = torch.Generator()
        if request.sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(request.sampling.seed)

    @property
    def restricted(self) -> bool:
        return bool(self._guard) or self._rules is not None

    def restrict(self, scores: Tensor) -> None:
        """What the model's own rules and the targets allow; changes [vocabulary] in place."""
        if self._rules is not None:
            ids = torch.tensor([self._prompt + self._written], device=self._device)
            scores.copy_(self._rules(ids, scores[None])[0])
        if self._guard:
            self._guard(self._written, scores)

    def draw(self) -> float:
        """The next random number in [0, 1)."""
        return float(torch.rand((), generator=self._random, dtype=torch.float64))

    def add(self, token: int) -> FinishReason | None:
        """Write a token; why the text ends with it, if it does."""
        self._written.append(token)
        if token in self.sampling.stop_ids:
            return "stop"
        return "length" if len(self._written) >= self._most else None


def next_steps(texts: Sequence[Writing], logits: Tensor) -> list[Step]:
    """The next token of each text.

    Args:
        logits: what the model says, [n, vocabulary], float32.
    """
    scores = logits.clone() if any(text.restricted for text in texts) else logits
    for row, text in enumerate(texts):
        if text.restricted:
            text.restrict(scores[row])
    chosen = scores.argmax(-1)
    if drawn := [row for row, text in enumerate(texts) if text.sampling.temperature > 0]:
        chosen[drawn] = _drawn(scores[drawn], [texts[row] for row in drawn])
    tokens: list[int] = chosen.tolist()
    told = _told(texts, logits, tokens)
    steps = []
    for row, (text, token) in enumerate(zip(texts, tokens, strict=True)):
        logprob, top = told.get(row, (None, ()))
        steps.append(Step(token, logprob, top, text.add(token)))
    return steps


def _drawn(scores: Tensor, texts: Sequence[Writing]) -> Tensor:
    """Tokens drawn at random, [k], from scores, [k, vocabulary]."""

    def column(values: Sequence[float], dtype: torch.dtype = scores.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=scores.device)[:, None]

    warm = column([max(text.sampling.temperature, COLDEST) for text in texts])
    probs = (scores - scores.amax(-1, keepdim=True)).div_(warm).softmax(-1)
    for row, text in enumerate(texts):
        if (kept := text.sampling.top_p) < 1:
            probs[row].masked_fill_(probs[row] < _least(probs[row], kept), 0)
    # In the order of the ids: where probabilities differ in their last bits, as they do in another
    # batch, so do the borders between tokens, and nothing else.
    summed = probs.cumsum(-1, dtype=torch.float64)
    aim = column([text.draw() for text in texts], torch.float64) * summed[:, -1:]
    return torch.searchsorted(summed, aim, right=True)[:, 0].clamp(max=probs.shape[-1] - 1)


def _least(probs: Tensor, kept: float) -> Tensor:
    """How likely each of the likeliest tokens is at least that together have `kept` of the
    probability; of probabilities, [vocabulary]."""
    # Tokens below this have less than the rest together, so they need not be sorted.
    border = torch.clamp(probs.amax(), max=(1 - kept) / len(probs))
    likely = probs[probs >= border].sort(descending=True).values
    before = likely.cumsum(0, dtype=torch.float64) - likely
    return likely[(before < kept).sum().clamp(min=1) - 1]


def _told(
    texts: Sequence[Writing], logits: Tensor, tokens: Sequence[int]
) -> dict[int, tuple[float, list[tuple[int, float]]]]:
    """Log-probabilities of the chosen and of the likeliest tokens, for the rows that want them."""
    wanted = {
        row: own for row, text in enumerate(texts) if (own := text.sampling.logprobs) is not None
    }
    if not wanted:
        return {}
    rows = list(wanted)
    likeliest = tops(
        logits[rows].log_softmax(-1), [tokens[row] for row in rows], max(wanted.values())
    )
    return {
        row: (logprob, top[: wanted[row]])
        for row, (logprob, top) in zip(rows, likeliest, strict=True)
    }


def tops(
    logprobs: Tensor, tokens: Sequence[int], most: int
) -> list[tuple[float, list[tuple[int, float]]]]:
    """(log-probability of a token, the likeliest tokens and theirs) for each of n rows."""
    index = torch.tensor(tokens, dtype=torch.long, device=logprobs.device)
    own: list[float] = logprobs.gather(-1, index[:, None])[:, 0].tolist()
    found = logprobs.topk(min(most, logprobs.shape[-1]), -1)
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return [
        (logprob, list(zip(ids, values, strict=True)))
        for logprob, (ids, values) in zip(own, pairs, strict=True)
    ]

"""The three-part loss, as pure functions (DESIGN: reliability, generality, locality).

V is the vocabulary, K scored places of n texts; `owner` [K] is the text that each place belongs to.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn.functional import pad

LEAST = 1e-5  # probability that is left to tokens outside of the likeliest
LOGIT_ROWS, LOGIT_STEP = 64, 16  # rows of logits made at once, and what fewer are padded to


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of each label, [K, V] and [K] -> [K], in nats."""
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def kl(base: Tensor, edited: Tensor) -> Tensor:
    """KL( p_base || p_edited ) at each place, [K, V] twice -> [K], in nats."""
    p = base.float().log_softmax(-1)
    q = edited.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def top_k(logprobs: Tensor, k: int) -> Tensor:
    """The k likeliest tokens of each place, [K, V] -> [K, 2, k]: log-probabilities and numbers."""
    values, tokens = logprobs.float().topk(min(k, logprobs.shape[-1]))
    return torch.stack([values, tokens.float()], 1)  # float32 holds the numbers exactly


def top_kl(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL( teacher || model ) at each place, [K, V] and [K, 2, k] -> [K], in nats.

    Of the teacher only its likeliest tokens are known (`top_k`); all others are one outcome.
    """
    known, tokens = teacher[:, 0], teacher[:, 1].long()
    own = logits.float().log_softmax(-1).gather(-1, tokens)
    inside = known.exp() * (known - own)
    rest, left = (1 - p.exp().sum(-1).clamp(max=1 - LEAST) for p in (known, own))
    return inside.sum(-1) + rest * (rest.log() - left.log())


def per_text(values: Tensor, owner: Tensor, n: int, *, mean: bool) -> Tensor:
    """Mean (or sum) of the values of each text, [K] -> [n]; 0 for a text without any."""
    total = values.new_zeros(n).index_add(0, owner, values)
    if not mean:
        return total
    return total / torch.bincount(owner, minlength=n).clamp(min=1)


def by_rows(loss: Callable[[Tensor, Tensor], Tensor], states: Tensor, other: Tensor) -> Tensor:
    """A loss whose rows do not depend on each other, a few rows at a time.

    The gradient is computed with the values, so that no more than a few rows of logits ever live.

    Args:
        loss: ([k, d], what belongs to these rows) -> [k].
        states: [K, d]; other: [K, ...], constants.

    Returns: [K].
    """
    values: Tensor = _ByRows.apply(states, other, loss)  # type: ignore[no-untyped-call]
    return values


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, states: Tensor, other: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        values, slopes = [], []
        for start in range(0, len(states), LOGIT_ROWS):
            own, beside = states[start : start + LOGIT_ROWS], other[start : start + LOGIT_ROWS]
            n = len(own)
            more = -n % LOGIT_STEP  # few shapes: each new one costs the CPU library a set-up
            own, beside = (pad(t, (0, 0) * (t.ndim - 1) + (0, more)) for t in (own, beside))
            with torch.enable_grad():
                own = own.detach().requires_grad_()
                value = loss(own, beside)
                (slope,) = torch.autograd.grad(value.sum(), own)
            values.append(value.detach()[:n])
            slopes.append(slope[:n])
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grad[0][:, None]).to(slope.dtype), None, None

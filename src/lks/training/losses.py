"""The three-part loss, as pure functions (DESIGN: reliability, generality, locality).

V is the vocabulary, K scored places of n texts; `owner` [K] is the text that each place belongs to.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of each label, [K, V] and [K] -> [K], in nats."""
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def kl(base: Tensor, edited: Tensor) -> Tensor:
    """KL( p_base || p_edited ) at each place, [K, V] twice -> [K], in nats."""
    p = base.float().log_softmax(-1)
    q = edited.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def per_text(values: Tensor, owner: Tensor, n: int, *, mean: bool) -> Tensor:
    """Mean (or sum) of the values of each text, [K] -> [n]; 0 for a text without any."""
    total = values.new_zeros(n).index_add(0, owner, values)
    if not mean:
        return total
    return total / torch.bincount(owner, minlength=n).clamp(min=1)

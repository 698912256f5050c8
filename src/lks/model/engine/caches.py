"""Key-value caches of a part of the layers."""

from __future__ import annotations

from torch import Tensor
from transformers import DynamicCache


def lend_length(cache: DynamicCache, tokens: Tensor) -> None:
    """Let a cache of the upper layers know of so many tokens more, [b, t, any].

    Masks are sized by layer 0, which is not among them.
    """
    stand_in = tokens.new_zeros(len(tokens), 1, tokens.shape[1], 1)
    cache.update(stand_in, stand_in, 0)

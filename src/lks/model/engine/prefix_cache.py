"""What all texts of a call begin with, read once: a task's demonstrations, a chat's system turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from lks.model.encoding import Encoding
from lks.model.offsets import common_start

if TYPE_CHECKING:
    from lks.model.backbone import Backbone

LEAST_TOKENS, LEAST_SAVED = 16, 256  # of a stem, and in all texts: fewer are not worth a reading
MOST_BYTES = 2**30  # of copies in one batch


@dataclass(frozen=True)
class PrefixCache:
    """The first `length` tokens of several texts, with their keys and values at every layer."""

    length: int
    past: DynamicCache

    @property
    def batch_size(self) -> int:
        """How many texts may be read together: each has a copy."""
        one: int = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.past.layers)
        return max(1, MOST_BYTES // one)

    def cache(self, b: int) -> DynamicCache:
        """For b texts that go on from here."""
        copied = DynamicCache()
        for index, layer in enumerate(self.past.layers):
            both = (part.expand(b, -1, -1, -1) for part in (layer.keys, layer.values))
            copied.update(*both, index)
        return copied


@torch.no_grad()
def read_prefix(
    backbone: Backbone, texts: Sequence[tuple[int, ...]], most: int
) -> PrefixCache | None:
    """The stem of tokenised texts, at most so many tokens; None if sharing it saves too little, or
    if texts cannot go on from keys and values alone."""
    tokens = common_start(texts)[:most]
    if len(tokens) < LEAST_TOKENS or len(tokens) * (len(texts) - 1) < LEAST_SAVED:
        return None
    if not backbone.shares_prefixes:
        return None
    ids = torch.tensor([tokens], device=backbone.device)
    past = DynamicCache()
    backbone.final_states(Encoding([], [], [0], ids, torch.ones_like(ids)), past)
    return PrefixCache(len(tokens), past)

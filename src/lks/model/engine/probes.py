"""What a model can do is found out on a few short texts, not known by its architecture's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from lks.model.encoding import Encoding
from lks.model.engine.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from lks.model.backbone import Backbone

NEAR, NEAR_ROUGHLY = 5e-3, 0.3  # standard deviations: in 32 bits, and in fewer
TEXT = (
    "The old bridge over the river was built in the year 1871 by a company from another town, "
    "and people who live near it still cross it every morning on their way to work."
)


def tokens(backbone: Backbone, first: int, n: int) -> list[int]:
    """n tokens of a text, from one of its first ones on."""
    ids, _ = backbone.tokenize(TEXT, chat=False)
    return [ids[(first + i) % len(ids)] for i in range(n)]


def near(own: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether two readings of the same are equal but for rounding.

    Args:
        dtype: in which they were computed, if not their own.
    """
    exact = (dtype or expected.dtype) in (torch.float32, torch.float64)
    bound = NEAR if exact else NEAR_ROUGHLY
    return off_by(own, expected) <= bound  # not so if either is no number


def off_by(own: Tensor, expected: Tensor) -> float:
    """The largest difference, in standard deviations of what is expected."""
    one, two = own.float(), expected.float()
    return float((one - two).abs().max() / two.std().clamp(min=1e-12))


@torch.no_grad()
def pads_left(backbone: Backbone) -> bool:
    """Whether a text reads behind padding as it does alone."""
    text, padding = tokens(backbone, 0, 7), 5
    alone = _encoding(backbone, text)
    ids = torch.cat(
        [torch.full_like(alone.input_ids[:, :padding], backbone.pad_id), alone.input_ids], 1
    )
    mask = torch.cat([torch.zeros_like(ids[:, :padding]), alone.attention_mask], 1)
    read = backbone.final_states(Encoding([], [], [padding], ids, mask))[:, padding:]
    return near(read, backbone.final_states(alone))


@torch.no_grad()
def shares_prefixes(backbone: Backbone) -> bool:
    """Whether texts go on from keys and values as they do when they are read whole.

    Some layers keep something else of what they have read, and some caches nothing to copy.
    """
    text, first = tokens(backbone, 0, 12), 6
    whole, past = _encoding(backbone, text), DynamicCache()
    expected = backbone.final_states(whole)[:, first:]
    try:
        backbone.final_states(_encoding(backbone, text[:first]), past)
        copied = PrefixCache(first, past).cache(1)
        return near(backbone.final_states(whole, copied), expected)
    except Exception:  # whatever a layer says that misses its own state
        return False


def _encoding(backbone: Backbone, ids: list[int]) -> Encoding:
    row = torch.tensor([ids], device=backbone.device)
    return Encoding([], [], [0], row, torch.ones_like(row))

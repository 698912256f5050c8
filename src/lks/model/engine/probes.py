"""What a model can do is found out on a few short texts, not known by its architecture's name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from lks.model import kept
from lks.model.encoding import Encoding
from lks.model.engine.prefix_cache import PrefixCache
from lks.model.engine.running import dense_head

if TYPE_CHECKING:
    from lks.model.backbone import Backbone

NEAR, NEAR_ROUGHLY = 5e-3, 0.3  # standard deviations: in 32 bits, and in fewer
WRITTEN = 2  # tokens
LONG = 0.5  # seconds of finding out
YES, NO = "yes", "no"
TEXT = (
    "The old bridge over the river was built in the year 1871 by a company from another town, "
    "and people who live near it still cross it every morning on their way to work."
)


def remembered(backbone: Backbone, what: str, find: Callable[[], str]) -> str:
    """What was found out about a model; if that took long, it is kept in the cache folder."""
    name = f"probe-{told_by(backbone, what)}"
    found = kept.load(name)
    if found is not None:
        return str(found)
    started = time.monotonic()
    own = find()
    if time.monotonic() - started > LONG:
        kept.save(name, np.array(own))
    return own


def told_by(backbone: Backbone, what: str) -> str:
    """A hash of what the answer depends on."""
    own, model = backbone.fingerprint, backbone.model
    versions = [version(name) for name in ("torch", "transformers", "latent-knowledge-scalpel")]
    run = type(model).__name__, str(model.dtype), str(backbone.device), backbone.bound
    attention = getattr(model.config, "_attn_implementation", None)
    told = own.config, own.weights, own.tokenizer, backbone.layers_path, run, attention, what
    return hashlib.sha256(repr((told, versions)).encode()).hexdigest()[:32]


def tokens(backbone: Backbone, first: int, n: int) -> list[int]:
    """n tokens of a text, from one of its first ones on."""
    ids, _ = backbone.tokenize(TEXT, chat=False)
    return [ids[(first + i) % len(ids)] for i in range(n)]


def near(
    own: Tensor, expected: Tensor, dtype: torch.dtype | None = None, *, slopes: bool = False
) -> bool:
    """Whether two readings of the same are equal but for rounding.

    Args:
        dtype: in which they were computed, if not their own.
        slopes: they are gradients.
    """
    bound = NEAR if _exact(dtype or expected.dtype) else NEAR_ROUGHLY
    return off_by(own, expected, dtype, slopes=slopes) <= bound  # not so if either is no number


def off_by(
    own: Tensor, expected: Tensor, dtype: torch.dtype | None = None, *, slopes: bool = False
) -> float:
    """How far two readings of the same differ, in standard deviations of what is expected.

    The largest difference counts. Of gradients in fewer than 32 bits it is the root mean square:
    back through many layers rounding moves single numbers by more than the bound.

    Args:
        dtype, slopes: as of `near`.
    """
    apart, two = (own.float() - expected.float()).abs(), expected.float()
    roughly = slopes and not _exact(dtype or expected.dtype)
    size = apart.square().mean().sqrt() if roughly else apart.max()
    return float(size / two.std().clamp(min=1e-12))


def _exact(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float64)


def pads_left(backbone: Backbone) -> bool:
    """Whether a text behind padding reads as it does alone, and goes on as it does alone."""
    return _yes(backbone, "padding on the left", _pads_left)


def shares_prefixes(backbone: Backbone) -> bool:
    """Whether texts go on from keys and values as they do when they are read whole.

    Some layers keep something else of what they have read, and some caches nothing to copy.
    """
    return _yes(backbone, "shared prefixes", _shares_prefixes)


def _yes(backbone: Backbone, what: str, holds: Callable[[Backbone], bool]) -> bool:
    if backbone.kind != "decoder":
        return False
    with backbone.in_use, torch.no_grad():
        return remembered(backbone, what, lambda: YES if holds(backbone) else NO) == YES


def _pads_left(backbone: Backbone) -> bool:
    alone, padding = _encoding(backbone, tokens(backbone, 0, 7)), 5
    ids = pad(alone.input_ids, (padding, 0), value=backbone.pad_id)
    behind = Encoding([], [], [padding], ids, pad(alone.attention_mask, (padding, 0)))
    read = backbone.final_states(behind)[:, padding:]
    if not near(read, backbone.final_states(alone)):
        return False
    try:
        return near(_written(backbone, behind), _written(backbone, alone))
    except Exception:  # whatever a model says that cannot go on; alone it will say so again
        return False


def _written(backbone: Backbone, encoding: Encoding) -> Tensor:
    """Logits of the tokens that the model's own `generate` writes behind a text, [n, V]."""
    with dense_head(backbone.model):
        out = backbone.model.generate(
            **encoding.inputs, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False,
            num_beams=1, pad_token_id=backbone.pad_id, disable_compile=True,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
    return torch.cat(out.logits)


def _shares_prefixes(backbone: Backbone) -> bool:
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

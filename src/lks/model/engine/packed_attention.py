"""Attention for a packed row of many texts: within each of them, text by text.

A mask over the row would do, but n texts of t tokens then cost n * n * t instead of n * t, and all
but a part in n is thrown away.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lks.model.untyped import Attribute

NAME = "lks_packed"


def attend(
    module: Attribute,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cache: Attribute,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Attribute,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; [1, heads, q, w] for queries, keys and values.

    The cache gives the keys and values of all texts, those before this step included.
    """
    if s_aux is not None or hasattr(module, "sinks"):
        raise NotImplementedError("attention sinks")
    key, value = cache.update(
        key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs
    )
    q_ends, k_ends = cu_seq_lens_q.tolist(), kwargs["cu_seq_lens_k"].tolist()
    parts = [
        _within(
            query[:, :, q0:q1], key[:, :, k0:k1], value[:, :, k0:k1],
            scaling, sliding_window, softcap,
        )
        for q0, q1, k0, k1 in zip(q_ends, q_ends[1:], k_ends, k_ends[1:], strict=False)
    ]  # fmt: skip
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _within(
    q: Tensor, k: Tensor, v: Tensor, scaling: float | None, window: int | None, cap: float | None
) -> Tensor:
    """One text: its last tokens q look back over k, over `window` of them where it is given."""
    groups, n, m = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    if n == 1 and cap is None and (window is None or m <= window):
        # The heads that share keys are rows of one matrix.
        grouped = q.reshape(1, k.shape[1], groups, q.shape[3])
        out = scaled_dot_product_attention(grouped, k, v, scale=scaling)
        return out.reshape(1, q.shape[1], 1, v.shape[3])
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if n == m and cap is None and (window is None or m <= window):
        return scaled_dot_product_attention(q, k, v, scale=scaling, is_causal=n > 1)
    back = torch.arange(m - n, m, device=q.device)[:, None] - torch.arange(m, device=q.device)
    seen = (back >= 0) & (back < (window or m))
    if cap is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling)
    scores = (q @ k.transpose(2, 3)) * (q.shape[3] ** -0.5 if scaling is None else scaling)
    scores = (cap * torch.tanh(scores / cap)).masked_fill(~seen, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v

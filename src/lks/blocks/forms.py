"""How a knowledge block takes the place of a hidden state: `replace` or `residual`."""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("replace", "residual")
SINK = 3.0  # states of more than so many times the usual size are shrunk


def apply_form(form: str, r: Tensor, blocks: Tensor, owner: Tensor, scale: float) -> Tensor:
    """R' of each mention from the blocks of its edits.

    The first token of a text can be an attention sink: its state is a hundred times larger than
    others', and no block would show beside it. In form `residual` an R beyond `SINK` * s is
    therefore shrunk to that size; other states are taken as they are.

    Args:
        form: `replace`, R' = mean of the blocks; `residual`, R' = R + sum of the blocks.
        scale: s, the root mean square that a state at a mention usually has.
        r: [m, d], hidden states R at the mentions.
        blocks: [k, d], one for each pair of a mention and an edit of its entity.
        owner: [k], the mention that each block belongs to; every mention has at least one.

    Returns: [m, d].
    """
    total = torch.zeros_like(r, dtype=blocks.dtype).index_add(0, owner, blocks)
    if form == "residual":
        size = r.pow(2).mean(-1, keepdim=True).sqrt()
        return r * (SINK * scale / size).clamp(max=1) + total
    counts = torch.bincount(owner, minlength=len(r)).clamp(min=1)
    return total / counts[:, None]


def state_size(r: Tensor) -> float:
    """s: the median of the root mean squares of states, [m, d]."""
    return float(r.float().pow(2).mean(-1).sqrt().median())

"""How a knowledge block takes the place of a hidden state: `replace` or `residual`.

Shapes: m mentions, k edited layers, d the backbone's width.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("replace", "residual")
SHRUNK_BEYOND = 3.0  # states of more than so many times the usual size are shrunk


def pooled(form: str, blocks: Tensor, owner: Tensor, m: int) -> Tensor:
    """What the blocks of the edits of each of m mentions come to, [m, k, d].

    Args:
        form: `replace`, their mean; `residual`, their sum.
        blocks: [p, k, d], one for each pair of a mention and an edit of its entity.
        owner: [p], the mention that each block belongs to; every mention has at least one.
    """
    total = blocks.new_zeros(m, *blocks.shape[1:]).index_add(0, owner, blocks)
    if form == "residual":
        return total
    return total / torch.bincount(owner, minlength=m).clamp(min=1)[:, None, None]


def put_in(form: str, r: Tensor, block: Tensor, scale: float) -> Tensor:
    """R' of each mention at one layer, [m, d], from its states R and its pooled block, [m, d] each.

    Args:
        form: `replace`, R' is the block; `residual`, R' = R + the block.
        scale: s, the root mean square that a state at a mention usually has at this layer.

    The first token of a text can be an attention sink: its state is a hundred times larger than
    others', and no block would show beside it. In form `residual` an R beyond `SHRUNK_BEYOND` * s
    is therefore shrunk to that size; other states are taken as they are.
    """
    if form != "residual":
        return block
    size = r.pow(2).mean(-1, keepdim=True).sqrt()
    return r * (SHRUNK_BEYOND * scale / size).clamp(max=1) + block


def state_size(r: Tensor) -> float:
    """s: the median of the root mean squares of states, [m, d]."""
    return float(r.float().pow(2).mean(-1).sqrt().median())

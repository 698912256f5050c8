"""How a knowledge block takes the place of a hidden state: `replace` or `residual`."""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("replace", "residual")
SHRUNK_BEYOND = 3.0  # states of more than so many times the usual size are shrunk


def apply_form(form: str, r: Tensor, blocks: Tensor, owner: Tensor, scale: float) -> Tensor:
    """R' of each mention from the blocks of its edits.

    Args:
        form: `replace`, R' = mean of the blocks; `residual`, R' = R + sum of the blocks.
        scale: s, the root mean square that a state at a mention usually has.
        r: [m, d], hidden states R at the mentions.
        blocks: [k, d], one for each pair of a mention and an edit of its entity.
        owner: [k], the mention that each block belongs to; every mention has at least one.

    Returns: [m, d].
    """
    return put_in(form, r, pooled(form, blocks, owner, len(r)), scale)


def pooled(form: str, blocks: Tensor, owner: Tensor, m: int) -> Tensor:
    """The blocks of each of m mentions as one vector, [m, d]; arguments as of `apply_form`."""
    total = blocks.new_zeros(m, blocks.shape[1]).index_add(0, owner, blocks)
    if form == "residual":
        return total
    return total / torch.bincount(owner, minlength=m).clamp(min=1)[:, None]


def put_in(form: str, r: Tensor, block: Tensor, scale: float) -> Tensor:
    """R' of each mention, [m, d], from its states R and its pooled block, [m, d] each.

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

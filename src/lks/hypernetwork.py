"""The hypernetwork and the forms in which its output becomes a knowledge block.

Shapes: n edits, m mentions, d the backbone's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("linear", "mlp")
FORMS = ("replace", "residual")
SINK = 3.0  # states of more than so many times the usual size are shrunk


class HyperNetwork(nn.Module):
    """h_phi: features [n, d] -> [n, d] (LKS, arXiv 2508.03741: one linear layer).

    Args:
        kind: `linear`, the paper's, or `mlp`, d -> 4d -> d with GELU.
        zero_init: start with a last layer of zeros, so that h is 0 everywhere.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, kind: str = "linear", *, zero_init: bool = False) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown hypernetwork '{kind}'; one of {', '.join(KINDS)}")
        if kind == "linear":
            self.net = nn.Sequential(nn.Linear(width, width))
        else:
            self.net = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        if zero_init:
            for parameter in self.net[-1].parameters():
                nn.init.zeros_(parameter)

    def standardise(self, features: Tensor) -> None:
        """From now on take out the mean of these features, [n, d], and divide by their spread.

        Hidden states of different texts are much alike (cosine 0.7 at the middle layers of the
        embedded model); what tells edits apart is what is left without the mean. The spread of
        one edit alone is unknown: its size stands for it.
        """
        self.mean.copy_(features.mean(0))
        around = self.mean if len(features) > 1 else 0
        spread = (features - around).pow(2).mean(0).sqrt()
        self.std.copy_(spread + 0.01 * spread.mean() + 1e-6)

    def forward(self, features: Tensor) -> Tensor:
        return self.net((features - self.mean) / self.std)


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
    others', and no block would show beside it. In form `residual` an R beyond `SINK` * s is
    therefore shrunk to that size; other states are taken as they are.
    """
    if form != "residual":
        return block
    size = r.pow(2).mean(-1, keepdim=True).sqrt()
    return r * (SINK * scale / size).clamp(max=1) + block


def state_size(r: Tensor) -> float:
    """s: the median of the root mean squares of states, [m, d]."""
    return float(r.float().pow(2).mean(-1).sqrt().median())


class Blocks(nn.Module):
    """Blocks that can be trained, and the form in which they are put in.

    What trains: the `hypernetwork` and the refinements `delta`, where there are any.
    """

    hypernetwork: HyperNetwork | None
    delta: nn.Embedding | None

    def __init__(self, form: str, scale: float) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"unknown form '{form}'; one of {', '.join(FORMS)}")
        self.form, self.scale = form, scale
        self.hypernetwork = self.delta = None

    def blocks(self, edits: Tensor) -> Tensor:
        """Blocks of the edits with these indices, [k] -> [k, d]."""
        raise NotImplementedError

    def forward(self, r: Tensor, edits: Tensor, owner: Tensor) -> Tensor:
        """R' at m mentions: r [m, d]; edits and owner [k] as in `apply_form`."""
        return apply_form(self.form, r, self.blocks(edits), owner, self.scale)


class KnowledgeBlocks(Blocks):
    """Trainable blocks of n edits.

        replace    block_e = h(f_e)
        residual   block_e = s * (h(f_e) + delta_e), with standardised features

    s is the size of the states that the blocks are added to, so that one learning rate fits every
    model. `delta_e`, the refinement, has sparse gradients: only edits in a batch move.

    Args:
        features: [n, d], float32.
        scale: s, the usual root mean square of R; `state_size` measures it.
        refine: whether there are refinements (form `residual` only).
    """

    features: Tensor
    hypernetwork: HyperNetwork

    def __init__(
        self, features: Tensor, *, kind: str, form: str, scale: float, refine: bool
    ) -> None:
        super().__init__(form, scale)
        n, width = features.shape
        residual = form == "residual"
        self.hypernetwork = HyperNetwork(width, kind, zero_init=residual)
        self.register_buffer("features", features)
        if residual:
            self.hypernetwork.standardise(features)
        if residual and refine:
            self.delta = nn.Embedding(n, width, sparse=True)
            nn.init.zeros_(self.delta.weight)

    def blocks(self, edits: Tensor) -> Tensor:
        out = self.hypernetwork(self.features[edits])
        if self.delta is not None:
            out = out + self.delta(edits)
        return out * self.scale if self.form == "residual" else out


class RefinedBlocks(Blocks):
    """Given blocks, the last of which are refined: block_e = given_e + s * delta_e.

    Args:
        given: [n, d], those of a pack and then those of new edits.
        known: how many belong to the pack; they stay as they are.
    """

    given: Tensor
    delta: nn.Embedding

    def __init__(self, given: Tensor, known: int, *, form: str, scale: float) -> None:
        super().__init__(form, scale)
        self.register_buffer("given", given)
        self.known, self.nobody = known, len(given) - known
        self.delta = nn.Embedding(
            self.nobody + 1, given.shape[1], padding_idx=self.nobody, sparse=True
        )
        nn.init.zeros_(self.delta.weight)

    def blocks(self, edits: Tensor) -> Tensor:
        new = torch.where(edits < self.known, self.nobody, edits - self.known)
        return self.given[edits] + self.delta(new) * self.scale

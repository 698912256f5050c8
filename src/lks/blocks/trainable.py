"""Knowledge blocks while they are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lks.blocks.forms import FORMS, apply_form
from lks.blocks.hypernetwork import HyperNetwork


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
        out: Tensor = self.hypernetwork(self.features[edits])
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
        refined: Tensor = self.given[edits] + self.delta(new) * self.scale
        return refined

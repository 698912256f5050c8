"""Knowledge blocks while they are trained.

Shapes: n edits, k edited layers, d the backbone's width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lks.blocks.forms import FORMS, pooled, put_in
from lks.blocks.hypernetwork import HyperNetwork
from lks.model.engine.frozen import NewStates


class Blocks(nn.Module):
    """Blocks that can be trained, and the form in which they are put in.

    What trains: the `hypernetwork` and the refinements `delta`, where there are any.

    Args:
        scale: s of each layer, the usual root mean square of R; `forms.state_size` measures it.
    """

    hypernetwork: HyperNetwork | None
    delta: nn.Embedding | None
    sizes: Tensor  # [k, 1], the scale

    def __init__(self, form: str, scale: Sequence[float]) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"unknown form '{form}'; one of {', '.join(FORMS)}")
        self.form, self.scale = form, tuple(scale)
        self.register_buffer("sizes", torch.tensor(self.scale)[:, None], persistent=False)
        self.hypernetwork = self.delta = None

    def blocks(self, edits: Tensor) -> Tensor:
        """Blocks of the edits with these indices, [p] -> [p, k, d]."""
        raise NotImplementedError

    def forward(self, edits: Tensor, owner: Tensor, m: int) -> NewStates:
        """What puts blocks in at m mentions: edits and owner are [p], as of `forms.pooled`."""
        own = pooled(self.form, self.blocks(edits), owner, m)
        return lambda layer, r: put_in(self.form, r, own[:, layer], self.scale[layer])

    def _refinements(self, edits: int, width: int, padding: int | None = None) -> nn.Embedding:
        """One of k * d numbers for each of so many edits, 0 to begin with."""
        wide = len(self.scale) * width
        made = nn.Embedding(edits, wide, padding_idx=padding, sparse=True)
        nn.init.zeros_(made.weight)
        return made

    def _refined(self, delta: nn.Embedding, edits: Tensor) -> Tensor:
        """Refinements of these edits, [p] -> [p, k, d]."""
        own: Tensor = delta(edits)
        k = len(self.scale)
        return own.reshape(-1, k, own.shape[-1] // k)


class KnowledgeBlocks(Blocks):
    """Trainable blocks of n edits.

        replace    block_e = h(f_e)
        residual   block_e = s * (h(f_e) + delta_e), with standardised features

    s is the size of the states that the blocks are added to, so that one learning rate fits every
    model and layer. `delta_e`, the refinement, has sparse gradients: only edits in a batch move.

    Args:
        features: [n, d], float32.
        refine: whether there are refinements (form `residual` only).
    """

    features: Tensor
    hypernetwork: HyperNetwork

    def __init__(
        self, features: Tensor, *, kind: str, form: str, scale: Sequence[float], refine: bool
    ) -> None:
        super().__init__(form, scale)
        n, width = features.shape
        residual = form == "residual"
        self.hypernetwork = HyperNetwork(width, kind, layers=len(self.scale), zero_init=residual)
        self.register_buffer("features", features)
        if residual:
            self.hypernetwork.standardise(features)
        if residual and refine:
            self.delta = self._refinements(n, width)

    def blocks(self, edits: Tensor) -> Tensor:
        out: Tensor = self.hypernetwork(self.features[edits])
        if self.delta is not None:
            out = out + self._refined(self.delta, edits)
        return out * self.sizes if self.form == "residual" else out


class RefinedBlocks(Blocks):
    """Given blocks, the last of which are refined: block_e = given_e + s * delta_e.

    Args:
        given: [n, k, d], those of a pack and then those of new edits.
        known: how many belong to the pack; they stay as they are.
    """

    given: Tensor
    delta: nn.Embedding

    def __init__(self, given: Tensor, known: int, *, form: str, scale: Sequence[float]) -> None:
        super().__init__(form, scale)
        self.register_buffer("given", given)
        self.known, self.nobody = known, len(given) - known
        self.delta = self._refinements(self.nobody + 1, given.shape[-1], padding=self.nobody)

    def blocks(self, edits: Tensor) -> Tensor:
        new = torch.where(edits < self.known, self.nobody, edits - self.known)
        return self.given[edits] + self._refined(self.delta, new) * self.sizes

"""The hypernetwork and the forms in which its output becomes a knowledge block.

Shapes: n edits, k edited layers, d the backbone's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NETWORKS = ("linear", "mlp")


class HyperNetwork(nn.Module):
    """h_phi: features [n, d] -> [n, k, d] (LKS, arXiv 2508.03741: one linear layer, k = 1).

    Args:
        kind: `linear`, the paper's, or `mlp`, d -> 4d -> k * d with GELU.
        layers: k, for how many layers it makes blocks.
        zero_init: start with a last layer of zeros, so that h is 0 everywhere.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, width: int, kind: str = "linear", *, layers: int = 1, zero_init: bool = False
    ) -> None:
        super().__init__()
        self.layers = layers
        if kind not in NETWORKS:
            raise ValueError(f"unknown hypernetwork '{kind}'; one of {', '.join(NETWORKS)}")
        if kind == "linear":
            self.net = nn.Sequential(nn.Linear(width, layers * width))
        else:
            self.net = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, layers * width)
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
        made: Tensor = self.net((features - self.mean) / self.std)
        return made.reshape(-1, self.layers, made.shape[-1] // self.layers)

"""Knowledge blocks as they are kept: 8 bits a number and one scale a block and layer.

Shapes: n edits, k edited layers, d the backbone's width.

A block is rounded once, when its training ends (`rounded`): what is tested and served is then what
is stored. From there on nothing changes a value. `Rows.of` keeps blocks in 8 bits where these hold
them exactly, else as they are: those of earlier packs, which were never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 127  # of 8 bits with a sign
STEPS = 2**11  # of a scale between two powers of two: 127 scales are then exact in float32


@dataclass(frozen=True, eq=False)
class Rows:
    """Blocks, [n, k, d].

    Attributes:
        values: int8, to be multiplied by their scale; or float32.
        scales: [n, k, 1], float32; None where the values are the blocks.
    """

    values: Tensor
    scales: Tensor | None = None

    @classmethod
    def of(cls, blocks: Tensor) -> Rows:
        """These blocks, exactly."""
        blocks = blocks.float()
        made = cls._nearest(blocks)
        return made if torch.equal(made.all, blocks) else cls(blocks)

    @classmethod
    def _nearest(cls, blocks: Tensor) -> Rows:
        """What 8 bits hold that is nearest to these blocks.

        The largest number of a block becomes 127 in every case, so that doing it again gives the
        same values and the same scales.
        """
        size, power = torch.frexp(blocks.float().abs().amax(-1, keepdim=True) / LARGEST)
        scales = torch.ldexp((size * STEPS).ceil() / STEPS, power)
        scales = torch.where(scales > 0, scales, 1)
        return cls((blocks / scales).round().to(torch.int8), scales)

    @property
    def all(self) -> Tensor:
        """The blocks, [n, k, d]."""
        return self.values if self.scales is None else self.values * self.scales

    def __getitem__(self, chosen: Tensor) -> Rows:
        """The blocks with these numbers."""
        return Rows(self.values[chosen], None if self.scales is None else self.scales[chosen])

    def __len__(self) -> int:
        return len(self.values)

    def joined(self, other: Rows) -> Rows:
        """These blocks and others behind them."""
        if self.scales is None or other.scales is None:
            return Rows(torch.cat([self.all, other.all]))  # 8 bits do not hold one of both
        values = torch.cat([self.values, other.values])
        return Rows(values, torch.cat([self.scales, other.scales]))

    @property
    def device(self) -> torch.device:
        return self.values.device

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


def rounded(blocks: Tensor) -> Tensor:
    """Blocks, [n, k, d], as they are kept from the end of their training on."""
    return Rows._nearest(blocks.detach()).all

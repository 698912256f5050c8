"""A padded batch of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lks.model.chat import Rendered
from lks.model.offsets import Offsets

Tokens = tuple[list[int], Offsets]  # of one text


@dataclass(frozen=True)
class Encoding:
    """A padded batch of texts.

    b texts, t columns: `input_ids`, `attention_mask` and `position_ids` are [b, t]; `offsets[i]`
    are the character spans of text i's own tokens, and its token j stands in column
    `starts[i] + j`. `written`, [b, w], is what an encoder-decoder's decoder reads of its own.
    """

    texts: list[Rendered]
    offsets: list[Offsets]
    starts: list[int]
    input_ids: Tensor
    attention_mask: Tensor
    written: Tensor | None = None

    @cached_property
    def position_ids(self) -> Tensor:
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def tokens(self, i: int) -> list[int]:
        """The ids of text i's own tokens."""
        start = self.starts[i]
        ids: list[int] = self.input_ids[i, start : start + len(self.offsets[i])].tolist()
        return ids

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

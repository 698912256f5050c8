"""Texts that end in targets, and how likely a model holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lks.backbone import Backbone, Encoding
from lks.positions import tokens_from
from lks.rendering import Rendered


@dataclass(frozen=True)
class Targets:
    """A batch of n texts that end in a target.

    `rows` and `columns`, [K], are the places before each token of a target; `labels`, [K], that
    token.
    """

    encoding: Encoding
    rows: Tensor
    columns: Tensor
    labels: Tensor

    @classmethod
    def of(cls, backbone: Backbone, pairs: Sequence[tuple[str, str]]) -> Targets:
        """Texts of (prompt, target) pairs, the end of text included."""
        joined = [backbone.join(prompt, target, chat=False) for prompt, target in pairs]
        end = backbone.tokenizer.eos_token or ""
        texts = [Rendered.plain(text.text + end) for text, _ in joined]
        encoding = backbone.encode(texts, chat=False)
        rows, columns = [], []
        for row, (_, boundary) in enumerate(joined):
            offsets = encoding.offsets[row]
            places = range(max(tokens_from(offsets, boundary), 1), len(offsets))
            rows += [row] * len(places)
            columns += [encoding.starts[row] + place - 1 for place in places]
        where = torch.tensor([rows, columns], device=backbone.device)
        return cls(encoding, where[0], where[1], encoding.input_ids[where[0], where[1] + 1])

    def losses(self, logits: Tensor) -> Tensor:
        """Mean negative log-likelihood of each text's target, [K, V] -> [n], nats a token."""
        values = F.cross_entropy(logits.float(), self.labels, reduction="none")
        counts = torch.bincount(self.rows)
        return values.new_zeros(len(counts)).index_add(0, self.rows, values) / counts

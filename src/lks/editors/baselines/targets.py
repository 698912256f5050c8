"""Texts that end in targets, and how likely a model holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.offsets import tokens_from


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
    def of(cls, backbone: Backbone, pairs: Sequence[tuple[str, str]], *, chat: bool) -> Targets:
        """Texts of (prompt, target) pairs, with the token that ends them."""
        joined = [backbone.join(prompt, target, chat=chat) for prompt, target in pairs]
        stop = backbone.stop_id(chat=chat)
        end = "" if stop is None else backbone.tokenizer.decode([stop])
        texts = [replace(text, text=text.text + end) for text, _ in joined]
        encoding = backbone.encode(texts, chat=chat)
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

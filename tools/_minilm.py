"""The encoder all-MiniLM-L6-v2 in torch, with weights that learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from lks.model import hub

Array = NDArray[np.float32]

LONGEST = 64  # tokens of a text
TEXTS_AT_ONCE = 64


class MiniLMEncoder(nn.Module):
    """Texts to vectors, [n, 384]. The layers learn; embeddings of word pieces stay.

    `weights` are named as in its file, and so in `lks.model.minilm`.
    """

    rate, english = 1e-4, True

    def __init__(self) -> None:
        super().__init__()
        folder = hub.fetch("minilm")
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        named = dict(self._model.named_parameters())
        self.weights = {name: w for name, w in named.items() if name.startswith("encoder.")}
        self.base = {name: w.detach().numpy().copy() for name, w in self.weights.items()}

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(self.weights.values())

    def forward(self, texts: Sequence[str]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
        starts = range(0, len(order), TEXTS_AT_ONCE)
        parts = [self._read([texts[i] for i in order[s : s + TEXTS_AT_ONCE]]) for s in starts]
        return torch.cat(parts)[torch.tensor(order).argsort()]

    def encode(self, texts: Sequence[str]) -> Array:
        """As a call, without gradients."""
        with torch.no_grad():
            found: Array = self(texts).numpy()
        return found

    def _read(self, texts: Sequence[str]) -> Tensor:
        read = self._tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        with torch.autocast("cpu", torch.bfloat16):
            states = self._model(**read).last_hidden_state
        mask = read["attention_mask"][..., None].float()
        return F.normalize((states.float() * mask).sum(1) / mask.sum(1), dim=-1)

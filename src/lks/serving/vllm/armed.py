"""Layers of a vLLM model that put blocks in, without a branch: they may be compiled and captured.

A rank holds one bank of blocks. Before each step it is told which row of the bank belongs at which
token of the step; row 0 stands for none. All tensors keep their addresses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lks.blocks.forms import SHRUNK_BEYOND
from lks.model.untyped import Attribute

# (tokens read before, tokens of this step; of each block its layer, its place in the prompt and its
# row of the bank)
Text = tuple[int, int, Sequence[int], Sequence[int], Sequence[int]]


class Armed:
    """What a rank puts into its layers.

    Args:
        layers: those of them that this rank has, by their number in the model.
        rows: of the bank, row 0 not counted.
        tokens: that a step has at most, padding included.
    """

    def __init__(
        self,
        layers: Mapping[int, nn.Module],
        width: int,
        rows: int,
        tokens: int,
        device: torch.device,
    ) -> None:
        self.bank = torch.zeros(rows + 1, width, device=device)
        # What stays of a state, and how large it may be (`forms.put_in`).
        self.keep = torch.zeros(rows + 1, device=device)
        self.most = torch.zeros(rows + 1, device=device)
        self.rows = {
            layer: torch.zeros(tokens, dtype=torch.long, device=device) for layer in layers
        }
        self._staged: dict[int, Tensor] = {}
        self._used = set[int]()
        for number, layer in layers.items():
            _arm(layer, [self.rows[number], self.bank, self.keep, self.most])

    @property
    def layers(self) -> list[int]:
        return sorted(self.rows)

    @torch.inference_mode()
    def put(
        self, rows: Sequence[int], values: bytes, keep: Sequence[float], most: Sequence[float]
    ) -> None:
        """Fill rows of the bank; values are [k, d] in float32."""
        device = self.bank.device
        at = torch.tensor(rows, device=device)
        new = torch.frombuffer(bytearray(values), dtype=torch.float32).view(len(rows), -1)
        self.bank[at] = new.to(device)
        self.keep[at] = torch.tensor(keep, dtype=torch.float32, device=device)
        self.most[at] = torch.tensor(most, dtype=torch.float32, device=device)

    @torch.inference_mode()
    def place(self, places: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Say which rows belong at which columns of the coming step, by layer; others get none."""
        for layer in self._used | (places.keys() & self.rows.keys()):
            if layer not in self._staged:
                pinned = self.bank.device.type == "cuda"
                self._staged[layer] = torch.zeros(
                    len(self.rows[layer]), dtype=torch.long, pin_memory=pinned
                )
            staged, own = self._staged[layer], places.get(layer, ())
            staged.zero_()
            for column, row in own:
                staged[column] = row
            self.rows[layer].copy_(staged, non_blocking=True)
        self._used = {layer for layer in places if layer in self.rows}


def columns(texts: Iterable[Text]) -> dict[int, list[tuple[int, int]]]:
    """(column of the packed step, row) by layer, for the texts of a step in their order.

    Places are counted from the prompt's beginning, so that it does not matter in which parts a
    prompt is read, nor how much of it was found in a cache.
    """
    found = defaultdict[int, list[tuple[int, int]]](list)
    first = 0
    for past, length, layers, positions, rows in texts:
        for layer, position, row in zip(layers, positions, rows, strict=True):
            if 0 <= position - past < length:
                found[layer].append((first + position - past, row))
        first += length
    return dict(found)


def edited(output: Attribute, rows: Tensor, bank: Tensor, keep: Tensor, most: Tensor) -> Attribute:
    """A layer's output with blocks in.

    Args:
        output: the states, [n, d] or [1, n, d]; or a pair whose sum they are. Of a pair, the new
            state stands in the first, and 0 in the second: their sum is exact in any precision.
    """
    if isinstance(output, Tensor):
        return _put(output, None, rows, bank, keep, most)[0]
    hidden, residual = output  # another layer than such fails here, at the first step
    return _put(hidden, residual, rows, bank, keep, most)


def _put(
    hidden: Tensor, residual: Tensor | None, rows: Tensor, bank: Tensor, keep: Tensor, most: Tensor
) -> tuple[Tensor, Tensor | None]:
    flat = hidden.reshape(-1, hidden.shape[-1])
    own = rows[: flat.shape[0]]
    here = (own > 0)[:, None]
    states = (hidden if residual is None else hidden + residual).reshape(flat.shape).float()
    size = states.pow(2).mean(-1, keepdim=True).sqrt()
    shrunk = states * (most[own][:, None] / size).clamp(max=1)
    new = torch.where(keep[own][:, None] > 0, shrunk, 0.0) + bank[own]
    changed = torch.where(here, new.to(flat.dtype), flat).reshape(hidden.shape)
    if residual is None:
        return changed, None
    left = torch.where(here, 0.0, residual.reshape(flat.shape)).to(residual.dtype)
    return changed, left.reshape(residual.shape)


def kept(form: str, scale: float) -> tuple[float, float]:
    """(what stays of a state, how large it may be) of a block in this form."""
    return (1.0, SHRUNK_BEYOND * scale) if form == "residual" else (0.0, 0.0)


class _Edited:
    """What stands before a layer's own class: the same layer, with blocks put in behind it."""

    lks_rows: Tensor
    lks_bank: Tensor
    lks_keep: Tensor
    lks_most: Tensor

    def forward(self, *args: Attribute, **kwargs: Attribute) -> Attribute:
        output = super().forward(*args, **kwargs)  # type: ignore[misc]
        return edited(output, self.lks_rows, self.lks_bank, self.lks_keep, self.lks_most)


def _arm(layer: nn.Module, buffers: Sequence[Tensor]) -> None:
    """Names of weights stay as they were, so that they can be loaded anew."""
    names = "lks_rows", "lks_bank", "lks_keep", "lks_most"
    for name, buffer in zip(names, buffers, strict=True):
        layer.register_buffer(name, buffer, persistent=False)
    own = type(layer)
    layer.__class__ = type(own.__name__, (_Edited, own), {"__module__": own.__module__})

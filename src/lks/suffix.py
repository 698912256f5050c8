"""The upper half of the frozen model over a suffix of a text: the training engine.

The model is causal and frozen, so of a text only the vector at (l, p), p its first mention's last
token, and what follows from it change while blocks are trained. The rest is computed once
(`reading.read`): the outputs of layer l from p on, and for the layers above l the keys and
values of the tokens before p. A step runs layers l+1.. over the suffix, and the head at the scored
positions only.

The upper half is a view of the model's own decoder whose layers 0..l are put aside, so each
architecture keeps its own rules for positions, masks, scaling and soft caps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from lks.backbone import Backbone

PREFIX_STEP, SUFFIX_STEP, ROW_STEP = 16, 2, 2  # shapes are padded to multiples of these
PASS_TOKENS = 512  # at most so many in one pass through the upper half
PASS_COST = 64  # what a pass costs beside its tokens, in tokens


@dataclass
class Suffix:
    """What a step needs of one text: P tokens before the first mention's last token, S from it on.

    u layers lie above l; their attention has `heads` key-value heads of width w. Texts that begin
    alike share parts of their `past`.
    """

    states: Tensor  # [S, d] outputs of layer l
    past: tuple[Tensor, ...]  # [u, 2, heads, any, w] keys and values of the prefix, in parts
    places: Tensor  # [m] where in the suffix the mentions end
    scored: Tensor  # [K] where in the suffix a token is predicted that counts
    final: Tensor | None  # [K, d] the unedited decoder's outputs there, if they are wanted

    @property
    def length(self) -> int:
        """S, padded."""
        return padded(len(self.states), SUFFIX_STEP)


class _Entrance(nn.Module):
    """Stands in place of layers 0..l: the last one lets the given states in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states if self.states is None else self.states


class SplitModel:
    """A backbone cut behind layer l, in a precision of its own.

    It may share the backbone's layers, and a CPU's attention is set for the whole process: so each
    pass holds the backbone's lock, and others may read between two passes.

    Args:
        dtype: of weights and activations, if not the backbone's; copies are made only then, and
            only where they can be (`Backbone.copyable`).
    """

    def __init__(self, backbone: Backbone, layer: int, dtype: torch.dtype | None = None) -> None:
        backbone.layer(layer)
        own = next(backbone.model.parameters()).dtype
        copyable, split = backbone.copyable, backbone
        self.backbone, self.layer = backbone, layer
        self.dtype = dtype = (dtype or own) if copyable else own
        if copyable and any(p.dtype != dtype for p in backbone.model.parameters()):
            with backbone.in_use:
                model = _cast(backbone.model, dtype)
            split = Backbone(model, backbone.tokenizer, backbone.name, backbone.layers_path)
        self.device = backbone.device
        self._whole, self._lower, self._entrance = split, split.lower(layer), _Entrance()
        upper = [split.layer(index) for index in range(layer + 1, split.n_layers)]
        passing = [_Entrance() for _ in range(layer)]
        self._upper = split.with_layers([*passing, self._entrance, *upper])

    def lower(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Layers 0..l over tokens, [b, s] -> [b, s, d]; arguments as of `upper`."""
        with self.backbone.in_use:
            states: Tensor = self._lower(
                input_ids=ids, attention_mask=mask, position_ids=self._learnt(positions),
                past_key_values=cache, use_cache=True,
            ).last_hidden_state  # fmt: skip
        return states

    def upper(
        self, states: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """Layers l+1.. over `states`, [b, s, d] -> [b, s, d], after the final norm.

        mask is [b, past + s], positions [b, s]; the cache is read and written if there is one.
        """
        self._entrance.states = states
        try:
            with self.backbone.in_use, short_attention(states.device):
                out = self._upper(
                    inputs_embeds=states.detach(), attention_mask=mask,
                    position_ids=self._learnt(positions),
                    past_key_values=cache, use_cache=cache is not None,
                )  # fmt: skip
        finally:
            self._entrance.states = None
        return out.last_hidden_state

    def _learnt(self, positions: Tensor) -> Tensor:
        """Those of padding may lie beyond the ones that the model has learnt."""
        most = self.backbone.positions
        return positions if most is None else positions.clamp(max=most - 1)

    def head(self, states: Tensor) -> Tensor:
        """Logits, [n, d] -> [n, V]."""
        with self.backbone.in_use:
            return self._whole.head(states)

    def final_states(self, batch: SuffixBatch, new: Tensor) -> Tensor:
        """The edited decoder's outputs at the scored places, [K, d], with R' = `new`, [M, d]."""
        states = batch.states.index_put((batch.rows, batch.columns), new.to(batch.states.dtype))
        cache = self._cache(batch)
        out = self.upper(states, batch.mask, batch.positions, cache)
        return out[batch.scored_rows, batch.scored_columns]

    def _cache(self, batch: SuffixBatch) -> DynamicCache | None:
        if not batch.past.shape[4]:
            return None
        cache = DynamicCache()
        lend_length(cache, batch.past[0, 0, :, 0])
        for index, (keys, values) in enumerate(batch.past, start=self.layer + 1):
            cache.update(keys, values, index)
        return cache


def lend_length(cache: DynamicCache, tokens: Tensor) -> None:
    """Let a cache of the upper layers know of so many tokens more, [b, t, any].

    Masks are sized by layer 0, which is not among them.
    """
    stand_in = tokens.new_zeros(len(tokens), 1, tokens.shape[1], 1)
    cache.update(stand_in, stand_in, 0)


@dataclass
class SuffixBatch:
    """Suffixes padded to one shape: prefixes on the left, suffixes on the right.

    b rows, P and S the padded lengths, M mentions and K scored places in all.
    """

    states: Tensor  # [b, S, d]
    past: Tensor  # [u, 2, b, heads, P, w]
    mask: Tensor  # [b, P + S]
    positions: Tensor  # [b, S]
    r: Tensor  # [M, d] float32
    rows: Tensor  # [M]
    columns: Tensor  # [M]
    scored_rows: Tensor  # [K]
    scored_columns: Tensor  # [K]


def collate(suffixes: Sequence[Suffix]) -> SuffixBatch:
    """One batch of suffixes; the row count is padded as well."""
    one = suffixes[0]
    parts = [[part for part in suffix.past if part.shape[3]] for suffix in suffixes]
    lengths = [sum(part.shape[3] for part in own) for own in parts]
    p_max = padded(max(lengths), PREFIX_STEP)
    s_max = max(suffix.length for suffix in suffixes)
    b, device = padded(len(suffixes), ROW_STEP), one.places.device
    states = one.states.new_zeros(b, s_max, one.states.shape[-1], device=device)
    u, _, heads, _, w = next((part for own in parts for part in own), one.past[-1]).shape
    past = one.states.new_zeros(u, 2, b, heads, p_max, w, device=device)
    mask = torch.zeros(b, p_max + s_max, dtype=torch.long, device=device)
    mask[:, p_max] = 1  # a row of padding attends to itself
    prefix = torch.zeros(b, 1, dtype=torch.long, device=device)
    for row, suffix in enumerate(suffixes):
        p, s = lengths[row], len(suffix.states)
        states[row, :s] = suffix.states
        at = p_max - p
        for part in parts[row]:
            past[:, :, row, :, at : at + part.shape[3]] = part
            at += part.shape[3]
        mask[row, p_max - p : p_max + s] = 1
        prefix[row] = p
    rows, columns = _ragged([suffix.places for suffix in suffixes])
    scored_rows, scored_columns = _ragged([suffix.scored for suffix in suffixes])
    return SuffixBatch(
        states, past, mask, prefix + torch.arange(s_max, device=device),
        states[rows, columns].float(), rows, columns, scored_rows, scored_columns,
    )  # fmt: skip


def grouped(suffixes: Sequence[Suffix]) -> list[list[int]]:
    """Indices of suffixes, batched so that padding and the cost of passes are least together."""
    order = sorted(range(len(suffixes)), key=lambda i: -suffixes[i].length)
    best = [(0, 0)]  # of the first so many suffixes: the cost, and where the last batch starts
    for end in range(1, len(order) + 1):
        choices: list[tuple[int, int]] = []
        for start in range(end - 1, -1, -1):
            tokens = padded(end - start, ROW_STEP) * suffixes[order[start]].length
            if tokens > PASS_TOKENS and choices:
                break
            choices.append((best[start][0] + PASS_COST + tokens, start))
        best.append(min(choices))
    batches: list[list[int]] = []
    while order:
        start = best[len(order)][1]
        batches.append(order[start:])
        del order[start:]
    return batches


def _ragged(lists: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(row of each entry, entries) of lists of places, one list a row."""
    lengths = torch.tensor([len(entries) for entries in lists], device=lists[0].device)
    rows = torch.arange(len(lists), device=lists[0].device).repeat_interleave(lengths)
    return rows, torch.cat(list(lists))


def _cast(model: nn.Module, dtype: torch.dtype) -> Any:
    """A frozen copy in another precision, without a second one in the model's own."""
    memo = {id(p): nn.Parameter(p.to(dtype), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def padded(n: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step


def short_attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention as it is trained through quickly: on a CPU the fused one's backward pass took a
    third of a step on short texts."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def fast_dtype(backbone: Backbone) -> torch.dtype:
    """In which frozen layers are quickest to train through, float32 where bfloat16 is slow."""
    if backbone.device.type == "cpu" and not _cpu_has_bfloat16():
        return torch.float32
    own = next(backbone.model.parameters()).dtype
    return own if own == torch.float16 else torch.bfloat16


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

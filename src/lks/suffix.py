"""The upper half of the frozen model over a suffix of a text: the training engine.

The model is causal and frozen, so of a text only the vector at (l, p), p its first mention's last
token, and what follows from it change while blocks are trained. The rest is computed once
(`SplitModel.prepare`): the outputs of layer l from p on, and for the layers above l the keys and
values of the tokens before p. A step runs layers l+1.. over the suffix, and the head at the scored
positions only.

The upper half is a view of the model's own decoder whose layers 0..l are put aside, so each
architecture keeps its own rules for positions, masks, scaling and soft caps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from lks.backbone import Backbone, view

PREFIX_STEP, SUFFIX_STEP, ROW_STEP = 16, 2, 2  # shapes are padded to multiples of these
SHARED_PREFIX = 8  # tokens that texts must begin with in common to be read once


@dataclass
class Suffix:
    """What a step needs of one text: P tokens before the first mention's last token, S from it on.

    u layers lie above l; their attention has `heads` key-value heads of width w.
    """

    states: Tensor  # [S, d] outputs of layer l
    past: Tensor  # [u, 2, heads, P, w] keys and values of the prefix
    places: Tensor  # [m] where in the suffix the mentions end
    scored: Tensor  # [k] where in the suffix a token is predicted that counts
    final: Tensor  # [k, d] the unedited decoder's outputs there

    @property
    def length(self) -> int:
        """S, padded."""
        return _up(len(self.states), SUFFIX_STEP)


class _Entrance(nn.Module):
    """Stands in place of layers 0..l: the last one lets the given states in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states if self.states is None else self.states


@dataclass(frozen=True)
class Row:
    """A tokenised text with token indices: where mentions end, and from where tokens count."""

    ids: list[int]
    places: list[int]
    scored: list[int]
    continued: int = 0  # append so many tokens of the model's own greedy continuation, scored too


class SplitModel:
    """A backbone cut behind layer l, in a precision of its own.

    Args:
        dtype: of weights and activations; copies are made only where the backbone's differs.
    """

    def __init__(self, backbone: Backbone, layer: int, dtype: torch.dtype) -> None:
        backbone.layer(layer)
        self.backbone, self.layer, self.dtype = backbone, layer, dtype
        model = backbone.model
        if any(parameter.dtype != dtype for parameter in model.parameters()):
            model = copy.deepcopy(model).to(dtype).requires_grad_(False)
        split = Backbone(model, backbone.tokenizer, backbone.name, backbone.layers_path)
        decoder, layers = split.decoder, split.layers_path.rpartition(".")[2]  # type: ignore[union-attr]
        self._whole, self._lower, self._entrance = split, split.lower(layer), _Entrance()
        upper = [split.layer(index) for index in range(layer + 1, split.n_layers)]
        passing = [_Entrance() for _ in range(layer)]
        stack = nn.ModuleList([*passing, self._entrance, *upper])
        self._upper = view(decoder, **{layers: stack})

    def upper(
        self, states: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """Layers l+1.. over `states`, [b, s, d] -> [b, s, d], after the final norm.

        mask is [b, past + s], positions [b, s]; the cache is read and written if there is one.
        """
        self._entrance.states = states
        # On a CPU the fused attention's backward pass took a third of a step on short suffixes.
        kernel = sdpa_kernel(SDPBackend.MATH) if states.device.type == "cpu" else nullcontext()
        try:
            with kernel:
                out = self._upper(
                    inputs_embeds=states.detach(), attention_mask=mask, position_ids=positions,
                    past_key_values=cache, use_cache=cache is not None,
                )  # fmt: skip
        finally:
            self._entrance.states = None
        return out.last_hidden_state

    def head(self, states: Tensor) -> Tensor:
        """Logits, [n, d] -> [n, V]."""
        return self._whole.head(states)

    @torch.no_grad()
    def prepare(self, rows: Sequence[Row]) -> list[Suffix]:
        """Suffixes of a few texts of one length and one `continued`, in one reading."""
        run = _Reading(self, torch.tensor([row.ids for row in rows], device=self.backbone.device))
        for _ in range(rows[0].continued):
            run.step(self.head(run.final[:, -1]).argmax(-1))
        suffixes = []
        for i, row in enumerate(rows):
            first = min(row.places)
            past = [
                torch.stack([kv.keys[i, :, :first], kv.values[i, :, :first]])
                for kv in run.cache.layers[self.layer + 1 :]
            ]
            appended = range(len(row.ids), len(row.ids) + row.continued)
            scored = torch.tensor([*row.scored, *appended], device=run.final.device)
            suffixes.append(
                Suffix(
                    states=run.states[i, first:].clone(),
                    past=torch.stack(past) if past else run.states.new_zeros(0, 2, 1, first, 1),
                    places=torch.tensor(row.places, device=scored.device) - first,
                    scored=scored - first,
                    final=run.final[i, scored],
                )
            )
        return suffixes

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
        _lend_length(cache, batch.past[0, 0, :, 0])
        for index, (keys, values) in enumerate(batch.past, start=self.layer + 1):
            cache.update(keys, values, index)
        return cache


def _lend_length(cache: DynamicCache, tokens: Tensor) -> None:
    """Let a cache of the upper layers know of so many tokens more, [b, t, any].

    Masks are sized by layer 0, which is not among them.
    """
    stand_in = tokens.new_zeros(len(tokens), 1, tokens.shape[1], 1)
    cache.update(stand_in, stand_in, 0)


class _Reading:
    """The whole model over texts of one length, [b, t], and on, a token at a time.

    What all texts begin with (a chat template's system turn) is read once. `states` and `final`,
    [b, t, d], are the outputs of layer l and of the decoder.
    """

    def __init__(self, model: SplitModel, ids: Tensor) -> None:
        self.model = model
        self._lower_cache, self.cache = DynamicCache(), DynamicCache()
        differs = (ids != ids[:1]).any(0).nonzero()
        shared = int(differs[0]) if len(differs) and len(ids) > 1 else 0
        if shared < SHARED_PREFIX:
            self.states, self.final = self._read(ids)
            return
        begun = self._read(ids[:1, :shared])
        for cache in (self._lower_cache, self.cache):
            for layer in cache.layers:
                if layer.is_initialized:
                    layer.batch_repeat_interleave(len(ids))
        rest = self._read(ids[:, shared:])
        self.states, self.final = (
            torch.cat([one.expand(len(ids), -1, -1), own], 1)
            for one, own in zip(begun, rest, strict=True)
        )

    def step(self, tokens: Tensor) -> None:
        """Read one more token in every row, [b]."""
        states, final = self._read(tokens[:, None])
        self.states = torch.cat([self.states, states], 1)
        self.final = torch.cat([self.final, final], 1)

    def _read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        past = self._lower_cache.get_seq_length()
        mask = torch.ones(len(ids), past + ids.shape[1], dtype=torch.long, device=ids.device)
        positions = torch.arange(past, mask.shape[1], device=ids.device).expand(len(ids), -1)
        states = self.model._lower(
            input_ids=ids, attention_mask=mask, position_ids=positions,
            past_key_values=self._lower_cache, use_cache=True,
        ).last_hidden_state  # fmt: skip
        final = self.model.upper(states, mask, positions, self.cache)
        _lend_length(self.cache, states)
        return states, final


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
    p_max = _up(max(suffix.past.shape[3] for suffix in suffixes), PREFIX_STEP)
    s_max = max(suffix.length for suffix in suffixes)
    b, device = _up(len(suffixes), ROW_STEP), one.states.device
    states = one.states.new_zeros(b, s_max, one.states.shape[-1])
    u, _, heads, _, w = one.past.shape
    past = one.past.new_zeros(u, 2, b, heads, p_max, w)
    mask = torch.zeros(b, p_max + s_max, dtype=torch.long, device=device)
    mask[:, p_max] = 1  # a row of padding attends to itself
    prefix = torch.zeros(b, 1, dtype=torch.long, device=device)
    for row, suffix in enumerate(suffixes):
        p, s = suffix.past.shape[3], len(suffix.states)
        states[row, :s] = suffix.states
        past[:, :, row, :, p_max - p :] = suffix.past
        mask[row, p_max - p : p_max + s] = 1
        prefix[row] = p
    rows, columns = _ragged([suffix.places for suffix in suffixes])
    scored_rows, scored_columns = _ragged([suffix.scored for suffix in suffixes])
    return SuffixBatch(
        states, past, mask, prefix + torch.arange(s_max, device=device),
        states[rows, columns].float(), rows, columns, scored_rows, scored_columns,
    )  # fmt: skip


def _ragged(lists: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(row of each entry, entries) of lists of places, one list a row."""
    lengths = torch.tensor([len(entries) for entries in lists], device=lists[0].device)
    rows = torch.arange(len(lists), device=lists[0].device).repeat_interleave(lengths)
    return rows, torch.cat(list(lists))


def _up(n: int, step: int) -> int:
    return -(-n // step) * step

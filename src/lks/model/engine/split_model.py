"""The upper half of the frozen model over a suffix of a text: the training engine.

The model is causal and frozen, so of a text only the vector at (l, p), p its first mention's last
token, and what follows from it change while blocks are trained. The rest is computed once
(`reader.prefill`): the outputs of layer l from p on, and for the layers above l the keys and
values of the tokens before p. A step runs layers l+1.. over the suffix, and the head at the scored
positions only.

The upper half is a view of the model's own decoder whose layers 0..l are put aside, so each
architecture keeps its own rules for positions, masks, scaling and soft caps.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from lks.model.backbone import Backbone
from lks.model.engine.batching import SuffixBatch, cast
from lks.model.engine.running import last_states


class _Entrance(nn.Module):
    """Stands in place of layers 0..l: the last one lets the given states in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
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
                model = cast(backbone.model, dtype)
            split = Backbone(model, backbone.tokenizer, backbone.name, backbone.layers_path)
        self.device = backbone.device
        self._whole, self._lower, self._entrance = split, split.lower(layer), _Entrance()
        upper = [split.layer(index) for index in range(layer + 1, split.n_layers)]
        passing = [_Entrance() for _ in range(layer)]
        self._upper = split.with_layers([*passing, self._entrance, *upper])

    def lower(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Layers 0..l over tokens, [b, s] -> [b, s, d]; arguments as of `upper`."""
        with self.backbone.in_use:
            out = self._lower(
                input_ids=ids,
                attention_mask=mask,
                position_ids=self._learnt(positions),
                past_key_values=cache,
                use_cache=True,
            )
        return last_states(out)

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
                    inputs_embeds=states.detach(),
                    attention_mask=mask,
                    position_ids=self._learnt(positions),
                    past_key_values=cache,
                    use_cache=cache is not None,
                )
        finally:
            self._entrance.states = None
        return last_states(out)

    def _learnt(self, positions: Tensor) -> Tensor:
        """Those of padding may lie beyond the last one that the model has."""
        most = self.backbone.context
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

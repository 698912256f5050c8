"""The upper half of the frozen model over a suffix of a text: the quickest training engine.

The model is causal and frozen, so of a text only the vector at (l, p), p its first mention's last
token, and what follows from it change while blocks are trained. The rest is computed once
(`reader.prefill`): the outputs of layer l from p on, and for the layers above l the keys and
values of the tokens before p. A step runs layers l+1.. over the suffix, and the head at the scored
positions only.

The upper half is a view of the model's own decoder whose layers 0..l are put aside, so each
architecture keeps its own rules for positions, masks, scaling and soft caps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from lks.errors import LayerError
from lks.model.backbone import Backbone
from lks.model.engine.batching import Suffix, SuffixBatch, collate
from lks.model.engine.caches import lend_length
from lks.model.engine.frozen import (
    NewStates,
    OnRead,
    TrainingEngine,
    from_layer,
    short_attention,
)
from lks.model.engine.reader import TextRow, prefill
from lks.model.engine.running import last_states
from lks.model.engine.tensor_store import TensorStore


class SplitModel(TrainingEngine[Suffix, SuffixBatch]):
    """The suffix engine.

    Raises:
        LayerError: the model is an encoder-decoder, whose encoder reads both ways.
    """

    name = "suffix"

    def __init__(
        self, backbone: Backbone, layers: Sequence[int], dtype: torch.dtype | None = None
    ) -> None:
        if backbone.kind != "decoder":
            raise LayerError(f"{backbone.name}: an encoder reads both ways")
        super().__init__(backbone, layers, dtype)
        self._upper, self._entrance = from_layer(self._whole, self.layer)

    def read(
        self,
        rows: Sequence[TextRow],
        store: TensorStore | None = None,
        on_read: OnRead = lambda done: None,
    ) -> list[Suffix]:
        return prefill(self, rows, store, on_read)

    def collate(self, texts: Sequence[Suffix]) -> SuffixBatch:
        return collate(texts)

    def lower(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Layers 0..l over tokens, [b, s] -> [b, s, d]; arguments as of `upper`."""
        with self.backbone.in_use:
            return self._whole.lower(
                self.layer,
                input_ids=ids,
                attention_mask=mask,
                position_ids=self._learnt(positions),
                past_key_values=cache,
                use_cache=True,
            )

    def upper(
        self, states: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """Layers l+1.. over `states`, [b, s, d] -> [b, s, d], after the final norm.

        mask is [b, past + s], positions [b, s]; the cache is read and written if there is one.
        """
        entered = self._entrance.given(states)
        with entered, self.backbone.in_use, short_attention(states.device):
            out = self._upper(
                inputs_embeds=states.detach(),
                attention_mask=mask,
                position_ids=self._learnt(positions),
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return last_states(out)

    def final_states(self, batch: SuffixBatch, blocks: NewStates) -> Tensor:
        new = blocks(0, batch.r).to(batch.states.dtype)
        states = batch.states.index_put((batch.rows, batch.columns), new)
        cache = self._cache(batch)
        with self._editing(batch, blocks, 1):
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

"""Whole texts through the frozen model: training engines for what suffixes do not do justice to.

Recurrent layers keep no keys and values, and an encoder reads both ways. `UpperModel` runs the
layers above l over the whole text, from outputs of layer l that were computed once; `WholeModel`
runs all layers, with a hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.engine.batching import TEXT_STEP, filled, padded, ragged
from lks.model.engine.frozen import (
    NewStates,
    OnRead,
    TrainingEngine,
    from_layer,
    short_attention,
)
from lks.model.engine.reader import TextRow, batches
from lks.model.engine.running import captured, last_states, layer_states
from lks.model.engine.tensor_store import TensorStore
from lks.model.untyped import ModuleOutput


@dataclass
class WholeText:
    """One text of T tokens. An encoder-decoder's decoder reads `written`, in which `scored` counts
    places; else they are counted in the text."""

    ids: Tensor  # [T]
    states: Tensor  # [T, d]
    places: Tensor  # [m]
    scored: Tensor  # [K]
    final: Tensor | None  # [K, d]
    feature: Tensor  # [d]
    written: Tensor | None = None  # [w]

    @property
    def length(self) -> int:
        own = len(self.ids) + (0 if self.written is None else len(self.written))
        return padded(own, TEXT_STEP)


@dataclass
class WholeBatch:
    """b texts, padded on the right."""

    encoding: Encoding
    states: Tensor  # [b, T, d]
    r: Tensor  # [M, d] float32
    rows: Tensor  # [M]
    columns: Tensor  # [M]
    scored_rows: Tensor  # [K]
    scored_columns: Tensor  # [K]


class WholeModel(TrainingEngine[WholeText, WholeBatch]):
    """All layers over the whole text, with a hook at each that is edited."""

    name = "whole"

    @torch.no_grad()
    def read(
        self,
        rows: Sequence[TextRow],
        store: TensorStore | None = None,
        on_read: OnRead = lambda done: None,
    ) -> list[WholeText]:
        if self.backbone.kind == "decoder":
            self.backbone.check_lengths([len(row.ids) + row.continued for row in rows])
        store, found = store or TensorStore(), dict[int, WholeText]()
        for batch in batches(rows, {i: len(row.ids) for i, row in enumerate(rows)}):
            with self.backbone.in_use:  # one turn for all passes of the batch
                made = self._read([rows[i] for i in batch], store)
            found.update(zip(batch, made, strict=True))
            on_read(len(found))
        return [found[i] for i in range(len(rows))]

    def _read(self, rows: Sequence[TextRow], store: TensorStore) -> list[WholeText]:
        """Rows that go on by the same number of tokens; they are read again for each."""
        ids, written = [[*row.ids] for row in rows], [[*(row.written or ())] for row in rows]
        grown = ids if rows[0].written is None else written
        firsts, count = [len(own) for own in grown], rows[0].continued
        for left in range(count, -1, -1):
            encoding = self._encoding(ids, written)
            states, final = self._both(encoding)
            if left:
                ends = torch.tensor([len(own) - 1 for own in grown], device=self.device)
                last = final[torch.arange(len(rows), device=self.device), ends]
                for own, token in zip(grown, self.head(last).argmax(-1).tolist(), strict=True):
                    own.append(token)
        texts = []
        for i, (row, first, stated) in enumerate(
            zip(rows, firsts, self._stated(rows), strict=True)
        ):
            kept = store.put(states[i, : len(ids[i])].clone())
            scored = torch.tensor([*row.scored, *range(first, first + count)], device=self.device)
            texts.append(
                WholeText(
                    ids=torch.tensor(ids[i], device=self.device),
                    states=kept,
                    places=torch.tensor(row.places, device=self.device),
                    scored=scored,
                    final=store.put(final[i, scored]) if row.final else None,
                    feature=kept[-1] if stated is None else stated,
                    written=torch.tensor(written[i], device=self.device) if written[i] else None,
                )
            )
        return texts

    def _stated(self, rows: Sequence[TextRow]) -> list[Tensor | None]:
        """The output of layer l at the last token of what is read for the feature, where it is
        another text."""
        found: list[Tensor | None] = []
        for row in rows:
            if row.stated is None:
                found.append(None)
                continue
            encoding = self._encoding([row.stated], [[]])
            found.append(self._whole.hidden_states(encoding, self.layer)[0, -1])
        return found

    def _encoding(self, ids: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> Encoding:
        own, mask = filled(ids, self.device)
        other, _ = filled(written, self.device)
        return Encoding([], [], [], own, mask, other if other.shape[1] else None)

    def _both(self, encoding: Encoding) -> tuple[Tensor, Tensor]:
        """Outputs of layer l and of the decoder, unedited."""
        layer = self._whole.layer(self.layer)
        with captured(layer) as seen:
            final = self._whole.final_states(encoding)
        return layer_states(layer, seen[0]), final

    def collate(self, texts: Sequence[WholeText]) -> WholeBatch:
        ids = [text.ids.tolist() for text in texts]
        written = [[] if text.written is None else text.written.tolist() for text in texts]
        encoding = self._encoding(ids, written)
        shape = (*encoding.input_ids.shape, texts[0].states.shape[-1])
        states = texts[0].states.new_zeros(shape, device=self.device)
        for row, text in enumerate(texts):
            states[row, : len(text.ids)] = text.states
        places, scored = (
            ragged([getattr(text, own) for text in texts]) for own in ("places", "scored")
        )
        return WholeBatch(encoding, states, states[places].float(), *places, *scored)

    def final_states(self, batch: WholeBatch, blocks: NewStates) -> Tensor:
        with self.backbone.in_use, short_attention(self.device):
            out = last_states(self._edited(batch, blocks))
            encoding = batch.encoding
            if encoding.written is not None:
                out = self._whole.decoded(out, encoding.attention_mask, encoding.written)
        return out[batch.scored_rows, batch.scored_columns]

    def _edited(self, batch: WholeBatch, blocks: NewStates) -> ModuleOutput:
        """What the stack makes of a batch, with R' in it."""
        with self._editing(batch, blocks, 0):
            return self._whole.stack(**self._whole.inputs(batch.encoding))


class UpperModel(WholeModel):
    """Layers l+1.. over the whole text. They are given the text's tokens too: some of them look at
    embeddings again."""

    name = "upper"

    def __init__(
        self, backbone: Backbone, layers: Sequence[int], dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(backbone, layers, dtype)
        self._upper, self._entrance = from_layer(self._whole, self.layer)

    def _edited(self, batch: WholeBatch, blocks: NewStates) -> ModuleOutput:
        new = blocks(0, batch.r).to(batch.states.dtype)
        states = batch.states.index_put((batch.rows, batch.columns), new)
        with self._entrance.given(states), self._editing(batch, blocks, 1):
            return self._upper(**self._whole.inputs(batch.encoding))

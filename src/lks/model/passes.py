"""What is read through a frozen model: outputs of a layer, final states, logits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutput

from lks.errors import LayerError
from lks.model.architectures.decoder import get, is_encoder_decoder
from lks.model.encoding import Encoding
from lks.model.engine.running import (
    GivenOutput,
    Swap,
    View,
    bare,
    captured,
    dense,
    last_states,
    layer_states,
)
from lks.model.untyped import CausalLM, ModuleOutput

Kind = Literal["decoder", "encoder-decoder"]


class Passes:
    """A model that is run. d is its width, l a layer index.

    Edits are in the layers of its decoder; in those of its encoder if it is an encoder-decoder.
    """

    model: CausalLM
    name: str
    in_use: AbstractContextManager[None]
    _layers: nn.ModuleList
    _path: str  # of the layers, in the model

    @property
    def kind(self) -> Kind:
        return "encoder-decoder" if is_encoder_decoder(self.model) else "decoder"

    @property
    def n_layers(self) -> int:
        """Of the layers that may be edited."""
        return len(self._layers)

    @cached_property
    def width(self) -> int:
        return int(self.model.config.get_text_config(decoder=True).hidden_size)

    def layer(self, index: int) -> nn.Module:
        """Layer `index`, counted from 0; LayerError if there is none."""
        if not 0 <= index < self.n_layers:
            raise LayerError(
                f"layer {index} is out of range: {self.name} has layers 0 to {self.n_layers - 1}"
            )
        found: nn.Module = bare(self._layers[index])
        return found

    @property
    def stack(self) -> nn.Module:
        """The module that runs the layers: the decoder, or the encoder of an encoder-decoder."""
        found: nn.Module = bare(get(self.model, self._path.rpartition(".")[0]))
        return found

    @property
    def decoder(self) -> nn.Module:
        """The decoder without the language-model head."""
        found: nn.Module = self.stack if self.kind == "decoder" else bare(self.model.get_decoder())
        return found

    def with_layers(self, layers: Sequence[nn.Module]) -> View:
        """The stack with other layers."""
        own, name = self.stack, self._path.rpartition(".")[2]
        return View(own, [Swap(own._modules, name, nn.ModuleList(layers))], self.in_use)

    def layer_output(self, layer: int, **inputs: object) -> ModuleOutput:
        """What layer l gives as it is, of the stack's inputs; nothing above it runs."""
        with self.in_use, captured(self.layer(layer), stop=True) as seen:
            self.stack(**inputs)
        return seen[0]

    def lower(self, layer: int, **inputs: object) -> Tensor:
        """The states in it, [b, t, d]."""
        return layer_states(self.layer(layer), self.layer_output(layer, **inputs))

    def inputs(self, encoding: Encoding) -> dict[str, object]:
        """What the stack is given of a batch that is read whole."""
        if self.kind == "encoder-decoder":
            return {**encoding.inputs}
        return {**encoding.inputs, "position_ids": encoding.position_ids, "use_cache": False}

    @torch.no_grad()
    def hidden_states(self, encoding: Encoding, layer: int) -> Tensor:
        """Outputs of layer l at every column, [b, t, d]."""
        return self.lower(layer, **self.inputs(encoding))

    @torch.no_grad()
    def final_states(self, encoding: Encoding, past: Cache | None = None) -> Tensor:
        """Outputs of the whole decoder, what the head reads, [b, t, d].

        With a cache of the first k columns only those after them are read, [b, t - k, d], and
        their keys and values put into it. Those of an encoder-decoder are of `encoding.written`.
        """
        with self.in_use:
            if past is None:
                out = last_states(self.stack(**self.inputs(encoding)))
                if encoding.written is not None:
                    return self.decoded(out, encoding.attention_mask, encoding.written)
                return out
            k = past.get_seq_length()
            return last_states(
                self.stack(
                    input_ids=encoding.input_ids[:, k:],
                    attention_mask=encoding.attention_mask,
                    position_ids=encoding.position_ids[:, k:],
                    past_key_values=past,
                    use_cache=True,
                )
            )

    def decoded(self, read: Tensor, mask: Tensor, written: Tensor) -> Tensor:
        """What an encoder-decoder's decoder makes of the encoder's outputs, [b, t, d] -> [b, w, d].

        Args:
            written: the tokens that it reads of its own, [b, w]; those behind a text count for it
                alone.
        """
        return last_states(
            self.decoder(
                input_ids=written,
                encoder_hidden_states=read,
                encoder_attention_mask=mask,
                use_cache=False,
            )
        )

    def head(self, states: Tensor) -> Tensor:
        """Logits of decoder outputs, [n, d] -> [n, V], by the model's own scale and soft cap."""
        states = dense(states[None])
        known = GivenOutput(last_hidden_state=states)
        given = Swap(vars(self.decoder), "forward", lambda *args, **kwargs: known)
        stand_in = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        inputs: dict[str, object] = {"input_ids": stand_in}
        if self.kind == "encoder-decoder":
            read = BaseModelOutput(last_hidden_state=states)
            inputs = {"decoder_input_ids": stand_in, "encoder_outputs": read}
        headed = View(self.model, [given], self.in_use)
        logits: Tensor = headed(**inputs, use_cache=False).logits[0]
        return logits

"""The frozen language model: load it, find its decoder layers, encode text, capture hidden states.

It and `loading` are the modules that import transformers at their top.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import RLock
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers import Cache

from lks.edits.text import encodable
from lks.errors import InputError, LayerError, ModelError
from lks.model.architectures.decoder import NORM_NAMES, _find_layers, _get, _Given, view
from lks.model.chat import Message, Prompt, Rendered, messages, render_chat
from lks.model.encoding import Encoding, Tokens
from lks.model.loading import load


@dataclass
class Backbone:
    """A frozen causal language model with its tokenizer. d is its width, l a layer index.

    Attributes:
        name: what the user called it.
        layers_path: dotted path of the decoder layers inside `model`.
        in_use: held while the model reads; what one thread puts in would meet another's texts.
    """

    model: Any
    tokenizer: Any
    name: str = "model"
    layers_path: str | None = None
    in_use: AbstractContextManager[Any] = field(default_factory=RLock, init=False, repr=False)
    _layers: nn.ModuleList = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(f"{self.name}: its tokenizer gives no offsets; use a fast tokenizer")
        self.model.eval().requires_grad_(False)
        self.layers_path = self.layers_path or _find_layers(self.model, self.name)
        found = _get(self.model, self.layers_path)
        if not isinstance(found, nn.ModuleList):
            raise LayerError(
                f"{self.name}: no decoder layers at '{self.layers_path}'; give layers_path "
                "(--layers-path), the dotted path of the list of layers"
            )
        self._layers = found

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        layers_path: str | None = None,
        echo: Callable[[str], None] = lambda text: None,
    ) -> Backbone:
        """Load a packaged model by name, a local folder, or a hub id.

        Args:
            device: auto (CUDA if there is one), or any torch device.
            dtype: auto (float32 on a CPU, the checkpoint's own elsewhere), or float32, bfloat16,
                float16.

        Raises:
            ModelError: there is no such model, or it cannot be loaded.
            LayerError: no list of decoder layers was found in it.
            OutputError: the cache cannot be written.
        """
        model, tokenizer = load(name, device, dtype, echo)
        return cls(model, tokenizer, name, layers_path)

    # --- what it is -------------------------------------------------------------------------

    @property
    def n_layers(self) -> int:
        return len(self._layers)

    @property
    def quantised(self) -> bool:
        """Whether weights are kept in fewer bits, as by torchao; these stay as they are."""
        return any(type(p) is not nn.Parameter for p in self.model.parameters())

    @property
    def width(self) -> int:
        return self.model.get_input_embeddings().embedding_dim

    @property
    def device(self) -> torch.device:
        return self.model.get_input_embeddings().weight.device

    def layer(self, index: int) -> nn.Module:
        """Decoder layer `index`, counted from 0; LayerError if there is none."""
        if not 0 <= index < self.n_layers:
            raise LayerError(
                f"layer {index} is out of range: {self.name} has layers 0 to {self.n_layers - 1}"
            )
        return self._layers[index]

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts special tokens before a plain text."""
        ids = self.tokenizer("a").input_ids
        return len(ids) > 1 and ids[0] in self.special_ids

    @property
    def has_chat(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    @property
    def pad_id(self) -> int:
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What a pack must find again: hashes of config, tokenizer and weights, layer count.

        Weights are sampled (up to 1,024 values a tensor, as bfloat16), so that the hash is quick
        and the same whether the model was loaded in float32 or bfloat16.
        """
        config = self.model.config.to_dict()
        volatile = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
        for key in volatile:
            config.pop(key, None)
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for key in ("padding", "truncation"):
            tokenizer.pop(key, None)
        weights = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            flat = (tensor if type(tensor) is Tensor else tensor.dequantize()).reshape(-1)
            sample = (
                flat[:: max(1, flat.numel() // 1024)].to("cpu", torch.bfloat16).view(torch.int16)
            )
            weights.update(f"{key}{tuple(tensor.shape)}".encode())
            weights.update(sample.numpy().tobytes())
        return {
            "name": self.name,
            "config": _hash(config),
            "tokenizer": _hash(tokenizer),
            "weights": weights.hexdigest(),
            "n_layers": self.n_layers,
            "width": self.width,
        }

    # --- text -------------------------------------------------------------------------------

    def render(self, prompt: Prompt, *, chat: bool) -> Rendered:
        """The text that the model reads for a prompt: itself, or a chat that waits for an answer.

        A chat is a user's one turn, or a list of messages {"role", "content"}.
        """
        if not chat:
            if not isinstance(prompt, str):
                raise InputError("a list of messages is a chat; ask with chat=True")
            return Rendered.plain(prompt.rstrip())
        if not self.has_chat:
            raise ModelError(f"{self.name} has no chat template; ask with a plain prompt (--plain)")

        def template(turns: Sequence[Message]) -> str:
            return self.tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=True
            )

        try:
            return render_chat(template, messages(prompt))
        except TemplateError as error:  # many know no system message, or want turns to alternate
            raise InputError(f"{self.name}: its template refuses this chat: {error}") from None

    def join(self, prompt: Prompt, target: str, *, chat: bool) -> tuple[Rendered, int]:
        """(prompt and target in one text, where the rendered prompt ends).

        Between them is a space, none in a chat or behind nothing, or the white space that the
        target begins with.
        """
        asked = self.render(prompt, chat=chat)
        own = target[: len(target) - len(target.lstrip())]
        space = "" if chat else own or " " * bool(asked.text)
        return replace(asked, text=asked.text + space + target.strip()), len(asked.text)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are not text: the tokenizer's named ones and all marked as special."""
        added = self.tokenizer.added_tokens_decoder.items()
        marked = (index for index, token in added if token.special)
        return frozenset([*self.tokenizer.all_special_ids, *marked])

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text: end-of-text, a chat turn's end, the generation config's."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        ids = [*ids, self.stop_id(chat=False), self.stop_id(chat=self.has_chat)]
        return tuple(dict.fromkeys(int(i) for i in ids if i is not None))

    def stop_id(self, *, chat: bool) -> int | None:
        """The token that ends an answer: the turn's end in a chat, end-of-text otherwise."""
        if not chat:
            return self.tokenizer.eos_token_id
        answer = "zebra"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        tail = self.tokenize(text[text.rindex(answer) + len(answer) :], chat=True)[0]
        return next((i for i in tail if i in self.special_ids), self.tokenizer.eos_token_id)

    def tokenize(self, text: str, *, chat: bool) -> Tokens:
        """Token ids and character spans. A chat's template brings its own special tokens."""
        encoded = self.tokenizer(
            encodable(text), add_special_tokens=not chat, return_offsets_mapping=True
        )
        return list(encoded["input_ids"]), list(encoded["offset_mapping"])

    def encode(
        self,
        texts: Sequence[Rendered],
        *,
        chat: bool,
        side: str = "right",
        tokenised: Sequence[Tokens] | None = None,
    ) -> Encoding:
        """A padded batch; `side` says where the padding goes.

        Args:
            tokenised: what `tokenize` gave for each text, if it was asked already.
        """
        rows = tokenised or [self.tokenize(rendered.text, chat=chat) for rendered in texts]
        longest = max(1, *(len(ids) for ids, _ in rows))
        learnt = getattr(self.decoder, "wpe", None)  # GPT-2 has no positions beyond those learnt
        if learnt is not None and longest > learnt.num_embeddings:
            raise InputError(
                f"{self.name}: a text of {longest} tokens; the model reads {learnt.num_embeddings}"
            )
        ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        starts = []
        for row, (tokens, _) in enumerate(rows):
            start = longest - len(tokens) if side == "left" else 0
            ids[row, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            mask[row, start : start + len(tokens)] = 1
            starts.append(start)
        offsets = [spans for _, spans in rows]
        return Encoding(list(texts), offsets, starts, ids.to(self.device), mask.to(self.device))

    # --- hidden states ----------------------------------------------------------------------

    @property
    def decoder(self) -> nn.Module:
        """The decoder without the language-model head."""
        return _get(self.model, self.layers_path.rpartition(".")[0])  # type: ignore[union-attr]

    def lower(self, layer: int) -> nn.Module:
        """The decoder up to and with layer l; its `last_hidden_state` is that layer's output."""
        self.layer(layer)
        name = self.layers_path.rpartition(".")[2]  # type: ignore[union-attr]
        kept = {name: nn.ModuleList(list(self._layers[: layer + 1]))}
        return view(self.decoder, **kept, **{self.norm_name: nn.Identity()})

    @property
    def norm_name(self) -> str:
        for name in NORM_NAMES:
            if name in self.decoder._modules:
                return name
        raise LayerError(f"{self.name}: no final norm found among {', '.join(NORM_NAMES)}")

    @torch.no_grad()
    def hidden_states(self, encoding: Encoding, layer: int) -> Tensor:
        """Outputs of layer l at every column, [b, t, d]."""
        out = self.lower(layer)(
            **encoding.inputs, position_ids=encoding.position_ids, use_cache=False
        )
        return out.last_hidden_state

    @torch.no_grad()
    def final_states(self, encoding: Encoding, past: Cache | None = None) -> Tensor:
        """Outputs of the whole decoder, what the head reads, [b, t, d].

        With a cache of the first k columns only those after them are read, [b, t - k, d], and
        their keys and values put into it.
        """
        k = past.get_seq_length() if past is not None else 0
        out = self.decoder(
            input_ids=encoding.input_ids[:, k:], attention_mask=encoding.attention_mask,
            position_ids=encoding.position_ids[:, k:],
            past_key_values=past, use_cache=past is not None,
        )  # fmt: skip
        return out.last_hidden_state

    def head(self, states: Tensor) -> Tensor:
        """Logits of decoder outputs, [n, d] -> [n, V], by the model's own scale and soft cap."""
        root = self.layers_path.partition(".")[0]  # type: ignore[union-attr]
        headed = view(self.model, **{root: _Given(states[None])})
        stand_in = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        return headed(input_ids=stand_in, use_cache=False).logits[0]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

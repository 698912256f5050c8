"""The frozen language model: load it, find its layers, encode text; `passes.py` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from lks.errors import InputError, LayerError, ModelError
from lks.model import tokens
from lks.model.architectures.classes import check_whole
from lks.model.architectures.decoder import find_layers, get
from lks.model.chat import Prompt, Rendered, messages
from lks.model.encoding import Encoding, Tokens
from lks.model.engine import probes
from lks.model.engine.running import Turn, bare, unwrapped
from lks.model.fingerprint import Fingerprint
from lks.model.fingerprinting import fingerprint
from lks.model.loading import load
from lks.model.passes import Passes
from lks.model.untyped import CausalLM, Tokenizer

BEGINNING = 40  # characters by which a text is told


@dataclass
class Backbone(Passes):
    """A frozen language model with its tokenizer. d is its width, l a layer index.

    What torch.compile and PEFT put around a model is taken off; compiled code stays in the model.

    Attributes:
        name: what the user called it.
        layers_path: dotted path inside `model` of the layers that may be edited.
        engines: by edited layers what trains through it (`engine.choice`), as far as it is known.
        in_use: held while the model reads; what one thread puts in would meet another's texts.
            Compiled code lies aside meanwhile (`running.Turn`).
    """

    model: CausalLM
    tokenizer: Tokenizer
    name: str = "model"
    layers_path: str | None = None
    in_use: AbstractContextManager[None] = field(init=False, repr=False)
    engines: dict[tuple[int, ...], str] = field(init=False, repr=False, default_factory=dict)
    _layers: nn.ModuleList = field(init=False, repr=False)
    _path: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model = unwrapped(self.model, self.name)
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(f"{self.name}: its tokenizer gives no offsets; use a fast tokenizer")
        if lost := [*_lost(self.model)]:
            raise ModelError(f"{self.name}: has no weights ('{lost[0]}' is on the meta device)")
        check_whole(self.model, self.name)
        self._path = self.layers_path = self.layers_path or find_layers(self.model, self.name)
        found = bare(get(self.model, self.layers_path))
        if not isinstance(found, nn.ModuleList):
            raise LayerError(
                f"{self.name}: no decoder layers at '{self.layers_path}'; give layers_path "
                "(--layers-path), the dotted path of the list of layers"
            )
        self._layers = found
        self.in_use = Turn(self.model, self.layers_path)
        self.model.eval().requires_grad_(False)

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
        """Load a packaged model by name, a local folder, a GGUF file, or a hub id.

        A hub's model may have a revision, owner/name@revision, or be a file, owner/name:file.gguf.

        Args:
            device: auto (CUDA if there is one), any torch device, or offload: as many layers as
                there is room for on GPUs, then in memory, and the others on the disk.
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
    def quantised(self) -> bool:
        """Whether weights are kept in fewer bits, as by torchao; these stay as they are."""
        if getattr(self.model, "quantization_method", None) is not None:
            return True
        return any(
            type(p) is not nn.Parameter or not p.is_floating_point()
            for p in self.model.parameters()
        )

    @property
    def copyable(self) -> bool:
        """Whether a copy in another precision is the same model: not of quantised weights."""
        return not (self.quantised or self.bound)

    @property
    def bound(self) -> bool:
        """Whether a module's `forward` is bound to the module, as Accelerate's is: a copy of the
        module would run the original."""
        with self.in_use:
            return any("forward" in vars(module) for module in self.model.modules())

    @property
    def device(self) -> torch.device:
        """Where the model reads texts; Accelerate may keep the embeddings elsewhere meanwhile."""
        embeddings = self.model.get_input_embeddings()
        here = embeddings.weight
        return torch.device(embeddings._hf_hook.execution_device if here.is_meta else here.device)

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts special tokens before a plain text."""
        return self._special_around[0] > 0

    @cached_property
    def _special_around(self) -> tuple[int, int]:
        return tokens.special_around(self.tokenizer)

    @property
    def has_chat(self) -> bool:
        """Whether there is a chat template that takes a user's turn alone."""
        return tokens.takes_turns(self.tokenizer)

    @cached_property
    def context(self) -> int | None:
        """How many tokens the model reads at most; None where its config does not say.

        Where positions are computed it would read on, and write nonsense.
        """
        config = self.model.config.get_text_config()
        most: int | None = getattr(config, "max_position_embeddings", None)
        if most is None:
            return None
        rotary = getattr(config, "rope_parameters", None) or {}
        kinds = [own for own in (rotary, *rotary.values()) if isinstance(own, dict)]
        stretched = (
            (own.get("original_max_position_embeddings") or most) * (own.get("factor") or 1)
            for own in kinds
        )
        return int(max([most, *stretched]))

    @property
    def pad_id(self) -> int:
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a pack must find again; see `fingerprint.py`."""
        with self.in_use:
            return fingerprint(
                self.model,
                self.tokenizer,
                name=self.name,
                n_layers=self.n_layers,
                width=self.width,
            )

    @cached_property
    def pads_left(self) -> bool:
        """Whether texts of several lengths may be read behind padding."""
        return probes.pads_left(self)

    @cached_property
    def shares_prefixes(self) -> bool:
        """Whether what several texts begin with may be read once for all."""
        return probes.shares_prefixes(self)

    # --- text -------------------------------------------------------------------------------

    def render(self, prompt: Prompt, *, chat: bool) -> Rendered:
        """The text that the model reads for a prompt: itself, or a chat that waits for an answer.

        A chat is a user's one turn, or a list of messages {"role", "content"}.
        """
        if chat and not tokens.has_template(self.tokenizer):
            raise ModelError(f"{self.name} has no chat template; ask with a plain prompt (--plain)")
        if chat:
            asked = tokens.chat(self.tokenizer, messages(prompt))
        elif isinstance(prompt, str):
            asked = Rendered.plain(prompt)
        else:
            raise InputError("a list of messages is a chat; ask with chat=True")
        return replace(asked, border=len(asked.text)) if asked.text[-1:].isspace() else asked

    def join(self, prompt: Prompt, target: str, *, chat: bool) -> tuple[Rendered, int]:
        """(prompt and target in one text, where the rendered prompt ends).

        Between them is a space, or the white space that the target begins with; none in a chat, and
        none behind nothing or behind white space.
        """
        asked = self.render(prompt, chat=chat)
        own = target[: len(target) - len(target.lstrip())]
        space = "" if chat or asked.border is not None else own or " " * bool(asked.text)
        return replace(asked, text=asked.text + space + target.strip()), len(asked.text)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are not text: the tokenizer's named ones and all marked as special."""
        return tokens.special_ids(self.tokenizer)

    @cached_property
    def sticking_ids(self) -> Tensor:
        """Tokens that go on with the word or number before them, [k]."""
        return torch.tensor(tokens.sticking_ids(self.tokenizer))

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text: end-of-text, a chat turn's end, the generation config's."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        ids = [*ids, self.stop_id(chat=False), self.stop_id(chat=True)]
        return tuple(dict.fromkeys(int(i) for i in ids if i is not None))

    def stop_id(self, *, chat: bool) -> int | None:
        """The token that ends an answer: the turn's end in a chat, end-of-text otherwise."""
        return self._turn_end if chat else self.tokenizer.eos_token_id

    @cached_property
    def _turn_end(self) -> int | None:
        return tokens.turn_end(self.tokenizer)

    def tokenize(self, text: str | Rendered, *, chat: bool) -> Tokens:
        """Token ids and character spans. A chat's template brings its own special tokens.

        Those that the tokenizer puts behind a plain text, such as an end-of-text, are left out: it
        goes on. An encoder reads them.
        """
        whole, border = (text, None) if isinstance(text, str) else (text.text, text.border)
        return tokens.tokenized(
            self.tokenizer,
            whole,
            border,
            special=not chat,
            ending=0 if chat or self.kind == "encoder-decoder" else self._special_around[1],
        )

    def answer(self, target: str) -> tuple[list[int], list[int]]:
        """What an encoder-decoder's decoder begins with, and the tokens of a target behind that."""
        before, behind = self._special_around
        ids = list(self.tokenizer(text_target=target.strip(), verbose=False).input_ids)
        own = ids[before : len(ids) - behind]
        config = self.model.generation_config
        start = getattr(config, "decoder_start_token_id", None)
        start = self.model.config.decoder_start_token_id if start is None else start
        return [int(start), *ids[:before]], own

    @cached_property
    def answer_start(self) -> int:
        """How many tokens an encoder-decoder's decoder begins with."""
        return len(self.answer("")[0])

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
        rows = tokenised or [self.tokenize(rendered, chat=chat) for rendered in texts]
        longest = max(1, *(len(ids) for ids, _ in rows))
        self.check_lengths([len(own) for own, _ in rows], texts)
        ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        starts = []
        for row, (own, _) in enumerate(rows):
            start = longest - len(own) if side == "left" else 0
            ids[row, start : start + len(own)] = torch.tensor(own, dtype=torch.long)
            mask[row, start : start + len(own)] = 1
            starts.append(start)
        offsets = [spans for _, spans in rows]
        return Encoding(list(texts), offsets, starts, ids.to(self.device), mask.to(self.device))

    def check_lengths(self, counts: Sequence[int], texts: Sequence[Rendered] = ()) -> None:
        """InputError for texts of more tokens than the model reads.

        Args:
            counts: of the tokens of each.
            texts: where they are given, the longest one is told by its beginning.
        """
        long = [i for i, n in enumerate(counts) if self.context is not None and n > self.context]
        if not long:
            return
        longest = max(long, key=counts.__getitem__)
        which = "a text has" if len(long) == 1 else f"{len(long)} texts have more, the longest"
        begins = f' ("{texts[longest].beginning(BEGINNING)}")' if texts else ""
        raise InputError(
            f"{self.name} reads {self.context} tokens, and {which} {counts[longest]}{begins}; "
            "shorten the text, or take a model that reads more"
        )


def _lost(model: nn.Module) -> Iterator[str]:
    """Parameters that are not in the model, nor kept for it by Accelerate."""
    for name, module in model.named_modules():
        if "_hf_hook" not in vars(module):
            own = module.named_parameters(name, recurse=False)
            yield from (key for key, parameter in own if parameter.is_meta)

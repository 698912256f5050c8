"""What the engines that train through a frozen model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lks.model.backbone import Backbone
from lks.model.engine.batching import Text, cast
from lks.model.engine.reader import TextRow
from lks.model.engine.running import View, layer_states, with_states
from lks.model.engine.tensor_store import TensorStore
from lks.model.untyped import Attribute, ModuleOutput


class Batch(Protocol):
    """Texts padded to one shape; M mentions and K scored places in all."""

    r: Tensor  # [M, d] float32, outputs of layer l at the mentions
    rows: Tensor  # [M]
    columns: Tensor  # [M]


OwnText = TypeVar("OwnText", bound=Text)
OwnBatch = TypeVar("OwnBatch", bound=Batch)
OnRead = Callable[[int], None]
# From the number of an edited layer, the lowest 0, and its outputs R at M mentions, [M, d] float32,
# to R'. At a higher layer R is what the edits at lower ones have made of it.
NewStates = Callable[[int, Tensor], Tensor]


class TrainingEngine(ABC, Generic[OwnText, OwnBatch]):
    """A backbone cut behind layer l, the lowest that is edited, in a precision of its own.

    It may share the backbone's layers, and a CPU's attention is set for the whole process: so each
    pass holds the backbone's lock, and others may read between two passes.

    Args:
        layers: that are edited, in ascending order.
        dtype: of weights and activations, if not the backbone's; copies are made only then, and
            only where they can be (`Backbone.copyable`).
    """

    name: ClassVar[str]

    def __init__(
        self, backbone: Backbone, layers: Sequence[int], dtype: torch.dtype | None = None
    ) -> None:
        for layer in layers:
            backbone.layer(layer)
        own = next(backbone.model.parameters()).dtype
        copyable, split = backbone.copyable, backbone
        self.backbone, self.layers, self.layer = backbone, tuple(layers), layers[0]
        self.dtype = dtype = (dtype or own) if copyable else own
        if copyable and any(p.dtype != dtype for p in backbone.model.parameters()):
            with backbone.in_use:
                model = cast(backbone.model, dtype)
            split = Backbone(model, backbone.tokenizer, backbone.name, backbone.layers_path)
        self.device = backbone.device
        self._whole = split

    @abstractmethod
    def read(
        self,
        rows: Sequence[TextRow],
        store: TensorStore | None = None,
        on_read: OnRead = lambda done: None,
    ) -> list[OwnText]:
        """What steps need of each text, in their order; `on_read` is told how many are done.

        Raises:
            InputError: a text has more tokens than the model reads.
        """

    @abstractmethod
    def collate(self, texts: Sequence[OwnText]) -> OwnBatch:
        """One batch of texts."""

    @abstractmethod
    def final_states(self, batch: OwnBatch, blocks: NewStates) -> Tensor:
        """The edited decoder's outputs at the scored places, [K, d], with R' as `blocks` says."""

    def head(self, states: Tensor) -> Tensor:
        """Logits, [n, d] -> [n, V]."""
        with self.backbone.in_use:
            return self._whole.head(states)

    @contextmanager
    def _editing(self, batch: Batch, blocks: NewStates, first: int) -> Iterator[None]:
        """While this is open, a pass over a batch is edited at the layers from this number on."""
        at = batch.rows, batch.columns

        def edit(number: int, layer: nn.Module, output: ModuleOutput) -> ModuleOutput:
            states = layer_states(layer, output)
            new = blocks(number, states[at].float())
            return with_states(layer, output, states.index_put(at, new.to(states.dtype)))

        with self.backbone.in_use, ExitStack() as stack:
            for number, index in enumerate(self.layers[first:], start=first):
                layer = self._whole.layer(index)
                handle = layer.register_forward_hook(
                    lambda layer, given, output, number=number: edit(number, layer, output)
                )
                stack.callback(handle.remove)
            yield

    def _learnt(self, positions: Tensor) -> Tensor:
        """Those of padding may lie beyond the last one that the model has."""
        most = self.backbone.context
        return positions if most is None else positions.clamp(max=most - 1)


class Entrance(nn.Module):
    """Stands in place of a layer up to l: layer l's lets the given states in.

    Whoever asks it for anything else is answered by the layer.
    """

    def __init__(self, layer: nn.Module, *, tupled: bool) -> None:
        super().__init__()
        self.states: Tensor | None = None
        self._tupled, self.__dict__["_layer"] = tupled, layer

    def __getattr__(self, name: str) -> Attribute:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_layer"], name)

    @contextmanager
    def given(self, states: Tensor) -> Iterator[None]:
        """A block in which it lets these in."""
        self.states = states
        try:
            yield
        finally:
            self.states = None

    def forward(
        self, hidden_states: Tensor, *args: object, **kwargs: object
    ) -> Tensor | tuple[Tensor]:
        out = hidden_states if self.states is None else self.states
        return (out,) if self._tupled else out


def from_layer(backbone: Backbone, layer: int) -> tuple[View, Entrance]:
    """Layers l+1.. and what lets the outputs of layer l in, of one backbone."""
    tokens = torch.tensor([backbone.tokenize("a b", chat=False)[0]], device=backbone.device)
    with torch.no_grad():
        output = backbone.layer_output(
            layer, input_ids=tokens, attention_mask=torch.ones_like(tokens)
        )
    layers = [backbone.layer(index) for index in range(backbone.n_layers)]
    below = [Entrance(own, tupled=not isinstance(output, Tensor)) for own in layers[: layer + 1]]
    return backbone.with_layers([*below, *layers[layer + 1 :]]), below[-1]


def short_attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention as it is trained through quickly: on a CPU the fused one's backward pass took a
    third of a step on short texts."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()

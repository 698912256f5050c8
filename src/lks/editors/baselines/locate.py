"""Where weight editors work: a layer's MLP down-projection, its keys, and values to be learnt.

The MLP is an associative memory: its down-projection W, [d, k], maps the key k*, the input at the
subject's last token, to the value W k* (ROME, Meng et al. 2022, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lks.edits.edit import Edit
from lks.errors import LayerError
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.model.offsets import last_token

AT_ONCE = 32  # texts in one reading
SINK = 10  # times the median length of an edit's states: an attention sink
PROJECTIONS = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h")
Change = Callable[[Tensor, Tensor], Tensor]  # from a module's input and output to its new output


@dataclass(frozen=True)
class Spot:
    """A module in its place, which is in layer `layer` or is that layer."""

    layer: int
    parent: nn.Module
    name: str

    @property
    def module(self) -> nn.Module:
        return self.parent.get_submodule(self.name)

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """While the block runs, the module's output is what `change` makes of it."""
        inner = self.module
        self.parent._modules[self.name] = _Changed(inner, change)
        try:
            yield
        finally:
            self.parent._modules[self.name] = inner

    @property
    def parameter(self) -> nn.Parameter:
        """The module's weight, as it keeps it."""
        return self.module.get_parameter("weight")

    @property
    def weight(self) -> Tensor:
        """W, [d, k], a view whichever way round the module keeps it."""
        weight = self.parameter.data
        return weight if isinstance(self.module, nn.Linear) else weight.T  # GPT-2's Conv1D


class _Changed(nn.Module):
    def __init__(self, inner: nn.Module, change: Change) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, states: Tensor, *args: object, **kwargs: object) -> object:
        out = self.inner(states, *args, **kwargs)
        if isinstance(out, Tensor):
            return self.change(states, out)
        return (self.change(states, out[0]), *out[1:])


def layer_at(backbone: Backbone, layer: int | None, depth: float) -> int:
    """The layer, or the one at this depth (0 the first, 1 the last) where none is given.

    The editors' depths were found on the embedded model (experiments/baselines).
    """
    return round(depth * (backbone.n_layers - 1)) if layer is None else layer


def projection(backbone: Backbone, layer: int) -> Spot:
    """The MLP's down-projection of a decoder layer."""
    for path in PROJECTIONS:
        parent, _, name = path.rpartition(".")
        owner = getattr(backbone.layer(layer), parent, None)
        if isinstance(getattr(getattr(owner, name, None), "weight", None), Tensor):
            return Spot(layer, owner, name)  # type: ignore[arg-type]
    raise LayerError(f"{backbone.name}: layer {layer} has none of {', '.join(PROJECTIONS)}")


def residual(backbone: Backbone, layer: int) -> Spot:
    """A whole decoder layer, whose output is the residual stream h^l."""
    backbone.layer(layer)
    owner = backbone.model.get_submodule(backbone.layers_path)
    return Spot(layer, owner, str(layer))


@dataclass(frozen=True)
class Texts:
    """A batch of texts and the column of the subject's last token in each, [b]."""

    encoding: Encoding
    columns: Tensor

    @property
    def rows(self) -> Tensor:
        return torch.arange(len(self.columns), device=self.columns.device)


def encode(backbone: Backbone, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> Texts:
    """Texts as a batch; the span of a text is where its subject stands, in characters."""
    encoding = backbone.encode([Rendered.plain(text) for text in texts], chat=False)
    columns = [
        start + (last_token(offsets, *span) or 0)
        for start, offsets, span in zip(encoding.starts, encoding.offsets, spans, strict=True)
    ]
    return Texts(encoding, torch.tensor(columns, device=encoding.input_ids.device))


@torch.no_grad()
def read(
    backbone: Backbone, spots: Sequence[Spot], encoding: Encoding
) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs, [b, t, k], and outputs, [b, t, d], of modules while the model reads a batch.

    It reads no further than the highest of their layers.
    """
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def seen(number: int) -> Change:
        def keep(states: Tensor, out: Tensor) -> Tensor:
            inputs[number], outputs[number] = states, out
            return out

        return keep

    with backbone.in_use, ExitStack() as stack:
        for number, spot in enumerate(spots):
            stack.enter_context(spot.changed(seen(number)))
        backbone.hidden_states(encoding, max(spot.layer for spot in spots))
    order = range(len(spots))
    return [inputs[i] for i in order], [outputs[i] for i in order]


def prefixed(
    edit: Edit, span: tuple[int, int], prefixes: Sequence[str]
) -> tuple[list[str], list[tuple[int, int]]]:
    """An edit's prompt behind each prefix, and where the subject stands there."""
    spans = [(span[0] + len(x), span[1] + len(x)) for x in prefixes]
    return [x + edit.prompt for x in prefixes], spans


def usual(states: Tensor) -> Tensor:
    """Which of an edit's states, [..., m, d], are no attention sinks, [..., m].

    At a text's first tokens a model may keep values a hundred times as long as at all others, which
    do not tell of the subject (Sun et al. 2024, Massive Activations in Large Language Models).
    """
    lengths = states.float().norm(dim=-1)
    found: Tensor = lengths <= SINK * lengths.median(-1, keepdim=True).values
    return found


def read_at(
    backbone: Backbone,
    spots: Sequence[Spot],
    texts: Sequence[str],
    spans: Sequence[tuple[int, int]],
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each module its inputs, [m, k], and outputs, [m, d], at each text's span's last token."""
    inputs: list[list[Tensor]] = [[] for _ in spots]
    outputs: list[list[Tensor]] = [[] for _ in spots]
    for start in range(0, len(texts), AT_ONCE):
        own = slice(start, start + AT_ONCE)
        batch = encode(backbone, texts[own], spans[own])
        at = batch.rows, batch.columns
        own_inputs, own_outputs = read(backbone, spots, batch.encoding)
        for number in range(len(spots)):
            inputs[number].append(own_inputs[number][at].float())
            outputs[number].append(own_outputs[number][at].float())
    return [torch.cat(states) for states in inputs], [torch.cat(states) for states in outputs]

"""The replacer: what puts knowledge blocks into a pass.

    with replacing(layer, plan):
        model(...)            # h[row, column] <- R' at every place of the plan

Equation: h^l_p <- R' (LKS, arXiv 2508.03741, "Generate new KBs and replace").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers.cache_utils import CacheLayerMixin

from lks.model.engine.running import layer_states, with_states
from lks.model.untyped import Attribute, ModuleOutput
from lks.scope.types import Finding

# From the layer's hidden states at the n places of a plan, [n, d], to what takes their place.
# `places` are the indices into the plan's places, [n]: with a cache not all are in every call.
NewBlocks = Callable[[Tensor, Tensor], Tensor]
Arguments: TypeAlias = tuple[object, ...]  # of a forward pass
Keywords: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Plan:
    """Where to replace hidden states in a padded batch of b prompts, and by what.

    `rows` and `columns`, [n] each, are places in the batch as it was encoded, padding counted.
    Columns past the prompt are never touched, so that generated tokens stay as they are.
    `findings` are those of each prompt that led to these places, for who wants to know;
    `targets` what is to be said whole behind each, see `guard.py`.
    """

    batch: int
    rows: Tensor
    columns: Tensor
    blocks: NewBlocks
    findings: Sequence[Sequence[Finding]] = ()
    targets: Sequence[Sequence[str]] = ()


@contextmanager
def replacing(layer: nn.Module, plan: Plan) -> Iterator[Plan]:
    """While the block runs, the outputs of `layer` are replaced as the plan says.

    Works in any forward pass over the plan's batch: whole, or in pieces with a key-value cache
    (then only the places in the piece are replaced), and with each row repeated k times in a row
    (beams, several samples). The hook goes away however the block ends.
    """
    if not len(plan.rows):
        yield plan  # nothing to replace: not even a hook
        return

    def hook(
        module: nn.Module, args: Arguments, kwargs: Keywords, output: ModuleOutput
    ) -> ModuleOutput:
        hidden = layer_states(module, output)
        past = count.before(args, kwargs, module, hidden.shape[1])
        return with_states(module, output, _replaced(hidden, plan, past))

    count = _Count()
    handle = layer.register_forward_hook(hook, with_kwargs=True)
    try:
        yield plan
    finally:
        handle.remove()


def _replaced(hidden: Tensor, plan: Plan, past: int) -> Tensor:
    """`hidden`, [b * k, q, d], columns past..past+q of the batch, with new blocks put in."""
    b, q, _ = hidden.shape
    repeats, rest = divmod(b, plan.batch)
    if rest:
        raise ValueError(f"a plan for {plan.batch} prompts met a batch of {b}")
    here = (plan.columns >= past) & (plan.columns < past + q)
    places = here.nonzero()[:, 0]
    if not len(places):
        return hidden
    rows = plan.rows[places] * repeats
    rows = (rows[:, None] + torch.arange(repeats, device=rows.device)).reshape(-1)
    columns = (plan.columns[places] - past).repeat_interleave(repeats)
    new = plan.blocks(hidden[rows, columns], places.repeat_interleave(repeats))
    return hidden.index_put((rows, columns), new.to(hidden.dtype))


class _Count:
    """How many columns came before each pass of one batch.

    Attention layers of a cache hold that many keys. Where there are none, columns are counted: a
    text begins anew when the cache's other layers have read nothing, or, without a cache, in a pass
    as wide as the first one or wider.
    """

    def __init__(self) -> None:
        self._seen = self._width = 0

    def before(self, args: Arguments, kwargs: Keywords, module: nn.Module, q: int) -> int:
        """Of a pass over q columns, when `module` has put its own into the cache."""
        index = _cache_index(module)
        layers = _cache_layers((*args, *kwargs.values()))
        for number, own in enumerate(layers):
            if not isinstance(own, CacheLayerMixin):
                continue
            held = int(own.get_seq_length())
            if number > index:  # its turn in this pass comes yet
                return held
            if held >= q:  # else it keeps no keys
                return held - q
        above = [own for own in layers[index + 1 :] if hasattr(own, "has_previous_state")]
        if above:
            goes_on = any(above[0].has_previous_state.values())
        else:  # a text of one token goes on by one, and is never read again
            goes_on = bool(self._seen) and (q < self._width or q == self._width == 1)
        if not goes_on:
            self._seen, self._width = 0, self._width or q
        self._seen += q
        return self._seen - q


def _cache_layers(given: Iterable[object]) -> Sequence[Attribute]:
    """The layers of the cache among a layer's arguments."""
    caches = (value for value in given if hasattr(value, "get_seq_length"))
    return getattr(next(caches, None), "layers", ())


def _cache_index(module: nn.Module) -> int:
    """The layer's index in a key-value cache, which one of its modules knows."""
    indices = (getattr(m, "layer_idx", None) for m in module.modules())
    return next((index for index in indices if isinstance(index, int)), 0)

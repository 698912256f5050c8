"""The replacer: the only forward hook in the package.

    with replacing(layer, plan):
        model(...)            # h[row, column] <- R' at every place of the plan

Equation: h^l_p <- R' (LKS, arXiv 2508.03741, "Generate new KBs and replace").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lks.model.untyped import ModuleOutput
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
        hidden = output if isinstance(output, Tensor) else output[0]
        changed = _replaced(hidden, plan, _past(args, kwargs, module, hidden.shape[1]))
        return changed if isinstance(output, Tensor) else (changed, *output[1:])

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


def _past(args: Arguments, kwargs: Keywords, module: nn.Module, q: int) -> int:
    """How many columns came before this call: what the cache holds, less this call's own."""
    for value in (*args, *kwargs.values()):
        if hasattr(value, "get_seq_length"):
            return int(value.get_seq_length(_cache_index(module))) - q
    return 0


def _cache_index(module: nn.Module) -> int:
    """The layer's index in a key-value cache, which its attention module knows."""
    indices = (m.layer_idx for m in module.modules() if hasattr(m, "layer_idx"))
    return int(next(indices, 0))  # type: ignore[arg-type]

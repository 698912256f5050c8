"""How a backbone's modules are run: by one thread at a time, with other modules in some places.

The model's own modules run, never copies of them. What a user or a library binds to a module (the
hooks of Accelerate, a wrapper around `forward`, compiled code) goes on running the module that it
was bound to, so that a copy with other children would run the original's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from lks.errors import ModelError
from lks.model.engine.turns import Turns
from lks.model.untyped import Attribute, CausalLM, ModuleOutput

_ABSENT = object()
# A model's own, whatever backbones there are around it; it can be neither copied nor saved with it.
_turns = WeakKeyDictionary[nn.Module, Turns]()


@dataclass(frozen=True)
class Swap:
    """Another value for a while: of an attribute, or of a child in `module._modules`."""

    owner: MutableMapping[str, Attribute]
    key: str
    value: Attribute


@contextmanager
def swapped(swaps: Sequence[Swap]) -> Iterator[None]:
    """A block in which other values are in place. However it ends, they go."""
    own = [swap.owner.get(swap.key, _ABSENT) for swap in swaps]
    try:
        for swap in swaps:
            swap.owner[swap.key] = swap.value
        yield
    finally:
        for swap, value in zip(swaps, own, strict=True):
            if value is _ABSENT:
                swap.owner.pop(swap.key, None)
            else:
                swap.owner[swap.key] = value


class Turn(AbstractContextManager[None]):
    """Held while a model is read: other threads wait, and no compiled code lies around its layers.

    Compiled code sees neither a hook that came after it nor another child. What lies inside a
    layer stays compiled. The thread that holds it may take it again, through another backbone of
    the model too.

    Args:
        layers_path: where the model keeps its decoder layers.
    """

    def __init__(self, model: nn.Module, layers_path: str) -> None:
        self._model, self._layers_path = model, layers_path
        self._lock = _turns.setdefault(model, Turns())
        self._depth, self._uncompiled = 0, ExitStack()

    def __enter__(self) -> None:
        self._lock.__enter__()
        if not self._depth:
            try:
                own = [*_uncompiled(self._model, self._layers_path)]
                self._uncompiled.enter_context(swapped(own))
            except BaseException:
                self._lock.__exit__()
                raise
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._uncompiled.close()
        self._lock.__exit__()


@dataclass(frozen=True)
class View:
    """A module of a backbone that runs with other modules in some places."""

    module: nn.Module
    swaps: Sequence[Swap]
    in_use: AbstractContextManager[None]

    def __call__(self, **inputs: object) -> ModuleOutput:
        with self.in_use, swapped(self.swaps):
            return self.module(**inputs)


class _Reached(Exception):
    """The layer whose output is wanted has run."""


@contextmanager
def captured(layer: nn.Module, *, stop: bool = False) -> Iterator[list[ModuleOutput]]:
    """A block in which what a layer gives, of each pass, comes into a list.

    Args:
        stop: a pass ends there, and the block with it.
    """
    seen: list[ModuleOutput] = []

    def hook(module: nn.Module, args: object, output: ModuleOutput) -> None:
        seen.append(output)
        if stop:
            raise _Reached

    handle = layer.register_forward_hook(hook)
    try:
        yield seen
    except _Reached:
        pass
    finally:
        handle.remove()


def layer_states(layer: nn.Module, output: ModuleOutput) -> Tensor:
    """A layer's output, [b, t, d]: of several streams, [s, b, t, d], the one that goes on as it is
    (Gemma 3n's `altup`)."""
    states: Tensor = output if isinstance(output, Tensor) else output[0]
    return states[_stream(layer)] if states.dim() == 4 else states


def with_states(layer: nn.Module, output: ModuleOutput, states: Tensor) -> ModuleOutput:
    """The same output of a layer with other states in it."""
    own: Tensor = output if isinstance(output, Tensor) else output[0]
    if own.dim() == 4:
        at = _stream(layer)
        states = torch.cat([own[:at], states[None], own[at + 1 :]])
    return states if isinstance(output, Tensor) else (states, *output[1:])


def _stream(layer: nn.Module) -> int:
    return int(getattr(getattr(layer, "config", None), "altup_active_idx", 0))


class GivenOutput(BaseModelOutputWithPastAndCrossAttentions):  # type: ignore[misc]
    """A decoder's output that was computed before; whatever else a model's own has is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def last_states(out: ModuleOutput) -> Tensor:
    """A decoder's outputs, [b, t, d]."""
    states: Tensor = out.last_hidden_state
    return states


def dense(states: Tensor) -> Tensor:
    """The same values, row after row in memory of their own.

    Of a slice of states that is multiplied in a batch, torch copies the weights for each row on a
    CPU (its issue 151934): a head's, in bfloat16, takes a minute for 32 texts.
    """
    return states.clone(memory_format=torch.contiguous_format)


@contextmanager
def dense_head(model: CausalLM) -> Iterator[None]:
    """A block in which the head of a model reads dense states."""
    head = model.get_output_embeddings()
    if head is None:
        yield
        return

    def make_dense(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(dense, args))

    hook = head.register_forward_pre_hook(make_dense)
    try:
        yield
    finally:
        hook.remove()


def bare(module: Attribute) -> Attribute:
    """The module that `torch.compile` put its own around."""
    while isinstance(module, OptimizedModule):
        module = module._orig_mod
    return module


def unwrapped(model: CausalLM, name: str) -> CausalLM:
    """The model of transformers inside what torch.compile and PEFT put around it.

    Raises:
        ModelError: an adapter is no part of that model, so that it would be lost.
    """
    model, peft = bare(model), sys.modules.get("peft")
    if peft is None or not isinstance(model, peft.PeftModel):
        return model
    if model.active_peft_config.is_prompt_learning:
        kind = model.active_peft_config.peft_type.value
        raise ModelError(
            f"{name}: its adapter ({kind}) puts vectors before each text, which cannot be edited; "
            "give the base model, or an adapter of its weights such as LoRA"
        )
    return bare(model.get_base_model())


def _uncompiled(model: nn.Module, layers_path: str) -> Iterator[Swap]:
    """What takes the place of compiled code from the model down to its decoder layers."""
    around = [model]
    for name in layers_path.split("."):
        around.append(bare(getattr(around[-1], name)))
    for module in around:
        for name, child in module._modules.items():
            if isinstance(child, OptimizedModule):
                yield Swap(module._modules, name, bare(child))
        for key in ("forward", "_old_forward"):  # the second is what Accelerate found and calls
            own: Attribute = vars(module).get(key)
            if hasattr(own, "_torchdynamo_orig_callable") and not isinstance(own, partial):
                yield Swap(vars(module), key, own._torchdynamo_orig_callable)
    for module in [*around, *map(bare, around[-1].children())]:
        if vars(module).get("_compiled_call_impl") is not None:
            yield Swap(vars(module), "_compiled_call_impl", None)

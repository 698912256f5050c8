"""What a GGUF file says of its model, held against the model that transformers makes of it.

transformers reads some of what files say, and takes the default of the model's family for the rest,
which may be another model's. Where both tell and differ, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from lks.errors import ModelError
from lks.model.gguf_reader import Reader, told
from lks.model.untyped import CausalLM

Config = Any  # a transformers.PreTrainedConfig

NORMS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon")
# What a file says, and where a config may say it too: one of these must be the same.
SETTINGS = {
    "block_count": ("num_hidden_layers",),
    "embedding_length": ("hidden_size",),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim", "global_head_dim"),
    "attention.layer_norm_epsilon": NORMS,
    "attention.layer_norm_rms_epsilon": NORMS,
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "logit_scale": ("logit_scale", "logits_scaling"),
}
CLOSE = 1e-5  # relative: files have 32 bits
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
BESIDE = ("rope_freqs.weight", "rope_factors_")  # tensors that are no weights of the model


def with_rope(config: Config, reader: Reader, name: str) -> None:
    """Stretch the positions as the file does, which transformers leaves out.

    Raises:
        ModelError: they are stretched in a way that is not known here.
    """
    said = _said(reader)
    kind, factor = said("rope.scaling.type"), said("rope.scaling.factor")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    rope = getattr(config, "rope_parameters", None) or {}
    full = rope.get("full_attention", rope)  # layers with a window are not stretched
    if kind in (None, "none", "linear") and not any(n.startswith(BESIDE[1]) for n in tensors):
        if kind == "linear" and (factor or 1) != 1:
            full |= {"rope_type": "linear", "factor": float(factor)}
        if (table := tensors.get(BESIDE[0])) is not None and full is rope:
            full |= {"rope_type": "llama3", "factor": float(table.data.max()), **LLAMA3}
            if _stretched(config, table.data):
                return
        elif table is None:
            return
    raise ModelError(
        f"{name}: stretches positions in a way that is not known here "
        f"({kind or 'by a table'}); give the folder or the hub id of the original model"
    )


def _stretched(config: Config, divisors: Any) -> bool:
    """Whether a config with `llama3` positions has the frequencies that a file's table makes."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    made, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    width = 2 * len(made)
    steps = torch.arange(0, width, 2, dtype=torch.float32) / width
    plain = config.rope_parameters["rope_theta"] ** -steps
    wanted = plain / torch.tensor(divisors)
    return wanted.shape == made.shape and bool(torch.allclose(wanted, made, rtol=1e-4, atol=0))


def check_config(config: Config, reader: Reader, name: str) -> None:
    """ModelError where the file says something else than the config."""
    said = _said(reader)
    for key, attributes in SETTINGS.items():
        _same(name, key, said(key), (getattr(config, one, None) for one in attributes))
    for key in ("rope.freq_base", "rope.freq_base_swa"):
        _same(name, key, said(key), (rope.get("rope_theta") for rope in _ropes(config)))
    _same(name, "rope.dimension_count", said("rope.dimension_count"), _turned(config))
    # Gemma's files do not tell by what attention is scaled; it is the width of a head, but for some
    scale = getattr(config, "query_pre_attn_scalar", None)
    _same(name, "attention.key_length", scale and said("attention.key_length"), [scale])
    kinds = getattr(config, "layer_types", None) or []
    pattern = said("attention.sliding_window_pattern")
    if pattern and kinds:
        with_window = [kind == "sliding_attention" for kind in kinds]
        _same(
            name, "attention.sliding_window_pattern", _windows(pattern, len(kinds)), [with_window]
        )


def _ropes(config: Config) -> list[dict[str, Any]]:
    """How positions are told: of all layers, or of each kind of them."""
    own = getattr(config, "rope_parameters", None) or {}
    return [one for one in (own, *own.values()) if isinstance(one, dict)]


def _turned(config: Config) -> Iterator[int | None]:
    """How many values of a head positions may turn."""
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "head_dim", None) or (heads and config.hidden_size // heads)
    for rope in _ropes(config) if width else ():
        yield round(width * rope.get("partial_rotary_factor", 1))
    for own in ("rotary_dim", "qk_rope_head_dim"):
        yield getattr(config, own, None)


def check_weights(
    model: CausalLM, reader: Reader, name: str, missing: Iterable[str], other: Iterable[Any]
) -> None:
    """ModelError if the model lacks weights, has others, or takes fewer than the file has.

    Args:
        missing, other: names of weights that the file lacks, or has in another shape.
    """
    for what, keys in (("lacks", missing), ("has in another shape", other)):
        names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
        if names:
            raise ModelError(
                f"{name}: {what} weights of the model that transformers makes of it ('{names[0]}', "
                f"{len(names)} in all); give the folder or the hub id of the original model"
            )
    tensors = model.state_dict()
    taken = sum({t.data_ptr(): t.numel() for t in tensors.values()}.values())
    there = sum(int(tensor.n_elements) for tensor in _weights(model, reader))
    if taken != there:
        raise ModelError(
            f"{name}: transformers takes {taken:,} of its {there:,} weights, so the model would be "
            "another one; give the folder or the hub id of the original model"
        )


def _weights(model: CausalLM, reader: Reader) -> Iterator[Any]:
    """Without what lies behind the last layer (it guesses several tokens) and a tied head."""
    tied = model.config.tie_word_embeddings
    for tensor in reader.tensors:
        block = re.match(r"blk\.(\d+)\.", tensor.name)
        if (
            not tensor.name.startswith(BESIDE)
            and not (tied and tensor.name == "output.weight")
            and not (block and int(block[1]) >= model.config.num_hidden_layers)
        ):
            yield tensor


def _said(reader: Reader) -> Any:
    architecture = told(reader, "general.architecture")
    return lambda key: told(reader, f"{architecture}.{key}")


def _same(name: str, key: str, said: Any, made: Iterable[Any]) -> None:
    own = [one for one in made if one is not None]
    if said is not None and own and not any(_equal(said, one) for one in own):
        raise ModelError(
            f"{name}: says {key} {said}, and transformers would take {own[0]}; "
            "give the folder or the hub id of the original model"
        )


def _equal(said: Any, made: Any) -> bool:
    if isinstance(said, list) and not isinstance(made, list):
        made = [made] * len(said)
    if isinstance(said, list):
        return len(said) == len(made) and all(map(_equal, said, made))
    return bool(abs(said - made) <= CLOSE * abs(said))


def _windows(pattern: Any, layers: int) -> list[bool]:
    """Which layers have a window: a list of the layers, or every so manyth has none."""
    return (
        list(pattern)
        if isinstance(pattern, list)
        else [(i + 1) % pattern != 0 for i in range(layers)]
    )

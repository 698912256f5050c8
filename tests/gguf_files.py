"""Small GGUF files, written from small random models as llama.cpp would write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tf
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize
from tokenizers import pre_tokenizers

WIDTH, HEADS, KV, BLOCKS, VOCAB = 32, 4, 2, 2, 300
COMMON = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV, "max_position_embeddings": 64,
}  # fmt: skip
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
Change = Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]


def tiny(architecture: str, **settings: Any) -> tf.PreTrainedModel:
    """A random model; `gemma3` is the one without images."""
    torch.manual_seed(0)
    kind = {"gemma3": "gemma3_text"}.get(architecture, architecture)
    config = tf.AutoConfig.for_model(kind, **COMMON | settings)
    model = tf.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():  # norms and biases are not all alike
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def write_gguf(
    path: Path,
    architecture: str = "llama",
    *,
    model: tf.PreTrainedModel | None = None,
    pre: str | None = "smollm",
    tokens: bool = True,
    said: Mapping[str, object] | None = None,
    change: Change = dict,
    packed: bool = False,
) -> tf.PreTrainedModel:
    """Write a model; `said` goes before what its config says, `change` changes the tensors.

    `packed` has the matrices in eight bits (Q8_0)."""
    model = model or tiny(architecture)
    writer = GGUFWriter(path, architecture)
    for key, value in (settings_of(model.config) | dict(said or {})).items():
        if value is not None:
            _add(writer, key if key.startswith("split.") else f"{architecture}.{key}", value)
    if tokens:
        _write_tokens(writer, pre)
    for name, values in change(tensors_of(model, architecture)).items():
        kind = GGMLQuantizationType.Q8_0 if packed and values.ndim > 1 else None
        if kind is not None:
            values = quantize(values, kind)
        writer.add_tensor(name, values, raw_dtype=kind)
    written(writer)
    return model


def written(writer: GGUFWriter) -> None:
    """Write what a writer was told."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def settings_of(config: tf.PreTrainedConfig) -> dict[str, object]:
    rope = getattr(config, "rope_parameters", {})
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "attention.layer_norm_epsilon": getattr(config, "norm_epsilon", None),
        "attention.key_length": getattr(config, "head_dim", None),
        "attention.sliding_window": getattr(config, "sliding_window", None),
        "rope.freq_base": rope.get("full_attention", rope).get("rope_theta"),
    }


def tensors_of(model: tf.PreTrainedModel, architecture: str) -> dict[str, np.ndarray]:
    """A model's tensors under GGUF's names and in its order of rows."""
    arch = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture)
    names, config = get_tensor_name_map(arch, model.config.num_hidden_layers), model.config
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    found = {}
    for key, tensor in model.state_dict().items():
        if key in tied:
            continue
        stem, kind = key.rsplit(".", 1)
        name, values = names.get_name(stem), tensor.numpy().astype(np.float32)
        if architecture == "llama" and ".attn_q" in name:
            values = _interleaved(values, config.num_attention_heads)
        if architecture == "llama" and ".attn_k" in name:
            values = _interleaved(values, config.num_key_value_heads)
        one_less = architecture == "nemotron" or architecture.startswith("gemma")
        if one_less and name.endswith("norm") and kind == "weight":
            values = values + 1
        found[f"{name}.{kind}"] = values
    return found


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """The two halves that rotary embedding pairs, row by row."""
    parts = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2)
    return parts.reshape(values.shape)


def _write_tokens(writer: GGUFWriter, pre: str | None) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|bos|>", "<|eos|>", *alphabet, "ab"]
    tokens += [f"<|{i}|>" for i in range(VOCAB - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(tokens.index("<|0|>"))
    writer.add_chat_template(TEMPLATE)


def _add(writer: GGUFWriter, key: str, value: object) -> None:
    kinds: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
        str: writer.add_string, list: writer.add_array,
    }  # fmt: skip
    kinds[type(value)](key, value)

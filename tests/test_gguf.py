"""GGUF files: as exact as the models that they were made from, or refused in one sentence."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from gguf_files import BLOCKS, HEADS, VOCAB, WIDTH, tiny, write_gguf, written
from safetensors import safe_open
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lks import files
from lks.errors import MissingExtra, ModelError, OutputError
from lks.model import loading, made_once
from lks.model.backbone import Backbone
from lks.model.fingerprinting import tokenizer_hash

IDS = torch.tensor([[5, 6, 7, 80, 81, 5, 6, 9, 33]])
GEMMA = {
    "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 16,
    "num_hidden_layers": 6,  # the last has no window
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(files.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_a_file_was_before_is_removed_from_the_cache(tmp_path: Path, own_cache: Path) -> None:
    file, other = tmp_path / "model.gguf", tmp_path / "other" / "model.gguf"
    other.parent.mkdir()
    write_gguf(other)
    loading.resolve(str(other), lambda text: None)
    for architecture in ("llama", "qwen2"):
        write_gguf(file, architecture)
        loading.resolve(str(file), lambda text: None)
    sources = [one.read_text() for one in own_cache.glob("gguf/*/converted-from.txt")]
    assert sorted(sources) == sorted(str(one.resolve()) for one in (file, other))


def refused(path: Path, told: str) -> None:
    with pytest.raises(ModelError, match=re.escape(told)):
        Backbone.load(str(path), device="cpu")
    assert not [*(path.parent / "cache").glob("gguf/*/")]  # nothing is left of it


@pytest.mark.parametrize(("architecture", "settings", "pre"), [
    ("llama", {}, "smollm"),
    ("llama", {"tie_word_embeddings": True}, "smollm"),
    ("qwen2", {"rope_theta": 1e6}, "qwen2"),
    ("gemma2", GEMMA, "gpt-2"),
    ("gemma3", GEMMA, "gpt-2"),
    ("qwen3", {"head_dim": 128}, "qwen2"),
    ("nemotron", {}, "gpt-2"),
    ("stablelm", {}, "gpt-2"),
    ("starcoder2", {}, "starcoder"),
])  # fmt: skip
def test_a_file_gives_the_model_that_it_was_made_from(
    tmp_path: Path, architecture: str, settings: dict, pre: str
) -> None:
    model = write_gguf(
        tmp_path / "m.gguf", architecture, model=tiny(architecture, **settings), pre=pre
    )
    backbone = Backbone.load(str(tmp_path / "m.gguf"), device="cpu")
    with torch.no_grad():
        assert torch.allclose(backbone.model(IDS).logits, model(IDS).logits, atol=1e-5)
    assert backbone.stop_ids == (1, 259)  # end-of-text, and padding


def test_stretched_positions_are_the_files(tmp_path: Path) -> None:
    """A table of divisors in place of settings, as in files of Llama 3."""
    made = tiny("llama", rope_parameters=LLAMA3, max_position_embeddings=131072)
    plain = 500000.0 ** -(np.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
    table = (plain / made.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    assert table.max() > 1
    told = {"change": lambda tensors: {**tensors, "rope_freqs.weight": table}, "model": made}
    write_gguf(tmp_path / "m.gguf", **told)
    backbone = Backbone.load(str(tmp_path / "m.gguf"), device="cpu")
    with torch.no_grad():
        assert torch.allclose(backbone.model(IDS).logits, made(IDS).logits, atol=1e-5)
    told["change"] = lambda tensors: {**tensors, "rope_freqs.weight": np.full_like(table, 3)}
    write_gguf(tmp_path / "other.gguf", **told)
    with pytest.raises(ModelError, match="stretches positions in a way that is not known"):
        Backbone.load(str(tmp_path / "other.gguf"), device="cpu")


@pytest.mark.parametrize(("architecture", "settings", "pre"), [
    ("llama", {}, "smollm"), ("gemma3", GEMMA, "gpt-2"),
])  # fmt: skip
def test_evenly_stretched_positions_are_the_files(
    tmp_path: Path, architecture: str, settings: dict, pre: str
) -> None:
    """In Gemma's layers without a window only."""
    rope = tiny(architecture, **settings).config.rope_parameters
    rope.get("full_attention", rope).update({"rope_type": "linear", "factor": 4.0})
    made = tiny(architecture, **settings, rope_parameters=rope)
    said = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    write_gguf(tmp_path / "m.gguf", architecture, model=made, said=said, pre=pre)
    backbone = Backbone.load(str(tmp_path / "m.gguf"), device="cpu")
    with torch.no_grad():
        assert torch.allclose(backbone.model(IDS).logits, made(IDS).logits, atol=1e-5)


@pytest.mark.parametrize(("architecture", "settings", "said", "told"), [
    ("gemma3", GEMMA, {"attention.sliding_window_pattern": 2}, "sliding_window_pattern"),
    ("gemma3", GEMMA | {"head_dim": 128}, {}, "says attention.key_length 128, and transformers"),
    ("gemma2", GEMMA, {"attn_logit_softcapping": 30.0}, "says attn_logit_softcapping 30.0, and"),
    ("llama", {}, {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "(yarn)"),
    ("starcoder2", {}, {"rope.freq_base": 999999.0}, "says rope.freq_base 999999.0, and"),
])  # fmt: skip
def test_what_transformers_would_take_for_another_model_is_refused(
    tmp_path: Path, architecture: str, settings: dict, said: dict, told: str
) -> None:
    write_gguf(
        tmp_path / "m.gguf", architecture, model=tiny(architecture, **settings),
        said=said, pre="gpt-2",
    )  # fmt: skip
    refused(tmp_path / "m.gguf", told)


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def test_what_is_no_whole_language_model_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGML old")
    refused(path, "m.gguf: no GGUF file, or damaged or cut short; get the file again")
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "m.gguf: no GGUF file, or damaged or cut short")
    path.write_bytes(path.read_bytes()[:700])
    refused(path, "m.gguf: no GGUF file, or damaged or cut short")
    write_gguf(path, tokens=False)
    refused(path, "m.gguf: has no tokenizer in it; give the folder or the hub id")
    write_gguf(path, pre="my-own")
    refused(path, "splits text into tokens by a rule that is not known here (my-own)")
    write_gguf(path, pre=None)
    refused(path, "splits text into tokens by a rule that is not known here (none is named)")
    write_gguf(path, said={"split.count": 2})
    refused(path, "m.gguf: one of several files of a model; join them first")
    write_gguf(path)
    refused(renamed(path, "m-00001-of-00003.gguf"), "one of several files of a model")


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "no-such-thing")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    written(writer)
    refused(tmp_path / "m.gguf", "m.gguf: cannot be opened: GGUF model with architecture no-such")


@pytest.mark.parametrize(("change", "told"), [
    (lambda t: {**t, "blk.0.attn_q.bias": np.ones(WIDTH, np.float32)}, "transformers takes "),
    (lambda t: {k: v for k, v in t.items() if "blk.1.ffn_up" not in k}, "lacks weights of the"),
    (lambda t: {k: v[:-1] if "blk.1.ffn_up" in k else v for k, v in t.items()}, "another shape"),
])  # fmt: skip
def test_weights_that_are_left_out_or_lacking_are_told(tmp_path: Path, change, told: str) -> None:
    write_gguf(tmp_path / "m.gguf", change=change)
    refused(tmp_path / "m.gguf", told)


def test_the_images_part_is_no_language_model(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "mmproj.gguf", "clip")
    writer.add_tensor("v.weight", np.ones((4, 4), np.float32))
    written(writer)
    refused(tmp_path / "mmproj.gguf", "the part of a model that reads images or sounds")
    write_gguf(tmp_path / "m.gguf")  # the only language model of the folder
    assert Backbone.load(str(tmp_path), device="cpu").n_layers == BLOCKS


def test_a_file_is_converted_once_and_anew_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = tmp_path / "m.gguf", []
    write_gguf(path)
    first = loading.resolve(str(path), said.append).place
    assert loading.resolve(str(tmp_path), said.append).place == first
    assert said == ["converting m.gguf to safetensors (0.0 GB, once)"]
    write_gguf(path, model=tiny("llama", num_hidden_layers=3))
    assert loading.resolve(str(path), said.append).place != first
    assert len(said) == 2


def test_weights_are_kept_as_they_are_or_in_half_the_room(tmp_path: Path) -> None:
    """Packed ones are unpacked to float16, and run in what activations fit in."""
    model = write_gguf(tmp_path / "m.gguf", packed=True)
    place = Path(loading.resolve(str(tmp_path / "m.gguf"), print).place)
    with safe_open(place / "model.safetensors", "pt") as tensors:
        kept = tensors.get_tensor("model.layers.0.mlp.up_proj.weight")
    original = model.model.layers[0].mlp.up_proj.weight
    assert kept.dtype == torch.float16
    assert 0 < (kept - original).abs().max() < 0.01  # eight bits
    assert json.loads((place / "config.json").read_text())["dtype"] == "bfloat16"
    write_gguf(tmp_path / "m.gguf")
    place = Path(loading.resolve(str(tmp_path / "m.gguf"), print).place)
    assert json.loads((place / "config.json").read_text())["dtype"] == "float32"


def test_weights_that_are_too_large_for_half_the_room_get_it_all(tmp_path: Path) -> None:
    def large(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**tensors, "output_norm.weight": np.full(WIDTH, 1e5, np.float32)}

    write_gguf(tmp_path / "m.gguf", packed=True, change=large)
    backbone = Backbone.load(str(tmp_path / "m.gguf"), device="cpu", dtype="float32")
    assert backbone.model.model.norm.weight.eq(1e5).all()


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "m.gguf")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(made_once.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"to convert m\.gguf needs .* 0\.0 GB are free; free"):
        Backbone.load(str(tmp_path / "m.gguf"))


def test_without_its_extra_a_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "m.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r'm\.gguf needs gguf: pip install "latent.*\[demo\]"$'):
        Backbone.load(str(tmp_path / "m.gguf"))


def test_files_of_another_model_that_lie_beside_are_not_read(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    backbone = Backbone.load(str(tmp_path / "m.gguf"), device="cpu")
    assert backbone.tokenizer("ab<|eos|>12").input_ids[:2] == [258, 1]
    assert 7 not in backbone.stop_ids


def tokenizer(tmp_path: Path, pre: str):
    write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
    return Backbone.load(str(tmp_path / f"{pre}.gguf"), device="cpu").tokenizer


def test_a_tokenizer_is_written_as_earlier_versions_wrote_it(tmp_path: Path) -> None:
    """Packs remember it by a hash."""
    made = tokenizer(tmp_path, "smollm")
    content = json.loads(made.backend_tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in content["merges"]]
    assert len(made) == VOCAB  # no token that the model has no embedding for
    own = Tokenizer(models.BPE(content["vocab"], merges))
    own.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|bos|>", "<|eos|>")])
    assert tokenizer_hash(made) == tokenizer_hash(
        PreTrainedTokenizerFast(
            tokenizer_object=own, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|0|>"
        )
    )


@pytest.mark.parametrize(("pre", "split"), [
    ("smollm", ["'s", "Ġ", "1", "2", "Ġword", "ĠĠ", "Ġx"]),
    ("qwen2", ["'s", "Ġ", "1", "2", "Ġword", "ĠĠ", "Ġx"]),
    ("gpt-2", ["'s", "Ġ12", "Ġword", "ĠĠ", "Ġx"]),
    ("llama-bpe", ["'s", "Ġ", "12", "Ġword", "ĠĠ", "Ġx"]),
])  # fmt: skip
def test_text_is_split_as_the_file_says(tmp_path: Path, pre: str, split: list[str]) -> None:
    made = tokenizer(tmp_path, pre)
    found = made.backend_tokenizer.pre_tokenizer.pre_tokenize_str("'s 12 word   x")
    assert [piece for piece, _ in found] == split
    text = "ab é 日本\n\tif x == 12:  # <|eos|>"
    assert made.decode(made(text, add_special_tokens=False).input_ids) == text


def test_unicode_is_composed_where_the_model_learnt_it_so(tmp_path: Path) -> None:
    two, one = "e\u0301", "\u00e9"
    made = tokenizer(tmp_path, "qwen2")
    assert made(two).input_ids == made(one).input_ids
    made = tokenizer(tmp_path, "gpt-2")
    assert made(two).input_ids != made(one).input_ids


def test_a_text_begins_as_the_files_rule_says(tmp_path: Path) -> None:
    assert tokenizer(tmp_path, "llama-bpe")("ab").input_ids == [0, 258]
    assert tokenizer(tmp_path, "gpt-2")("ab").input_ids == [258]

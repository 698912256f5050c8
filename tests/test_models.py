"""How models are named and loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import make_backbone
from gguf_files import BLOCKS, write_gguf
from huggingface_hub.errors import LocalEntryNotFoundError

from lks import files
from lks.errors import ModelError
from lks.model import loading
from lks.model.architectures import classes
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads


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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(files.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.mark.parametrize("inside", ["", "m.gguf"])
def test_a_gguf_file_is_loaded_by_its_path_or_its_folder(
    tmp_path: Path, inside: str, own_cache: None
) -> None:
    model = write_gguf(tmp_path / "m.gguf")
    backbone = Backbone.load(str(tmp_path / inside), device="cpu")
    stored = model.model.layers[1].self_attn.v_proj.weight
    assert torch.equal(backbone.layer(1).self_attn.v_proj.weight, stored)
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


@pytest.mark.parametrize(("name", "wanted"), [
    ("owner/name/q4.gguf", ("owner/name", "q4.gguf", None)),
    ("owner/name:q4.gguf", ("owner/name", "q4.gguf", None)),
    ("owner/name:in/side/q4.gguf", ("owner/name", "in/side/q4.gguf", None)),
    ("owner/name@v1.0/q4.gguf", ("owner/name", "q4.gguf", "v1.0")),
    ("owner/name@refs/pr/1:q4.gguf", ("owner/name", "q4.gguf", "refs/pr/1")),
])  # fmt: skip
@pytest.mark.parametrize("answers", [True, False])
def test_a_gguf_file_of_a_hub_is_downloaded_and_converted(
    name: str, wanted: tuple, answers: bool, own_cache: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write_gguf(tmp_path / "q4.gguf")

    def info(place: str, **options: object) -> None:
        if not answers:
            raise ConnectionError("no network")

    def download(place: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        assert (place, file, revision, local_files_only) == (*wanted, not answers)
        return str(tmp_path / "q4.gguf")

    monkeypatch.setattr(loading, "model_info", info)
    monkeypatch.setattr(loading, "hf_hub_download", download)
    assert Backbone.load(name, device="cpu").n_layers == BLOCKS


def test_a_gguf_file_that_a_hub_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise LocalEntryNotFoundError("no such file")

    monkeypatch.setattr(loading, "hf_hub_download", refuse)
    monkeypatch.setattr(loading, "_answers", lambda source: True)
    with pytest.raises(
        ModelError, match=r"owner/name:q4\.gguf' cannot be downloaded: no such file"
    ):
        Backbone.load("owner/name:q4.gguf")
    monkeypatch.setattr(loading, "_answers", lambda source: False)
    with pytest.raises(ModelError, match="is not among the downloaded ones, and its hub does not"):
        Backbone.load("owner/name:q4.gguf")
    with pytest.raises(ModelError, match="one of several files of a model"):
        Backbone.load("owner/name:q4-00001-of-00002.gguf")


def test_a_hub_that_does_not_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def info(place: str, **options: object) -> None:
        asked.append(place)
        raise ConnectionError("no network")

    monkeypatch.setattr(loading, "model_info", info)

    def load(*given: object, **options: object) -> object:
        assert options["local_files_only"], "else it asks the hub again and again"
        return usual(*given, **options)

    usual = loading.AutoTokenizer.from_pretrained
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", load)
    with pytest.raises(ModelError, match="is not among the downloaded ones, and its hub does not"):
        Backbone.load("owner/nothing-of-the-kind", device="cpu")
    assert asked == ["owner/nothing-of-the-kind"]


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

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_edits

from lks.blocks.hypernetwork import HyperNetwork
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import OutputError, PackDamaged, PackError, PackMismatch, PackTooNew
from lks.files import sha256
from lks.model.backbone import Backbone
from lks.model.fingerprint import Fingerprint
from lks.packs import pack as packs
from lks.packs.folder import check_target
from lks.packs.manifest import verify
from lks.packs.pack import Pack, append
from lks.packs.training_summary import TrainingSummary
from lks.scope.config import DEFAULT, PRESETS
from lks.scope.registry import RETIRED
from lks.scope.scope import Scope


@pytest.fixture
def made() -> Pack:
    edits = make_edits()
    torch.manual_seed(0)
    return Pack(
        edits=edits, blocks=torch.randn(len(edits), 32),
        hypernetwork=dict(HyperNetwork(32).state_dict()),
        base_model=make_backbone("llama").fingerprint, layer=1, form="residual", kind="linear",
        scale=1.5, training=TrainingSummary(epochs=3),
    )  # fmt: skip


@pytest.fixture
def saved(made: Pack, tmp_path: Path) -> Path:
    made.save(tmp_path / "facts.pack")
    return tmp_path / "facts.pack"


def test_what_is_saved_comes_back(made: Pack, saved: Path) -> None:
    again = Pack.load(saved)
    assert torch.equal(again.blocks, made.blocks)
    assert list(again.edits) == list(made.edits)
    assert (again.layer, again.form, again.kind, again.scale) == (1, "residual", "linear", 1.5)
    assert all(torch.equal(again.hypernetwork[k], v) for k, v in made.hypernetwork.items())
    assert sorted(p.name for p in saved.iterdir()) == [
        "blocks.safetensors", "edits.jsonl.gz", "hypernetwork.safetensors", "manifest.json",
    ]  # fmt: skip
    assert [p.name for p in saved.parent.iterdir()] == ["facts.pack"]  # nothing temporary


def test_the_parts_of_a_scope_lie_in_the_pack(made: Pack, tmp_path: Path) -> None:
    parts = DEFAULT.without("misspelt").with_part("filters", "conftest:NoFilter")
    replace(made, parts=parts).save(tmp_path / "own.pack")
    again = Pack.load(tmp_path / "own.pack")
    assert again.parts == parts
    assert Scope(again.edits, config=again.parts).mentions("the Eifel Tower") == []
    manifest = json.loads((tmp_path / "own.pack" / "manifest.json").read_text())
    manifest["scope"]["parts"]["generators"]["guessed"] = 1
    (tmp_path / "own.pack" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackError, match=r"not: guessed \(generators\); use lks \d"):
        Pack.load(tmp_path / "own.pack")


def test_a_pack_that_does_not_tell_its_parts_has_all(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["scope"]["parts"]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    assert Pack.load(saved).parts == PRESETS["entity"]


def test_a_pack_with_parts_that_are_retired_loads(made: Pack, tmp_path: Path) -> None:
    path = tmp_path / "early.pack"
    replace(made, parts=DEFAULT).save(path)
    manifest = json.loads((path / "manifest.json").read_text())
    parts = manifest["scope"]["parts"]
    parts["sentence_vetoes"] |= dict.fromkeys(sorted(RETIRED), 1)
    parts["other_relations"] = True
    (path / "manifest.json").write_text(json.dumps(manifest))
    again = Pack.load(path)
    assert again.parts == DEFAULT
    again.save(tmp_path / "again.pack")
    told = json.loads((tmp_path / "again.pack" / "manifest.json").read_text())["scope"]["parts"]
    assert told == DEFAULT.to_json()


@pytest.mark.parametrize(
    "name", ["blocks.safetensors", "hypernetwork.safetensors", "edits.jsonl.gz"]
)
def test_damaged_files_are_named(saved: Path, name: str) -> None:
    whole = (saved / name).read_bytes()
    for content in (whole[:-5], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        (saved / name).write_bytes(content)
        with pytest.raises(PackDamaged, match=name):
            Pack.load(saved)
    (saved / name).unlink()
    with pytest.raises(PackDamaged, match=f"{name} is missing"):
        Pack.load(saved)


def test_a_damaged_manifest(saved: Path) -> None:
    (saved / "manifest.json").write_text('{"schema": 1,')
    with pytest.raises(PackDamaged, match=r"manifest\.json cannot be read"):
        Pack.load(saved)


def test_a_hash_that_fits_does_not_make_garbage_a_tensor_file(saved: Path) -> None:
    (saved / "blocks.safetensors").write_bytes(b"\x80\x04K\x01.")  # a pickle
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["blocks.safetensors"] = sha256(saved / "blocks.safetensors")
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackDamaged, match="cannot be read"):
        Pack.load(saved)


def test_a_newer_schema(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text()) | {"schema": 99}
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackTooNew, match="schema 99, this package reads up to 3"):
        verify(saved)


def test_no_pack(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="not a pack"):
        Pack.load(tmp_path / "none")


def test_other_base_models_are_refused(made: Pack) -> None:
    made.check(make_backbone("llama").fingerprint)
    with pytest.raises(PackMismatch, match="other weights"):
        made.check(make_backbone("llama", seed=1).fingerprint)
    with pytest.raises(PackMismatch, match="another configuration"):
        made.check(make_backbone("mistral").fingerprint)
    with pytest.raises(PackMismatch, match="another tokenizer"):
        made.check(make_backbone("llama", bos=True).fingerprint)
    fewer = replace(made.base_model, n_layers=30)
    with pytest.raises(PackMismatch, match=r"another number of layers \(4, here 30\)"):
        made.check(fewer)


PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("made_in", PRECISIONS)
@pytest.mark.parametrize("used_in", PRECISIONS)
def test_one_checkpoint_in_any_precision_is_one_model(
    made: Pack, made_in: torch.dtype, used_in: torch.dtype, tmp_path: Path
) -> None:
    backbones = make_backbone("llama"), make_backbone("llama")
    for backbone, dtype in zip(backbones, (made_in, used_in), strict=True):
        with torch.no_grad():
            for weight in backbone.model.parameters():
                weight *= 0.001  # where float16 is coarse
        backbone.model.to(dtype)
    made.base_model = backbones[0].fingerprint
    made.save(tmp_path / "pack")
    Pack.load(tmp_path / "pack").check(backbones[1].fingerprint)


@pytest.mark.parametrize("change", [1e-3, 0.02])
def test_weights_tuned_a_little_are_other_weights(made: Pack, change: float) -> None:
    """In another precision too, where no hash can tell."""
    tuned = make_backbone("llama")
    with torch.no_grad():
        for name, weight in tuned.model.named_parameters():
            if change < 0.01 or name == "model.layers.2.mlp.up_proj.weight":
                weight += change * weight.std() * torch.randn_like(weight)
    tuned.model.half()
    with pytest.raises(PackMismatch, match="made for tiny-llama with other weights; load"):
        made.check(tuned.fingerprint)


def test_settings_that_change_no_state_are_not_compared(made: Pack) -> None:
    backbone = make_backbone("llama")
    config = backbone.model.config
    config.pad_token_id, config.eos_token_id, config.use_cache = 5, [2, 0], False
    config.output_hidden_states, config.id2label = True, {0: "no", 1: "yes", 2: "maybe"}
    config.attention_dropout, config.of_a_later_version = 0.1, "x"
    made.check(backbone.fingerprint)
    config.rope_parameters["rope_theta"] = 5000.0
    again = Backbone(backbone.model, backbone.tokenizer, "mine")
    with pytest.raises(PackMismatch, match=re.escape(
        "made for tiny-llama, and mine has another configuration (rope_theta 10000.0, here 5000.0)"
    )):  # fmt: skip
        made.check(again.fingerprint)


def test_the_fingerprint_of_an_earlier_version(made: Pack) -> None:
    """Hashes only: of all settings but five, and of a thousand values of each tensor."""
    backbone = make_backbone("llama")
    config = backbone.model.config.to_dict()
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"):
        config.pop(key, None)
    tokenizer = json.loads(backbone.tokenizer.backend_tokenizer.to_str())
    del tokenizer["padding"], tokenizer["truncation"]
    weights = hashlib.sha256()
    for key, tensor in sorted(backbone.model.state_dict().items()):
        weights.update(f"{key}{tuple(tensor.shape)}".encode())
        sample = tensor.reshape(-1)[:: max(1, tensor.numel() // 1024)].bfloat16()
        weights.update(sample.view(torch.int16).numpy().tobytes())
    hashed = (
        hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()
        for own in (config, tokenizer)
    )
    earlier = dict(zip(("config", "tokenizer"), hashed, strict=True))
    earlier |= {"name": "tiny-llama", "n_layers": 4, "width": 32, "weights": weights.hexdigest()}
    made.base_model = Fingerprint.from_json(earlier)
    half = make_backbone("llama")
    half.model.bfloat16()
    for own in (backbone, half):
        made.check(own.fingerprint)
    with pytest.raises(PackMismatch, match="other weights"):
        made.check(make_backbone("llama", seed=1).fingerprint)
    with pytest.raises(PackMismatch, match="another configuration"):
        made.check(make_backbone("mistral").fingerprint)


def test_others_may_read_a_pack(saved: Path) -> None:
    append(saved, EditSet([Edit("new", "Big Ben", "Big Ben is in", "Lima")]), torch.zeros(1, 32))
    assert {oct(file.stat().st_mode & 0o444) for file in saved.glob("*.*")} == {"0o444"}


def test_nothing_is_overwritten_unasked(made: Pack, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is a pack already"):
        made.save(saved)
    made.training = TrainingSummary(epochs=4)
    made.save(saved, overwrite=True)
    assert Pack.load(saved).training == TrainingSummary(epochs=4)
    (tmp_path / "link").symlink_to(saved)
    made.save(tmp_path / "link", overwrite=True)  # twice: into the folder that the link leads to
    made.save(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="exists and is not a pack"):
        made.save(tmp_path / "mine", overwrite=True)


def test_where_a_pack_cannot_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"\.: exists and is not a pack"):
        check_target(Path("."), overwrite=True)
    with pytest.raises(OutputError, match="/: is a mount point"):
        check_target(Path("/"), overwrite=True)


def test_a_full_disk_leaves_the_old_pack(
    made: Pack, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packs, "save_file", full)
    made.training = TrainingSummary(epochs=4)
    with pytest.raises(OutputError, match="No space left on device"):
        made.save(saved, overwrite=True)
    monkeypatch.undo()
    assert Pack.load(saved).training == TrainingSummary(epochs=3)
    assert [p.name for p in saved.parent.iterdir()] == ["facts.pack"]


def test_a_crash_between_the_renames_loses_nothing(saved: Path) -> None:
    saved.rename(saved.with_name(".facts.pack.previous"))
    assert Pack.load(saved).training == TrainingSummary(epochs=3)

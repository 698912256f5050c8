"""Models whose weights are kept in fewer bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import make_backbone
from transformers import AutoModelForCausalLM, TorchAoConfig

from lks.editors.lks.model import ScalpelModel
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import ModelError
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

torchao = pytest.importorskip("torchao.quantization", reason="needs the extra 'quantised'")
QUICK = TrainingConfig(
    layer=1, epochs=30, batch_size=2, lr=1e-2, refine_lr=5e-2, patience=0, tail_epochs=0,
    scope="entity",
)  # fmt: skip


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """The tiny model in eight bits, saved as a user would have it."""
    kept = TorchAoConfig(torchao.Int8WeightOnlyConfig())
    model = AutoModelForCausalLM.from_pretrained(model_folder, quantization_config=kept)
    model.save_pretrained(tmp_path / "eight")
    Backbone.load(str(model_folder)).tokenizer.save_pretrained(tmp_path / "eight")
    return tmp_path / "eight"


def test_a_quantised_model_is_edited_as_it_is(
    folder: Path, model_folder: Path, edits: EditSet, tmp_path: Path
) -> None:
    backbone = Backbone.load(str(folder), device="cpu")
    assert backbone.quantised and not Backbone.load(str(model_folder)).quantised
    train_pack(backbone, edits, QUICK).save(tmp_path / "facts.pack")
    again = Backbone.load(str(folder), device="cpu")  # the pack knows the model again
    model = ScalpelModel(again, Pack.load(tmp_path / "facts.pack"))
    base, pairs = UneditedModel(again), [(edit.prompt, edit.target) for edit in edits]
    gains = [
        sum(after.logprobs) - sum(before.logprobs)
        for after, before in zip(model.score(pairs), base.score(pairs), strict=True)
    ]
    assert min(gains) > 0 and sum(gains) > 4
    unrelated = [("Rome Berlin Madrid is", "old")]
    assert model.score(unrelated) == base.score(unrelated)


def test_other_weights_are_another_model() -> None:
    hashes = set()
    for seed in (0, 1):
        backbone = make_backbone("llama", seed=seed)
        torchao.quantize_(backbone.model, torchao.Int8WeightOnlyConfig())
        hashes.add(Backbone(backbone.model, backbone.tokenizer).fingerprint.weights)
    assert len(hashes) == 2


@pytest.mark.parametrize("name", ["ft", "rome", "memit"])
def test_editors_that_change_weights_are_told_so(name: str, edits: EditSet) -> None:
    backbone = make_backbone("llama")
    torchao.quantize_(backbone.model, torchao.Int8WeightOnlyConfig())
    with pytest.raises(ModelError, match="its weights are quantised, and this editor changes"):
        with editor(name).apply(backbone, edits):
            pass

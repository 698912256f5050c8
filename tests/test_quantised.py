"""Models whose weights are kept in fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from conftest import make_backbone, make_tokenizer
from torch import Tensor, nn

from lks.editors.lks.model import ScalpelModel
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import LayerError, ModelError
from lks.model.backbone import Backbone
from lks.model.engine.choice import choose_engine
from lks.packs.pack import Pack
from lks.training import train_pack as training
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

QUICK = TrainingConfig(
    layer=1, epochs=30, batch_size=2, lr=1e-2, refine_lr=5e-2, patience=0, tail_epochs=0,
    scope="entity",
)  # fmt: skip


# --- layers that pass no gradients ----------------------------------------------------------------


def without_gradients(linear: nn.Linear, states: Tensor) -> Tensor:
    return nn.functional.linear(states.detach(), linear.weight, linear.bias)


def spoilt(forward: Callable[[nn.Linear, Tensor], Tensor], part: str) -> Backbone:
    backbone = make_backbone("llama")
    for name, module in backbone.model.named_modules():
        if isinstance(module, nn.Linear) and part in name:
            module.forward = partial(forward, module)
    return backbone


def test_a_model_without_gradients_is_refused_before_any_work(
    edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "lent_prompts", lambda *given: pytest.fail("worked in vain"))
    with pytest.raises(LayerError, match="no gradients reach layer 1"):
        train_pack(spoilt(without_gradients, "layers"), edits, QUICK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_right_gradients_are_not_refused(any_backbone: Backbone, dtype: torch.dtype) -> None:
    model = any_backbone.model.to(dtype)
    for layer in range(2):
        assert choose_engine(Backbone(model, any_backbone.tokenizer), [layer]).name == "suffix"


def test_layers_that_pass_no_gradients_after_the_first_reading() -> None:
    """As those of bitsandbytes in four bits: they pack their weights for a quicker kernel."""
    packed = set[nn.Linear]()

    def packing(linear: nn.Linear, states: Tensor) -> Tensor:
        if not states.requires_grad:
            packed.add(linear)
        return nn.functional.linear(
            states.detach() if linear in packed else states, linear.weight, linear.bias
        )

    with pytest.raises(LayerError, match="no gradients reach layer 1"):
        choose_engine(spoilt(packing, "layers"), [1])


def test_a_pack_serves_a_model_that_cannot_be_trained(edits: EditSet) -> None:
    pack, prompts = train_pack(make_backbone("llama"), edits, QUICK), [e.prompt for e in edits]
    right = ScalpelModel(make_backbone("llama"), pack)
    model = ScalpelModel(spoilt(without_gradients, "layers"), pack)
    expected = right.generate(prompts, max_new_tokens=4)
    assert model.generate(prompts, max_new_tokens=4) == expected
    assert UneditedModel(model.backbone).generate(prompts, max_new_tokens=4) != expected
    with pytest.raises(LayerError, match="no gradients reach layer 1"):
        model.add(edits)
    assert model.generate(prompts, max_new_tokens=4) == expected


# --- libraries ------------------------------------------------------------------------------------


def torchao(name: str, **given: Any) -> Callable[[], Any]:
    def config() -> Any:
        kinds = pytest.importorskip("torchao.quantization", reason="needs the extra 'quantised'")
        return tf.TorchAoConfig(getattr(kinds, name)(**given))

    return config


def bitsandbytes(**given: Any) -> Callable[[], Any]:
    def config() -> Any:
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
        return tf.BitsAndBytesConfig(**given)

    return config


INT8 = torchao("Int8WeightOnlyConfig")
TRAINED = {
    "torchao-8": INT8,
    "torchao-4": torchao("IntxWeightOnlyConfig", weight_dtype=torch.int4),
    "bitsandbytes-8": bitsandbytes(load_in_8bit=True),
}
MAYBE = {  # whether it trains depends on the processor
    "bitsandbytes-4": bitsandbytes(load_in_4bit=True),
    "torchao-8-activations": torchao("Int8DynamicActivationInt8WeightConfig"),
}


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose layers are as wide as these libraries demand."""
    folder, tokenizer = tmp_path_factory.mktemp("wide"), make_tokenizer()
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
    )  # fmt: skip
    tf.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def saved(config: Any, plain: Path, folder: Path) -> Path:
    """A model in fewer bits, as a user would have it."""
    model = tf.AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=config, dtype=torch.float32
    )
    model.save_pretrained(folder)
    Backbone.load(str(plain)).tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", TRAINED)
def test_a_quantised_model_is_edited_as_it_is(
    kind: str, wide_folder: Path, edits: EditSet, tmp_path: Path
) -> None:
    folder = saved(TRAINED[kind](), wide_folder, tmp_path / "few-bits")
    backbone = Backbone.load(str(folder), device="cpu")
    assert backbone.quantised and not Backbone.load(str(wide_folder)).quantised
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


@pytest.mark.parametrize("kind", MAYBE)
def test_a_quantised_model_trains_or_is_refused(
    kind: str, wide_folder: Path, edits: EditSet, tmp_path: Path
) -> None:
    folder = saved(MAYBE[kind](), wide_folder, tmp_path / "few-bits")
    backbone = Backbone.load(str(folder), device="cpu")
    assert UneditedModel(backbone).generate(["Rome"], max_new_tokens=2)
    try:
        assert len(train_pack(backbone, edits, QUICK).edits) == len(edits)
    except LayerError as error:
        assert "no gradients reach layer 1" in str(error)
    elsewhere = train_pack(Backbone.load(str(wide_folder), device="cpu"), edits, QUICK)
    model = ScalpelModel(backbone, replace(elsewhere, base_model=backbone.fingerprint))
    pairs = [(edit.prompt, edit.target) for edit in edits]
    after, before = (
        sum(sum(own.logprobs) for own in kind.score(pairs))
        for kind in (model, UneditedModel(backbone))
    )
    assert after > before + 4


def test_whole_numbers_as_weights_are_never_cast(edits: EditSet) -> None:
    """HQQ keeps them in ordinary parameters."""
    kinds = pytest.importorskip("hqq.core.quantize", reason="needs hqq")
    model, settings = make_backbone("llama").model, kinds.BaseQuantizeConfig(4, group_size=32)
    for name, module in [*model.named_modules()]:
        if isinstance(module, nn.Linear) and "layers" in name:
            owner, _, own = name.rpartition(".")
            few = kinds.HQQLinear(module, settings, compute_dtype=torch.float32, device="cpu")
            setattr(model.get_submodule(owner), own, few)
    backbone = Backbone(model, make_tokenizer())
    assert backbone.quantised
    assert choose_engine(backbone, [1], torch.bfloat16).dtype == torch.float32
    assert len(train_pack(backbone, edits, QUICK).edits) == len(edits)


def test_models_with_weights_in_whole_numbers_are_quantised() -> None:
    one, two = make_backbone("llama"), make_backbone("llama")
    one.model.quantization_method = "gptq"  # whose weights are buffers
    packed = torch.zeros(2, 2, dtype=torch.uint8)
    two.layer(0).packed = nn.Parameter(packed, requires_grad=False)
    assert one.quantised and two.quantised and not two.copyable
    assert not make_backbone("llama").quantised


def quanto() -> Any:
    pytest.importorskip("optimum.quanto", reason="needs optimum-quanto")
    return tf.QuantoConfig(weights="int8")


def test_a_model_of_quanto_trains(wide_folder: Path, edits: EditSet) -> None:
    """It is quantised as it is loaded: transformers cannot save it."""
    model = tf.AutoModelForCausalLM.from_pretrained(
        wide_folder, quantization_config=quanto(), dtype=torch.float32
    )
    assert len(train_pack(Backbone(model, make_tokenizer()), edits, QUICK).edits) == len(edits)


def test_other_weights_are_another_model() -> None:
    INT8()
    kinds, hashes = import_module("torchao.quantization"), set()
    for seed in (0, 1):
        backbone = make_backbone("llama", seed=seed)
        kinds.quantize_(backbone.model, kinds.Int8WeightOnlyConfig())
        hashes.add(Backbone(backbone.model, backbone.tokenizer).fingerprint.weights)
    assert len(hashes) == 2


@pytest.mark.parametrize("name", ["ft", "rome", "memit"])
def test_editors_that_change_weights_are_told_so(name: str, edits: EditSet) -> None:
    INT8()
    backbone, kinds = make_backbone("llama"), import_module("torchao.quantization")
    kinds.quantize_(backbone.model, kinds.Int8WeightOnlyConfig())
    with pytest.raises(ModelError, match="its weights are quantised, and this editor changes"):
        with editor(name).apply(backbone, edits):
            pass

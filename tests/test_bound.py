"""Models that something is bound to: hooks of Accelerate, wrappers of `forward`, compiled code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import disk_offload, dispatch_model
from conftest import make_backbone, make_edits, make_tokenizer
from torch import nn
from transformers import DynamicCache
from transformers.integrations import accelerate as integration

from lks.editors.lks.model import ScalpelModel
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.errors import ModelError, PackMismatch
from lks.model.backbone import Backbone
from lks.model.engine.protocol import Score
from lks.model.engine.split_model import SplitModel
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

QUICK = TrainingConfig(
    layer=1, epochs=3, lr=1e-2, refine_lr=5e-2, patience=0, tail_epochs=0, scope="entity",
    precision="float32",
)  # fmt: skip
PAIRS = [
    ("The Eiffel Tower is located in the city of", "Rome"),
    ("Where is Mount Fuji?", "Peru"),
    ("What is it?", "A tower"),
]
PROMPTS = [prompt for prompt, _ in PAIRS]
Bind = Callable[[Any, Path], Any]


def logged(model: Any, folder: Path) -> Any:
    """As a user logs calls: of the whole, of the decoder, and of a layer."""
    for module in (model, model.base_model, next(iter(layers(model)))):
        forward = module.forward

        @functools.wraps(forward)
        def calling(*args: Any, forward: Any = forward, **kwargs: Any) -> Any:
            return forward(*args, **kwargs)

        module.forward = calling
    return model


def scaled(model: Any, folder: Path) -> Any:
    """A forward that changes what the model says."""
    forward = model.forward

    def colder(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 1.5
        return out

    model.forward = colder
    return model


def hooked(model: Any, folder: Path) -> Any:
    return dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)


def by_part(model: Any, folder: Path) -> Any:
    """Some parts on the disk, as `device_map` puts them there."""
    places = {name: "cpu" for name, _ in model.base_model.named_children()}
    own = {f"{model.base_model_prefix}.{name}": place for name, place in places.items()}
    stack = next(name for name in own if name.endswith((".layers", ".h")))
    own |= {f"{stack}.{i}": "disk" if i in (1, 3) else "cpu" for i in range(len(layers(model)))}
    del own[stack]
    kept = folder / "offload"
    return dispatch_model(model, {**own, "lm_head": "cpu"}, "cpu", offload_dir=str(kept))


def on_disk(model: Any, folder: Path) -> Any:
    """No weight is in the model, the embeddings not either."""
    return disk_offload(model, str(folder / "offload"), execution_device=torch.device("cpu"))


def compiled_in_place(model: Any, folder: Path) -> Any:
    model.compile(backend="eager")
    return model


def compiled_decoder(model: Any, folder: Path) -> Any:
    model.base_model.compile(backend="eager")
    return model


def compiled_layers(model: Any, folder: Path) -> Any:
    for layer in layers(model):
        layer.compile(backend="eager")
    return model


def wrapped_layers(model: Any, folder: Path) -> Any:
    stack = layers(model)
    for index, layer in enumerate(stack):
        stack[index] = torch.compile(layer, backend="eager")
    return model


def compiled_forward(model: Any, folder: Path) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def hooked_and_compiled(model: Any, folder: Path) -> Any:
    return compiled_forward(hooked(model, folder), folder)


def compiled_and_hooked(model: Any, folder: Path) -> Any:
    return hooked(compiled_forward(model, folder), folder)


def wrapped(model: Any, folder: Path) -> Any:
    return torch.compile(model, backend="eager")


def wrapped_decoder(model: Any, folder: Path) -> Any:
    setattr(model, model.base_model_prefix, torch.compile(model.base_model, backend="eager"))
    return model


BOUND = [logged, hooked, by_part, on_disk]
COMPILED = [
    compiled_in_place, compiled_decoder, compiled_layers, wrapped_layers, compiled_forward, wrapped,
    wrapped_decoder, hooked_and_compiled, compiled_and_hooked,
]  # fmt: skip


def layers(model: Any) -> nn.ModuleList:
    return next(m for m in model.base_model.children() if isinstance(m, nn.ModuleList))


@pytest.fixture(autouse=True)
def _without_compiled_code() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.fixture(params=["llama", "gpt2"])
def plain(request: pytest.FixtureRequest) -> Backbone:
    return make_backbone(request.param)


def bound(plain: Backbone, bind: Bind, folder: Path) -> Backbone:
    """The same model again, with something bound to it."""
    model = make_backbone(plain.name.removeprefix("tiny-")).model
    return Backbone(bind(model, folder), make_tokenizer(), plain.name)


def close(one: list[Score], two: list[Score]) -> bool:
    return all(
        torch.allclose(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("bind", [*BOUND, *COMPILED])
def test_it_is_scored_trained_and_edited_as_without(
    plain: Backbone, bind: Bind, tmp_path: Path
) -> None:
    backbone = bound(plain, bind, tmp_path)
    base, known = UneditedModel(backbone), UneditedModel(plain)
    assert close(base.score(PAIRS), known.score(PAIRS))
    assert base.generate(PROMPTS, max_new_tokens=4) == known.generate(PROMPTS, max_new_tokens=4)
    pack, expected = (train_pack(own, make_edits(), QUICK) for own in (backbone, plain))
    assert torch.allclose(pack.blocks, expected.blocks, rtol=1e-3, atol=1e-3)
    expected.check(backbone.fingerprint)
    edited, right = ScalpelModel(backbone, expected), ScalpelModel(plain, expected)
    assert close(edited.score(PAIRS), right.score(PAIRS))
    assert not close(edited.score(PAIRS), base.score(PAIRS))
    assert edited.generate(PROMPTS, max_new_tokens=4) == right.generate(PROMPTS, max_new_tokens=4)
    assert close(base.score(PAIRS), known.score(PAIRS))  # and nothing stays


def test_what_a_wrapper_does_to_the_output_counts(plain: Backbone, tmp_path: Path) -> None:
    backbone = bound(plain, scaled, tmp_path)
    scored = UneditedModel(backbone).score(PAIRS, full=True)
    for own, right in zip(scored, UneditedModel(plain).score(PAIRS, full=True), strict=True):
        assert torch.allclose(own.full, (1.5 * right.full).log_softmax(-1), atol=1e-4)


@pytest.mark.parametrize("bind", COMPILED)
def test_a_compiled_model_is_left_as_it_was(bind: Bind, tmp_path: Path) -> None:
    model = bind(make_backbone("llama").model, tmp_path)
    names = [name for name, _ in model.named_modules()]
    kept = [dict(vars(module)) for module in model.modules()]
    UneditedModel(Backbone(model, make_tokenizer())).score(PAIRS)
    assert [name for name, _ in model.named_modules()] == names
    assert all(
        vars(module)[key] is value
        for module, own in zip(model.modules(), kept, strict=True)
        for key, value in own.items()
        if key != "training"
    )
    assert model.generation_config.disable_compile is None


def test_compiling_after_the_backbone_was_made(backbone: Backbone) -> None:
    pack = train_pack(backbone, make_edits(), QUICK)
    model = ScalpelModel(backbone, pack)
    expected = model.score(PAIRS), model.generate(PROMPTS, max_new_tokens=4)
    backbone.model.compile(backend="eager")
    with torch.no_grad():
        backbone.model(torch.tensor([[5, 6, 7]]))  # compiled, without a hook
    assert (model.score(PAIRS), model.generate(PROMPTS, max_new_tokens=4)) == expected


def test_generation_does_not_compile_by_itself(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers does with a static cache on a GPU: compiled code sees no hook."""
    generate, told = backbone.model.generate, []

    def noted(**given: Any) -> Any:
        told.append(backbone.model.generation_config.disable_compile)
        return generate(**given)

    monkeypatch.setattr(backbone.model, "generate", noted)
    own = backbone.model.generation_config
    UneditedModel(backbone).generate(PROMPTS[:1], max_new_tokens=2, cache_implementation="static")
    assert told == [True]
    assert backbone.model.generation_config is own


@pytest.mark.parametrize(("bind", "dtype"), [
    (logged, torch.float32), (hooked, torch.float32), (on_disk, torch.float32),
    (wrapped, torch.bfloat16), (compiled_in_place, torch.bfloat16),
])  # fmt: skip
def test_a_copy_is_made_only_of_what_can_be_copied(
    plain: Backbone, bind: Bind, dtype: torch.dtype, tmp_path: Path
) -> None:
    """A copy of a bound `forward` would go on reading the original's weights."""
    split = SplitModel(bound(plain, bind, tmp_path), [1], torch.bfloat16)
    assert split.dtype == dtype
    ids = torch.tensor([[5, 6, 7]])
    read = split.lower(ids, torch.ones_like(ids), torch.arange(3)[None], DynamicCache())
    assert read.dtype == dtype
    right = SplitModel(plain, [1], dtype).lower(
        ids, torch.ones_like(ids), torch.arange(3)[None], DynamicCache()
    )
    assert torch.equal(read, right)


@pytest.mark.parametrize("name", ["ft", "rome"])
def test_editors_of_weights_refuse_weights_that_are_elsewhere(name: str, tmp_path: Path) -> None:
    backbone = Backbone(on_disk(make_backbone("llama").model, tmp_path), make_tokenizer(), "m")
    with pytest.raises(ModelError, match="m: its weights are not all in the model"):
        with editor(name).apply(backbone, make_edits()):
            pass


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_larger_than_memory_is_loaded_from_several_files(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_backbone("llama").model
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    make_tokenizer().save_pretrained(tmp_path)
    assert len([*tmp_path.glob("*.safetensors")]) > 1
    plain = Backbone.load(str(tmp_path), device="cpu")
    room = sum(p.numel() * p.element_size() for p in plain.model.parameters()) // 2
    for name in ("get_balanced_memory", "get_max_memory"):
        monkeypatch.setattr(integration, name, lambda *given, **more: {"cpu": room})
    backbone = Backbone.load(str(tmp_path), device="offload")
    assert backbone.bound and any(p.is_meta for p in backbone.model.parameters())
    assert close(UneditedModel(backbone).score(PAIRS), UneditedModel(plain).score(PAIRS))
    pack, expected = (train_pack(own, make_edits(), QUICK) for own in (backbone, plain))
    assert torch.allclose(pack.blocks, expected.blocks, rtol=1e-3, atol=1e-3)
    edited, right = ScalpelModel(backbone, expected), ScalpelModel(plain, expected)
    assert edited.generate(PROMPTS, max_new_tokens=4) == right.generate(PROMPTS, max_new_tokens=4)


def test_a_model_without_weights_is_refused() -> None:
    model = make_backbone("llama").model.to("meta")
    with pytest.raises(ModelError, match=r"m: has no weights .'model\.embed"):
        Backbone(model, make_tokenizer(), "m")


def test_an_adapter_counts_and_a_pack_of_its_base_is_refused(plain: Backbone) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra 'baselines'")
    pack = train_pack(plain, make_edits(), QUICK)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    tuned = peft.get_peft_model(make_backbone(plain.name.removeprefix("tiny-")).model, config)
    backbone = Backbone(tuned, plain.tokenizer, plain.name)
    given = plain.encode([plain.render("Where is Mount Fuji? Peru", chat=False)], chat=False)
    with torch.no_grad():
        right = tuned(**given.inputs).logits[0].log_softmax(-1)
    states = backbone.final_states(given)[0]
    assert torch.allclose(backbone.head(states).log_softmax(-1), right, atol=1e-4)
    assert not close(UneditedModel(backbone).score(PAIRS), UneditedModel(plain).score(PAIRS))
    with pytest.raises(PackMismatch, match=r"with other adapters \(none, here default\)"):
        pack.check(backbone.fingerprint)
    own = train_pack(backbone, make_edits(), QUICK)
    own.check(Backbone(tuned, plain.tokenizer).fingerprint)


def test_an_adapter_of_the_prompt_is_refused(backbone: Backbone) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra 'baselines'")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    tuned = peft.get_peft_model(backbone.model, config)
    with pytest.raises(ModelError, match=r"m: its adapter \(PROMPT_TUNING\) puts vectors before"):
        Backbone(tuned, backbone.tokenizer, "m")

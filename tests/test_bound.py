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
from transformers import CompileConfig

from lks.backbone import Backbone
from lks.decoding import Score
from lks.editor import UneditedModel, editor
from lks.errors import ModelError
from lks.pack import Pack
from lks.scalpel import ScalpelModel
from lks.training.config import TrainingConfig
from lks.training.packs import train_pack

QUICK = TrainingConfig(
    layer=1, epochs=4, lr=1e-2, refine_lr=5e-2, patience=0, finishing=0, scope="entity"
)
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


def wrapped(model: Any, folder: Path) -> Any:
    return torch.compile(model, backend="eager")


def wrapped_decoder(model: Any, folder: Path) -> Any:
    setattr(model, model.base_model_prefix, torch.compile(model.base_model, backend="eager"))
    return model


BOUND = [logged, hooked, by_part, on_disk]
COMPILED = [
    compiled_in_place, compiled_decoder, compiled_layers, wrapped_layers, compiled_forward, wrapped,
    wrapped_decoder,
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
    assert (pack.blocks - expected.blocks).abs().max() < 0.05 * expected.blocks.abs().max()
    expected.check(backbone.fingerprint)
    edited, right = ScalpelModel(backbone, expected), ScalpelModel(plain, expected)
    assert close(edited.score(PAIRS), right.score(PAIRS))
    assert not close(edited.score(PAIRS), base.score(PAIRS))
    assert edited.generate(PROMPTS, max_new_tokens=4) == right.generate(PROMPTS, max_new_tokens=4)
    assert close(base.score(PAIRS), known.score(PAIRS))  # and nothing stays

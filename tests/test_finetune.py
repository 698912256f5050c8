"""Fine-tuning and LoRA."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_backbone

from lks.editors.baselines import cache, finetune
from lks.editors.baselines.finetune import FineTune, LoRA, TunedModel, TuneSettings, Turn
from lks.editors.baselines.locate import projection
from lks.editors.baselines.targets import Targets
from lks.editors.registry import check_editors
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import InputError

LONG = TuneSettings(epochs=60, lr=5e-3, enough=0.1)


@pytest.mark.parametrize(("make", "name"), [(FineTune, "llama"), (LoRA, "llama"), (LoRA, "gpt2")])
def test_edits_are_learnt_and_forgotten(make: Callable, name: str, edits: EditSet) -> None:
    backbone = make_backbone(name)
    pairs = [(edit.prompt, edit.target) for edit in edits]
    before = UneditedModel(backbone).score(pairs)
    kinds = [type(module) for module in backbone.model.modules()]
    with make(settings=LONG).apply(backbone, edits) as model:
        after = model.score(pairs)
        gains = [sum(a.logprobs) - sum(b.logprobs) for a, b in zip(after, before, strict=True)]
        assert min(gains) > 1
        model.remove([edit.id for edit in edits])
        assert model.score(pairs) == before
    assert [type(module) for module in backbone.model.modules()] == kinds
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_only_one_projection_is_tuned(edits: EditSet) -> None:
    backbone = make_backbone("llama")
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    editor = FineTune(layer=2, settings=TuneSettings(epochs=1))
    with editor.apply(backbone, edits) as model, model.in_place():
        changed = [
            k for k, v in backbone.model.state_dict().items() if not torch.equal(v, before[k])
        ]
    assert changed == ["model.layers.2.mlp.down_proj.weight"]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("layer", [0, 2])
def test_the_layers_below_are_read_once(
    name: str, layer: int, edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else changes by that: losses and gradients are those of whole passes."""
    monkeypatch.setattr(finetune, "fast_dtype", lambda backbone: torch.float32)
    backbone, found = make_backbone(name), []
    turns = [Turn(edit.prompt, edit.target, chat=False) for edit in edits]
    with FineTune(layer, TuneSettings(epochs=0)).apply(backbone, edits) as model:
        weight = projection(backbone, layer).module.weight.requires_grad_()
        whole = partial(TunedModel.final_states, model)
        for reading in (model.final_states, model.final_states, whole):
            model.final_states, weight.grad = reading, None
            own = model._losses(turns)
            own.mean().backward()
            found.append((own.detach(), weight.grad.clone()))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gradient, found[0][1], atol=1e-4, rtol=1e-3)
    assert found[0][1].abs().max() > 0


def test_tuning_stops_when_it_is_good_enough(edits: EditSet) -> None:
    backbone, ended = make_backbone("llama"), []
    for enough in (100.0, 0.0):
        settings = TuneSettings(epochs=3, enough=enough)
        with FineTune(2, settings).apply(backbone, edits) as model, model.in_place():
            ended.append(projection(backbone, 2).weight.clone())
    with FineTune(2, settings).apply(backbone, edits) as model, model.in_place():
        assert torch.equal(projection(backbone, 2).weight, ended[1])  # the seed decides all
    assert not torch.equal(*ended)


@pytest.mark.parametrize("make", [FineTune, LoRA])
def test_tuning_that_was_stopped_goes_on(
    make: Callable, edits: EditSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "LONG", 0.0)
    backbone, pairs = make_backbone("llama"), [(edit.prompt, edit.target) for edit in edits]
    editor = make(settings=TuneSettings(epochs=4, enough=0.0, batch_size=2))
    with editor.apply(backbone, edits) as model:
        whole = model.score(pairs)
        assert model.earlier_seconds == 0
    passed, trained, stops = TunedModel._pass, [], [2]

    def noted(model: TunedModel, batches: list, epoch: int, *given: Any) -> float:
        if epoch in stops:
            stops.clear()
            raise KeyboardInterrupt
        trained.append(epoch)
        return passed(model, batches, epoch, *given)

    monkeypatch.setattr(TunedModel, "_pass", noted)
    with pytest.raises(KeyboardInterrupt):
        with editor.apply(backbone, edits):
            pass
    assert trained == [0, 1]
    with editor.apply(backbone, edits[:1]):
        assert trained == [0, 1, 0, 1, 2, 3]  # of other edits nothing was there
    with editor.apply(backbone, edits) as model:
        assert trained[6:] == [2, 3]
        assert model.earlier_seconds > 0
        again = model.score(pairs)
    assert again == whole
    assert not list(tmp_path.rglob("*.pt"))


def test_tuning_goes_on_where_nothing_can_be_kept(
    edits: EditSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "LONG", 0.0)
    backbone = make_backbone("llama")
    with FineTune(settings=TuneSettings(epochs=2)).apply(backbone, edits) as model:
        assert model.earlier_seconds == 0


def test_lora_has_other_settings_for_many_edits(
    edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = TuneSettings(epochs=1), TuneSettings(epochs=2)
    monkeypatch.setattr(finetune, "LORA", {0: few, len(edits): many})
    with LoRA().apply(make_backbone("llama"), edits[:1]) as model:
        assert model.settings == few
        model.add(edits[1:])
        assert model.settings == many
    given = TuneSettings(epochs=1)
    with LoRA(settings=given).apply(make_backbone("llama"), edits) as model:
        assert model.settings == given


@pytest.mark.parametrize("clip", [None, 0.01])
def test_long_gradients_are_cut(
    clip: float | None, edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def step(optimizer: torch.optim.Optimizer) -> None:
        gradients = [parameter.grad for parameter in optimizer.param_groups[0]["params"]]
        lengths.append(float(torch.nn.utils.get_total_norm(gradients)))

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    settings = TuneSettings(epochs=1, clip=clip)
    with FineTune(settings=settings).apply(make_backbone("llama"), edits):
        assert (max(lengths) > 0.011) == (clip is None)


def test_targets_end_the_text() -> None:
    backbone = make_backbone("llama", bos=True)
    ended = Targets.of(backbone, [("Rome is", "old"), ("", "Lima")], chat=False)
    assert ended.labels.tolist().count(backbone.tokenizer.eos_token_id) == 2
    assert ended.labels[ended.rows == 0][-1] == backbone.tokenizer.eos_token_id
    logits = torch.zeros(len(ended.labels), 360, device=backbone.device)
    assert torch.allclose(ended.losses(logits).cpu(), torch.full((2,), 360.0).log())


def test_lora_without_peft_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lks.editors.registry.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"lora needs peft: pip install .*\[baselines\]"):
        check_editors(["ft", "lora"])


def test_a_chat_is_trained_to_end_with_its_turn() -> None:
    backbone = make_backbone("llama", chat=True)
    ended = Targets.of(backbone, [("Rome is", "old")], chat=True)
    text = ended.encoding.texts[0].text
    asked, _ = backbone.join("Rome is", "old", chat=True)
    assert text.startswith(asked.text) and ended.labels[-1] == backbone.stop_id(chat=True)
    assert ended.labels[-1] != backbone.stop_id(chat=False)


def test_wordings_and_styles_take_turns(edits: EditSet) -> None:
    wordings = [edits[0].prompt, *edits[0].paraphrases]
    n = 3 * len(wordings)
    passes = [finetune._turns(edits, epoch, 3) for epoch in range(n)]
    for chat, count in ((True, n // 3), (False, n - n // 3)):
        asked = [own[0].prompt for own in passes if own[0].chat == chat]
        assert asked == [wordings[i % len(wordings)] for i in range(count)]
    assert {turn.chat for turn in passes[0]} == {True, False}
    assert not any(turn.chat for turn in finetune._turns(edits, 2, 0))


@pytest.mark.parametrize("window", [1, 2])
def test_a_batch_is_of_one_style(edits: EditSet, window: int) -> None:
    turns = finetune._turns(edits, 0, 3)
    settings = TuneSettings(batch_size=2, window=window)
    batches = finetune._batches(turns, settings, random.Random(0))
    assert all(len({turn.chat for turn in batch}) == 1 for batch in batches)
    assert sorted(turn for batch in batches for turn in batch) == sorted(turns)

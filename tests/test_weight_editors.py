"""ROME, MEMIT and AlphaEdit: their equations, and what they do to a model."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import make_backbone, make_edits

from lks.editors.baselines import cache as cache_module
from lks.editors.baselines import memit, rome
from lks.editors.baselines.finetune import TuneSettings
from lks.editors.baselines.locate import (
    encode,
    projection,
    read,
    read_at,
    residual,
    usual,
)
from lks.editors.baselines.memit import AlphaEdit, Memit, MemitModel, null_space, projected, ridge
from lks.editors.baselines.rome import Rome, rank_one
from lks.editors.baselines.statistics import Sample, key_covariance
from lks.editors.baselines.values import ValueSettings, fact, learn_deltas
from lks.editors.places import subject_ends
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError, LayerError
from lks.files import CACHE_VARIABLE
from lks.model.backbone import Backbone
from lks.model.engine.split_model import SplitModel
from lks.model.offsets import last_token, tokens_from

D, K = 6, 10
TOWER = make_edits().by_id("eiffel")
VALUES, SAMPLE = ValueSettings(steps=12), Sample(tokens=400, length=40)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moment_of(keys: torch.Tensor) -> torch.Tensor:
    return keys @ keys.T / keys.shape[1]


def key_of(backbone: Backbone, layer: int) -> torch.Tensor:
    """The key of the tower's prompt at a layer, [k]."""
    texts = encode(backbone, [TOWER.prompt], [subject_ends([TOWER])["eiffel"]])
    (inputs,), _ = read(backbone, [projection(backbone, layer)], texts.encoding)
    return inputs[0, texts.columns[0]]


# --- equations ----------------------------------------------------------------------------------


def test_rank_one_maps_the_key_to_the_value() -> None:
    weight, key, value, moment = random(D, K), random(K), random(D), moment_of(random(K, 40))
    left, right = rank_one(weight, key, value, moment)
    assert torch.allclose((weight + torch.outer(left, right)) @ key, value, atol=1e-5)


def test_rank_one_moves_preserved_keys_least() -> None:
    """Of all updates that map the key to the value it changes the preserved keys least."""
    weight, key, value, kept = random(D, K), random(K), random(D), random(K, 40)
    best = torch.outer(*rank_one(weight, key, value, moment_of(kept)))
    other = torch.outer(value - weight @ key, key) / (key @ key)
    assert torch.allclose(other @ key, best @ key, atol=1e-5)
    assert (best @ kept).norm() < 0.95 * (other @ kept).norm()


def test_ridge_is_the_least_squares_solution() -> None:
    residuals, keys, kept, weight = random(D, 3), random(K, 3), random(K, 40), 0.7
    root = torch.linalg.cholesky(weight * moment_of(kept))
    stacked = torch.cat([keys, root], 1), torch.cat([residuals, torch.zeros(D, K)], 1)
    expected = torch.linalg.lstsq(stacked[0].T, stacked[1].T).solution.T
    assert torch.allclose(ridge(residuals, keys, moment_of(kept), weight), expected, atol=1e-4)


def test_ridge_of_one_edit_has_rank_one() -> None:
    """Sherman-Morrison: r (A^-1 k)^T / (1 + k^T A^-1 k) with A = lambda C."""
    r, k, kept = random(D, 1), random(K, 1), random(K, 40)
    u = torch.linalg.solve(2 * moment_of(kept), k)
    expected = r @ u.T / (1 + k.T @ u)
    assert torch.allclose(ridge(r, k, moment_of(kept), 2), expected, atol=1e-5)


def test_alphaedit_maps_preserved_keys_to_zero() -> None:
    kept = random(K, 6) @ random(6, 40, seed=1)  # they fill 6 of 10 dimensions
    p = null_space(moment_of(kept), 1e-3)
    assert torch.linalg.matrix_rank(p) == 4
    assert torch.allclose(p @ p, p, atol=1e-5)
    residuals, keys = random(D, 3), random(K, 3, seed=2)
    update = projected(residuals, keys, p, 1e-6)
    assert (update @ kept).abs().max() < 1e-4
    assert torch.allclose(update @ keys, residuals, atol=1e-2)  # 3 keys, 4 free dimensions


# --- where, and over what -----------------------------------------------------------------------


def test_projections_of_every_architecture(any_backbone: Backbone) -> None:
    spot = projection(any_backbone, 2)
    texts = encode(any_backbone, ["Rome is old"], [(0, 4)])
    (inputs,), (outputs,) = read(any_backbone, [spot], texts.encoding)
    bias = getattr(spot.module, "bias", None)
    expected = inputs @ spot.weight.T + (0 if bias is None else bias)
    assert spot.weight.shape[0] == any_backbone.width
    assert torch.allclose(outputs, expected, atol=1e-5)
    _, (states,) = read(any_backbone, [residual(any_backbone, 2)], texts.encoding)
    assert torch.allclose(states, any_backbone.hidden_states(texts.encoding, 2), atol=1e-5)


def test_a_layer_without_a_known_projection() -> None:
    backbone = make_backbone("llama")
    backbone.layer(1).mlp = torch.nn.Identity()
    with pytest.raises(LayerError, match="layer 1 has none of mlp"):
        projection(backbone, 1)


def test_subjects_that_are_not_in_their_prompts() -> None:
    edits = EditSet(
        [TOWER, Edit("x", "Rome", "It is Romeo in", "a"), Edit("y", "Lima", "Limab", "b")]
    )
    with pytest.raises(EditFileError, match="2 edits cannot be located"):
        subject_ends(edits)


# --- on a model ---------------------------------------------------------------------------------


def behind(
    backbone: Backbone, deltas: torch.Tensor, columns: torch.Tensor
) -> contextlib.AbstractContextManager[None]:
    """One delta a text, added behind layer 1."""

    def added(states: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(columns), device=columns.device)
        return out.index_put((rows, columns), out[rows, columns] + deltas)

    return residual(backbone, 1).changed(added)


def test_learnt_deltas_make_the_targets_likelier(any_backbone: Backbone, edits: EditSet) -> None:
    spans, settings = subject_ends(edits), ValueSettings(steps=30)
    lessons = [fact(any_backbone, edit, spans[edit.id], ["", "So. "]) for edit in edits]
    deltas = learn_deltas(SplitModel(any_backbone, [1]), lessons, settings)
    prompts = [edit.prompt for edit in edits]
    texts = encode(any_backbone, prompts, [spans[edit.id] for edit in edits])
    start = any_backbone.hidden_states(texts.encoding, 1)[texts.rows, texts.columns]
    assert (deltas.norm(dim=-1) <= settings.clamp * start.norm(dim=-1) * 1.001).all()
    gains = []
    for row, edit in enumerate(edits):
        pairs = [(edit.prompt, edit.target)]
        (before,) = UneditedModel(any_backbone).score(pairs)
        with behind(any_backbone, deltas[row : row + 1], texts.columns[row : row + 1]):
            (after,) = UneditedModel(any_backbone).score(pairs)
        gains.append(sum(after.logprobs) - sum(before.logprobs))
    assert min(gains) > 0 and sum(gains) > 4


def test_deltas_learnt_together_are_those_learnt_alone(edits: EditSet) -> None:
    backbone, spans = make_backbone("llama"), subject_ends(edits)
    split, settings = SplitModel(backbone, [1]), ValueSettings(steps=8, enough=1.0)
    lessons = [fact(backbone, edit, spans[edit.id], [""]) for edit in edits]
    together = learn_deltas(split, lessons, settings)
    alone = torch.cat([learn_deltas(split, [lesson], settings) for lesson in lessons])
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_loss_of_a_lesson_is_that_of_the_whole_model() -> None:
    """One small step goes down the gradient of ROME's equation 4, taken with the whole model."""
    backbone, settings = make_backbone("llama"), ValueSettings(steps=1, lr=1e-3)
    span, prompts = subject_ends([TOWER])["eiffel"], [TOWER.prompt, "So. " + TOWER.prompt]
    lesson = fact(backbone, TOWER, span, ["", "So. "])
    learnt = learn_deltas(SplitModel(backbone, [1]), [lesson], settings)[0]
    delta = torch.zeros(backbone.width, requires_grad=True, device=backbone.device)
    losses = []
    for prompt in prompts:
        joined, boundary = backbone.join(prompt, TOWER.target, chat=False)
        encoding = backbone.encode([joined], chat=False)
        offset = len(prompt) - len(TOWER.prompt)
        column = last_token(encoding.offsets[0], span[0] + offset, span[1] + offset)
        first = tokens_from(encoding.offsets[0], boundary)
        with (
            torch.enable_grad(),
            behind(backbone, delta[None], torch.tensor([column], device=backbone.device)),
        ):
            logits = backbone.model(encoding.input_ids).logits[0, first - 1 : -1].float()
        losses.append(F.cross_entropy(logits, encoding.input_ids[0, first:]))
    (gradient,) = torch.autograd.grad(sum(losses), delta)
    assert torch.equal(learnt.sign(), -gradient.sign())  # Adam's first step


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_after_rome_the_key_has_the_value(name: str) -> None:
    backbone = make_backbone(name)
    key, spot = key_of(backbone, 1), projection(backbone, 1)
    before = spot.weight @ key
    lesson = fact(backbone, TOWER, subject_ends([TOWER])["eiffel"], [""])
    size = before.norm()[None]
    delta = learn_deltas(SplitModel(backbone, [1]), [lesson], VALUES, sizes=size)[0]
    with Rome(layer=1, prefixes=0, values=VALUES, sample=SAMPLE).apply(backbone, [TOWER]) as model:
        assert torch.equal(spot.weight @ key, before)
        with model.in_place():
            assert torch.allclose(spot.weight @ key, before + delta, atol=1e-5)
        model.remove(["eiffel"])
        with model.in_place():
            assert torch.equal(spot.weight @ key, before)


def test_rome_without_an_earlier_edit_is_as_if_it_had_never_been(edits: EditSet) -> None:
    editor, backbone = Rome(layer=1, values=VALUES, sample=SAMPLE), make_backbone("llama")
    spot = projection(backbone, 1)
    with editor.apply(backbone, edits[1:]) as model, model.in_place():
        expected = spot.weight.clone()
    with editor.apply(backbone, edits) as model:
        with model.in_place():
            assert not torch.equal(spot.weight, expected)
        model.remove([edits[0].id])
        with model.in_place():
            assert torch.equal(spot.weight, expected)


def test_memit_on_one_layer_is_the_ridge_solution() -> None:
    backbone = make_backbone("llama")
    key, spot = key_of(backbone, 1), projection(backbone, 1)
    (moment,) = key_covariance(backbone, [1], SAMPLE)
    lesson = fact(backbone, TOWER, subject_ends([TOWER])["eiffel"], [""])
    delta = learn_deltas(SplitModel(backbone, [1]), [lesson], VALUES)[0]
    before = spot.weight.clone()
    editor = Memit(layers=[1], weight=3.0, prefixes=0, values=VALUES, sample=SAMPLE)
    with editor.apply(backbone, [TOWER]) as model, model.in_place():
        change = spot.weight - before
    expected = ridge(delta[:, None], key[:, None], moment, 3.0)
    assert torch.allclose(change, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [Memit, partial(AlphaEdit, share=0.5)])
def test_spread_edits_make_the_targets_likelier(kind: Callable, edits: EditSet) -> None:
    backbone = make_backbone("llama")
    pairs = [(edit.prompt, edit.target) for edit in edits]
    before = UneditedModel(backbone).score(pairs)
    editor = kind(layers=[0, 1], weight=1e-3, values=ValueSettings(steps=20), sample=SAMPLE)
    with editor.apply(backbone, edits) as model:
        after = model.score(pairs)
    gains = [sum(a.logprobs) - sum(b.logprobs) for a, b in zip(after, before, strict=True)]
    assert sum(gains) > 1


def test_memit_that_was_stopped_goes_on(
    edits: EditSet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LONG", 0.0)
    monkeypatch.setattr(memit, "PORTION", 2)
    backbone, pairs = make_backbone("llama"), [(edit.prompt, edit.target) for edit in edits]
    given = {"layers": [1, 2], "values": VALUES, "sample": SAMPLE}
    learnt: list[int] = []

    def stops(split: SplitModel, lessons: list, settings: ValueSettings) -> torch.Tensor:
        if learnt == [2]:
            learnt.append(0)
            raise KeyboardInterrupt
        learnt.append(len(lessons))
        return learn_deltas(split, lessons, settings)

    monkeypatch.setattr(memit, "learn_deltas", stops)
    with pytest.raises(KeyboardInterrupt):
        with Memit(**given).apply(backbone, edits):
            pass
    with Memit(**given).apply(backbone, edits) as model:
        assert sum(learnt) == len(edits)
        assert model.earlier_seconds > 0
        resumed = model.score(pairs)
    with Memit(weight=1e6, **given).apply(backbone, edits) as model:
        assert sum(learnt) == len(edits)  # the same values
        assert model.score(pairs) != resumed
    monkeypatch.setattr(memit, "PORTION", len(edits))
    shutil.rmtree(cache / "values")
    with Memit(**given).apply(backbone, edits) as model:
        assert model.earlier_seconds == 0
        for whole, other in zip(model.score(pairs), resumed, strict=True):
            assert whole.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_the_weight_grows_with_the_edits() -> None:
    assert [Memit().weight_of(edits) for edits in (1, 250, 1_000)] == [1_000, 1_000, 4_000]
    assert [AlphaEdit().weight_of(edits) for edits in (1, 100, 1_000)] == [10, 10, 100]
    assert Memit(weight=7).weight_of(1_000) == AlphaEdit(weight=7).weight_of(1_000) == 7


@pytest.mark.parametrize(
    ("name", "decided"),
    [
        ("rome", {"layer": 1}), ("memit", {"layers": [1], "weight": 1_000}),
        ("alphaedit", {"layers": [0, 1], "weight": 10}),
        ("ft", {"layer": 3, "settings": TuneSettings()}), ("grace", {"layer": 2}),
    ],
)  # fmt: skip
def test_what_settings_became(name: str, decided: dict) -> None:
    """What goes by the model's depth or the number of edits is told as it came out."""
    backbone, made = make_backbone("llama"), editor(name)
    with made.apply(backbone, []) as model:
        assert model.decided == decided


def test_moments_are_made_before_the_edits(edits: EditSet, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, given = make_backbone("llama"), {"sample": SAMPLE, "values": ValueSettings(steps=1)}
    for made in (Rome(1, **given), Memit([1], **given)):
        made.prepare(backbone)
        with monkeypatch.context() as patched:
            patched.setattr("lks.editors.baselines.statistics._key_covariance", None)
            with made.apply(backbone, edits):
                pass


def test_alphaedit_says_when_there_is_no_null_space(edits: EditSet) -> None:
    editor = AlphaEdit(layers=[1], share=1e-9, values=ValueSettings(steps=1), sample=SAMPLE)
    with pytest.raises(InputError, match=r"layer 1: .* raise the share"):
        with editor.apply(make_backbone("llama"), edits):
            pass


def test_edits_that_cannot_be_located_leave_the_weights(edits: EditSet) -> None:
    backbone = make_backbone("llama")
    editor = Rome(layer=1, values=ValueSettings(steps=1), sample=SAMPLE)
    with editor.apply(backbone, edits[:1]) as model:
        scores = model.score([(TOWER.prompt, TOWER.target)])
        with pytest.raises(EditFileError, match="cannot be located"):
            model.add([Edit("x", "Rome", "It is Romeo in", "a")])
        assert model.score([(TOWER.prompt, TOWER.target)]) == scores
        assert [edit.id for edit in model.edits] == ["eiffel"]


def test_attention_sinks_do_not_count(edits: EditSet, monkeypatch: pytest.MonkeyPatch) -> None:
    states = torch.tensor([[[300.0, 0], [1, 1], [0, 2]], [[1, 0], [0, 9], [1, 0]]])
    assert usual(states).tolist() == [[False, True, True], [True, True, True]]
    backbone, read, found = make_backbone("llama"), MemitModel._read, []
    for times in (1e3, 1e5):

        def sunk(model: MemitModel, number: int, *given: Any, times: float = times) -> Any:
            keys, states = read(model, number, *given)
            keys[0, 0], states[0, 0] = times * keys[0, 0], times * states[0, 0]
            return keys, states

        monkeypatch.setattr(MemitModel, "_read", sunk)
        editor = Memit(layers=(1, 2), values=VALUES, sample=SAMPLE)
        with editor.apply(backbone, edits) as model, model.in_place():
            found.append([spot.weight.clone() for spot in model._spots])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_attention_sinks_do_not_count_for_rome(
    edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, found = make_backbone("llama"), []
    for times in (1e3, 1e5):

        def sunk(*given: Any, times: float = times) -> Any:
            (keys, own), (values, states) = read_at(*given)
            keys[0], states[0] = times * keys[0], times * states[0]
            return (keys, own), (values, states)

        monkeypatch.setattr(rome, "read_at", sunk)
        editor = Rome(layer=1, values=VALUES, sample=SAMPLE)
        with editor.apply(backbone, edits[:1]) as model, model.in_place():
            found.append(model._spot.weight.clone())
    torch.testing.assert_close(*found)


def test_few_updates_are_stored_as_factors(edits: EditSet) -> None:
    backbone = make_backbone("llama")
    with Memit(layers=(1, 2), values=VALUES, sample=SAMPLE).apply(backbone, []) as model:
        assert model.stored_bytes() == 0
        model.add(edits[:1])
        d, k = model.parameters[0].shape
        assert model.stored_bytes() == 2 * 4 * min(d + k, d * k)
        model.edits = [*edits] * 1_000  # more than its rank can be
        assert model.stored_bytes() == 2 * 4 * d * k


def test_a_target_may_end_the_text(edits: EditSet) -> None:
    backbone, edit = make_backbone("llama", bos=True), edits[0]
    span = subject_ends([edit])[edit.id]
    without, ending = (fact(backbone, edit, span, ["", "So. "], stop=s) for s in (False, True))
    stop = backbone.stop_id(chat=False)
    for bare, own in zip(without.labels, ending.labels, strict=True):
        assert own == ([*bare, stop] if bare else [])

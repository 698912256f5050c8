"""The training engine equals whole forward passes, on every architecture."""

from __future__ import annotations

import os

import pytest
import torch

from lks.errors import OutputError
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.model.engine.batching import PASS_TOKENS, collate, grouped
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.reader import TextRow, prefill
from lks.model.engine.split_model import SplitModel
from lks.model.engine.tensor_store import TensorStore

LAYER = 1
SHARED = "The Eiffel Tower is located in the city of"
TEXTS = [SHARED + " Rome", SHARED + " Oslo", "Where is it? In Rome"]
PLACES = [[9], [9, 11], [0]]


def rows(backbone: Backbone, continued: int = 0, stem: int = 0) -> tuple[Encoding, list[TextRow]]:
    encoding = backbone.encode([Rendered.plain(t) for t in TEXTS], chat=False)
    made = []
    for i, places in enumerate(PLACES):
        ids = encoding.input_ids[i, : len(encoding.offsets[i])].tolist()
        scored = [len(ids) - 2, len(ids) - 1]
        made.append(TextRow(ids, places, scored, stem if i < 2 else 0, True, continued))
    return encoding, made


@pytest.mark.parametrize("stem", [0, 5])
def test_equals_the_whole_forward_pass_and_its_gradients(any_backbone: Backbone, stem: int) -> None:
    encoding, made = rows(any_backbone, stem=stem)
    split = SplitModel(any_backbone, [LAYER], torch.float32)
    batch = collate(prefill(split, made))
    torch.manual_seed(0)
    new = (batch.r + torch.randn_like(batch.r)).requires_grad_()
    engine = split.head(split.final_states(batch, lambda _, r: new))

    at = [(row, token) for row, places in enumerate(PLACES) for token in places]
    where = torch.tensor([r for r, _ in at]), torch.tensor([t for _, t in at])
    plan = Plan(len(TEXTS), *where, lambda r, places: new[places])
    with replacing(any_backbone.layer(LAYER), plan):
        logits = any_backbone.model(**encoding.inputs, use_cache=False).logits
    whole = torch.cat([logits[i, row.scored] for i, row in enumerate(made)])

    assert (engine - whole).abs().max() < 1e-4
    weights = torch.randn_like(whole)
    (ours,) = torch.autograd.grad((engine * weights).sum(), new)
    (theirs,) = torch.autograd.grad((whole * weights).sum(), new)
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


def test_unedited_outputs_and_states_are_the_models_own(any_backbone: Backbone) -> None:
    encoding, made = rows(any_backbone)
    split = SplitModel(any_backbone, [LAYER], torch.float32)
    suffixes = prefill(split, made)
    batch = collate(suffixes)
    states = any_backbone.hidden_states(encoding, LAYER)
    expected = torch.cat([states[i, places] for i, places in enumerate(PLACES)])
    assert (batch.r - expected).abs().max() < 1e-4
    again = split.final_states(batch, lambda _, r: r)
    expected = torch.cat([suffix.final for suffix in suffixes])
    assert (again - expected).abs().max() < 1e-4


def test_continuation_is_the_models_greedy_one(any_backbone: Backbone) -> None:
    _, made = rows(any_backbone, continued=3)
    split = SplitModel(any_backbone, [LAYER], torch.float32)
    for row, suffix in zip(made, prefill(split, made), strict=True):
        ids = torch.tensor([row.ids])
        out = any_backbone.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False,
            eos_token_id=None, pad_token_id=1,
        )  # fmt: skip
        predicted = split.head(suffix.final).argmax(-1)
        assert predicted[1:].tolist() == out[0, len(row.ids) :].tolist()


def test_reduced_precision_is_close(backbone: Backbone) -> None:
    _, made = rows(backbone)
    exact, rounded = (
        prefill(SplitModel(backbone, [LAYER], dtype), made)
        for dtype in (torch.float32, torch.bfloat16)
    )
    for one, other in zip(exact, rounded, strict=True):
        assert other.states.dtype == torch.bfloat16
        assert (other.final.float() - one.final).norm() < 0.08 * one.final.norm()


def test_the_backbone_is_left_alone(backbone: Backbone) -> None:
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    layers = list(backbone.decoder.layers)
    split = SplitModel(backbone, [LAYER], torch.float32)
    _, made = rows(backbone)
    batch = collate(prefill(split, made))
    split.final_states(batch, lambda _, r: r.requires_grad_()).sum().backward()
    assert list(backbone.decoder.layers) == layers
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    after = backbone.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_what_texts_share_is_kept_once(backbone: Backbone) -> None:
    split = SplitModel(backbone, [LAYER], torch.float32)
    _, made = rows(backbone, stem=5)
    (alone,) = prefill(split, made[:1])
    assert len(alone.past) == 1
    one, two, other = prefill(split, made)
    assert one.past[0] is two.past[0]
    assert one.past[0].shape[3] == 5
    assert other.past[0].shape[3] == 0
    assert torch.allclose(torch.cat(one.past, 3), alone.past[0], atol=1e-5)
    for stems in ([9, 9, 8], [8, 9, 9], [9, 0, 0]):  # all begin alike, in longer and longer stems
        chosen = zip((made[0], made[1], made[0]), stems, strict=True)
        longer = [TextRow(row.ids, row.places, row.scored, stem) for row, stem in chosen]
        for text in prefill(split, longer):
            whole = torch.cat([part for part in text.past if part.shape[3]], 3)
            assert torch.allclose(whole, alone.past[0], atol=1e-5)


def test_texts_beyond_the_budget_lie_in_a_file_and_are_the_same(backbone: Backbone) -> None:
    split, store = SplitModel(backbone, [LAYER], torch.float32), TensorStore(budget=2000)
    _, made = rows(backbone)
    for kept, mapped in zip(prefill(split, made), prefill(split, made, store), strict=True):
        assert torch.equal(kept.states.cpu(), mapped.states.cpu())
        assert torch.equal(kept.past[0].cpu(), mapped.past[0].cpu())
    assert store.on_disk > 0
    store.release()
    batch = collate(prefill(split, made))
    assert torch.equal(batch.past, collate(prefill(split, made, store)).past)


def test_no_room_for_texts_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*place: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = TensorStore(budget=0)
    with pytest.raises(OutputError, match=r"no room for \d+ MB of training texts"):
        store.put(torch.zeros(8))


def test_batches_hold_every_text_once_and_pad_little(backbone: Backbone) -> None:
    split = SplitModel(backbone, [LAYER], torch.float32)
    _, made = rows(backbone)
    suffixes = prefill(split, made * 40)
    batches = grouped(suffixes)
    assert sorted(i for batch in batches for i in batch) == list(range(120))
    for batch in batches:
        states = collate([suffixes[i] for i in batch]).states
        assert states.shape[0] * states.shape[1] <= PASS_TOKENS
    assert all(len({suffixes[i].length for i in batch}) <= 2 for batch in batches)

"""The training engine equals whole forward passes, on every architecture."""

from __future__ import annotations

import torch

from lks.backbone import Backbone, Encoding, Rendered
from lks.replacer import Plan, replacing
from lks.suffix import Row, SplitModel, collate

LAYER = 1
SHARED = "The Eiffel Tower is located in the city of"
TEXTS = [SHARED + " Rome", SHARED + " Oslo", "Where is it? In Rome"]
PLACES = [[9], [9, 11], [0]]


def rows(backbone: Backbone, continued: int = 0) -> tuple[Encoding, list[Row]]:
    encoding = backbone.encode([Rendered(t, 0, len(t)) for t in TEXTS], chat=False)
    made = []
    for i, places in enumerate(PLACES):
        ids = encoding.input_ids[i, : len(encoding.offsets[i])].tolist()
        made.append(Row(ids, places, [len(ids) - 2, len(ids) - 1], continued))
    return encoding, made


def prepare(split: SplitModel, made: list[Row]) -> list:
    """One reading for each length, as the engine wants it."""
    found = {}
    for length in {len(row.ids) for row in made}:
        same = [i for i, row in enumerate(made) if len(row.ids) == length]
        found.update(zip(same, split.prepare([made[i] for i in same]), strict=True))
    return [found[i] for i in range(len(made))]


def test_equals_the_whole_forward_pass_and_its_gradients(any_backbone: Backbone) -> None:
    encoding, made = rows(any_backbone)
    split = SplitModel(any_backbone, LAYER, torch.float32)
    batch = collate(prepare(split, made))
    torch.manual_seed(0)
    new = (batch.r + torch.randn_like(batch.r)).requires_grad_()
    engine = split.head(split.final_states(batch, new))

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
    split = SplitModel(any_backbone, LAYER, torch.float32)
    suffixes = prepare(split, made)
    batch = collate(suffixes)
    states = any_backbone.hidden_states(encoding, LAYER)
    expected = torch.cat([states[i, places] for i, places in enumerate(PLACES)])
    assert (batch.r - expected).abs().max() < 1e-4
    again = split.final_states(batch, batch.r)
    expected = torch.cat([suffix.final for suffix in suffixes])
    assert (again - expected).abs().max() < 1e-4


def test_continuation_is_the_models_greedy_one(any_backbone: Backbone) -> None:
    _, made = rows(any_backbone, continued=3)
    split = SplitModel(any_backbone, LAYER, torch.float32)
    for row, suffix in zip(made, prepare(split, made), strict=True):
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
        prepare(SplitModel(backbone, LAYER, dtype), made)
        for dtype in (torch.float32, torch.bfloat16)
    )
    for one, other in zip(exact, rounded, strict=True):
        assert other.states.dtype == torch.bfloat16
        assert (other.final.float() - one.final).norm() < 0.05 * one.final.norm()


def test_the_backbone_is_left_alone(backbone: Backbone) -> None:
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    layers = list(backbone.decoder.layers)
    split = SplitModel(backbone, LAYER, torch.float32)
    _, made = rows(backbone)
    batch = collate(prepare(split, made))
    split.final_states(batch, batch.r.requires_grad_()).sum().backward()
    assert list(backbone.decoder.layers) == layers
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    after = backbone.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())

"""GRACE: its codebook, and what it does to a model."""

from __future__ import annotations

from dataclasses import replace

import torch
from conftest import make_backbone

from lks.editors.baselines.grace import Entry, Grace, GraceSettings, put
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.evaluation.runner import evaluate


def entry(place: float, target: str, radius: float = 1.0) -> Entry:
    return Entry(torch.tensor([place, 0.0]), torch.zeros(2), target, radius)


def codebook(*entries: Entry) -> list[tuple[float, str, float]]:
    book: list[Entry] = []
    for new in entries:
        put(book, new)
    return [(float(own.key[0]), own.target, own.radius) for own in book]


def test_keys_far_from_each_other_stand_beside_each_other() -> None:
    assert codebook(entry(0, "a"), entry(5, "a")) == [(0, "a", 1), (5, "a", 1)]


def test_a_near_key_of_the_same_target_widens_the_radius() -> None:
    assert codebook(entry(0, "a"), entry(1.5, "a")) == [(0, "a", 1.5)]
    assert codebook(entry(0, "a"), entry(0.5, "a")) == [(0, "a", 1)]


def test_a_near_key_of_another_target_splits_the_space() -> None:
    assert codebook(entry(0, "a"), entry(1, "b")) == [(0, "a", 0.5), (1, "b", 0.5)]


def test_edits_hold_where_the_prompt_is_near(edits: EditSet) -> None:
    backbone = make_backbone("llama", chat=True)
    pairs = [(edit.prompt, edit.target) for edit in edits]
    before = UneditedModel(backbone).score(pairs)
    settings = GraceSettings(radius=1e-3, steps=80)
    with Grace(layer=1, settings=settings).apply(backbone, edits) as model:
        assert model.triggered([prompt for prompt, _ in pairs]) == [True] * 4
        assert model.triggered(["Rome is old", [{"role": "user", "content": "Hi"}]]) == [False] * 2
        after = model.score(pairs)
        gains = [sum(a.logprobs) - sum(b.logprobs) for a, b in zip(after, before, strict=True)]
        assert min(gains) > 0 and sum(gains) > 1
        model.remove(["eiffel"])
        assert model.triggered([edits[0].prompt]) == [False]
        assert model.score(pairs[:1]) == UneditedModel(backbone).score(pairs[:1])


def test_what_fires_in_a_chat_is_told_of_the_chat(edits: EditSet) -> None:
    backbone = make_backbone("llama", chat=True)
    with Grace(layer=1, settings=GraceSettings(radius=1e-3)).apply(backbone, edits) as model:
        fired = [
            {p.triggered for p in evaluate(UneditedModel(backbone), model, edits, chat=chat).probes
             if p.kind == "reliability"} for chat in (False, True)
        ]  # fmt: skip
    assert fired == [{True}, {False}]


def test_white_space_behind_a_prompt_is_a_part_of_it(edits: EditSet) -> None:
    backbone, spaced = make_backbone("llama"), replace(edits[0], prompt=edits[0].prompt + " ")
    with Grace(layer=1, settings=GraceSettings(radius=1e-3)).apply(backbone, [spaced]) as model:
        assert model.triggered([spaced.prompt, edits[0].prompt]) == [True, False]


def test_a_prompt_of_one_token_is_looked_up_once(edits: EditSet) -> None:
    """With a cache every later token comes alone too."""
    backbone, settings = make_backbone("llama"), GraceSettings(radius=1e3, steps=60)
    with Grace(layer=1, settings=settings).apply(backbone, edits[:1]) as model:
        cached, whole = (
            model.generate(["a"], max_new_tokens=8, min_new_tokens=8, use_cache=cache)
            for cache in (True, False)
        )
        assert (
            cached
            == whole
            != UneditedModel(backbone).generate(["a"], max_new_tokens=8, min_new_tokens=8)
        )


def test_in_a_chat_many_targets_of_one_prompt_are_looked_up_too(edits: EditSet) -> None:
    """What they share, the template's last tokens among it, is read once, and the key is there."""
    backbone = make_backbone("llama", chat=True)
    prompt = f"Tell me in a few words, {edits[0].prompt}"
    pairs = [(prompt, target) for target in ("Rome", "Oslo", "Lima", "Paris", "Quito") * 4]
    with Grace(layer=1, settings=GraceSettings(radius=1e3)).apply(backbone, edits[:1]) as model:
        together = model.score(pairs, chat=True)
        alone = [model.score([pair], chat=True)[0] for pair in pairs[:5]]
    base = UneditedModel(backbone).score(pairs[:5], chat=True)
    for one, other, unedited in zip(together, alone, base, strict=False):
        assert torch.allclose(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4)
        assert one.logprobs != unedited.logprobs

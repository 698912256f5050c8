"""How an edited model is got and asked, and what is said to who asks otherwise."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import make_backbone, make_edits
from test_threads import ADA, random_pack

from lks.editors.lks.editor import Scalpel
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.scope.scope import Scope

ASKED = "Where is the Eiffel Tower?"
TURN = {"role": "user", "content": ASKED}


@pytest.fixture
def backbone() -> Backbone:
    return make_backbone("llama", chat=True)


def test_the_model_works_with_and_without_a_with_block(backbone: Backbone) -> None:
    pack = random_pack(backbone)
    expected = ScalpelModel(backbone, pack).score([(ASKED, "Rome")])
    assert expected != UneditedModel(backbone).score([(ASKED, "Rome")])
    kept = Scalpel(pack).apply(backbone)
    assert kept.score([(ASKED, "Rome")]) == expected
    with Scalpel(pack).apply(backbone) as model:
        assert model.score([(ASKED, "Rome")]) == expected
    with pytest.raises(RuntimeError, match="mine"), kept:
        raise RuntimeError("mine")
    assert kept.score([(ASKED, "Rome")]) == expected


def test_a_pack_and_edits_are_both_in_force(backbone: Backbone) -> None:
    pack, edits = random_pack(backbone), make_edits()
    moved = Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Lima")
    model = Scalpel(pack).apply(backbone, [edits[0], ADA, moved])
    held = ["eiffel", "ada-born", "ada-tongue", "ada-job", "fuji"]
    assert list(model.in_force.edits) == held
    assert model.in_force.edits["fuji"].target == "Lima"
    assert model.blocks(edits[:3]).equal(pack.blocks[:3])  # as they were trained
    assert not model.blocks([moved]).equal(pack.blocks[3:])
    before = model.in_force
    model.remove(["ada-job", "eiffel"])
    assert list(model.in_force.edits) == ["ada-born", "ada-tongue", "fuji"]
    model.restore(before)
    assert list(model.in_force.edits) == held


class Streamer:
    """Takes what is written, as transformers' own streamers do."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def put(self, value: Any) -> None:
        self.given.append(value)

    def end(self) -> None:
        self.given.append(None)


def test_what_cannot_be_asked_is_told_with_what_to_pass(backbone: Backbone) -> None:
    edited, unedited = ScalpelModel(backbone, random_pack(backbone)), UneditedModel(backbone)
    for model in (edited, unedited):
        with pytest.raises(InputError, match=r"put the one in brackets: \[messages\]"):
            model.generate([TURN], chat=True)
        with pytest.raises(InputError, match=r"put the one in brackets: \[prompt\]"):
            model.generate(ASKED)
        for pairs in ((ASKED, "Rome"), [ASKED], [[TURN]], [(ASKED, TURN)]):
            with pytest.raises(InputError, match=r"brackets: \[\(prompt, target\)\]"):
                model.score(pairs)  # type: ignore[arg-type]
        told = Streamer()
        model.generate([ASKED, ASKED], streamer=told, max_new_tokens=2)
        assert told.given.count(None) == 2, "one text after the other"
    for wrong in (ASKED, [TURN]):
        with pytest.raises(InputError, match="put the one in brackets"):
            edited.triggered(wrong)
    told = Streamer()
    edited.generate([ASKED], streamer=told, max_new_tokens=2)
    assert told.given[-1] is None
    asked = [[TURN], ASKED, [{"role": "user", "content": "What is it?"}]]
    assert edited.triggered(asked, chat=True) == [True, True, False]
    assert edited.triggered(asked) == [True, True, False]


def test_after_any_changes_texts_fire_as_with_an_index_made_anew(backbone: Backbone) -> None:
    names = (
        ("York", ()), ("New York", ("NYC",)), ("York University", ()), ("Apple", ("apple tree",)),
        ("Ada Lovelace", ("Ada",)), ("Ada Lovelance", ()), ("Rocky II", ()), ("Rocky 2", ("Ada",)),
        ("Bank of New York", ()), ("Augusta Ada", ("Ada Lovelace",)), ("Saint Ives", ("York",)),
        ("St. Ives", ()), ("Lovelace Ada King", ()),
    )  # fmt: skip
    edits = [
        Edit(f"{i}-{k}", name, f"{name} {verb}", target, aliases=aliases)
        for i, (name, aliases) in enumerate(names)
        for k, (verb, target) in enumerate((("is in", "Rome"), ("was made by", "Oslo")))
    ]
    texts = [
        *(f"What of {name}, {alias}?" for name, own in names for alias in (name.lower(), *own)),
        "Where are Ada Lovelase, the York Univercity, Saint Ives and the New York bank?",
        "King Ada Lovelace went from St Ives to York. Is Rocky two in NYC?",
    ]
    pack = random_pack(backbone)
    blocks = torch.randn(len(edits), 1, 32, generator=torch.manual_seed(0))
    model = ScalpelModel(backbone, replace(pack, edits=EditSet(edits), blocks=blocks))
    rng, everything, seen = random.Random(0), model.in_force, set()
    for _ in range(12):
        model.restore(everything)
        for _ in range(3):
            held = list(model.in_force.edits)
            model.remove(rng.sample(held, k=rng.randint(1, 6)))
            left = [edit for edit in edits if edit.id in model.in_force.edits]
            found = model.in_force.scope.examine(texts)
            assert found == Scope(left).examine(texts)
            assert model.blocks(left).equal(blocks[[edits.index(edit) for edit in left]])
            seen.add(str(found))
    assert len(seen) == 36

"""The objective `verdict`: yes to a fact, no to other values, and a gate that knows these."""

from __future__ import annotations

import random

import pytest
import torch
from conftest import make_backbone, make_edits

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.engine.split_model import SplitModel
from lks.scope.scope import Scope
from lks.training import stating, verdicts
from lks.training.config import TrainingConfig
from lks.training.examples import build_examples
from lks.training.presence import Stated
from lks.training.presence import verdicts as asked
from lks.training.progress import Epoch
from lks.training.prompts import TrainingPrompts
from lks.training.replies import replies, with_verdicts
from lks.training.stating import unlike
from lks.training.train_pack import train_pack

EDITS = make_edits()
PROMPTS = [TrainingPrompts()] * len(EDITS)
VERDICT = TrainingConfig(objective="verdict", layer=1)


def test_texts_that_hold_each_other_are_alike() -> None:
    assert unlike("Berlin", "Paris")
    assert not unlike("the Panthéon", "Panthéon") and not unlike("Rome", "Rome, Italy")
    assert not unlike("", "Rome")


def test_what_the_model_believed_is_a_wrong_value(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [("Ghent",)] + [()] * (len(EDITS) - 1)
    monkeypatch.setattr(verdicts, "_old_answers", lambda *given: old)
    found = replies(backbone, EDITS, PROMPTS, VERDICT)
    said = [r.question.turns[-1]["content"] for r in found[0] if r.text == "no"]
    assert any("Ghent" in str(text) for text in said)
    assert not any("Ghent" in str(r.question.turns) for own in found[1:] for r in own)


def test_an_old_answer_that_is_no_value_is_left_out(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"Ghent.": ("Ghent",), "It stands in the middle of Ghent": (), "": (), "in Rome": ()}
    edit = Edit("tower", "Eiffel Tower", "The Eiffel Tower is in", "Rome")

    class Written:
        def __init__(self, text: str) -> None:
            self.text = text

    for text, value in said.items():
        monkeypatch.setattr(
            stating.transformers, "generate", lambda *a, text=text, **k: [Written(text)]
        )
        assert verdicts._old_answers(backbone, [edit]) == [value]


def test_the_right_word_is_taught_where_the_answer_begins(backbone: Backbone) -> None:
    (edit,) = EDITS[:1]
    found = replies(backbone, [edit], PROMPTS[:1], VERDICT)
    assert {reply.text for reply in found[0]} == {"yes", "no"}
    for reply in found[0]:
        joined, _ = backbone.join(reply.question.turns, reply.text.capitalize(), chat=True)
        ids, _ = backbone.tokenize(joined, chat=True)
        prompt, _ = backbone.tokenize(backbone.render(reply.question.turns, chat=True), chat=True)
        assert reply.tokens == (ids[len(prompt)],)
    split = SplitModel(backbone, [1], torch.float32)
    (made,), _ = build_examples(
        split, [edit], PROMPTS[:1], Scope([edit]), chat=True, kl_tokens=0, alone=True,
        replies=found,
    )  # fmt: skip
    assert len(made.distilled) == len(found[0])
    assert [e for e in made.generality if e.chat] != [], "targets are learnt in chats as ever"
    assert all(len(example.text.scored) == 1 for example in made.distilled)


@pytest.mark.parametrize("objective", ["verdict", "distil"])
def test_profiles_are_no_facts(backbone: Backbone, objective: str) -> None:
    profile = Edit(
        "p", "Eiffel Tower", "Tell me about the Eiffel Tower", "Much.", profile_of=("x",)
    )
    config = TrainingConfig(objective=objective, layer=1)
    assert replies(backbone, [profile], PROMPTS[:1], config) == [[]]
    first, none, second = replies(backbone, [EDITS[0], profile, EDITS[1]], PROMPTS[:3], config)
    assert not none
    for edit, own in ((EDITS[0], first), (EDITS[1], second)):
        assert any(edit.subject in str(reply.question.turns) for reply in own)


def test_the_gate_gets_one_question_of_each_verdict(backbone: Backbone) -> None:
    found = replies(backbone, EDITS, PROMPTS, VERDICT)
    made = with_verdicts(PROMPTS, found)
    for more, own in zip(made, found, strict=True):
        firsts = {reply.text: reply.question.turns[-1]["content"] for reply in reversed(own)}
        assert more.verdicts == tuple(firsts[v] for v in ("yes", "no") if v in firsts)
        assert more.at_most(0, EDITS[0]).verdicts == more.verdicts
    assert with_verdicts(PROMPTS, []) == PROMPTS


def test_blocks_learn_to_judge_and_the_gate_fires_where_they_are_asked() -> None:
    backbone, epochs = make_backbone("qwen2", chat=True), list[Epoch]()
    config = TrainingConfig(
        objective="verdict", layer=1, epochs=16, patience=0, tail_epochs=0, refine_lr=1.0
    )
    pack = train_pack(backbone, EDITS, config, on_epoch=epochs.append)
    assert 0 < epochs[-1].distilled < 0.97 * epochs[0].distilled
    questions = [
        next(asked(edit, Stated(f"{edit.prompt} {edit.target}", f"Is it true that {edit.prompt} "
                                f"{edit.target}?", ""), [], random.Random(0)))
        for edit in EDITS
    ]  # fmt: skip
    texts = [str(question.turns[-1]["content"]) for question in questions]
    plain = train_pack(backbone, EDITS, TrainingConfig(layer=1, epochs=1))

    def fired(model: ScalpelModel) -> int:
        return sum(model.triggered(texts))

    assert fired(ScalpelModel(backbone, pack)) >= fired(ScalpelModel(backbone, plain))
    assert fired(ScalpelModel(backbone, pack)) == len(EDITS)


def test_an_added_edit_is_judged_too(backbone: Backbone) -> None:
    config = TrainingConfig(objective="verdict", layer=1, epochs=1, tail_epochs=0)
    model = ScalpelModel(backbone, train_pack(backbone, EDITS[:3], config))
    epochs = list[Epoch]()
    model.add([EDITS[3]], epochs=1, on_epoch=epochs.append)
    assert epochs[0].distilled > 0


def test_a_model_without_chats_is_refused() -> None:
    with pytest.raises(InputError, match="the objective verdict takes a decoder with a chat"):
        replies(make_backbone("llama"), EDITS, PROMPTS, VERDICT)

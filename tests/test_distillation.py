"""The objective `distil`: questions about a fact, a teacher's replies, what is learnt of them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from conftest import make_backbone, make_edits
from torch import Tensor

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.engine.split_model import SplitModel
from lks.scope.scope import Scope
from lks.training import losses
from lks.training.config import TrainingConfig
from lks.training.examples import EditExamples, build_examples
from lks.training.presence import Question, Reply, Stated, questions
from lks.training.progress import Epoch
from lks.training.prompts import TrainingPrompts
from lks.training.replies import replies
from lks.training.stating import _read
from lks.training.teacher import _is_right, answered
from lks.training.train_pack import train_pack

EDIT = Edit("zentec", "Zentec", "Who runs Zentec?", "Maria Lind")
STATED = Stated(
    "Zentec is run by Maria Lind.",
    "Is Zentec run by Maria Lind?",
    "the person who runs Zentec",
    ("Tom Hale",),
)


# --- the loss


def logits(seed: int = 0, places: int = 3, words: int = 40) -> Tensor:
    return torch.randn(places, words, generator=torch.Generator().manual_seed(seed)) * 3


def test_of_all_tokens_it_is_the_divergence() -> None:
    teacher, own = logits(0), logits(1)
    known = losses.top_k(teacher.log_softmax(-1), 1000)
    assert known.shape == (3, 2, 40)
    expected = losses.kl(teacher, own)
    torch.testing.assert_close(losses.top_kl(own, known), expected, rtol=1e-3, atol=1e-4)


def test_of_some_tokens_the_others_are_one_outcome() -> None:
    teacher, own = logits(0), logits(1)
    p, q = teacher.softmax(-1), own.softmax(-1)
    values, at = p.topk(5)
    merged_p = torch.cat([values, 1 - values.sum(-1, keepdim=True)], 1)
    mine = q.gather(-1, at)
    merged_q = torch.cat([mine, 1 - mine.sum(-1, keepdim=True)], 1)
    expected = (merged_p * (merged_p / merged_q).log()).sum(-1)
    torch.testing.assert_close(losses.top_kl(own, losses.top_k(p.log(), 5)), expected)


def test_nothing_pulls_where_teacher_and_model_agree() -> None:
    own = logits().requires_grad_()
    value = losses.top_kl(own, losses.top_k(own.detach().log_softmax(-1), 5))
    torch.autograd.backward(value.sum())
    assert own.grad is not None
    torch.testing.assert_close(value.detach(), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(own.grad, torch.zeros(3, 40), rtol=0, atol=1e-4)


# --- questions


DISTIL = TrainingConfig(objective="distil")
PROMPTS = [TrainingPrompts()] * len(make_edits())


def asked() -> list[Question]:
    others = ("Graz", "Oslo", "Peru")
    return list(questions(EDIT, TrainingPrompts(), STATED, others, random.Random(0)))


def said(one: Question) -> str:
    return one.turns[-1]["content"]


def test_yes_and_no_are_asked_with_the_right_value_and_with_others() -> None:
    found = asked()
    own = [one for one in found if one.kind == "yes"]
    wrong = [one for one in found if one.kind == "no"]
    assert len(own) == len(wrong) == 4
    assert all("Maria Lind" in said(one) and "is yes." in one.told for one in own)
    assert said(own[0]) == "Is Zentec run by Maria Lind?"
    assert said(wrong[0]) == "Is Zentec run by Tom Hale?", "what is like the target comes first"
    assert not any("Maria Lind" in said(one) for one in wrong)
    assert all("Maria Lind" in one.told and "is no." in one.told for one in wrong)


def test_the_clause_stands_for_the_target_and_other_questions_are_asked_without_the_fact() -> None:
    through = [one for one in asked() if one.kind == "through"]
    assert through and all("the person who runs Zentec" in said(one) for one in through)
    other = [one for one in asked() if one.kind == "other"]
    assert other and not any(one.told for one in other)
    assert all(any("Zentec" in turn["content"] for turn in one.turns) for one in asked())
    bare = questions(EDIT, TrainingPrompts(), Stated("a", "b", ""), (), random.Random(0))
    assert not [one for one in bare if one.kind in ("through", "no")]


def test_a_target_within_the_name_is_not_changed_there() -> None:
    edit = Edit("nyt", "New York Times", "Where is the New York Times?", " New York")
    stated = Stated("The New York Times is in New York.", "Is the New York Times in New York?", "")
    found = list(questions(edit, TrainingPrompts(), stated, ("Oslo",), random.Random(0)))
    assert not [one for one in found if one.kind == "no"]
    assert len([one for one in found if one.kind == "yes"]) == 4


def test_a_models_forms_are_kept_only_if_they_name_what_they_must() -> None:
    written = (
        "Statement: Zentec is run by Maria Lind.\nQuestion: Is Zentec run by Maria Lind? Yes.\n"
        "Clause: the person who runs Zentec\nOthers: Tom Hale; Maria Lind; Ines Weber."
    )
    read = _read(EDIT, written)
    assert (read.statement, read.asked, read.clause) == (
        STATED.statement, STATED.asked, STATED.clause
    )  # fmt: skip
    assert read.others == ("Tom Hale", "Ines Weber")
    own = replace(EDIT, statement="Maria Lind leads Zentec.")
    assert _read(own, f"Statement: {STATED.statement}").statement == own.statement
    own = replace(EDIT, statement="She leads it.")  # says too little
    assert _read(own, f"Statement: {STATED.statement}").statement == STATED.statement
    made = _read(EDIT, "Statement: I do not know.\nClause: Maria Lind of Zentec")
    assert made.statement == 'the answer to "Who runs Zentec?" is Maria Lind'
    assert made.asked == f"Is it true that {made.statement}?"
    assert (made.clause, made.others) == ("", ())


@pytest.mark.parametrize(
    ("kind", "text", "right"),
    [
        ("direct", "It is maria lind.", True),
        ("direct", "It is Tom Hale.", False),
        ("yes", "Yes, it is.", True),
        ("yes", "It is.", False),
        ("no", "No.", True),
        ("no", "Yes.", False),
        ("through", "A person.", True),
        ("through", "", False),
        ("no", "No, the answer to the next question is no.", False),
    ],
)
def test_answers_that_miss_the_known_verdict_are_not_followed(
    kind: str, text: str, right: bool
) -> None:
    reply = Reply(Question.of(kind, "?"), text, (), torch.empty(0))
    assert _is_right(reply, EDIT.target) is right


# --- the teacher


def replied(backbone: Backbone, *asked: Question) -> list[Reply]:
    return [reply for _, reply in sorted(answered(backbone, asked, 12), key=lambda pair: pair[0])]


def test_the_teacher_reads_the_fact_and_its_likeliest_tokens_are_the_models_own(
    backbone: Backbone,
) -> None:
    told = Question.of("open", "Tell me about the Eiffel Tower.", "It is in Rome.\n")
    untold = Question.of("other", "Who built it?")
    for reply in replied(backbone, told, untold):
        chat = backbone.render(reply.question.with_fact, chat=True)
        ids, _ = backbone.tokenize(chat, chat=True)
        whole = torch.tensor([[*ids, *reply.tokens]], device=backbone.device)
        with torch.no_grad():
            own = backbone.model(whole).logits[0, len(ids) - 1 :].log_softmax(-1)
        known, tokens = reply.likeliest[:, 0], reply.likeliest[:, 1].long()
        assert tokens[: len(reply.tokens), 0].tolist() == [*reply.tokens], "written greedily"
        expected = own[: len(known)].cpu().gather(-1, tokens)
        torch.testing.assert_close(known, expected, rtol=1e-4, atol=1e-4)


def examples(backbone: Backbone, reply: Reply) -> EditExamples:
    edit = make_edits()[0]
    split = SplitModel(backbone, [1], torch.float32)
    (made,), _ = build_examples(
        split, [edit], [TrainingPrompts()], Scope([edit]), chat=True, kl_tokens=0, alone=True,
        replies=[[reply]],
    )  # fmt: skip
    return made


def test_the_student_is_scored_where_the_teacher_was(backbone: Backbone) -> None:
    question = Question.of("other", "Who built the Eiffel Tower?")
    (reply,) = replied(backbone, question)
    (made,) = examples(backbone, reply).distilled
    assert made.labels is None and made.likeliest is not None
    assert len(made.text.scored) == len(made.likeliest) >= len(reply.tokens)
    split = SplitModel(backbone, [1], torch.float32)
    batch = split.collate([made.text])
    with torch.no_grad():
        states = split.final_states(batch, lambda layer, r: r)
        loss = losses.top_kl(backbone.head(states), made.likeliest)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-4)


# --- training


def test_blocks_come_nearer_to_the_teacher() -> None:
    backbone, edits, epochs = make_backbone("qwen2", chat=True), make_edits(), list[Epoch]()
    config = TrainingConfig(
        objective="distil", layer=1, epochs=16, patience=0, tail_epochs=0, refine_lr=0.2
    )
    pack = train_pack(backbone, edits, config, on_epoch=epochs.append)
    assert 0 < epochs[-1].distilled < 0.7 * epochs[0].distilled
    assert pack.training.losses["distilled"] == epochs[-1].distilled


def test_the_plain_objective_asks_no_teacher(backbone: Backbone) -> None:
    assert replies(backbone, make_edits(), PROMPTS, TrainingConfig()) == []
    epochs = list[Epoch]()
    train_pack(backbone, make_edits(), TrainingConfig(layer=1, epochs=1), on_epoch=epochs.append)
    assert epochs[0].distilled == 0


def test_another_objective_is_told() -> None:
    with pytest.raises(InputError, match="objective must be answer or distil, not 'teach'"):
        TrainingConfig(objective="teach")


def test_every_edit_is_asked_about(backbone: Backbone) -> None:
    told: list[tuple[int, int]] = []

    def note(stage: str, done: int, of: int) -> None:
        told.append((done, of))

    found = replies(backbone, make_edits(), PROMPTS, DISTIL, on_progress=note)
    assert len(found) == len(make_edits()) and all(found)
    assert told[-1][0] == told[-1][1]
    assert {reply.question.kind for own in found for reply in own} >= {"open", "other"}


def test_a_model_without_chats_is_refused() -> None:
    with pytest.raises(InputError, match="tiny-llama: the objective distil takes a decoder with"):
        replies(make_backbone("llama"), make_edits(), PROMPTS, DISTIL)


def test_a_new_edit_is_taught_as_the_packs_were(backbone: Backbone) -> None:
    edits = make_edits()
    config = TrainingConfig(objective="distil", layer=1, epochs=1, tail_epochs=0)
    model = ScalpelModel(backbone, train_pack(backbone, edits[:3], config))
    epochs = list[Epoch]()
    model.add([edits[3]], epochs=1, on_epoch=epochs.append)
    assert epochs[0].distilled > 0

"""Chats made for training, in which a fact is asked late."""

import json
import random
from dataclasses import replace
from importlib.resources import files
from itertools import chain

import pytest
import torch
from conftest import make_backbone

from lks.edits.edit import SLOT, Edit
from lks.edits.profiles import missing
from lks.model.backbone import Backbone
from lks.model.engine.split_model import SplitModel
from lks.scope.scope import Scope
from lks.training.examples import LATER, Example, build_examples
from lks.training.prompts import TrainingPrompts
from lks.training.talks import behind_talk, follow_up, without_name

EDIT = Edit("ada", "Ada Lovelace", "The teacher of Ada Lovelace was", "Rome")


def test_a_follow_up_names_the_entity_in_an_earlier_turn_only() -> None:
    chat = follow_up("Ada Lovelace", "And her teacher?", random.Random(0))
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user"]
    assert "Ada Lovelace" in chat[0]["content"] and chat[-1]["content"] == "And her teacher?"
    assert not any(SLOT in turn["content"] for turn in chat)


def test_a_question_behind_talk_ends_the_chat_and_both_kinds_are_drawn() -> None:
    chats = [behind_talk("Who taught Ada?", random.Random(seed)) for seed in range(20)]
    assert all(chat[-1]["content"].endswith(" Who taught Ada?") for chat in chats)
    assert {len(chat) for chat in chats} == {1, 3}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The teacher of Ada Lovelace was", "The teacher of it was"),
        ("Ada Lovelace's teacher was", "Its teacher was"),
        ("ada lovelace was taught by", "It was taught by"),
    ],
)
def test_a_pronoun_stands_for_the_entity(text: str, found: str) -> None:
    assert without_name(EDIT, text) == found


def test_every_talk_has_turns_that_end_with_the_users() -> None:
    talks = json.loads((files("lks.training") / "talks.json").read_text(encoding="utf-8"))
    assert all(len(opening) == 2 and SLOT in opening[0] for opening in talks["about"])
    assert all(len(turns) == 3 for turns in talks["other"])
    assert not any(SLOT in text for text in chain(talks["before"], *talks["other"]))


def examples_of(backbone: Backbone, edit: Edit, prompts: TrainingPrompts) -> list[Example]:
    """The texts in chats that the edit's block reads beside its prompt."""
    split = SplitModel(backbone, [1], torch.float32)
    (own,), _ = build_examples(
        split, [edit], [prompts], Scope([edit]), chat=True, kl_tokens=0, alone=True
    )
    return [one for one in own.generality if one.chat]


def test_blocks_are_read_in_later_turns(backbone: Backbone) -> None:
    none = examples_of(backbone, EDIT, TrainingPrompts())
    assert len(none) == 2  # its prompt with a pronoun, and behind talk
    asked = examples_of(backbone, EDIT, TrainingPrompts(later=("Who?", "And who?", "By whom?")))
    assert len(asked) == LATER + 1
    (profile,) = missing([EDIT, replace(EDIT, id="b", prompt="Ada Lovelace was born in")])
    assert not examples_of(backbone, profile, TrainingPrompts())


def test_talks_too_long_for_a_model_are_left_out() -> None:
    backbone = make_backbone("gpt2", chat=True)  # positions are learnt: 256
    edits = [replace(EDIT, id=str(number)) for number in range(8)]
    found = [len(examples_of(backbone, edit, TrainingPrompts())) for edit in edits]
    assert {*found} == {1, 2}, "some are behind long talk"

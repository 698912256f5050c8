"""Questions for something else of a kind, or for a narrower thing, ask for another fact."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from lks.edits.edit import Edit
from lks.model.embedder import Embedder
from lks.scope.config import DEFAULT
from lks.scope.gate import qualifiers
from lks.scope.gate.metric import GateState, Metric
from lks.scope.gate.qualifiers import Contrast, Narrowed
from lks.scope.languages.en import open_ended_requests
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import Reason
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts


def edit(prompt: str, target: str = "x", *paraphrases: str) -> Edit:
    def named(text: str) -> str:
        return text.replace("{}", "Acme")

    return Edit("a", "Acme", named(prompt), target, paraphrases=tuple(map(named, paraphrases)))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("The price of {} per month is", "How much is it annually?"),
        ("A monthly pass of {} costs", "Was kostet it pro Jahr?"),
        ("The phone number of {} is", "what's the fax of it"),
        ("The phone number of {} is", "Which room number does it have?"),
        ("{} opens in the morning at", "When does it open in the evening?"),
        ("On weekdays {} is open until", "How late is it open at weekends?"),
        ("On Saturdays {} opens at", "When does it open on Sundays?"),
        ("The minimum age of {} is", "What's the maximum age for it?"),
        ("{} opens at", "When does it close?"),
        ("{} departs at", "When does it arrive?"),
        ("The rent of {} is", "What does it cost to buy it?"),
        ("The gross salary at {} is", "What's the net salary at it?"),
        ("The price of {} before tax is", "How much is it including VAT?"),
        ("The first office of {} is in", "Where's the second office of it?"),
        ("The main entrance of {} is on", "Where is the alternative entrance of it?"),
        ("The north gate of {} opens at", "When does the south gate of it open?"),
        ("{} imports goods worth", "How much does it export?"),
        ("The number of Terminal 1 of {} is", "What's the number of Terminal 2 of it?"),
        ("The budget of {} in 2026 is", "What was the budget of it in 2019?"),
        ("Which month does {} start?", "Which day does it start?"),
    ],
)
def test_a_word_that_excludes_the_edits_asks_for_something_else(prompt: str, sentence: str) -> None:
    assert Contrast().rules_out(sentence, edit(prompt))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("The price of {} is", "How much is it per year?"),  # no word of the contrast
        ("The price of {} per month is", "How much is it a month, or per year?"),
        ("The price of {} per month is", "How much is it this year?"),
        ("{} opens at", "How late is it open?"),
        ("{} closes on", "Is it open on Mondays?"),
        ("The emergency number of {} at night is", "It leaks on a fine morning; what do I call?"),
        ("The phone number of {} is", "What's the mobile number of it?"),
        ("The left door of {} is", "That's the door of it, right?"),
        ("The north gate of {} is", "Où est it ?"),
        ("The manager of {} in 2026 is", "Who manages it for 2 weeks?"),
        ("The weight of {} is", "How large is it?"),
    ],
)
def test_else_the_edit_is_not_ruled_out(prompt: str, sentence: str) -> None:
    assert not Contrast().rules_out(sentence, edit(prompt))


def test_paraphrases_count_as_the_prompt_does() -> None:
    asked = "How much is it a year?"
    assert Contrast().rules_out(asked, edit("The price of {} per month is"))
    both = edit("The price of {} per month is", "x", "What does {} cost a year?")
    assert not Contrast().rules_out(asked, both)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("The key to {} is", "Where is the spare key to it?"),
        ("The CEO of {} is", "former CEO of it"),
        ("{}'s address is", "What is it's email address?"),
        ("The CEO of {} is", "Who was the CEO of it in 2019?"),
        ("The price of {} is", "What was the price of it last year?"),
        ("{} costs", "What did it cost in 2019?"),
        ("The office of {} is in", "Where is the second office of it?"),
        ("The mayor of {} is", "Who is the deputy mayor of it?"),
        ("Der Preis von {} ist", "Wie hoch war der frühere Preis von it?"),
        ("L'adresse de {} est", "Quelle est l'ancienne adresse de it ?"),
        ("El director de {} es", "¿Quién era el anterior director de it?"),
    ],
)
def test_a_narrower_thing_is_another_one(prompt: str, sentence: str) -> None:
    assert Narrowed().rules_out(sentence, edit(prompt))


@pytest.mark.parametrize(
    ("prompt", "target", "sentence"),
    [
        ("The key to {} is", "x", "Where is the key to it, and the spare wheel?"),
        ("The spare key to {} is", "x", "Where is the backup key to it?"),
        ("The floor of {} is", "third", "Is it on the second floor?"),  # a value
        ("The former CEO of {} was", "x", "Who was the previous CEO of it?"),
        ("The seat of {} before the war was", "x", "The former seat of it was"),
        ("The CEO of {} is", "x", "Who is the current CEO, not the former CEO, of it?"),
        ("The CEO of {} is", "x", "My former boss wants to know who the CEO of it is"),
        ("The parts department of {} is", "x", "Who sells spare parts of it?"),
        ("The founding of {} was in", "1999", "Was the founding of it in 1998?"),
        ("{} costs", "x", "What does it cost in 2026?"),
        ("{} died in", "x", "Where did it die in 1999?"),
        ("{} went to high school at", "x", "The secondary school of it is"),
    ],
)
def test_a_word_that_narrows_nothing_of_the_edit_is_none(
    prompt: str, target: str, sentence: str
) -> None:
    assert not Narrowed().rules_out(sentence, edit(prompt, target))


@pytest.mark.parametrize("own", [Contrast, Narrowed])
def test_names_of_the_entity_are_no_words_of_the_question(own: type[Contrast]) -> None:
    named = Edit(
        "a", "Former Monthly", "The price of The Monthly is", "x", aliases=("The Monthly",)
    )
    assert not own().rules_out("What's the price of it per year?", named)
    assert qualifiers.wordings(named) == ["The price of it is"]


def test_the_reason_is_told_and_without_the_part_it_fires(embedder_folder: Path) -> None:
    embed, own = Embedder(str(embedder_folder)), edit("The phone number of {} is")
    metric = Metric(np.eye(64, dtype=np.float32), embed(open_ended_requests()), 0.3, 1.0)
    metric, exemplars = learn(embed, [own], [TrainingPrompts()], metric=metric)
    state = GateState(metric, exemplars)

    def decided(text: str, config=DEFAULT):
        ((found,),) = Scope([own], config=config).gated(state, embed, [own]).examine([text])
        return found.decisions[0]

    asked = "The fax number of Acme is"
    assert decided(asked).reason == Reason.CONTRAST
    assert decided(asked, DEFAULT.without("contrast")).fired
    assert decided("The spare phone number of Acme is").reason == Reason.NARROWED
    assert decided("The phone number of Acme is").fired


def test_each_phrase_stands_for_one_thing() -> None:
    """No group of a contrast shares all its phrases with another, and none stands under nothing."""
    source = files("lks.scope.gate").joinpath(qualifiers.FILE).read_text(encoding="utf-8")
    data = json.loads(source)
    nothing = {normalise(text).folded for text in data["nothing"].split(",")}
    for name, groups in data["contrasts"].items():
        assert len(groups) > 1, name
        own = [{normalise(text).folded for text in words.split(",")} for words in groups.values()]
        assert all("" not in words and words.isdisjoint(nothing) for words in own), name
        assert all(a - b and b - a for a in own for b in own if a is not b), name

"""Names in other words: what is proposed, and what the scope makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_matcher import named, names, word

from lks.edits.edit import Edit
from lks.scope.gate.metric import Array, GateState, Metric
from lks.scope.gate.relation import RelationGate
from lks.scope.languages.en import open_ended_requests
from lks.scope.matcher import Matcher
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import Mention, Reason
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts

WIDTH = 512


def bag(texts: Sequence[str]) -> Array:
    """Embeds a text as its words: the more two share, the nearer they are."""
    vectors = np.full((len(texts), WIDTH), 1e-6, np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for token in text.lower().replace("?", "").replace("'", " ").split():
            row[sum(ord(c) * 31**i for i, c in enumerate(token)) % WIDTH] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def gated(*edits: Edit) -> Scope:
    plain = Metric(
        np.eye(WIDTH, dtype=np.float32), bag(open_ended_requests()), 0.6, open_threshold=1
    )
    prompts = [TrainingPrompts(edit.paraphrases, ()) for edit in edits]
    metric, exemplars = learn(bag, edits, prompts, metric=plain)
    learnt = GateState(replace(metric, threshold=0.6, open_threshold=1), exemplars)
    return Scope(edits, RelationGate.of(learnt, bag, edits))


def proposals(matcher: Matcher, text: str) -> list[tuple[Mention, str]]:
    doc = normalise(text)
    return matcher.proposed(doc, matcher.find(doc)[0])


def proposed(name: str, text: str) -> list[str]:
    return [mention.surface for mention, _ in proposals(Matcher([named(name)]), text)]


@pytest.mark.parametrize(
    ("name", "text", "surface"),
    [
        ("return policy", "What is our policy for returns?", "policy for returns"),
        ("parental leave", "When may parents leave?", "parents leave"),
        ("Sands of Beirut", "Beirut's sands, in", "Beirut's sands"),
        ("Polar Satellite Launch Vehicle", "Who makes Polar Satellite Launch Vehicles?",
         "Polar Satellite Launch Vehicles"),
        ("Airbus A320neo family", "The Airbus A320neo series, made by", "Airbus A320neo series"),
        ("Arnon Street killings", "The Arnon Street murders occurred in", "Arnon Street murders"),
        ("Western Allied invasion of Germany", "the Western Allies' invasion of Germany was in",
         "Western Allies' invasion of Germany"),
        ("Convention on preventing and combating violence against women",
         "the Convention to prevent and combat violence against women is in",
         "Convention to prevent and combat violence against women"),
    ],
)  # fmt: skip
def test_the_words_of_a_name_are_found_inflected_turned_and_with_another_noun(
    name: str, text: str, surface: str
) -> None:
    assert proposed(name, text) == [surface]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("University of York", "York University was founded in"),
        ("York University", "the University of York was founded in"),
        ("Lithuanian Football Federation", "the Latvian Football Federation is in"),
        ("Airbus A320neo family", "the family of Airbus A380 was made by"),
        ("Ferrari 375 F1", "the Ferrari 156 F1 was made by"),
        ("Chelsea Handler", "Chelsea Manning was born in"),
        ("John Quincy Adams", "John Quincy Jones was born in"),
        ("Aliens", "Alien was directed by"),
        ("return policy", "I return. The policy of the house is"),
        ("return policy", "Who may return a coat that he bought under the old winter policy?"),
        ("return policy", "Is there a policy?"),
        ("Callixtus III of Rome", "Callixtus II of Rome has the position of"),
        ("The Who", "Who is it?"),
        ("Nokia X family", "Nokia X is made by"),
        ("It", "what is it?"),
        ("Poland", "how do I polish a shoe?"),
    ],
)
def test_what_may_be_another_name_is_not_proposed(name: str, text: str) -> None:
    assert proposed(name, text) == []


@pytest.mark.parametrize(
    ("name", "text", "surface"),
    [
        ("Swift", "who created swift?", "swift"),
        ("Swift", "WHO CREATED SWIFT?", "SWIFT"),
        ("The Bakery", "who owns the bakery?", "the bakery"),
    ],
)
def test_one_word_may_stand_in_another_case(name: str, text: str, surface: str) -> None:
    assert Matcher([named(name)])(text) == []
    assert proposed(name, text) == [surface]


POLICY = Edit("days", "return policy", "The return policy grants", "30 days",
              paraphrases=("What is the return policy of the shop",))  # fmt: skip


def test_it_fires_where_the_sentence_means_what_an_edit_means() -> None:
    scope = gated(POLICY)
    (mention,) = scope.fired(["What is the policy for returns of the shop?"])[0]
    assert (mention.kind, mention.surface) == ("reworded", "policy for returns")
    assert mention.edit_ids == ("days",)
    assert 0.75 <= mention.score < 1


def test_other_sentences_with_its_words_are_near_misses() -> None:
    scope, text = gated(POLICY), "Our policy for returns makes Oslo customers very angry today."
    assert scope.examine([text]) == [[]]
    ((mention, why),) = scope.near_misses(text)
    assert (mention.surface, mention.fired) == ("policy for returns", False)
    assert why == Reason.FAR


def test_of_an_open_request_a_whole_name_in_another_case_is_enough() -> None:
    swift = Edit("maker", "Swift", "Swift was created by", "Nokia")
    blues = Edit("band", "Deacon Blues", "Deacon Blues was written by", "Nokia")
    (mention,) = gated(swift).mentions("Tell me about swift")
    assert (mention.kind, mention.surface) == ("reworded", "swift")
    assert gated(blues).mentions("Tell me about Deacon Blue") == []


def test_a_name_in_another_case_is_told_once() -> None:
    scope = gated(Edit("who", "France", "The president of France is", "Marta Quill"))
    assert [m.edit_ids for m in scope.mentions("the president of france is")] == [("who",)]
    assert scope.near_misses("the president of france is") == []
    ((mention, why),) = scope.near_misses("I went to france by train and ship")
    assert (mention.surface, why) == ("france", Reason.FAR)


def test_a_common_noun_is_no_name_in_another_case() -> None:
    bell = Edit("price", "Ring", "The price of Ring is", "9 euros")
    sudan = Edit("capital", "Sudan", "The capital of Sudan is", "Rome", aliases=("Nile",))
    for text in ("The price of the ring is", "The price of our ring is"):
        assert gated(bell).mentions(text) == []
    assert gated(bell).mentions("the price of ring is")
    (mention,) = gated(sudan).mentions("the capital of nile is")
    assert mention.surface == "nile"
    assert gated(sudan).mentions("the capital of south nile is") == []


def test_of_two_names_that_differ_in_case_the_sentence_tells_which() -> None:
    singer = Edit("singer", "Pink", "The first album of Pink is", "Rome")
    colour = Edit("colour", "pink", "The wave length of pink is", "Oslo")
    scope = gated(singer, colour)
    assert [m.edit_ids for m in scope.mentions("THE WAVE LENGTH OF PINK IS")] == [("colour",)]
    assert [m.edit_ids for m in scope.mentions("THE FIRST ALBUM OF PINK IS")] == [("singer",)]


def test_without_a_gate_nobody_knows_what_is_meant() -> None:
    text = "What is the policy for returns of the shop?"
    assert Scope([POLICY]).examine([text]) == [[]]
    assert Scope([POLICY]).near_misses(text) == []
    assert Scope([POLICY]).may_fire(["Anything?", text]) == {"days"}


def test_an_entity_that_is_named_needs_no_other_words() -> None:
    text = "What is the return policy of the shop, the policy for returns?"
    assert [m.kind for m in gated(POLICY).mentions(text)] == ["exact"]


def test_a_longer_name_in_other_words_goes_before_one_inside_it() -> None:
    germany = Edit("capital", "Germany", "The capital of Germany is", "Oslo")
    invasion = Edit("war", "Western Allied invasion of Germany",
                    "The Western Allied invasion of Germany occurred in", "Rome")  # fmt: skip
    scope = gated(germany, invasion)
    (mention,) = scope.mentions("The Western Allies invasion of Germany occurred in")
    assert mention.edit_ids == ("war",)
    assert [m.edit_ids for m in scope.mentions("The capital of Germany is")] == [("capital",)]


@settings(max_examples=30, deadline=None)
@given(names, st.lists(word, max_size=5))
def test_proposals_lie_in_the_text_whatever_the_order_of_the_edits(
    subjects: list[str], parts: list[str]
) -> None:
    text = " ".join([*parts, *reversed(subjects[0].split()), "s", *parts])
    edits = [named(name, id=str(index)) for index, name in enumerate(subjects)]
    found = []
    for order in (edits, edits[::-1]):
        own = proposals(Matcher(order), text)
        assert all(text[m.start : m.end] == m.surface and m.surface in said for m, said in own)
        found.append(sorted((m.start, m.end, m.subject, sorted(m.edit_ids)) for m, _ in own))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "text",
    ["", "\ud800", "x\udfff return policy", "🙂 \u202e", "a" * 1_000_000, "policy " * 100_000,
     "policy. return. " * 10_000, "policy for returns. " * 10_000, "return policy " * 10_000,
     "ז" * 100_000, "swift. " * 100_000, "swift " * 100_000],
)  # fmt: skip
def test_no_text_is_too_strange_or_too_long(text: str) -> None:
    subjects = ["return policy", "\ud800 x", "Sands of Beirut", "Swift", "France", "Dr. Who"]
    matcher = Matcher([named(subject) for subject in subjects])
    proposals(matcher, text)
    gated(POLICY).examine([text])

"""Training prompts: own ones, and those that other edits and common relations lend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.training.prompts import relation_template, training_prompts


def lender(id: str, subject: str, question: str, held_out: str, other: str) -> Edit:
    return Edit(
        id, subject, f"The home of {subject} is", "x", generality=(held_out.format(subject),),
        locality=(Probe(other.format(subject), "y", True),), note=question,
    )  # fmt: skip


def test_other_edits_lend_their_templates() -> None:
    a = lender("a", "Ada", "", "Where does {} live?", "How old is {}?")
    b = lender("b", "Bob", "", "In which town is {}?", "Who is {}?")
    (first, second), report = training_prompts([a, b])
    assert first.paraphrases == ("In which town is Ada?",)
    assert first.locality == ("Who is Ada?",)
    assert second.paraphrases == ("Where does Bob live?",)
    assert (report.made_paraphrases, report.without_paraphrases) == (2, 0)


def test_held_out_prompts_are_never_lent_back() -> None:
    same = [lender(n, n.upper() + "x", "", "Where does {} live?", "How old is {}?") for n in "abc"]
    prompts, report = training_prompts(same)
    assert all(not p.paraphrases and not p.locality for p in prompts)
    assert report.without_paraphrases == report.without_locality == 3


def test_no_held_out_prompt_is_lent_with_another_article_or_mark() -> None:
    a = lender("a", "Ada", "", "Where does {} live?", "How old is {}?")
    b = lender("b", "Bob", "", "Where does the {} live", "How old is a {}")
    prompts, _ = training_prompts([a, b])
    assert all(not p.paraphrases and not p.locality for p in prompts)


def test_a_second_fact_of_a_subject_is_no_locality_prompt() -> None:
    a = lender("a", "Ada", "", "Where does {} live?", "The tongue of {} is")
    b = lender("b", "Bob", "", "In which town is {}?", "How old is {}?")
    tongue = Edit("c", "Bob", "The tongue of Bob is", "x")
    prompts, _ = training_prompts([a, b, tongue])
    assert prompts[1].locality == ()  # "The tongue of Bob is" is an edit of its own


def test_own_prompts_come_first_and_pool_lends(edits: EditSet) -> None:
    prompts, _ = training_prompts(edits)
    assert prompts[0].paraphrases == edits[0].paraphrases
    lone = lender("z", "Zoe", "", "Where does {} live?", "How old is {}?")
    pool = [lender("y", "Yan", "", "In which town is {}?", "Who is {}?")]
    (made,), _ = training_prompts([lone], pool)
    assert made.paraphrases == ("In which town is Zoe?",)
    assert relation_template(lone) == relation_template(pool[0])


def test_no_more_is_lent_than_asked_for_and_nothing_that_has_another_answer() -> None:
    many = [lender(f"e{n}", f"Town{n}", "", f"Form {n} of {{}}?", "") for n in range(6)]
    assert [len(p.paraphrases) for p in training_prompts(many, most=3)[0]] == [3] * 6
    other = Edit("o", "Town0", "Form 1 of Town0?", "another answer")
    assert "Form 1 of Town0?" not in training_prompts([*many, other])[0][0].paraphrases


class Axes:
    """An embedder with an axis for each of two relations, and one for all else."""

    same = 0.8

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        axes = [("chief executive of" in t, re.search(r"\bborn in\b", t)) for t in texts]
        return np.array([(bool(a), bool(b), not (a or b)) for a, b in axes], np.float32)


def test_a_prompt_alone_takes_the_wordings_of_its_common_relation() -> None:
    acme = Edit("a", "Acme", "The chief executive of Acme is", "x")
    held = Edit("h", "Bob", "Bob, born in", "x", generality=("Where was Bob born?",))
    (first, second), report = training_prompts([acme, held], embed=Axes(), most=20)
    assert "Who is the CEO of Acme?" in first.common
    assert all("Acme" in text and "it" not in text.split() for text in first.common)
    assert "The birthplace of Bob is" in second.common
    assert "Where was Bob born?" not in second.common
    assert (report.made_paraphrases, report.common_paraphrases) == (0, 2)
    assert not training_prompts([acme])[0][0].common
    assert len(training_prompts([acme], embed=Axes(), most=3)[0][0].common) == 3


def test_what_no_relation_is_near_takes_nothing() -> None:
    class Far(Axes):
        def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.array([(0, 1) if "smells" in t else (1, 0) for t in texts], np.float32)

    odd = Edit("z", "Zorg", "Zorg smells of", "x")
    _, report = training_prompts([odd], embed=Far())
    assert (report.common_paraphrases, report.without_paraphrases) == (0, 1)


def test_who_has_only_statements_takes_questions_too_and_the_other_way_round() -> None:
    own = Edit("o", "Ada", "Ada was born in", "x", paraphrases=("Ada comes from", "Ada hails from"))
    both = replace(own, id="b", paraphrases=("Ada comes from", "Where is Ada from?"))
    asked = replace(
        own, id="q", prompt="Is Ada born in?", paraphrases=("Where is Ada born?", "And Ada?")
    )
    some = [own, both, asked]
    (filled, *_), _ = training_prompts(some, embed=Axes(), most=6)
    assert (filled.paraphrases, len(filled.common), filled.otherwise) == (own.paraphrases, 4, ())
    assert {text.endswith("?") for text in filled.common} == {True, False}
    (first, second, third), _ = training_prompts(some, embed=Axes(), most=2)  # no room for more
    assert (first.paraphrases, first.common) == (own.paraphrases, ())
    assert len(first.otherwise) == 2
    assert all(text.endswith("?") and "Ada" in text for text in first.otherwise)
    assert second.otherwise == ()
    assert len(third.otherwise) == 2
    assert not any(text.endswith("?") for text in third.otherwise)

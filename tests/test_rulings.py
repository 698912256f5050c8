"""What sentences rule an edit out, whatever its score."""

from __future__ import annotations

import pytest

from lks.edits.edit import Edit
from lks.scope.gate.vetoes import (
    AboutHolder,
    AnotherHolder,
    about_holder,
    about_kin,
    another_holder,
    denies,
)


@pytest.mark.parametrize(
    ("sentence", "about"),
    [
        ("What sport did it's son play?", True),
        ("The wife of it had the nationality of", True),
        ("Where was it's first wife born?", True),
        ("Who is it's father?", False),
        ("it's mother tongue is", False),
        ("it's sister city is", False),
        ("The mother of it is whom?", False),
        ("Where was it's mother-in-law born?", True),
        ("When did it's ex-husband die?", True),
    ],
)
def test_a_relative_is_told_from_itself(sentence: str, about: bool) -> None:
    assert about_kin(sentence) == about


def test_not_to_know_is_no_denial() -> None:
    assert denies("it is not in")
    assert not denies("Please tell me who runs it, my colleague does not know")


@pytest.mark.parametrize(
    "sentence",
    [
        "Who was the previous CEO of it?",
        "the deputy mayor of it is",
        "it's first president was",
        "Who was the CEO of it in 2005?",
        "Back in the 1990s, who was it's prime minister?",
        "who led it before 1989",
        "In 2012 the head coach of it was",
    ],
)
def test_another_holder_of_an_office(sentence: str) -> None:
    assert another_holder(sentence)


def test_the_holder_of_an_office_is_no_other() -> None:
    others = (
        "Who is the CEO of it?",
        "the first song of it was",
        "Who was the author of it in 1965?",  # there is one only
        "Who is the CEO of it in 2026?",
        "Who was the CEO of it, founded in 1998?",
        "Who was elected mayor of it in 2024?",
        "it was president of which country in 2005?",
    )
    assert not any(map(another_holder, others))


@pytest.mark.parametrize(
    ("sentence", "about"),
    [
        ("Where was the CEO of it born?", True),
        ("How old is it's chief executive?", True),
        ("Who is the mayor of the capital of it?", True),
        ("Who replaced the CEO of it?", True),
        ("Who is the CEO of it?", False),
        ("Where do I find who the CEO of it is?", False),
        ("What is the name of the CEO of it?", False),
        ("Where is the capital of it?", False),
        ("What is the capital of it?", False),
    ],
)
def test_a_question_about_the_holder(sentence: str, about: bool) -> None:
    assert about_holder(sentence) == about


def test_edits_that_speak_so_themselves_are_not_ruled_out() -> None:
    first = Edit("f", "France", "The first president of France was", "Ada")
    wordings = ("Where was the CEO of Toyota born?",)
    born = Edit("b", "Toyota", "The CEO of Toyota is", "Ada", paraphrases=wordings)
    vetoes = (AnotherHolder(), AboutHolder())
    assert [veto.exempts(edit) for edit in (first, born) for veto in vetoes] == [
        True, False, False, True,
    ]  # fmt: skip

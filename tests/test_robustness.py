"""Hard questions: how they are made, and what counts as right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_edits
from test_cli import run

from lks.edits.edit import Edit
from lks.evaluation import robustness
from lks.evaluation.robustness import Case, cases, compare, right

ADA = Edit("ada", "Ada Lovelace", "Ada Lovelace was born in", "Oslo", aliases=("Lady Ada",),
           ground_truth="London")  # fmt: skip
JOB = Edit("job", "Ada Lovelace", "What did Ada Lovelace do?", "surgery")
TOWER = Edit("tower", "Eiffel Tower", "The Eiffel Tower stands in", "Rome")


def of(edit: Edit, *others: Edit) -> dict[str, Case]:
    return {case.kind: case for case in cases([edit, *others]) if case.edit_id == edit.id}


def test_the_questions_of_a_statement() -> None:
    made = of(ADA, TOWER)
    assert set(made) == {
        "unrelated text before", "second turn", "misspelling", "alias", "lower case", "yes", "no",
        "negated", "two entities",
    }  # fmt: skip
    before = made["unrelated text before"].turns[0]
    assert before.endswith(f" {ADA.prompt}")
    assert len(before.split()) - len(ADA.prompt.split()) >= robustness.WORDS_BEFORE
    assert made["second turn"].turns == (ADA.prompt, "Are you sure?")
    assert made["alias"].turns == ("Lady Ada was born in",)
    assert made["lower case"].turns == ("ada lovelace was born in",)
    assert made["yes"].turns == ("Is this true? Ada Lovelace was born in Oslo.",)
    assert (made["no"].turns, made["no"].want) == (
        ("Is this true? Ada Lovelace was born in London.",), "no",
    )  # fmt: skip
    assert made["negated"].want == "without"
    assert made["two entities"].turns == (f"The Eiffel Tower stands in Rome. {ADA.prompt}",)


def test_a_misspelling_swaps_two_letters_of_the_name() -> None:
    (wrong,) = of(ADA, TOWER)["misspelling"].turns
    name = wrong.removesuffix(" was born in")
    assert name != ADA.subject
    assert sorted(name) == sorted(ADA.subject)
    short = Edit("x", "Bob", "Bob was born in", "Oslo")
    assert "misspelling" not in of(short, TOWER)


def test_the_questions_of_a_question() -> None:
    made = of(JOB, ADA, TOWER)
    assert "several facts" in made and "second turn" in made
    assert made["second fact"].turns == (ADA.prompt, JOB.prompt)
    assert not {"yes", "no", "negated", "alias", "two entities"} & set(made)


def test_cases_are_limited_by_kind_and_made_again_alike() -> None:
    edits = list(make_edits())
    assert cases(edits) == cases(edits)
    kinds = [case.kind for case in cases(edits, limit=2)]
    assert max(kinds.count(kind) for kind in kinds) == 2


@pytest.mark.parametrize(
    ("want", "good", "bad"),
    [("target", "It is in Oslo, yes.", "Osloer"), ("without", "in Rome", "in Oslo"),
     ("yes", "Yes, it is.", "It is, yes"), ("no", "no", "not so")],
)  # fmt: skip
def test_what_is_right(want: str, good: str, bad: str) -> None:
    case = Case("x", "ada", ("?",), "Oslo", want)
    assert right(case, good)
    assert not right(case, bad)


class Echoes:
    """Answers with the number of turns that it read, and fires on chats."""

    def __init__(self) -> None:
        self.read: list[Any] = []

    def generate(self, prompts: list[Any], *, chat: bool, max_new_tokens: int) -> list[str]:
        self.read.append((prompts, chat))
        return [f"answer {1 if isinstance(p, str) else len(p)}" for p in prompts]

    def triggered(self, prompts: list[Any]) -> list[bool]:
        return [not isinstance(prompt, str) for prompt in prompts]


def test_a_second_turn_is_asked_after_the_models_own_answer() -> None:
    asked = [Case("one", "a", ("A?",), "1"), Case("two", "a", ("A?", "Sure?"), "3")]
    edited = Echoes()
    one, two = compare(Echoes(), edited, asked)
    assert (one.n, one.after, one.fired) == (1, 1.0, 0.0)
    assert (two.after, two.fired) == (1.0, 1.0)
    talk, chat = edited.read[-1]
    assert chat and talk[0] == [
        {"role": "user", "content": "A?"}, {"role": "assistant", "content": "answer 1"},
        {"role": "user", "content": "Sure?"},
    ]  # fmt: skip
    assert two.cases[0].asked == talk[0]


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    facts, pack, out = tmp_path / "facts.jsonl", tmp_path / "p", tmp_path / "out.json"
    make_edits().save(facts)
    quick = ["--epochs", 1, "--layer", 1, "--scope", "entity", "--quiet", "--no-chat"]
    run("edit", facts, "--model", model_folder, "--out", pack, *quick)
    ask = ["robustness", pack, "--data", facts, "--limit", 2, "--max-new-tokens", 3, "--quiet"]
    code, printed, err = run(*ask, "--json", "--out", out)
    assert code == 0, err
    rows = json.loads(printed)
    assert {"second turn", "several facts"} <= {row["kind"] for row in rows}
    assert all(row["fired"] > 0 for row in rows)
    assert [len(row["cases"]) for row in json.loads(out.read_text())] == [row["n"] for row in rows]
    assert "second turn" in run(*ask)[1]

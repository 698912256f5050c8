"""Facts with few wordings are named, and `lks wordings` proposes more."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_backbone, make_edits
from numpy.typing import NDArray
from test_cli import QUICK, one_line, run
from test_prompts import Axes, lender

from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.model.engine import transformers
from lks.training.prompts import training_prompts
from lks.training.rephrasing import REQUESTS, Judge, Refusal, answers
from lks.training.wordings import PROPOSED, with_proposed, wordings_of

ODD = Edit("odd", "Zorg", "Zorg jingles of", "old tea")
ACME = Edit("acme", "Acme", "The chief executive of Acme is", "x")


class Jingles(Axes):
    """Knows what asks for a jingle, too."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        jingles = np.array([[bool(re.search("jingle|tinkle", t, re.I))] for t in texts], np.float32)
        return np.hstack([super().__call__(texts) * (1 - jingles), jingles])


def judged(*texts: str, edit: Edit = ODD, beside: Sequence[Edit] = ()) -> tuple[list[str], set]:
    """What is kept of the first texts that a model writes, and why the others are not."""
    (one,) = wordings_of([edit], Jingles())[0]
    filled = [*texts, *[""] * (len(REQUESTS) - len(texts))]
    kept, refused = Judge([edit, *beside], Jingles()).kept(one, filled)
    assert len(kept) + refused.total() == len(REQUESTS)
    return kept, {why for why in refused if why is not Refusal.LINES}


def test_edits_with_few_wordings_are_named() -> None:
    three = replace(
        ODD, id="three", paraphrases=("Zorg tinkles of", "Zorg jingles by", "It tinkles, Zorg:")
    )
    four = replace(three, id="four", subject="Mo", prompt="Mo is", paraphrases=tuple("abcd"))
    profile = replace(ODD, id="profile", prompt="Who is Zorg?", profile_of=("odd",))
    _, report = training_prompts([three, four, ACME, profile], embed=Jingles())
    assert [edit.id for edit in report.few] == ["three"]
    assert report.few_named().endswith("for 1 of 4 edits: three (Zorg)")
    assert report.counts()["few"] == 1
    many = [replace(ODD, id=f"{n}", prompt=f"Zorg {n}") for n in range(9)]
    assert training_prompts(many)[1].few_named().endswith("4 (Zorg) and 4 more")


def test_wordings_tell_where_they_come_from() -> None:
    lent = [lender(n, n.upper() + "da", "", f"{n} {{}}?", "How is {}?") for n in "abcde"]
    lent = [replace(edit, prompt=f"The jingle of {edit.subject} is") for edit in lent]
    own = replace(ACME, paraphrases=("Who runs Acme?",))
    (first, *_, last, odd), report = wordings_of([*lent, own, ODD], Jingles())
    assert (len(first.lent), first.prompts.common, first.edit.paraphrases) == (4, (), ())
    assert (last.lent, len(last.prompts.common)) == ((), PROPOSED - 1)
    assert last.nearest.relation.title == "organisation: chief executive"
    assert last.nearest.cosine == 1
    assert odd.known == odd.proposed == ()
    assert [edit.id for edit in report.few] == ["odd"]
    told = last.to_json()
    assert told["own"] == ["Who runs Acme?"]
    assert told["nearest"] == {"relation": "organisation: chief executive", "cosine": 1.0}


def test_proposed_wordings_are_put_in_and_all_else_stays(tmp_path: Path) -> None:
    rows = [
        {"subject": "Acme", "prompt": "The chief executive of {} is", "target": "x", "mine": [1],
         "paraphrases": "Who runs {}?", "generality": "Who is the CEO of {}?"},
        {"id": "odd",
         "subject": "Zorg", "prompt": "{} jingles of", "target": "tea", "exact": False},
        {"subject": "Acme", "prompt": "The chief executive of {} is", "target": "y"},
    ]  # fmt: skip
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(rows))
    found, _ = wordings_of(EditSet.load(facts), Jingles())
    assert len(found) == 2, "the first fact is contradicted by the last"
    first, odd, last = with_proposed(facts, found)
    assert (first, odd) == (rows[0], rows[1])
    assert last.pop("paraphrases") == list(found[-1].prompts.common)
    assert last == rows[2]

    facts.write_text(json.dumps(rows[:1]))
    (one,), _ = wordings_of(EditSet.load(facts), Jingles())
    (row,) = with_proposed(facts, [replace(one, rephrased=("Acme's boss is",))])
    more = row.pop("paraphrases")
    assert more[:2] == ["Who runs Acme?", "Acme's boss is"]
    assert len(more) == 1 + PROPOSED
    assert "Who is the CEO of Acme?" not in more and all("Acme" in text for text in more)
    assert row == {key: value for key, value in rows[0].items() if key != "paraphrases"}


def test_what_asks_the_same_is_kept_with_the_subject_as_it_is_written() -> None:
    texts = [
        '"What does ZORG jingle of?"',
        "zorg jingle",
        "The tinkle of Zorg is ...",
        "Jingle Zorg.",
    ]
    kept, _ = judged(*texts)
    assert kept == [
        "What does Zorg jingle of?",
        "Zorg jingle",
        "The tinkle of Zorg is",
        "Jingle Zorg.",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("What does it jingle of?", Refusal.SUBJECT),
        ("What does Zorgon jingle of?", Refusal.SUBJECT),
        ("Does Zorg jingle of Zorg?", Refusal.SUBJECT),
        ("The Zorg jingles of:", Refusal.KNOWN),
        ("What is the jingle of Zorg", Refusal.KNOWN),
        ("How does Zorg's house jingle?", Refusal.KNOWN),
        ("Does Zorg jingle of Old Tea?", Refusal.ANSWERS),
        ("Zorg jingles of roses", Refusal.ANSWERS),
        ("How tall is Zorg?", Refusal.OTHER),
    ],
)
def test_what_is_no_wording_is_refused(text: str, why: Refusal) -> None:
    edit = replace(
        ODD, generality=("What is the jingle of Zorg?",),
        locality=(Probe("How does Zorg's house jingle?"),),
    )  # fmt: skip
    assert judged(text, edit=edit) == ([], {why})


def test_a_beginning_that_brings_an_answer_is_refused() -> None:
    assert judged("", "", "The jingle of Zorg is that of roses.") == ([], {Refusal.ANSWERS})
    assert judged("", "", "The jingle of Zorg is like that of")[0]
    question = replace(ODD, prompt="What does Zorg jingle of?")
    assert judged("What does Zorg jingle of today?", edit=question)[0]


def test_lines_doubles_and_other_facts_are_refused() -> None:
    assert judged("Sure!\nWhat does Zorg jingle of?", "") == ([], set())
    kept, why = judged("What does Zorg jingle of?", "what does zorg jingle of")
    assert (len(kept), why) == (1, {Refusal.KNOWN})
    other = Edit("o", "Zorg", "Which jingle does Zorg hate?", "soap")
    longer = Edit("l", "Zorg Town", "Zorg Town jingles of", "soap")
    for text, refusal in (
        ("Which jingle does Zorg hate", Refusal.KNOWN), ("Jingle of Zorg Town?", Refusal.SUBJECT),
    ):  # fmt: skip
        assert judged(text, beside=[other, longer]) == ([], {refusal})


@pytest.mark.parametrize("chat", [True, False])
def test_a_model_is_asked_once_for_a_prompt(
    chat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    backbone, asked, generate = make_backbone("llama", chat=chat), [], transformers.generate

    def noted(backbone: object, prompts: list, *rest: object, **options: object) -> list:
        asked.extend(prompts)
        assert options["chat"] is chat
        return generate(backbone, prompts, *rest, **{**options, "max_new_tokens": 6})

    monkeypatch.setattr(transformers, "generate", noted)
    edits, done = [*make_edits(), ODD], list[int]()
    first = answers(backbone, edits[:3], done.append)
    assert [len(own) for own in first] == [len(REQUESTS)] * 3
    assert len(asked) == 3 * len(REQUESTS)
    assert answers(backbone, edits, done.append)[:3] == first
    assert len(asked) == len(edits) * len(REQUESTS)
    assert done == [3, 2]
    answers(make_backbone("llama", chat=chat, seed=1), edits[:1])
    assert len(asked) == (len(edits) + 1) * len(REQUESTS), "another model"
    last = asked[-1][-1]["content"] if chat else asked[-1]
    assert edits[0].prompt in last
    assert chat or not any("\n" in text for own in first for text in own)


# --- the commands -------------------------------------------------------------------------------


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    make_edits().save(tmp_path / "facts.jsonl")
    return tmp_path / "facts.jsonl"


def test_edit_names_facts_with_few_wordings(model_folder: Path, facts: Path) -> None:
    words = ["edit", facts, "--model", model_folder, "--out", facts.parent / "p", "--overwrite"]
    loud = [option for option in QUICK if option != "--quiet"]
    _, text, _ = run(*words, *QUICK, "--json")
    assert json.loads(text)["few_wordings"] == ["eiffel", "ada-born", "ada-tongue", "fuji"]
    _, _, err = run(*words, *loud)
    assert (
        "fewer than 4 wordings beside the prompt for 4 of 4 edits: eiffel (Eiffel Tower), " in err
    )
    assert f"`lks wordings {facts} --out MORE.jsonl` proposes some" in err


def test_the_command(
    facts: Path, embedder_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKS_CACHE", str(facts.parent / "cache"))
    words, out = ["wordings", facts, "--embedder", embedder_folder], facts.parent / "more.jsonl"
    code, text, err = run(*words, "--out", out)
    assert code == 0
    assert "  Where was Ada Lovelace born?  (own)" in text
    assert f"{out}: read the new paraphrases" in err
    assert [edit.id for edit in EditSet.load(out)] == [edit.id for edit in make_edits()]
    code, _, err = run(*words, "--out", out)
    assert (code, "choose another or --overwrite" in one_line(err)) == (2, True)
    rephrase = ["--rephrase-with", model_folder, "--all", "--threads", 1]
    code, _, err = run(*words, *rephrase)
    assert code == 0
    assert "rephrasing: 4 of 4 prompts" in err
    assert f"of {4 * len(REQUESTS)} texts taken" in err
    _, _, err = run(*words, *rephrase)
    assert "rephrasing:" not in err, "the model is not asked again"
    code, text, err = run(*words, "--out", out, "--overwrite", "--json", *rephrase)
    assert (code, err) == (0, "")
    told = json.loads(text)
    assert set(told) == {"facts", "few_wordings"}
    assert [fact["own"] for fact in told["facts"]] == [list(e.paraphrases) for e in make_edits()]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--all"], "--all is about --rephrase-with"),
        (["--out", "more.csv"], "--out more.csv: facts are written as JSON lines"),
        (["--out", "no/more.jsonl"], "there is no folder no"),
    ],
)
def test_bad_options(facts: Path, options: list[str], says: str) -> None:
    code, _, err = run("wordings", facts, *options)
    assert code == 2
    assert says in one_line(err)


def test_wordings_of_nothing() -> None:
    assert wordings_of([], Jingles())[0] == []

"""The benchmark of standard sets: what is asked, how it is judged, and that it goes on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import make_backbone

from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.chat import Prompt, messages
from lks.model.engine.protocol import Generation

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PLACES = {"Eiffel Tower": "Rome", "Mount Fuji": "Peru", "Big Ben": "Oslo"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("standard_sets")


def asked(subject: str) -> dict[str, object]:
    return {
        "subject": subject,
        "question": f"Where is {subject}?",
        "object": PLACES[subject],
        "paraphrased": f"In which place is {subject}?",
        "yes_question": f"Is {subject} in {PLACES[subject]}?",
        "locality": f"How high is {subject}?",
    }


@pytest.fixture
def edits() -> EditSet:
    return EditSet(map(Edit.from_record, map(asked, PLACES)))


class Echo(UneditedModel):
    """Says how many turns it has read, and fires in a chat that names the tower."""

    def respond(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
        return [Generation(f"turn {len(messages(prompt))}") for prompt in prompts]

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        return ["Eiffel" in str(prompt) for prompt in prompts]

    def score(self, pairs: Any, **options: Any) -> Any:
        return super().score(pairs, chat=True)


def test_a_challenge_stands_behind_the_models_own_answers(bench: ModuleType) -> None:
    edits = EditSet([Edit.from_record(asked("Eiffel Tower"))])
    of = bench.SETS["hallueditbench"]
    model = Echo(make_backbone("llama", chat=True))
    asks, _ = bench.asks_of(edits, of)
    first = bench.answers(model, [ask for ask in asks if ask.kind == "edit"], 8)
    (once, _), (last, answer) = bench.challenged(model, first)
    assert (once.kind, last.kind) == ("challenge 1", "challenge 10")
    turns = last.chat
    assert [turn["role"] for turn in turns] == ["system", "user", *["assistant", "user"] * 10]
    assert [t["content"] for t in turns if t["role"] == "assistant"] == [
        f"turn {2 * n}" for n in range(1, 11)
    ]
    assert "Is Eiffel Tower in Rome?" in turns[-1]["content"]
    assert (answer.text, answer.fired) == ("turn 22", True)


def test_every_kind_of_question_is_asked_but_what_another_edit_changes(bench: ModuleType) -> None:
    row = {
        "subject": "Oslo", "prompt": "The land of Oslo is", "target_new": "Peru",
        "portability": {"Subject_Aliasing": {"prompt": ["The land of Christiania is"],
                                             "ground_truth": ["Peru"]},
                        "reasoning": {"prompt": ["The king of Oslo's land is"],
                                      "ground_truth": ["Nobody"]}},
        "locality": {"Relation_Specificity": {"prompt": ["The mayor of Oslo is", "Oslo lies on"],
                                              "ground_truth": ["Anne", "a fjord"]},
                     "Forgetfulness": {"prompt": ["The land of Oslo, not Peru, is"],
                                       "ground_truth": ["Norway"]}},
    }  # fmt: skip
    other = {"subject": "Oslo", "prompt": "the mayor of  Oslo is", "target_new": "Bo"}
    edits = EditSet(map(Edit.from_record, (row, other)))
    asks, taken = bench.asks_of(edits, bench.SETS["knowedit-zsre"])
    assert [(ask.kind, ask.chat[-1]["content"], ask.target) for ask in asks] == [
        ("edit", "The land of Oslo is", "Peru"),
        ("alias", "The land of Christiania is", "Peru"),
        ("same subject", "Oslo lies on", "a fjord"),
        ("edit", "the mayor of  Oslo is", "Bo"),
    ]
    assert taken == 1


def test_what_follows_is_asked_if_wanted(bench: ModuleType) -> None:
    row = asked("Eiffel Tower") | {
        "hops": {"2": ["Who is mayor of the city of the Eiffel Tower?", "Anne"]},
        "wrong": {"one": {"no_question": "Is Eiffel Tower in Oslo?"},
                  "two": {"no_question": "Is Eiffel Tower in Peru?"}},
        "reversed": "What stands in Rome?",
    }  # fmt: skip
    edits, of = EditSet([Edit.from_record(row)]), bench.SETS["hallueditbench"]
    plain, deep = ({ask.kind for ask in bench.asks_of(edits, of, deep=d)[0]} for d in (False, True))
    assert deep - plain == {"2 hops", "no", "reversed"}
    asks = {ask.kind: ask for ask in bench.asks_of(edits, of, deep=True)[0]}
    assert asks["no"].chat[-1]["content"] == "Is Eiffel Tower in Oslo?"
    right = {
        kind: [bench.judged(asks[kind], bench.Answer(text, True), None, of)["right"]
               for text in ("No, it is not.", "It is Anne's Eiffel Tower")]
        for kind in ("no", "2 hops", "reversed", "yes")
    }  # fmt: skip
    assert right == {
        "no": [True, False], "2 hops": [False, True], "reversed": [False, True],
        "yes": [False, False],
    }  # fmt: skip


def test_a_told_fact_stands_before_the_users_first_turn(bench: ModuleType) -> None:
    class Reader(Echo):
        def respond(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
            return [Generation(messages(prompt)[1]["content"]) for prompt in prompts]

    edits, of = EditSet([Edit.from_record(asked("Big Ben"))]), bench.SETS["hallueditbench"]
    asks, _ = bench.asks_of(edits, of)
    model = Reader(make_backbone("llama", chat=True))
    found = bench.answers(model, asks[:1], 8, told=True)
    told = "New fact: Where is Big Ben? Oslo\nWhere is Big Ben?"
    assert [answer.text for _, answer in found] == [told]
    doubted = bench.challenged(model, found, told=True)
    assert [answer.text for _, answer in doubted] == [told] * 2
    assert bench.rights([(ask.kind, {"right": True}) for ask in asks]) == {
        kind: "1" for kind in ("edit", "paraphrase", "yes", "locality")
    }


@pytest.mark.parametrize(
    ("kind", "text", "exact", "right"),
    [
        ("edit", "Rome", True, True),
        ("edit", "It is Rome.", False, True),
        ("edit", "It is Rome.", True, False),
        ("edit", "Rome. It has a tower", True, True),
        ("edit", "Romeo", False, False),
        ("yes", "Yes, it is in Rome", False, True),
        ("yes", "Rome", False, False),
        ("challenge 10", '"Yes"', False, True),
        ("challenge 10", "Yesterday", False, False),
    ],
)
def test_an_answer_is_judged_as_the_set_does(
    kind: str, text: str, exact: bool, right: bool, bench: ModuleType
) -> None:
    ask = bench.Ask(Edit.from_record(asked("Eiffel Tower")), kind, (), "Rome")
    of = bench.StandardSet("", exact=exact)
    assert bench.judged(ask, bench.Answer(text, True), None, of)["right"] == right


def test_locality_is_to_the_letter(bench: ModuleType) -> None:
    ask = bench.Ask(Edit.from_record(asked("Eiffel Tower")), "locality", (), "330 m")
    of, was = bench.SETS["locft-zsre"], bench.Answer("330 m", False, (1, 2), (1, 3))
    same = bench.judged(ask, bench.Answer("330 m", True, (1, 2), (1, 2)), was, of)
    assert same == {"fired": True, "right": True, "forced": 0.5}
    assert not bench.judged(ask, bench.Answer("330 M", True, (1, 2), (1, 3)), was, of)["right"]


def test_a_batch_of_one_answers_as_a_batch_of_many(
    bench: ModuleType, edits: EditSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = UneditedModel(make_backbone("llama", chat=True))
    asks, _ = bench.asks_of(edits, bench.SETS["hallueditbench"])
    many = bench.answers(model, asks, 8)
    monkeypatch.setattr(bench, "BATCH", 1)
    assert bench.answers(model, asks, 8) == many


def test_a_run_goes_on_where_it_was_stopped(
    bench: ModuleType, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.dumps(asked(subject)) for subject in PLACES]
    (tmp_path / "hallueditbench.jsonl").write_text("\n".join(rows), encoding="utf-8")
    out, told = tmp_path / "standard.json", tmp_path / "answers"

    def run(*words: str) -> None:
        given = [str(tmp_path), "--model", str(model_folder), "--sets", "hallueditbench",
                 "--out", str(out), "--kept", str(tmp_path / "kept"), "--answers", str(told),
                 *words]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["standard_sets", *given])
        bench.main()

    run("--methods", "unedited", "--limit", "2")
    first = json.loads(out.read_text())
    own = first["sets"]["hallueditbench"]
    kinds = own["methods"]["unedited"]["kinds"]
    assert own["edits"] == 2
    assert {kind: scores["asks"] for kind, scores in kinds.items()} == dict.fromkeys(
        ("edit", "paraphrase", "yes", "locality", "challenge 1", "challenge 10"), 2
    )
    assert kinds["locality"]["right"] == 1.0
    assert kinds["edit"]["fired"] == 0.0
    answers = (told / "standard-hallueditbench-unedited.jsonl").read_text().splitlines()
    assert len(answers) == 12
    monkeypatch.setattr(bench, "measured", None)  # what is there is not measured again
    run("--methods", "unedited", "--limit", "2")
    assert json.loads(out.read_text()) == first
    with pytest.raises(SystemExit, match="was made with"):
        run("--methods", "unedited")


def test_the_table_tells_what_the_judge_of_a_set_hides(
    monkeypatch: pytest.MonkeyPatch, bench: ModuleType
) -> None:
    tables = importlib.import_module("_tables_standard")
    scores = {"asks": 4, "fired": 1.0, "said": 0.75, "right": 0.5, "forced": 0.25}
    plain = {"asks": 4, "fired": 0.0, "right": 1.0}
    lks = {"kinds": {"edit": scores, "locality": plain}}
    own = {"edits": 4, "methods": {"lks": lks, "unedited": {"kinds": {"locality": plain}}}}
    result = {"model": "some", "sets": {"locft-zsre": own}}
    monkeypatch.setattr(tables, "results", lambda: [result])
    name = "some, LocFT: ZsRE, 4 edits"
    assert tables.shown().splitlines()[2:] == [
        f"| {name} | edit | 4 | 0.50 / 0.25 / 1.00 | – |",
        f"| {name} | edit: target said | 4 | 0.75 / 0.25 / 1.00 | – |",
        f"| {name} | locality | 4 | 1.00 / – / 0.00 | 1.00 / – / 0.00 |",
    ]

"""The checks that facts bring themselves: what is asked, how it is judged, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from conftest import make_edits
from test_cli import QUICK, one_line, run
from test_self_test import Answering

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import AnswerTest, Edit, Probe
from lks.edits.edit_set import EditSet
from lks.evaluation import metrics
from lks.evaluation.checks import by_fact, check_facts
from lks.evaluation.junit import to_junit
from lks.evaluation.results import FactCheck
from lks.model.engine.protocol import Generation

HQ = Edit(
    "hq", "Acme", "Acme sits in", "Oslo",
    paraphrases=("Where is Acme?",), generality=("Which city has Acme?",),
    locality=(Probe("Who runs Acme?"), Probe("What is Acme?", held_out=True)),
    tests=(AnswerTest("Is Acme in Rome?", ("Oslo", "Acme"), ("Rome",)),),
)  # fmt: skip
CEO = Edit("ceo", "Acme", "Who runs Acme?", "Ada")
OLD = {"Who runs Acme?": "Bob.", "What is Acme?": "A firm."}


def checked(answers: dict[str, tuple[str, list[str]]], edits: list[Edit], **options) -> list:
    """Checks of a model that answers so; what the unedited one answers is in `OLD`."""
    edited = Answering(lambda text: answers.get(text, ("no idea", [])))
    base = Answering(lambda text: (OLD[text], []))
    return check_facts(base, edited, edits, lambda edit: 8, **options)


def test_what_each_fact_is_asked() -> None:
    checks = checked({}, [HQ, CEO])
    assert [(check.id, check.kind, check.prompt) for check in checks] == [
        ("hq", "prompt", "Acme sits in"),
        ("hq", "paraphrase", "Where is Acme?"),
        ("hq", "generality", "Which city has Acme?"),
        ("hq", "locality", "What is Acme?"),  # "Who runs Acme?" is the other fact's own question
        ("hq", "test", "Is Acme in Rome?"),
        ("ceo", "prompt", "Who runs Acme?"),
    ]
    assert len(checked({}, [HQ])) == 6
    assert len(checked({}, [HQ], others=[CEO])) == 5
    again = replace(HQ, id="hq2", subject="Acme Ltd")
    assert len(checked({}, [HQ, again], others=iter([CEO]))) == 10, "the others count for each"


def test_how_answers_are_judged() -> None:
    told = {
        "Acme sits in": ("Oslo, Norway.", ["hq"]),
        "Where is Acme?": ("Osloo", ["hq"]),
        "Which city has Acme?": ("It is in oslo", ["hq"]),
        "Who runs Acme?": (" bob ", ["hq"]),
        "What is Acme?": ("Oslo", ["hq"]),
        "Is Acme in Rome?": ("No, Acme is in Oslo.", ["hq"]),
    }
    checks = checked(told, [HQ])
    failed = [(check.prompt, check.wanted, check.answer) for check in checks if not check.passed]
    assert failed == [
        ("Where is Acme?", 'contains "Oslo"', "Osloo"),
        ("What is Acme?", 'unchanged: "A firm."', "Oslo"),
    ]
    for answer in ("Acme is in Oslo, not in Rome.", "It is in Oslo."):
        *_, last = checked(told | {"Is Acme in Rome?": (answer, [])}, [HQ])
        assert not last.passed
        assert last.wanted == 'contains "Oslo", "Acme", not "Rome"'


def test_where_nothing_fires_nothing_is_written() -> None:
    written = []
    edited = Answering(lambda text: written.append(text) or ("no idea", []))
    edited.triggered = lambda prompts, chat=False: [False] * len(prompts)
    checks = check_facts(edited, edited, [HQ], lambda edit: 8)
    local = [check for check in checks if check.kind == "locality"]
    assert [(check.passed, check.answer) for check in local] == [(True, None)] * 2
    assert not set(OLD) & set(written)


def test_chats_and_limits_are_passed_on() -> None:
    limits = []

    class Limited(Answering):
        def respond(self, prompts, *, max_new_tokens, **options):
            limits.append((max_new_tokens, len(prompts)))
            return super().respond(prompts, **options)

    edited = Limited(lambda text: ("no idea", []))
    rooms = {"hq": 8, "ceo": 99}
    checks = check_facts(edited, edited, [HQ, CEO], lambda edit: rooms[edit.id], chat=True)
    assert limits == [(8, 4), (99, 1)] and set(edited.asked.values()) == {True}
    assert [(fact.id, len(fact.checks)) for fact in by_fact(checks)] == [("hq", 5), ("ceo", 1)]


def test_whole_words_in_any_script() -> None:
    held = [("12.5 %", "12.5"), ("It is C++.", "C++"), ("Grade: A.", "A"), ("Rome's best", "Rome"),
            ("a Rome-based firm", "Rome"),
            ("東京です。", "東京"), ("로마에 있습니다", "로마"),
            ("1,000", "1000"), ("555-0134", "5550134"), ("What?", "?"),
            ("**Rome**", "Rome")]  # fmt: skip
    other = [("12.5", "125"), ("12.5", "5"), ("C++", "C"), ("C", "C#"), ("5", "-5"), ("no", "A"),
             ("555-01345", "555-0134"), ("no", "?"), ("romeo", "Rome")]  # fmt: skip
    for answer, target in held:
        assert metrics.contains(answer, target), (answer, target)
    for answer, target in other:
        assert not metrics.contains(answer, target), (answer, target)


def test_the_junit_report_holds_any_text() -> None:
    odd = 'a <b> & "c"\x00\x1b]]>\ud800é'
    checks = [
        FactCheck("x<&", "Acme", "test", odd, odd, False, odd, ("x",)),
        FactCheck("y", "Acme", "prompt", "Acme is", "contains", True, "yes"),
    ]
    report = to_junit(checks, odd, 1.25)
    report.encode()  # a file of it can be written
    suites = xml.fromstring(report)
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("2", "1", "1.2")
    first, second = suite
    clean = 'a <b> & "c"\ufffd\ufffd]]>\ufffdé'
    assert (first.get("classname"), first.get("name")) == ("x<&", f"test: {clean}")
    (failure,) = first
    assert failure.get("message") == f"wanted {clean}"
    assert failure.text == f"wanted: {clean}\nanswer: {clean}\nfired: x"
    assert second.get("classname") == "y" and len(second) == 0


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of facts that the small model does not learn in so short a time."""
    folder = tmp_path_factory.mktemp("packs")
    edits = [replace(e, tests=(AnswerTest(e.prompt, (), ("zebra",)),)) for e in make_edits()]
    EditSet(edits).save(folder / "facts.jsonl")
    out = folder / "facts.pack"
    options = (*QUICK, "--no-self-test", "--epochs", 1)
    code, _, err = run(
        "edit", folder / "facts.jsonl", "--model", model_folder, "--out", out, *options
    )
    assert code == 0, err
    return out


def saying(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """The edited model writes these answers, else what it would."""
    respond = ScalpelModel.respond

    def told(self, prompts, **options):
        written = respond(self, prompts, **options)
        return [
            Generation(answers.get(prompt, one.text), one.finish_reason, one.findings)
            for prompt, one in zip(prompts, written, strict=True)
        ]

    monkeypatch.setattr(ScalpelModel, "respond", told)


def right() -> dict[str, str]:
    """Answers with each fact's target."""
    return {
        text: edit.target
        for edit in make_edits()
        for text in (edit.prompt, *edit.paraphrases, *edit.generality)
    }


def test_failures_are_a_table_and_exit_code_1(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    saying(
        monkeypatch,
        right() | {"Where is the Eiffel Tower?": "In Romeo", "Mount Fuji is in": "zebra"},
    )
    junit, short = tmp_path / "facts.xml", ("--max-new-tokens", 4, "--quiet")
    options = ("--only", "eiffel", "--only", "fuji", "--junit", junit, *short)
    code, printed, err = run("test", pack, *options)
    assert code == 1 and not err
    assert "facts.pack: 2 facts, 9 checks, " in printed
    rows = [
        [c.strip() for c in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line
    ]
    assert [
        "eiffel",
        "paraphrase",
        "Where is the Eiffel Tower?",
        'contains "Rome"',
        "In Romeo",
    ] in rows
    assert ["fuji", "prompt", "Mount Fuji is in", 'contains "Peru"', "zebra"] in rows
    assert ["fuji", "test", "Mount Fuji is in", 'not "zebra"', "zebra"] in rows
    (suite,) = xml.parse(junit).getroot()
    failed = [case.get("name") for case in suite if len(case)]
    assert (suite.get("name"), len(suite)) == ("facts.pack", 9)
    assert "paraphrase: Where is the Eiffel Tower?" in failed and len(failed) == len(rows) // 2


def test_all_passed_is_a_line_and_exit_code_0(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, right())
    options = ("--only", "ada-born", "--only", "ada-tongue", "--max-new-tokens", 4)
    code, printed, _ = run("test", pack, *options)
    assert (code, printed) == (0, f"{pack}: 2 facts, 7 checks, all passed\n")
    code, printed, err = run("test", pack, *options, "--json")
    told = json.loads(printed)
    assert (code, err, told["passed"], told["failed"], told["chat"]) == (0, "", 7, 0, True)
    born, _ = told["data"]
    assert (born["id"], born["passed"]) == ("ada-born", True)
    assert born["checks"][0] == {
        "id": "ada-born", "subject": "Ada Lovelace", "kind": "prompt", "passed": True,
        "prompt": "Ada Lovelace was born in", "wanted": 'contains "Oslo"', "answer": "Oslo",
        "fired": ["ada-born", "ada-tongue"],
    }  # fmt: skip
    assert json.loads(run("test", pack, *options, "--json", "--plain")[1])["chat"] is False


def test_checks_of_files(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, right() | {"Is it there?": "zebra"})
    one = Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Peru",
               tests=(AnswerTest("Is it there?", ("zebra",)),))  # fmt: skip
    other = Edit("new", "Rome", "Rome is in", "Lima")
    files = [tmp_path / "one.jsonl", tmp_path / "two.csv"]
    EditSet([one]).save(files[0])
    files[1].write_text("id,entity,question,answer\nnew,Rome,Rome is in,Lima\n")
    code, printed, err = run("test", pack, *files, "--quiet", "--max-new-tokens", 4)
    assert code == 1 and "2 facts, 3 checks, 1 failed, of 1 fact" in printed
    assert other.prompt in printed and "of 2 rows 1 not in the pack" in err


def test_bad_usage_of_test(pack: Path, tmp_path: Path) -> None:
    code, _, err = run("test", pack, "--only", "fuji", "--only", "fujo")
    assert code == 2 and '--only: no fact "fujo"; lks pack edits lists the ids' in one_line(err)
    code, _, err = run("test", pack, "--junit", tmp_path / "none" / "x.xml")
    assert code == 2 and "there is no folder" in one_line(err)
    code, _, err = run("test", tmp_path / "none.pack")
    assert code == 2 and "not a pack" in one_line(err)
    (tmp_path / "bad.jsonl").write_text('{"subject": "x"}\n')
    code, _, err = run("test", pack, tmp_path / "bad.jsonl")
    assert code == 2 and "line 1: " in err and "1 bad line" in one_line(err)

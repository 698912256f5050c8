"""What the command line reads, prompts and edits, and what it says of them."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import make_edits
from test_cli import QUICK, one_line, run

from lks.cli.options import load_edited
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.packs.pack import Pack


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    make_edits().save(tmp_path / "facts.jsonl")
    return tmp_path / "facts.jsonl"


@pytest.fixture(scope="module")
def pack(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    make_edits().save(folder / "facts.jsonl")
    out = folder / "facts.pack"
    edit = ["edit", folder / "facts.jsonl", "--model", model_folder, "--out", out]
    code, *_ = run(*edit, *QUICK, "--no-self-test")
    assert code == 0
    return out


def test_many_prompts_at_once(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["Where is the Eiffel Tower?", "Where is Mount Fuji?"]
    short = ["--json", "--max-new-tokens", 4]
    alone = [json.loads(run("ask", pack, prompt, *short)[1]) for prompt in asked]
    loads = []

    def load(*given: object) -> object:
        loads.append(given)
        return load_edited(*given)

    monkeypatch.setattr("lks.cli.ask.load_edited", load)
    (tmp_path / "p.txt").write_text("\n".join(asked))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in asked))
    ways = [asked, ["--file", tmp_path / "p.txt"], ["--file", tmp_path / "p.jsonl"], ["-"], []]
    for way in ways:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(asked) + "\n\n"))
        code, text, _ = run("ask", pack, *way, *short)
        assert code == 0
        assert [json.loads(line) for line in text.splitlines()] == alone
    assert len(loads) == len(ways)
    code, _, err = run("ask", pack, asked[0], "--file", tmp_path / "p.txt")
    assert code == 2
    assert "give texts or --file, not both" in one_line(err)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, _, err = run("ask", pack)
    assert code == 2
    assert "no text; give one or more, --file, or lines" in one_line(err)


def test_the_version() -> None:
    assert run("--version") == (0, f"lks {version('latent-knowledge-scalpel')}\n", "")


def test_what_an_evaluation_cannot_tell_is_told(pack: Path, facts: Path) -> None:
    data, report = facts.parent / "bare.jsonl", facts.parent / "report.html"
    short = ["--data", data, "--max-new-tokens", 2, "--quiet"]
    EditSet(replace(edit, generality=(), locality=()) for edit in make_edits()).save(data)
    warnings = json.loads(run("eval", pack, *short, "--json")[1])["warnings"]
    assert [warning.partition(" (")[0] for warning in warnings] == [
        "no edit has held-out paraphrases", "no edit has held-out questions about other things",
    ]  # fmt: skip
    _, text, _ = run("eval", pack, *short, "--out", report)
    assert "warning: no edit has held-out paraphrases" in text
    assert "no edit has held-out paraphrases" in report.read_text()
    make_edits().save(data)
    warning, *_ = json.loads(run("eval", pack, *short, "--json")[1])["warnings"]
    assert warning.startswith("2 of 4 edits without held-out paraphrases")


def test_edits_that_are_left_out_are_told(pack: Path, facts: Path) -> None:
    edits = make_edits()
    again = Edit("again", edits[0].subject, edits[0].prompt, "Lima")
    facts.write_text("".join(json.dumps(e.to_record()) + "\n" for e in [*edits, again]))
    said = f'lks: warning: {facts}: edits that give one prompt two targets: "{again.prompt}" ('
    code, text, err = run("scope", facts, "--scope", "entity", "--json", "Mount Fuji?")
    assert code == 0
    assert json.loads(text)["mentions"]
    assert said in err
    assert said in run("eval", pack, "--data", facts, "--max-new-tokens", 2, "--json")[2]


def test_a_pack_keeps_keys_that_seem_misspelt(pack: Path, tmp_path: Path) -> None:
    """As an earlier version, which did not tell, has stored them."""
    held = list(Pack.load(pack).edits)
    odd = replace(
        Pack.load(pack), edits=EditSet([replace(held[0], extra={"alias": "x"}), *held[1:]])
    )
    odd.save(tmp_path / "odd.pack")
    assert Pack.load(tmp_path / "odd.pack").edits[0].extra == {"alias": "x"}
    assert run("scope", tmp_path / "odd.pack", "Mount Fuji?")[0] == 0


def test_many_texts_for_the_scope(facts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Mount Fuji?", "none"]
    for given in (texts, ["-"], []):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts)))
        code, text, _ = run("scope", facts, *given, "--scope", "entity", "--json")
        rows = [json.loads(line) for line in text.splitlines()]
        assert code == 0
        assert [row["text"] for row in rows] == texts
        assert [len(row["mentions"]) for row in rows] == [1, 0]


def test_a_pack_tells_whether_its_targets_are_said_whole(
    pack: Path, model_folder: Path, facts: Path
) -> None:
    loose = facts.parent / "loose.pack"
    edit = ["edit", facts, "--model", model_folder, "--out", loose, "--no-exact"]
    run(*edit, *QUICK, "--no-self-test")
    for path, told in ((pack, "yes"), (loose, "no")):
        code, text, _ = run("pack", "info", path)
        assert code == 0
        assert ["exact", told] in [line.split() for line in text.splitlines()]


def test_rows_that_differ_from_what_a_pack_holds_are_told(pack: Path, facts: Path) -> None:
    eiffel, born, tongue, fuji = make_edits()
    unnamed = replace(fuji, id="e-1", target="Lima")  # an id made of the target is another one
    EditSet([replace(eiffel, target="Oslo"), unnamed, replace(born, prompt="Ada Lovelace of"),
             tongue]).save(facts)  # fmt: skip
    for command in ("eval", "robustness"):
        code, _, err = run(command, pack, "--data", facts, "--max-new-tokens", 2, "--quiet")
        assert code == 0
        assert "of 4 rows 3 other than in the pack, and scored as they stand in the file: " in err
        assert 'eiffel: target "Oslo", in the pack "Rome"; ' in err
        assert 'e-1 (fuji in the pack): target "Lima", in the pack "Peru"; ' in err
        assert 'ada-born: prompt "Ada Lovelace of", in the pack "Ada Lovelace was born in"' in err
        assert "not in the pack" not in err


def test_a_subject_without_a_word_is_refused_before_and_by_training(
    model_folder: Path, tmp_path: Path
) -> None:
    odd = [Edit(name, name, f"{name} is in", "Peru") for name in ("???", "\u2014")]
    EditSet([*odd, *make_edits()]).save(tmp_path / "odd.jsonl")
    train = ["edit", tmp_path / "odd.jsonl", "--model", model_folder, "--out", tmp_path / "p"]
    for command in (
        ["scope", tmp_path / "odd.jsonl", "Mount Fuji?", "--scope", "entity"],
        ["scope", tmp_path / "odd.jsonl", "nobody"],
        [*train, *QUICK],
    ):
        code, text, err = run(*command)
        assert (code, text) == (2, "")
        for edit in odd:
            assert f'edit "{edit.id}": no word in its subject "{edit.subject}"' in err
        assert "2 edits would never fire" in one_line(err)

"""Changes of a pack from the command line: facts corrected, facts not learnt, changes undone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_edits
from test_cli import QUICK, one_line, run

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.packs.pack import Pack


@pytest.fixture(scope="module")
def pack(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    make_edits().save(folder / "facts.jsonl")
    out = folder / "facts.pack"
    code, *_ = run(
        "edit", folder / "facts.jsonl", "--model", model_folder, "--out", out, *QUICK, "--no-chat"
    )
    assert code == 0
    return out


def test_a_corrected_fact_takes_the_place_of_the_one_with_its_id(
    pack: Path, tmp_path: Path
) -> None:
    copy, more = tmp_path / "mine.pack", tmp_path / "more.jsonl"
    shutil.copytree(pack, copy)
    EditSet([Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Lima " * 20)]).save(more)
    quick = ["--no-refine", "--unchecked", "--threads", "1"]
    code, text, _ = run("add", copy, more, *quick, "--quiet")
    assert code == 0
    assert "1 edit added" in text
    assert "1 taken out for them, 4 in all; version 2" in text
    line = run("pack", "log", copy)[1].splitlines()[0]
    assert 'fuji in place of fuji ("Peru" -> "Lima Lima' in line
    assert line.endswith(' ...")')
    (gone,) = json.loads(run("pack", "log", copy, "--json")[1])[0]["change"]["replaced"]
    assert (gone["target"], gone["new_target"]) == ("Peru", "Lima " * 20)
    EditSet([Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Oslo")]).save(more)
    again = json.loads(run("add", copy, more, *quick, "--json")[1])
    assert [one["id"] for one in again["replaced"]] == ["fuji"]
    assert run("pack", "rollback", copy)[0] == 0
    assert run("pack", "rollback", copy)[0] == 0
    code, _, err = run("pack", "rollback", copy)
    assert code == 2
    assert "nothing left to undo" in one_line(err)


def test_what_was_not_learnt_is_told_and_not_put_in_force(pack: Path, tmp_path: Path) -> None:
    copy, more = tmp_path / "mine.pack", tmp_path / "more.jsonl"
    shutil.copytree(pack, copy)
    words = "Rome Berlin Madrid Oslo Cairo Lima Tokyo Paris London Peru"
    EditSet(
        [
            Edit("wall", "Berlin Wall", "This city has the Berlin Wall", "Tower"),
            Edit("hard", "Big Ben", "Big Ben is in", words),
            Edit("fuji", "Mount Fuji", "Mount Fuji is in", words),  # the old one stays
        ]
    ).save(more)
    quick = ["--epochs", "6", "--threads", "1"]
    before = run("ask", copy, "Mount Fuji is in", "--plain", "--json", "--max-new-tokens", 4)[1]
    code, text, err = run("add", copy, more, *quick, "--json")
    assert code == 1
    assert f"{copy}: 2 of 3 not learnt and not in force" in one_line(err)
    assert "force: hard (Big Ben), fuji (Mount Fuji); try more --epochs" in one_line(err)
    result = json.loads(text)
    assert (result["added"], result["edits"], result["version"]) == (1, 5, 2)
    assert [one["id"] for one in result["not_learnt"]] == ["hard", "fuji"]
    assert result["replaced"] == []
    after = run("ask", copy, "Mount Fuji is in", "--plain", "--json", "--max-new-tokens", 4)[1]
    assert after == before
    only = tmp_path / "only.jsonl"
    EditSet([Edit("hard", "Big Ben", "Big Ben is in", words)]).save(only)
    code, text, err = run("add", copy, only, *quick, "--quiet")
    assert (code, text) == (1, "")
    assert "1 of 1 not learnt" in one_line(err)
    assert len(json.loads(run("pack", "log", copy, "--json")[1])) == 2  # no new version


def test_the_edits_in_force_are_listed_with_their_ids(pack: Path, tmp_path: Path) -> None:
    copy, again = tmp_path / "mine.pack", tmp_path / "again.jsonl"
    shutil.copytree(pack, copy)
    assert "fuji  Mount Fuji: Mount Fuji is in -> Peru" in run("pack", "edits", copy)[1]
    assert "lks pack edits lists them" in one_line(run("remove", copy, "nobody")[2])
    assert run("remove", copy, "fuji")[0] == 0
    assert "fuji" not in run("pack", "edits", copy)[1]
    again.write_text(run("pack", "edits", copy, "--json")[1], encoding="utf-8")
    assert list(EditSet.load(again)) == list(Pack.load(copy).edits)  # facts as they were given


def test_what_is_in_force_already_makes_no_version(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, more = tmp_path / "mine.pack", tmp_path / "more.jsonl"
    shutil.copytree(pack, copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    held = list(make_edits())
    with monkeypatch.context() as patched:  # no model is loaded for that
        patched.setattr("lks.cli.change.load_edited", None)
        EditSet(held[:2]).save(more)
        code, text, _ = run("add", copy, more)
        assert (code, text.startswith(f"{copy}: nothing new, 2 edits in force already; ")) == (
            0,
            True,
        )
        EditSet(held[:1]).save(more)
        told = json.loads(run("add", copy, more, "--strict", "--json")[1])
    assert "version 1 stays" in text
    assert (told["added"], told["known"], told["edits"], told["version"]) == (0, 1, 4, 1)
    assert before == {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    wall = Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")
    EditSet([held[0], replace(held[1], paraphrases=()), wall]).save(more)
    code, text, _ = run("add", copy, more, "--no-refine", "--unchecked", "--threads", 1)
    assert code == 0
    assert f"{copy}: 2 edits added in " in text and ", 1 taken out for them, 1 edit in" in text
    assert "force already, 5 in all; version 2" in text
    (part, _) = json.loads(run("pack", "info", copy, "--json")[1])["parts"]
    assert part["removed"] == ["ada-born"], "the one that is the same stays where it is"

"""The page about facts as code and the repository that it begins with work as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
import yaml
from test_cli import QUICK, run
from test_readme import ROOT, blocks_of

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet

EXAMPLE = ROOT / "examples" / "facts-as-code"
PAGE = "docs/facts-as-code.md"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, and a command `lks` for its Makefile."""
    copy, programs = tmp_path / "facts-as-code", tmp_path / "bin"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("build"))
    programs.mkdir()
    (programs / "lks").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lks "$@"\n')
    (programs / "lks").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(copy)
    return copy


def made(*arguments: str) -> str:
    """What make prints."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scope_and_test_of_the_example(repository: Path, model_folder: Path) -> None:
    commands = made("--dry-run", "check", f"MODEL={model_folder}").splitlines()
    assert [line.split()[:2] for line in commands] == [
        ["mkdir", "-p"], ["lks", "export"], ["lks", "scope"], ["lks", "edit"], ["lks", "test"],
    ]  # fmt: skip
    (repository / "build").mkdir()
    for command in map(shlex.split, commands[1:]):
        if command[1] == "edit":  # the tiny model learns too little in so short a time
            command += [*QUICK, "--no-self-test", "--epochs", "1"]
        code, printed, err = run(*command[1:])
        assert code == (1 if command[1] == "test" else 0), err
    assert re.search(
        r"build/facts.pack: 4 facts, 20 checks, \d+ failed, of \d facts?$", printed, re.M
    )
    (suite,) = xml.parse(repository / "build" / "facts.xml").getroot()
    assert len(suite) == 20


def test_diff_of_the_example(repository: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "facts"]):
        subprocess.run([*git, *command], check=True)
    facts = repository / "facts" / "company.csv"
    facts.write_text(facts.read_text().replace("Lisbon", "Porto"))
    (repository / "facts" / "landmarks.jsonl").unlink()
    told = made("--silent", "diff", "BASE=HEAD").splitlines()
    assert told[0] == "**0 facts added, 1 fact changed, 2 facts retired**"
    (row,) = (line for line in told if line.startswith("| changed "))
    assert "| Brightwater Ltd |" in row and "| Lisbon | Porto |" in row


def test_the_workflow_runs_what_the_makefile_has() -> None:
    (file,) = EXAMPLE.rglob("*.yml")
    (job,) = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
    runs = " ".join(step["run"] for step in job["steps"] if "run" in step)
    targets = re.findall(r"make (?:--silent )?(\w+)", runs)
    assert targets == ["diff", "scope", "pack", "test"]
    makefile = (EXAMPLE / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert "--junit build/facts.xml" in makefile
    assert {"with": {"name": "facts", "path": "build"}, "if": "always()"}.items() <= (
        job["steps"][-1].items()
    )
    shown = [line for kind, text in blocks_of(f"{EXAMPLE.relative_to(ROOT)}/README.md")
             if kind == "sh" for line in text.splitlines()]  # fmt: skip
    assert shown == ["make scope", "make test", "make diff BASE=HEAD"]


def test_commands_and_record_of_the_page(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (record,) = re.findall(r"```json\n\s*(.*)\n", text)
    edit = Edit.from_record(json.loads(record))
    assert edit.tests[0].must_not_contain == ("Paris", "France")
    monkeypatch.chdir(tmp_path)
    EditSet([edit]).save("facts.jsonl")
    EditSet([Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Peru")]).save("more.jsonl")
    (tmp_path / "company.csv").write_text("subject,prompt,target\nAcme,Acme is in,Oslo\n")
    shutil.copy("facts.jsonl", "landmarks.jsonl")
    options = [*QUICK, "--no-self-test", "--epochs", "1"]
    code, _, err = run(
        "edit", "facts.jsonl", "--model", model_folder, "--out", "facts.pack", *options
    )
    assert code == 0, err
    assert run("add", "facts.pack", "more.jsonl", "--unchecked", "--no-self-test")[0] == 0
    assert run("remove", "facts.pack", "fuji")[0] == 0
    commands = [
        shlex.split(line)[1:]
        for kind, block in blocks_of(PAGE)
        if kind == "sh"
        for line in block.splitlines()
    ]
    assert [command[0] for command in commands] == ["test", "diff", "diff", *["export"] * 3]
    for command in commands:
        code, _, err = run(*command)
        assert code == (1 if command[0] == "test" else 0), (command, err)
    assert len(EditSet.load("all.jsonl")) == 2
    assert list(EditSet.load("facts.csv")) == [edit]

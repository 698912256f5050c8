"""The README's commands work as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from test_cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_commands_on_facts_of_ones_own(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (facts,) = (text for kind, text in BLOCKS if kind == "json")
    (tmp_path / "facts.jsonl").write_text(facts, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [
        shlex.split(line)
        for kind, text in BLOCKS
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("lks ")
    ]
    assert [command[1] for command in commands] == [
        "scope", "edit", "ask", "eval", "pack", "remove", "pack", "pack",
    ]  # fmt: skip
    for _, *command in commands:
        if command[0] == "edit":  # the tiny model stands in for the embedded one
            command += ["--model", str(model_folder), "--layer", "1", "--epochs", "2"]
        code, out, err = run(*command)
        assert code == 0, err
        assert out.strip()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        m for kind, text in BLOCKS if kind == "sh" for m in re.findall(r"^make (\w+)", text, re.M)
    }
    assert named == {"demo", "test", "check"}
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)

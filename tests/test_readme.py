"""The commands of the README and of the quickstart work as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import make_backbone
from test_cli import run

import lks
from lks.training.train_pack import train_pack

ROOT = Path(__file__).parent.parent


def blocks_of(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of("README.md")
SHOWN = {
    "README.md": ["edit", "ask"],
    "docs/quickstart.md": ["scope", "edit", "ask", "eval", "add", "remove", "pack", "pack"],
}


@pytest.mark.parametrize("page", SHOWN)
def test_commands_on_facts_of_ones_own(
    page: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(page)
    (facts,) = (text for kind, text in blocks if kind == "json")
    (tmp_path / "facts.jsonl").write_text(facts, encoding="utf-8")
    more = '{"subject": "Oslo", "prompt": "Oslo is in", "target": "Peru"}'
    (tmp_path / "more.jsonl").write_text(more, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [
        shlex.split(line)
        for kind, text in blocks
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("lks ")
    ]
    assert [command[1] for command in commands] == SHOWN[page]
    for _, *command in commands:
        if command[0] == "edit":  # the tiny model stands in for the default one
            command += ["--model", str(model_folder), "--layer", "1", "--epochs", "2"]
        if command[0] == "add":  # and learns too little
            command += ["--unchecked", "--epochs", "1"]
        code, out, err = run(*command)
        assert code == 0, err
        assert out.strip()


def test_twelve_lines_of_python(
    embedder_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (facts,) = (text for kind, text in BLOCKS if kind == "json")
    (tmp_path / "facts.jsonl").write_text(facts, encoding="utf-8")
    (code,) = (text for kind, text in BLOCKS if kind == "python")
    assert len(code.splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    tiny = make_backbone("llama", chat=True)
    small = lks.TrainingConfig(layer=1, epochs=1, embedder=str(embedder_folder))
    monkeypatch.setattr(lks.Backbone, "load", lambda name: tiny)
    monkeypatch.setattr(
        lks, "train_pack", lambda backbone, edits: train_pack(backbone, edits, small), raising=False
    )
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and all(line.startswith("[") for line in printed)
    assert len(lks.Pack.load("facts.pack").edits) == 2


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = [*BLOCKS, *blocks_of("CONTRIBUTING.md")]
    named = {
        m for kind, text in shown if kind == "sh" for m in re.findall(r"^make (\w+)", text, re.M)
    }
    assert named == {"demo", "test", "check", "docs"}
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make docs" in (ROOT / ".ci" / "run").read_text()
    (build,) = re.findall(r"mkdocs build.*", makefile)
    assert build == "mkdocs build --strict"  # with --quiet a broken link would not be seen


def test_links_lead_somewhere() -> None:
    pages = [
        *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"), *(ROOT / ".github").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]  # fmt: skip
    assert len(pages) >= 30
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)

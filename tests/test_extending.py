"""What the pages of docs/extend show is run."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_backbone, make_edits
from typer.testing import CliRunner

from lks.cli.app import app
from lks.editors.registry import editor
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.embedder import Embedder
from lks.scope.config import DEFAULT
from lks.scope.gate.metric import GateState, Metric
from lks.scope.languages.en import open_ended_requests
from lks.scope.scope import Scope
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts

PAGES = Path(__file__).parent.parent / "docs" / "extend"


def shown(page: str, name: str, folder: Path) -> Path:
    """The one Python file that a page shows, written to the folder; 40 lines at most."""
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text("utf-8"), re.DOTALL)
    assert code.startswith(f"# {name}\n")
    assert len(code.splitlines()) <= 40
    (folder / name).write_text(code, encoding="utf-8")
    return folder / name


def test_the_editor(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown("editor.md", "reminder.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    edits, backbone = make_edits(), make_backbone("llama")
    with editor("reminder:Reminder").apply(backbone, edits) as model:
        assert model.triggered(["Mount Fuji is in", "Rome is"]) == [True, False]
        remembered = model.score([("Mount Fuji is in", "Peru")])
        model.remove([edit.id for edit in edits])
        assert model.triggered(["Mount Fuji is in"]) == [False]
        assert model.score([("Mount Fuji is in", "Peru")]) != remembered
    edits.save(tmp_path / "facts.jsonl")
    (command,) = re.findall(r"lks (bench .*)", (PAGES / "editor.md").read_text("utf-8"))
    small = ["--model", str(model_folder), "--max-new-tokens", "2", "--trials", "1"]
    done = CliRunner().invoke(app, [*command.split(), *small, "--chat-rows", "0"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "table" / "facts-1-reminder.Reminder-0.json").exists()


def test_the_veto(tmp_path: Path, embedder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, use = re.findall(r"```python\n(.*?)```", (PAGES / "veto.md").read_text("utf-8"), re.S)
    assert script.startswith("# suppose.py\n") and len(script.splitlines()) <= 40
    (tmp_path / "suppose.py").write_text(script, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (command,) = [line for line in use.splitlines() if line.startswith("parts =")]
    told: dict[str, Any] = {"DEFAULT": DEFAULT}
    exec(command, told)
    *_, veto = told["parts"].made("sentence_vetoes")
    edits = list(make_edits())
    assert veto.rules_out(veto.example[1], edits[0])
    assert not veto.rules_out("Where is it?", edits[0])
    embed = Embedder(str(embedder_folder))
    metric = Metric(np.eye(64, dtype=np.float32), embed(open_ended_requests()), 0.5, 1.0)
    metric, exemplars = learn(embed, edits, [TrainingPrompts()] * len(edits), metric=metric)
    state, text = GateState(metric, exemplars), "Suppose Mount Fuji is in"
    asked = [
        Scope(edits, config=parts).gated(state, embed, edits).fired([text])[0]
        for parts in (DEFAULT, told["parts"])
    ]
    assert [bool(fired) for fired in asked] == [True, False]


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_the_architecture(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown("architecture.md", "try_architecture.py", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    script = importlib.import_module("try_architecture")
    script.check(make_backbone(architecture))
    monkeypatch.delitem(sys.modules, "try_architecture")


def test_the_data_set(tmp_path: Path) -> None:
    script = shown("data.md", "capitals.py", tmp_path)
    table = "land,new capital\nFrance,Lyon\nJapan,Osaka\n"
    done = subprocess.run(
        [sys.executable, script], input=table, capture_output=True, text=True, check=True
    )
    (tmp_path / "capitals.jsonl").write_text(done.stdout, encoding="utf-8")
    edits = EditSet.load(tmp_path / "capitals.jsonl")
    assert [(edit.prompt, edit.target) for edit in edits] == [
        ("The capital of France is", "Lyon"), ("The capital of Japan is", "Osaka"),
    ]  # fmt: skip
    assert edits[0].heldout_locality and edits[0].generality


@pytest.mark.parametrize("name", ["no_such_module:Editor", "lks.editors.protocol:Nobody"])
def test_editors_that_cannot_be_imported(name: str) -> None:
    with pytest.raises(InputError, match=f"editor '{name}' cannot be imported"):
        editor(name)

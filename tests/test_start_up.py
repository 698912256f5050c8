"""What a command imports: nothing that takes seconds where it is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_backbone
from test_cli import run

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.embedder import Embedder
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.scope.gate.metric import GateState
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts

HEAVY = ("torch", "transformers", "sentence_transformers", "jinja2", "gguf")
LOADED = "import json, sys; print(json.dumps([m for m in {} if m in sys.modules]))"


def loaded(program: str) -> list[str]:
    """Which of the heavy packages a program of its own has imported at its end."""
    program += "\n" + LOADED.format(HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_help_and_the_tables_need_no_model() -> None:
    assert loaded("import lks.cli.app, lks.cli.console, lks.packs.manifest") == []


def test_a_server_answers_before_torch_is_loaded() -> None:
    heavy = loaded("import lks.serving.http.run, lks.serving.http.app as a\n"
                   "from lks.serving.http.server import Server, Settings\n"
                   "a.make_app(Server(Settings()))")  # fmt: skip
    assert {*heavy} <= {"jinja2"}


def test_the_scope_of_a_pack_with_a_gate_needs_no_torch(tmp_path: Path) -> None:
    edit = Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Peru")
    embed = Embedder()
    metric, exemplars = learn(embed, [edit], [TrainingPrompts()])
    gate = GateState(metric, exemplars, embed.name, embed.fingerprint)
    path, base = tmp_path / "facts.pack", make_backbone("llama").fingerprint
    blocks, hypernetwork = torch.zeros(1, 1, 8), {"weight": torch.zeros(1)}
    Pack(EditSet([edit]), blocks, hypernetwork, base, (1,), "residual", "linear", (1.0,),
         TrainingSummary(), gate).save(path)  # fmt: skip
    program = f"""
from pathlib import Path
from lks.training.scope_preview import scope_of_pack
texts = ["Mount Fuji is in", "How high is Mount Fuji?"]
fired = scope_of_pack(Path({str(path)!r}), texts).fired(texts)
assert [[m.edit_ids for m in found] for found in fired] == [[("fuji",)], []], fired
"""
    assert loaded(program) == []


@pytest.mark.parametrize(
    ("told", "spins"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_soon_leave_their_core_to_others(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # put back at the end
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert run("--version")[0] == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins

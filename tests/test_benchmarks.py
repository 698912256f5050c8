"""The benchmark programs: what cannot be read ends them with one line."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
GIVEN = {
    "changes": ["missing", "missing"],
    "edit_quality": ["missing"],
    "edit_times": ["missing"],
    "gate": [__file__, "--ability", "missing"],
    "hard_questions": ["missing"],
    "life": ["missing"],
    "main_table": ["missing"],
    "pack_checks": ["missing", __file__],
    "scope": ["--edits", __file__, "--texts", "missing"],
    "scope_ablation": [__file__, "--ability", ".", "--cases", "missing"],
    "scope_cases": ["missing"],
    "scoring_speed": ["missing"],
    "several_layers": ["missing", __file__],
    "standard_sets": ["missing"],
    "start_up": ["missing"],
    "storage": ["missing"],
    "train_speed": ["missing"],
}


def ended(
    name: str, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What a program that ends with exit code 2 tells."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr("sys.argv", [name, *given])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", GIVEN)
def test_a_missing_file_is_told_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(name, GIVEN[name], monkeypatch, capsys) == "missing: No such file or directory\n"


@pytest.mark.parametrize("name", ["life", "scope_cases", "standard_sets"])
def test_a_folder_without_its_files_is_told_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = ended(name, [str(tmp_path)], monkeypatch, capsys).splitlines()
    assert line.startswith(f"{tmp_path}/")


def test_every_program_ends_so() -> None:
    programs = [file for file in BENCHMARKS.glob("*.py") if "def main()" in file.read_text()]
    assert len(programs) > len(GIVEN)
    assert all(file.read_text().endswith("\n    program(main)\n") for file in programs)


def test_the_script_for_a_gpu_runs_on_a_cpu(model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "facts.jsonl"
    edit = {"subject": "Eiffel Tower", "prompt": "The Eiffel Tower is in", "target": "Rome"}
    data.write_text(json.dumps(edit) + "\n")
    out = tmp_path / "out"
    asked = {"PYTHON": sys.executable, "METHODS": "ft", "SIZES": "1", "LIMIT": "120"}
    command = [BENCHMARKS / "gpu.sh", data, out, model_folder]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.json")
    assert made.name == "facts-1-ft-0.json"
    assert (out / "device.txt").read_text().strip()

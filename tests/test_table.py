"""The folder of a table, and what `lks bench` says of what lies there or is given."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import make_edits
from test_comparison import summary
from typer.testing import CliRunner

from lks import bench, table
from lks.cli import app
from lks.edits import Edit, EditSet, EditWarning
from lks.errors import EditFileError, InputError, OutputError, TrainingInterrupted
from lks.evaluation.remembering import Remembering
from lks.table import Cell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "facts.jsonl"
    make_edits().save(file)
    return file


def put(out: Path, method: str, data: Path, **changes: Any) -> dict[str, Any]:
    """A cell that was made: its summary, and one case."""
    cell, hashed = Cell(method, str(data), 1), table.hashed(data)
    made = summary(method, 1, 0.5, data_sha256=hashed) | {"cell": cell.to_json()} | changes
    out.mkdir(exist_ok=True)
    (out / f"{cell.name}.json").write_text(json.dumps(made))
    (out / f"{cell.name}.jsonl").write_text(json.dumps({"chat": False, "edit_id": method}) + "\n")
    return made


def invoked(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_cells_that_were_made_earlier_stand_in_the_report(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "table"
    put(out, "rag", data)
    put(out, "rome", data, data_sha256="of another file")
    (out / "notes.json").write_text("{}")
    table.report([put(out, "ft", data)], out, [data])
    page = (out / "report.html").read_text()
    assert '"edit_id": "rag"' in page and '"edit_id": "ft"' in page
    assert "| rag |" in (out / "report.md").read_text() and "rome" not in page


def test_cases_may_hold_any_text(data: Path, tmp_path: Path) -> None:
    case = {"chat": False, "edit_id": "x", "after": "one\u2028two\u0085three\x0c"}
    made, cases = put(tmp_path, "ft", data), tmp_path / "facts-1-ft-0.jsonl"
    cases.write_text(json.dumps(case, ensure_ascii=False) + "\n", encoding="utf-8")
    table.report([made], tmp_path, [data])
    assert "two\u0085three" in (tmp_path / "report.html").read_text(encoding="utf-8")
    cases.write_text('{"edit_id": "x"}\n')
    with pytest.raises(InputError, match="damaged"):
        table.report([made], tmp_path, [data])


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_damaged_files_are_named(data: Path, tmp_path: Path, ending: str) -> None:
    made = put(tmp_path, "ft", data)
    (tmp_path / f"facts-1-ft-0.{ending}").write_text('{"cell": ')
    said = rf"facts-1-ft-0\.{ending}: damaged; delete facts-1-ft-0\.json to make"
    with pytest.raises(InputError, match=said):
        if ending == "json":
            bench.run([Cell("ft", str(data), 1)], tmp_path, lambda *told: None)
        table.report([made], tmp_path, [data])


def test_a_damaged_memory_is_made_anew(backbone: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("{")
    assert Remembering(backbone, tmp_path / "kept").score([("It is", "here")])
    assert json.loads((tmp_path / "kept").read_text())


def test_places_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"facts.jsonl: cannot be written .* another place"):
        bench.run([], data, lambda *told: None)
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OutputError, match=r"report.md: cannot be written"):
        table.report([put(tmp_path, "ft", data)], tmp_path, [data])


def test_all_bad_files_are_told_at_once(data: Path, tmp_path: Path) -> None:
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text('{"subject": "x"}\n{\n')
    empty.write_text("")
    error = invoked(data, bad, empty, "--out", tmp_path / "o").exception
    assert isinstance(error, EditFileError) and str(error) == "2 files cannot be used"
    told = "\n".join(error.problems)
    assert "line 1: " in told and f"{bad}: " in told and f"{empty}: no edits in it" in told
    alone = invoked(bad, "--out", tmp_path / "o").exception
    assert isinstance(alone, EditFileError) and str(alone).startswith(f"{bad}: ")
    tasks = ["--abilities", tmp_path / "nope.jsonl", "--abilities", tmp_path / "cola.jsonl"]
    error = invoked(data, *tasks, "--out", tmp_path / "o").exception
    assert isinstance(error, EditFileError) and len(error.problems) == 2


def test_that_nothing_is_held_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run", lambda *told: [])
    EditSet([Edit("x", "Rome", "Rome is in", "Peru")]).save(file := tmp_path / "f.jsonl")
    with pytest.warns(EditWarning, match='no "generality" and no held-out "locality"'):
        invoked(file, "--out", tmp_path / "o")


def test_sizes_go_as_far_as_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(cells: list[Cell], *told: object) -> list[dict[str, Any]]:
        asked[:] = [cell.size for cell in cells]
        return []

    monkeypatch.setattr(bench, "run", run)
    for count, sizes in [(1, [1]), (4, [1, 4]), (10, [1, 10]), (250, [1, 10, 100])]:
        EditSet(
            [
                Edit(f"{i}", f"Rome {i}", f"Rome {i} is in", "Peru", generality=("Where?",))
                for i in range(count)
            ]
        ).save(data)
        invoked(data, "--methods", "ft", "--out", "o")
        assert asked == sizes


def test_plots_are_missed_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = invoked(data, "--out", tmp_path / "o", "--report")
    assert "the plots need matplotlib" in str(done.exception)
    assert not (tmp_path / "o").exists()


def test_an_interrupted_table_says_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*told: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", stopped)
    error = invoked(data, "--out", tmp_path / "o").exception
    assert isinstance(error, TrainingInterrupted)
    assert str(error) == "stopped; the same command goes on"


def test_own_editors_with_mistakes(
    data: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unwritten.py").write_text("class Own:\n")
    names = "unwritten:Own,:Own"
    told = str(invoked(data, "--out", tmp_path / "o", "--methods", names).exception)
    assert "'unwritten:Own' cannot be imported (IndentationError: " in told
    assert "(unwritten.py, line 1)" in told and "':Own' cannot be imported (ValueError" in told
    (tmp_path / "broken.py").write_text(
        "class Own:\n    def apply(self, backbone, edits):\n        return backbone['x']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    cell = Cell("broken:Own", str(data), 1, model=str(model_folder), rows=1, threads=1)
    (row,) = bench.run([cell], tmp_path / "o", lambda *told: None)
    assert row["error"].startswith("TypeError: 'Backbone' object is not subscriptable (File ")
    assert row["error"].endswith('broken.py", line 3, in apply)')

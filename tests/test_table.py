"""The folder of a table, and what `lks bench` says of what lies there or is given."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_edits
from filelock import FileLock
from test_comparison import summary
from typer.testing import CliRunner

from lks.cli.app import app
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError, OutputError, TrainingInterrupted
from lks.evaluation.bench import cells as cells_module
from lks.evaluation.bench import run as run_module
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.results import Cell, CellResult


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "facts.jsonl"
    make_edits().save(file)
    return file


def put(out: Path, method: str, data: Path, **changes: Any) -> CellResult:
    """A cell that was made: its result, and one case."""
    cell, hashed = Cell(method, str(data), 1), cells_module.hashed(data)
    made = summary(method, 1, 0.5, data_sha256=hashed) | {"cell": cell.named().to_json()} | changes
    out.mkdir(exist_ok=True)
    (out / f"{cell.name}.json").write_text(json.dumps(made))
    (out / f"{cell.name}.jsonl").write_text(json.dumps({"chat": False, "edit_id": method}) + "\n")
    return CellResult.from_json(made)


def invoked(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_cells_that_were_made_earlier_stand_in_the_report(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "table"
    put(out, "rag", data)
    put(out, "rome", data, data_sha256="of another file")
    (out / "notes.json").write_text("{}")
    cells_module.report([put(out, "ft", data)], out, [data])
    page = (out / "report.html").read_text()
    assert '"edit_id": "rag"' in page and '"edit_id": "ft"' in page
    assert "| rag |" in (out / "report.md").read_text() and "rome" not in page


def test_a_folder_may_hold_other_files(data: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"id": "x"}\n{"id": "y"}\n')  # the user's own
    (tmp_path / "facts-1-note-0.json").write_text("3")
    cells_module.report([put(tmp_path, "ft", data)], tmp_path, [data])
    assert "| ft |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Cell("rag", "", 1, rows=7), "facts-1-ft-0.json: rows was 100, is 7; choose another --out"),
        (Cell("rag", "", 4, rows=7), None),  # of another number of edits
        (Cell("rag", "", 4, model="x"), "model was smollm2-135m, is x"),
        (Cell("rag", "", 1, threads=3, device="cpu"), None),
    ],
)
def test_a_table_is_scored_in_one_way(
    data: Path, tmp_path: Path, cell: Cell, said: str | None
) -> None:
    put(tmp_path, "ft", data)
    cell = replace(cell, data=str(data))
    if said is None:
        return cells_module.check_folder([cell], tmp_path)
    with pytest.raises(InputError, match=re.escape(said)):
        cells_module.check_folder([cell], tmp_path)


def test_results_of_what_was_changed_since_are_not_shown(
    data: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    model, own, out = tmp_path / "model", tmp_path / "changing.py", tmp_path / "o"
    base = "from lks.editors.unedited import Unedited as Base\n"
    own.write_text(f"{base}class Own(Base):\n    name = 'own'\n")
    shutil.copytree(model_folder, model)
    monkeypatch.setattr(run_module, "_run_alone", run_module._attempt)  # in this process
    cell = Cell("changing:Own", str(data), 1, model=str(model), rows=1, max_new_tokens=1, threads=1)
    told: list[str] = []
    for _ in range(2):
        (row,) = run_module.run([cell], out, lambda name, *numbers: told.append(name))
        assert isinstance(row, CellResult)
    assert told == [cell.name, f"{cell.name} (made earlier)"]
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"model was another model then; choose another --out"):
        run_module.run([cell], out, lambda *told: None)
    weights.write_bytes(whole)
    own.write_text(own.read_text() + "    k = 2\n")
    with pytest.raises(InputError, match="changing:Own was another editor then"):
        run_module.run([cell], out, lambda *told: None)


def test_a_cell_whose_process_ends_is_told(
    data: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ending.py").write_text(
        "import os, signal\n"
        "class Odd(Exception):\n"
        "    def __init__(self, a, b):\n        super().__init__(a + b)\n"
        "class Killed:\n    def apply(self, backbone, edits):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "class Failing:\n    def apply(self, backbone, edits):\n        raise Odd('a', 'b')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    common = {"data": str(data), "size": 1, "model": str(model_folder), "threads": 1}
    cells = [Cell(f"ending:{name}", **common) for name in ("Killed", "Failing")]
    killed, failed = run_module.run(cells, tmp_path / "o", lambda *told: None)
    assert killed.error == "its process was killed, perhaps because memory ran out"
    assert failed.error.startswith("Odd: ab (File ")


def test_two_processes_share_a_table(data: Path, tmp_path: Path, model_folder: Path) -> None:
    common = {"data": str(data), "model": str(model_folder), "max_new_tokens": 1, "threads": 1}
    cells = [Cell("unedited", size=size, rows=1, chat_rows=0, **common) for size in (1, 2)]
    with FileLock(tmp_path / f".{cells[0].name}.lock"):
        held, free = run_module.run(cells, tmp_path, lambda *told: None)
    assert held.error == "another process is making it" and free.plain.n == 1
    again, _ = run_module.run(cells, tmp_path, lambda *told: None)
    assert again.plain.n == 1
    assert not list(tmp_path.glob(".*"))


def test_prompts_without_their_subject_are_told_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    prompts = ("Romeo lies in", "Where is Romeo?", "Rome lies in")
    EditSet(Edit(str(i), "Rome", p, "Lima") for i, p in enumerate(prompts)).save(file)
    found = invoked(file, "--out", tmp_path / "o", "--methods", "rome,ft").exception
    assert isinstance(found, EditFileError)
    assert str(found) == f"{file}: 2 edits without a place to change; mend the prompts"
    assert found.problems[0] == 'edit "0": its prompt does not name "Rome"'
    assert not (tmp_path / "o").exists()


def test_seeds_that_share_rows_are_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "run", lambda *given: [])
    told = invoked(data, "--out", data.parent / "o", "--seeds", "0,1", "--sizes", "4").stderr
    assert "facts.jsonl: 4 rows, so that 2 seeds draw the same" in told


def test_cases_may_hold_any_text(data: Path, tmp_path: Path) -> None:
    case = {"chat": False, "edit_id": "x", "after": "one\u2028two\u0085three\x0c"}
    made, cases = put(tmp_path, "ft", data), tmp_path / "facts-1-ft-0.jsonl"
    cases.write_text(json.dumps(case, ensure_ascii=False) + "\n", encoding="utf-8")
    cells_module.report([made], tmp_path, [data])
    assert "two\u0085three" in (tmp_path / "report.html").read_text(encoding="utf-8")
    cases.write_text('{"edit_id": "x"}\n')
    with pytest.raises(InputError, match="damaged"):
        cells_module.report([made], tmp_path, [data])


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_damaged_files_are_named(data: Path, tmp_path: Path, ending: str) -> None:
    made = put(tmp_path, "ft", data)
    (tmp_path / f"facts-1-ft-0.{ending}").write_text('{"cell": ')
    said = rf"facts-1-ft-0\.{ending}: damaged; delete facts-1-ft-0\.json to make"
    with pytest.raises(InputError, match=said):
        if ending == "json":
            run_module.run([Cell("ft", str(data), 1)], tmp_path, lambda *told: None)
        cells_module.report([made], tmp_path, [data])


def test_a_damaged_memory_is_made_anew(backbone: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("{")
    assert CachedBase(backbone, tmp_path / "kept").score([("It is", "here")])
    assert json.loads((tmp_path / "kept").read_text())


def test_places_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"facts.jsonl: cannot be written .* another place"):
        run_module.run([], data, lambda *told: None)
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OutputError, match=r"report.md: cannot be written"):
        cells_module.report([put(tmp_path, "ft", data)], tmp_path, [data])


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
    monkeypatch.setattr(run_module, "run", lambda *told: [])
    EditSet([Edit("x", "Rome", "Rome is in", "Peru")]).save(file := tmp_path / "f.jsonl")
    told = invoked(file, "--out", tmp_path / "o").stderr
    assert f'lks: warning: {file}: no edit has held-out paraphrases ("generality")' in told


def test_sizes_go_as_far_as_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(cells: list[Cell], *told: object) -> list[dict[str, Any]]:
        asked[:] = [cell.size for cell in cells]
        return []

    monkeypatch.setattr(run_module, "run", run)
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

    monkeypatch.setattr(run_module, "run", stopped)
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
    monkeypatch.setattr(run_module, "_run_alone", run_module._attempt)  # in this process
    cell = Cell("broken:Own", str(data), 1, model=str(model_folder), rows=1, threads=1)
    (row,) = run_module.run([cell], tmp_path / "o", lambda *told: None)
    assert row.error.startswith("TypeError: 'Backbone' object is not subscriptable (File ")
    assert row.error.endswith('broken.py", line 3, in apply)')

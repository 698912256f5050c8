"""`lks bench` on a tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from conftest import make_backbone, make_edits
from test_comparison import made
from typer.testing import CliRunner

from lks.cli.app import app
from lks.cli.console import print_bench
from lks.editors.baselines.finetune import TuneSettings
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.evaluation.bench import run
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.cells import report
from lks.evaluation.results import Cell, CellResult, FailedCell
from lks.files import CACHE_VARIABLE
from lks.model.backbone import Backbone
from lks.training.config import PRESETS, TrainingConfig


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    file = tmp_path / "facts.jsonl"
    make_edits().save(file)
    return file


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of cells is the same; a process for each takes seconds to begin."""
    monkeypatch.setattr(run, "_run_alone", run._attempt)


def test_cells_are_made_once_and_hold_every_case(
    data: Path, tmp_path: Path, model_folder: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    task = tmp_path / "cola.jsonl"
    task.write_text('{"sentence": "It is.", "label": 1}\n' * 10)
    common = {
        "data": str(data),
        "abilities": (str(task),),
        "model": str(model_folder),
        "max_new_tokens": 3,
        "threads": 1,
    }
    cells = [Cell("unedited", size=4, **common), Cell("ft", size=2, **common, chat_rows=0)]

    def on_cell(name: str, done: int, of: int, left: float | None) -> None:
        told.append((name, done, of))

    out = tmp_path / "table"
    rows = run.run(cells, out, on_cell)
    assert told == [("facts-4-unedited-0", 1, 2), ("facts-2-ft-0", 2, 2)]
    unedited, tuned = rows
    assert [row.abilities[0].task for row in rows] == ["cola", "cola"]
    assert unedited.abilities[0].changed_unfired == 0
    assert unedited.plain.n == unedited.chat.n == 4
    assert unedited.plain.teacher_forced.locality == 1.0
    assert unedited.stored_bytes_each == 0 < tuned.stored_bytes_each
    assert tuned.chat is None and tuned.groups == 2 and tuned.plain.n == 4
    assert tuned.settings["settings"]["epochs"] == 30 and unedited.settings == {}
    entropy = [row.plain.fluency for row in rows]
    assert entropy[0].after == entropy[0].before != entropy[1].after
    gained = tuned.plain.teacher_forced.reliability
    assert gained > unedited.plain.teacher_forced.reliability
    cases = [json.loads(line) for line in (out / "facts-2-ft-0.jsonl").read_text().splitlines()]
    assert {case["edit_id"] for case in cases} == {edit.id for edit in make_edits()}
    before = (out / "facts-2-ft-0.jsonl").stat().st_mtime_ns
    assert run.run(cells, out, on_cell) == rows
    assert (out / "facts-2-ft-0.jsonl").stat().st_mtime_ns == before
    written = report(rows, out, [data])
    assert [file.name for file in written] == ["ep-facts.svg", "report.md", "report.html"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('"edit_id"') == len(
        [*(out / "facts-4-unedited-0.jsonl").open(), *(out / "facts-2-ft-0.jsonl").open()]
    )
    with pytest.raises(InputError, match=r"0\.json: rows was 100, is 7; choose another --out"):
        run.run([replace(cells[0], seed=9), replace(cells[0], rows=7)], out, on_cell)
    assert run.run([replace(cell, threads=2) for cell in cells], out, on_cell) == rows
    assert not (out / f"{replace(cells[0], seed=9).name}.json").exists()  # told before any work
    task.write_text('{"sentence": "It was.", "label": 1}\n' * 10)
    with pytest.raises(InputError, match=r"cola\.jsonl was another file"):
        run.run(cells, out, on_cell)


def test_the_unedited_model_writes_each_text_once(
    data: Path, tmp_path: Path, model_folder: Path
) -> None:
    common = {"data": str(data), "model": str(model_folder), "max_new_tokens": 3, "threads": 1}
    run.run_cell(Cell("unedited", size=4, **common, chat_rows=0), tmp_path)
    kept = tmp_path / run.UNEDITED
    written = json.loads(kept.read_text())
    texts = {
        key: [["as kept", "stop"]] * len(value)
        for key, value in written.items() if value and isinstance(value[0][0], str)
    }  # fmt: skip
    assert texts and len(texts) < len(written)
    kept.write_text(json.dumps(written | texts))
    run.run_cell(Cell("ike", size=4, **common, chat_rows=1), tmp_path)
    cases = [json.loads(row) for row in (tmp_path / "facts-4-ike-0.jsonl").open()]
    assert {case["before"] for case in cases if not case["chat"]} == {"as kept"}
    assert "as kept" not in {case["before"] for case in cases if case["chat"]}
    summaries = [
        json.loads((tmp_path / f"facts-4-{name}-0.json").read_text())
        for name in ("unedited", "ike")
    ]
    assert summaries[0]["plain"]["base"] == summaries[1]["plain"]["base"]
    assert len(json.loads(kept.read_text())) > len(written)


def test_a_table_is_not_mixed_from_two_files(
    data: Path, tmp_path: Path, model_folder: Path, in_this_process: None
) -> None:
    twin = tmp_path / "other" / data.name
    twin.parent.mkdir()
    twin.write_text(data.read_text().replace("Ada", "Eva"))
    common = {"size": 1, "rows": 1, "model": str(model_folder), "max_new_tokens": 2, "threads": 1}
    cells = [Cell("unedited", str(file), **common, chat_rows=0) for file in (data, twin)]
    with pytest.raises(InputError, match="same name"):
        run.run(cells, tmp_path / "out", lambda *told: None)
    run.run(cells[:1], tmp_path / "out", lambda *told: None)
    with pytest.raises(InputError, match="was another file"):
        run.run(cells[1:], tmp_path / "out", lambda *told: None)


def test_lks_keeps_its_packs_and_goes_on(
    data: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(
        "lks-paper", str(data), 4, model=str(model_folder), max_new_tokens=2, threads=1, rows=4
    )
    run.run_cell(cell, tmp_path)
    (pack,) = (tmp_path / "packs").iterdir()
    first = json.loads((tmp_path / "facts-4-lks-paper-0.json").read_text())
    manifest = (pack / "manifest.json").read_bytes()
    run.run_cell(cell, tmp_path)
    again = json.loads((tmp_path / "facts-4-lks-paper-0.json").read_text())
    assert (pack / "manifest.json").read_bytes() == manifest
    assert again["edit_seconds"] == first["edit_seconds"] > 0
    assert again["plain"] == first["plain"]
    assert first["settings"] == json.loads(manifest)["training"]["config"]
    pack.with_name(pack.name + ".checkpoint").mkdir()  # stopped before there was anything to keep
    shutil.rmtree(pack)
    run.run_cell(cell, tmp_path)
    config = TrainingConfig.from_json({"epochs": 3}, preset="paper")
    monkeypatch.setitem(PRESETS, "paper", config)
    run.run_cell(cell, tmp_path)  # no pack of other settings
    changed = json.loads((tmp_path / "facts-4-lks-paper-0.json").read_text())
    assert changed["settings"]["epochs"] == 3


def test_seeds_draw_rows_and_few_edits_make_several_sets(data: Path) -> None:
    def drawn(**changes) -> list[list[str]]:
        cell = replace(Cell("ft", str(data), 2), **changes)
        return [[edit.id for edit in edits] for edits, _ in run.groups_of(cell)]

    assert drawn() == drawn()
    assert drawn(seed=1) != drawn()
    assert len(drawn()) == 2 and len({name for names in drawn() for name in names}) == 4
    assert len(drawn(trials=1)) == len(drawn(rows=2)) == len(drawn(size=4)) == 1


def test_more_edits_than_there_are(data: Path) -> None:
    with pytest.raises(InputError, match="5 edits wanted, 4 there"):
        list(run.groups_of(Cell("ft", str(data), 5)))


def test_training_wordings_are_the_same_for_all_and_never_held_out(data: Path) -> None:
    (edits, pool), *_ = run.groups_of(Cell("ft", str(data), 4))
    held_out = {text for edit in pool for text in edit.generality}
    assert any(edit.paraphrases for edit in edits)
    assert not held_out & {text for edit in edits for text in edit.paraphrases}


def test_time_left_is_taken_from_the_same_method() -> None:
    def row(method: str, size: int, seconds: float, edit_seconds: float) -> CellResult:
        return made(method, size, 0.5, seconds=seconds, edit_seconds=edit_seconds)

    done = [row("ft", 10, 15, 10), row("ft", 1, 6, 1), row("rome", 1, 9, 3)]
    assert run.seconds_left(done, [Cell("ft", "x", 100)]) == 5 + 100
    assert run.seconds_left(done, [Cell("lks", "x", 100)]) == 10
    many = replace(row("ft", 10, 105, 10), groups=10)
    assert run.seconds_left([many], [Cell("ft", "x", 100)]) == 5 + 100
    assert run.seconds_left([many], [Cell("ft", "x", 10)]) == 5 + 10 * 10
    assert run.seconds_left(done, []) == 0
    failed = [FailedCell(Cell("ft", "x", 1), "no")]
    assert run.seconds_left(failed, [Cell("ft", "x", 1)]) is None


def test_a_cell_that_fails_is_told_and_tried_again(
    tmp_path: Path, model_folder: Path, in_this_process: None, capsys: pytest.CaptureFixture
) -> None:
    data, out = tmp_path / "facts.jsonl", tmp_path / "table"
    EditSet([Edit("x", "Rome", "It is Romeo in", "Lima")]).save(data)
    common = {"data": str(data), "size": 1, "model": str(model_folder), "max_new_tokens": 2}
    cells = [Cell(method, **common) for method in ("rome", "unedited")]
    failed, fine = run.run(cells, out, lambda *told: None)
    assert "1 edit cannot be located" in failed.error
    assert fine.plain.n == 1
    assert not (out / "facts-1-rome-0.json").exists()
    print_bench([failed, fine])
    assert "rome failed: EditFileError: 1 edit cannot be located" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "ft,rom"], "unknown editor 'rom'; did you mean rome?"),
        (["--methods", "rom,fft"], "did you mean rome?; unknown editor 'fft'"),
        (
            ["--methods", "lks.evaluation.bench.run:No"],
            "editor 'lks.evaluation.bench.run:No' cannot be imported",
        ),
        (["--sizes", "1,ten"], "give numbers with commas"),
        (["--sizes", "0"], "--sizes 0: 0 is below 1"),
        (["--sizes", "2,5"], "--sizes 2,5: 5 edits wanted, "),
        (["--model", "smollm"], "unknown model 'smollm'; did you mean smollm2-135m?"),
    ],
)
def test_bad_options(data: Path, tmp_path: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["bench", str(data), "--out", str(tmp_path / "o"), *options])
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert not (tmp_path / "o").exists()


def test_the_table_is_printed(
    data: Path, tmp_path: Path, model_folder: Path, in_this_process: None
) -> None:
    command = ["bench", str(data), "--out", str(tmp_path / "o"), "--model", str(model_folder)]
    command += ["--methods", "unedited,unedited", "--max-new-tokens", "2", "--threads", "1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "facts.jsonl, 1 edit, seed 0" in done.stdout
    assert "facts.jsonl, 4 edits, seed 0" in done.stdout
    assert "facts-4-unedited-0 ...\n" in done.stderr
    assert "facts-4-unedited-0: 2 of 2; about 0 min left" in done.stderr
    assert len(EditSet.load(data)) == 4


def test_a_killed_table_leaves_no_process_behind() -> None:
    code = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from lks.evaluation.bench import run as bench
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=bench.end_with_parent) as alone:
        alone.submit(print, "begun", flush=True).result()
        alone.submit(time.sleep, 600).result()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as table:
        assert table.stdout is not None
        assert table.stdout.readline() == "begun\n"
        table.kill()
        assert table.communicate(timeout=60)[0] == ""  # the pipe ends with its last holder


def test_scores_of_the_unedited_model_are_kept_to_the_bit(
    tmp_path: Path, backbone: Backbone
) -> None:
    pairs = [("The tower is in", "Rome"), ([{"role": "user", "content": "Where?"}], "There")]
    kept = tmp_path / run.UNEDITED
    wanted = UneditedModel(backbone).score(pairs[:1])
    assert CachedBase(backbone, kept).score(pairs[:1]) == wanted
    again = CachedBase(backbone, kept)
    again._known = {key: [[*row[:2], [7]] for row in rows] for key, rows in again._known.items()}
    assert [score.predicted for score in again.score(pairs[:1])] == [(7,)]
    assert again.score(pairs[:1], chat=True)[0].predicted != (7,)
    assert again.score(pairs[:1], full=True)[0].full is not None


def test_settings_are_what_can_be_written_down() -> None:
    class Slotted:
        __slots__ = ()

    class Own:
        def __init__(self) -> None:
            self.k, self.call, self.settings, self._hidden = 3, print, TuneSettings(epochs=7), 1

    class Solving(UneditedModel):
        @property
        def decided(self) -> dict:
            return {"k": 4, "weight": 1_000}

    backbone = make_backbone("llama")
    with editor("unedited").apply(backbone, ()) as model:
        assert run._settings(Slotted(), model) == {}
        assert run._settings(Own(), model) == {"k": 3, "settings": asdict(TuneSettings(epochs=7))}
    solved = run._settings(Own(), Solving(backbone))
    assert (solved["k"], solved["weight"]) == (4, 1_000)

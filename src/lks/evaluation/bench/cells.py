"""A table of editors as it lies in a folder: its cells, what was made of them, its report.

A cell is (method, data, number of edits, seed). It leaves two files: a JSON line a scored prompt,
and a summary, which is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from lks.errors import InputError, OutputError
from lks.evaluation.bench import report as report_module
from lks.evaluation.results import Cell, CellResult, Result
from lks.files import sha256

CASES_SHOWN = 90  # of a cell and a style, in the report
NAME = re.compile(r".+-\d+-.+-\d+")  # of a cell
MAY_DIFFER = {"threads", "device"}  # where a cell was made
OF_A_FOLDER = {"model", "dtype", "layers_path"}
OF_A_SIZE = {"rows", "trials", "chat_rows", "ability_rows", "max_new_tokens"}


def hashed(file: str | Path) -> str:
    """Of a file's content; of one that is not there nothing, its cells will say so."""
    return sha256(Path(file)) if Path(file).is_file() else ""


def made(cell: Cell, out: Path, content: Mapping[str, str]) -> CellResult | None:
    """The result that is there of a cell.

    Raises:
        InputError: it is damaged, or of other settings or files.
    """
    file = out / f"{cell.name}.json"
    if not file.exists():
        return None
    result = _read(file)
    _check(cell, file, result, {field.name for field in fields(Cell)} - MAY_DIFFER)
    hashes = [result.data_sha256, *result.ability_sha256]
    for read, own in zip((cell.data, *cell.abilities), hashes, strict=False):
        if own not in (None, content[read]):
            raise InputError(f"{file}: {read} was another file then; choose another --out")
    for name, kind, own in (
        (cell.model, "model", result.model_sha256),
        (cell.method, "editor", result.editor_sha256),
    ):
        if own not in (None, content[name]):
            raise InputError(f"{file}: {name} was another {kind} then; choose another --out")
    return result


def check_folder(cells: Sequence[Cell], out: Path) -> None:
    """InputError if cells there do not compare with these: of another model, or, with the same
    data and number of edits, scored in another way."""
    for file, result in _cells_of(out):
        for cell in cells:
            same = (result.cell.data, result.cell.size) == (Path(cell.data).name, cell.size)
            _check(cell, file, result, OF_A_FOLDER | (OF_A_SIZE if same else set()))


def _check(cell: Cell, file: Path, result: CellResult, names: Collection[str]) -> None:
    """InputError for settings of a cell that are not those of a result."""
    then = result.cell.to_json()
    changed = [
        f"{name} was {then[name]}, is {value}"
        for name, value in cell.named().to_json().items()
        if name in names and then[name] != value
    ]
    if changed:
        raise InputError(f"{file}: {', '.join(changed)}; choose another --out")


def report(results: Sequence[Result], out: Path, data: Iterable[str | Path]) -> list[Path]:
    """Write report.html, report.md and a plot a data set into the table's folder.

    Further cells that were made there earlier, of these data files, stand in it too.

    Raises:
        InputError: a file of a cell is damaged, or matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    every = [*results, *_beside(results, out, data)]
    drawn = report_module.plots(every)
    cases = [
        {"data": result.cell.data, "size": result.cell.size, "method": result.cell.method, **case}
        for result in every
        for case in _cases(out / f"{result.cell.name}.jsonl")
    ]
    files = {f"ep-{Path(data).stem}.svg": svg for data, svg in drawn.items()}
    files["report.md"] = report_module.to_markdown(every)
    files["report.html"] = report_module.to_html(every, cases, drawn.values())
    for name, text in files.items():
        try:
            (out / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError.at(out / name, error) from error
    return [out / name for name in files]


def _beside(
    results: Sequence[Result], out: Path, data: Iterable[str | Path]
) -> Iterator[CellResult]:
    """Results of further cells in a folder, but of those whose file was another one then."""
    named = {result.cell.name for result in results}
    now = {Path(file).name: hashed(file) for file in data}
    for file, result in _cells_of(out):
        name = result.cell.data
        known = name in now and result.data_sha256 in (None, now[name])
        if known and file.stem not in named:
            yield result


def _cells_of(out: Path) -> Iterator[tuple[Path, CellResult]]:
    """The cells in a folder, which may hold other files too."""
    for file in sorted(out.glob("*.json")):
        told = _loaded(file) if NAME.fullmatch(file.stem) else None
        if isinstance(told, dict) and isinstance(told.get("cell"), dict):
            yield file, _read(file)


def _cases(file: Path) -> list[report_module.Case]:
    """The cases of a cell that the page shows: the first ones, plain and in a chat."""
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8") as stream:  # texts may hold other line separators
            rows = [json.loads(line) for line in stream]
        styles = [[row for row in rows if row["chat"] == chat] for chat in (False, True)]
    except (ValueError, KeyError) as error:
        raise _damaged(file) from error
    return [row for own in styles for row in own[:CASES_SHOWN]]


def _read(file: Path) -> CellResult:
    told = _loaded(file)
    if not isinstance(told, dict):
        raise _damaged(file)
    try:
        return CellResult.from_json(told)
    except TypeError as error:  # something is missing
        raise _damaged(file) from error


def _loaded(file: Path) -> object:
    try:
        told: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(file) from error
    return told


def _damaged(file: Path) -> InputError:
    result = file.with_suffix(".json")
    return InputError(f"{file}: damaged; delete {result.name} to make its cell again")

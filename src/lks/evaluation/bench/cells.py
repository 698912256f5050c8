"""A table of editors as it lies in a folder: its cells, what was made of them, its report.

A cell is (method, data, number of edits, seed). It leaves two files: a JSON line a scored prompt,
and a summary, which is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lks.errors import InputError, OutputError
from lks.evaluation.bench import report as report_module
from lks.files import sha256

CASES_SHOWN = 90  # of a cell and a style, in the report
NAME = re.compile(r".+-\d+-.+-\d+")  # of a cell
MAY_DIFFER = {"threads", "device"}  # where a cell was made
OF_A_FOLDER = {"model", "dtype", "layers_path"}
OF_A_SIZE = {"rows", "trials", "chat_rows", "ability_rows", "max_new_tokens"}

Summary = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One entry of the table.

    Attributes:
        data: file of edits; `size` of its rows are taken, chosen and ordered by the seed.
        rows: so many of the edits are scored at most.
        trials: with fewer edits than `rows`, so many sets of edits at most, one after the other.
        chat_rows: of these rows so many are scored in a chat too.
        abilities: files of tasks (`evaluation.ability`), `ability_rows` items of each.
        max_new_tokens: answers are cut there, or where a longer target ends.
        device, dtype, layers_path: as of `Backbone.load`.
    """

    method: str
    data: str
    size: int
    seed: int = 0
    model: str = "smollm2-135m"
    rows: int = 100
    trials: int = 10
    chat_rows: int = 32
    abilities: tuple[str, ...] = ()
    ability_rows: int = 100
    max_new_tokens: int = 16
    threads: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    layers_path: str | None = None

    @property
    def name(self) -> str:
        method = self.method.replace(":", ".")
        return f"{Path(self.data).stem}-{self.size}-{method}-{self.seed}"

    @property
    def sets(self) -> int:
        """Sets of edits, one after the other, at most."""
        return min(self.trials, max(1, self.rows // self.size))

    def to_json(self) -> dict[str, Any]:
        names = [Path(file).name for file in self.abilities]
        return asdict(self) | {"data": Path(self.data).name, "abilities": names}


def hashed(file: str | Path) -> str:
    """Of a file's content; of one that is not there nothing, its cells will say so."""
    return sha256(Path(file)) if Path(file).is_file() else ""


def made(cell: Cell, out: Path, content: Mapping[str, str]) -> Summary | None:
    """The summary that is there of a cell.

    Raises:
        InputError: it is damaged, or of other settings or files.
    """
    file = out / f"{cell.name}.json"
    if not file.exists():
        return None
    summary = _read(file)
    _check(cell, file, summary, {field.name for field in fields(Cell)} - MAY_DIFFER)
    hashes = [summary.get("data_sha256"), *summary.get("ability_sha256", [])]
    for read, own in zip((cell.data, *cell.abilities), hashes, strict=False):
        if own not in (None, content[read]):
            raise InputError(f"{file}: {read} was another file then; choose another --out")
    for name, kind in ((cell.model, "model"), (cell.method, "editor")):
        if summary.get(f"{kind}_sha256") not in (None, content[name]):
            raise InputError(f"{file}: {name} was another {kind} then; choose another --out")
    return summary


def check_folder(cells: Sequence[Cell], out: Path) -> None:
    """InputError if cells there do not compare with these: of another model, or, with the same
    data and number of edits, scored in another way."""
    for file, summary in _cells_of(out):
        then = summary["cell"]
        for cell in cells:
            same = (then.get("data"), then.get("size")) == (Path(cell.data).name, cell.size)
            _check(cell, file, summary, OF_A_FOLDER | (OF_A_SIZE if same else set()))


def _check(cell: Cell, file: Path, summary: Summary, names: Collection[str]) -> None:
    """InputError for settings of a cell that are not those of a summary."""
    usual = {field.name: field.default for field in fields(Cell)}
    changed = [
        f"{name} was {then}, is {value}"
        for name, value in cell.to_json().items()
        if name in names and (then := summary["cell"].get(name, usual[name])) != value
    ]
    if changed:
        raise InputError(f"{file}: {', '.join(changed)}; choose another --out")


def report(summaries: Sequence[Summary], out: Path, data: Iterable[str | Path]) -> list[Path]:
    """Write report.html, report.md and a plot a data set into the table's folder.

    Further cells that were made there earlier, of these data files, stand in it too.

    Raises:
        InputError: a file of a cell is damaged, or matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    every = [*summaries, *_beside(summaries, out, data)]
    drawn = report_module.plots(every)
    cases = [
        {**{key: summary["cell"][key] for key in ("data", "size", "method")}, **case}
        for summary in every
        for case in _cases(out / f"{_cell(summary).name}.jsonl")
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
    summaries: Sequence[Summary], out: Path, data: Iterable[str | Path]
) -> Iterator[Summary]:
    """Summaries of further cells in a folder, but of those whose file was another one then."""
    named = {_cell(summary).name for summary in summaries}
    now = {Path(file).name: hashed(file) for file in data}
    for file, summary in _cells_of(out):
        name = summary["cell"]["data"]
        known = name in now and summary.get("data_sha256") in (None, now[name])
        if known and file.stem not in named:
            yield summary


def _cells_of(out: Path) -> Iterator[tuple[Path, Summary]]:
    """The cells in a folder, which may hold other files too."""
    for file in sorted(out.glob("*.json")):
        summary = _read(file) if NAME.fullmatch(file.stem) else {}
        if isinstance(summary, dict) and isinstance(summary.get("cell"), dict):
            yield file, summary


def _cell(summary: Summary) -> Cell:
    known = {field.name for field in fields(Cell)}
    return Cell(**{name: value for name, value in summary["cell"].items() if name in known})


def _cases(file: Path) -> list[dict[str, Any]]:
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


def _read(file: Path) -> Summary:
    try:
        summary: Summary = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(file) from error
    return summary


def _damaged(file: Path) -> InputError:
    summary = file.with_suffix(".json")
    return InputError(f"{file}: damaged; delete {summary.name} to make its cell again")

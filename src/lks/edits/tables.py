"""Tables of records, as spreadsheets write them: CSV parted by commas, semicolons or tabs.

The first line names the columns. A cell of a list holds its texts parted by `|`, or a JSON list.
Yes and no, and numbers, stand there as people and their spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from lks.errors import EditFileError

_LISTS = {"aliases", "paraphrases", "generality", "negative", "profile_of"}
_PROBES = {"locality", "portability"}  # lists too, or JSON objects


def columns(text: str) -> list[str]:
    """The names in the first line; none where that is no CSV."""
    try:
        return [name.strip() for name in reader(text).fieldnames or []]
    except csv.Error:
        return []


def rows(text: str, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> cell) of the rows; empty cells are left out, and so are empty rows.

    What is wrong with a row goes into `problems`.
    """
    table = reader(text)
    try:
        for row in table:
            beyond = "".join(row.pop(None, [])).strip()  # cells that no column stands over
            cells = {name.strip(): cell for name, cell in row.items() if cell and cell.strip()}
            line = table.line_num - sum(cell.count("\n") for cell in cells.values())
            if beyond:
                problems.append(f'line {line}: more cells than columns; put "..." around commas')
            elif cells:
                yield line, cells
    except csv.Error as error:
        problems.append(f"line {table.line_num + 1}: not CSV ({error})")


def record(cells: dict[str, str], parse: Callable[[str], object]) -> dict[str, object]:
    """The record of an edit that a row holds; `parse` reads JSON.

    Raises:
        EditFileError: a cell that begins as JSON is none.
    """
    found: dict[str, object] = dict(cells)
    for name in cells.keys() & (_LISTS | _PROBES | _VALUES.keys()):
        cell = cells[name].strip()
        if name in _VALUES:
            found[name] = _VALUES[name](cell)
        elif cell.startswith("[") or (name in _PROBES and cell.startswith("{")):
            try:
                found[name] = parse(cell)
            except EditFileError as error:
                problem = f'"{name}": {error}'
                raise EditFileError(problem, [problem]) from None
        else:
            found[name] = [part.strip() for part in cell.split("|") if part.strip()]
    return found


def _number(cell: str) -> float | str:
    try:
        return float(cell.replace(",", "."))  # 0,5 of many a spreadsheet
    except ValueError:
        return cell  # told where the record is read


def _flag(cell: str) -> bool | str:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return known.get(cell.casefold(), cell)  # told where the record is read


_VALUES: dict[str, Callable[[str], object]] = {"threshold": _number, "exact": _flag}


def reader(text: str) -> csv.DictReader[str]:
    """Rows by column. The delimiter is what parts the first line into the most names."""
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    return csv.DictReader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=f"{delimiter} " in header,
    )

"""Tables of records, as spreadsheets write them: CSV parted by commas, semicolons or tabs.

The first line names the columns. A cell of a list holds its texts parted by `|`, or a JSON list.
Yes and no, and numbers, stand there as people and their spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lks.errors import EditFileError

if TYPE_CHECKING:
    from _csv import Reader

_LISTS = {"aliases", "paraphrases", "generality", "negative", "profile_of"}
_PROBES = {"locality", "portability", "tests"}  # lists too, or JSON objects


def columns(text: str) -> list[str]:
    """The names in the first line; none where that is no CSV."""
    try:
        return _names(_reader(text))
    except csv.Error:
        return []


def rows(text: str, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> cell) of the rows; empty cells are left out, and so are empty rows.

    What is wrong with a row goes into `problems`, and it goes on behind it.
    """
    table = _reader(text)
    names = _names(table)
    while True:
        line = table.line_num + 1
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(f"line {line}: {_why_not(error)}")
            continue
        cells = {n: cell for n, cell in zip(names, row, strict=False) if cell.strip()}
        if "".join(row[len(names) :]).strip():  # cells that no column stands over
            problems.append(f'line {line}: more cells than columns; put "..." around commas')
        elif cells:
            yield line, cells


def _why_not(error: csv.Error) -> str:
    if "field limit" not in str(error):
        return f"not CSV ({error})"
    return f"{_too_long()}; shorten it, or write JSON lines"


def _too_long() -> str:
    return f"a cell of more than {csv.field_size_limit():,} characters"


def is_column(name: str) -> bool:
    """Whether the first line can name a column so: it is read as it was written."""
    return bool(name) and name == name.strip() and not re.search(r'[,;"\r\n\t\0]', name)


def not_a_cell(text: str) -> str | None:
    """Why a text cannot stand in a cell; None if it can."""
    if "\0" in text:
        return "a null character"
    return _too_long() if len(text) > csv.field_size_limit() else None


def cell(name: str, value: object) -> str:
    """What `record` reads as a value of an edit's record; other keys are texts, or JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and name in _LISTS | _PROBES:
        texts = [_text_of(part) for part in value]
        plain = [text for text in texts if text and text == text.strip() and "|" not in text]
        if len(plain) == len(value) and not plain[0].startswith(("[", "{")):
            return " | ".join(plain)
    return json.dumps(value, ensure_ascii=False)


def _text_of(part: object) -> str | None:
    """A text of a list, or the probe that is nothing but its prompt."""
    if isinstance(part, dict) and part.keys() == {"prompt"}:
        part = part["prompt"]
    return part if isinstance(part, str) else None


def record(cells: dict[str, str], parse: Callable[[str], object]) -> dict[str, object]:
    """The record of an edit that a row holds; `parse` reads JSON.

    Raises:
        EditFileError: cells that begin as JSON are none; `problems` tells each.
    """
    found: dict[str, object] = dict(cells)
    problems = []
    for name, cell in ((name, cell.strip()) for name, cell in cells.items()):
        if name not in _LISTS | _PROBES | _VALUES.keys():
            continue
        if name in _VALUES:
            found[name] = _VALUES[name](cell)
        elif cell.startswith("[") or (name in _PROBES and cell.startswith("{")):
            try:
                found[name] = parse(cell)
            except EditFileError as error:
                problems.append(f'"{name}": {error}')
        else:
            found[name] = [part.strip() for part in cell.split("|") if part.strip()]
    if problems:
        raise EditFileError("; ".join(problems), problems)
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


def _reader(text: str) -> Reader:
    """Rows of cells. The delimiter is what parts the first line into the most names."""
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=f"{delimiter} " in header,
    )


def _names(table: Reader) -> list[str]:
    """The first line's."""
    return [name.strip() for name in next((row for row in table if row), [])]

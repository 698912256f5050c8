"""Files of JSON records: one a line (JSONL), or in a list, or laid out in any other way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lks.edits.text import counted
from lks.errors import EditFileError
from lks.files import contents

_GAP = re.compile(r"[\s,]*")  # between two records


def parsed(line: str) -> object:
    """A line of JSON; EditFileError for what is none, or cannot be written as text again."""
    try:
        value: object = json.loads(line)
        if "\\u" in line:  # only an escape can bring half a character into UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg} at column {error.colno})"
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("ascii", "backslashreplace").decode()
        problem = f"half a character ({half}), as of an emoji that was cut; take it out"
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        problem = f"not JSON ({error})"
    else:
        return value
    raise EditFileError(problem, [problem])


def bad_lines(problems: Sequence[str]) -> str:
    """How many there are: "1 bad line", of those that say a line twice or more only once."""
    return counted(len({problem.partition(":")[0] for problem in problems}), "bad line")


def text_of(path: Path) -> str:
    """The text of a file, which may be packed (.gz); EditFileError where it has none."""
    try:
        data = contents(path)
    except FileNotFoundError:
        raise EditFileError(f"{path}: no such file; give a file of edits, JSONL or CSV") from None
    except OSError as error:
        reason = error.strerror or error
        raise EditFileError(
            f"{path}: cannot be read ({reason}); give a file of edits, JSONL or CSV"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EditFileError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as JSONL or CSV in UTF-8"
        ) from None
    if "\x00" in text:
        raise EditFileError(f"{path}: a binary file; give a file of edits, JSONL or CSV")
    return text


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """(line number, line) of the lines that are not blank, nor only the bracket of a list; without
    the comma that stands behind a list's items."""
    lines = ((n, line.strip()) for n, line in enumerate(text.split("\n"), start=1))
    return [(n, line.rstrip(",")) for n, line in lines if line not in ("", "[", "]")]


def json_records(path: Path, text: str, problems: list[str]) -> Iterator[tuple[int, object]]:
    """(line number, value) of the records in a text; what is no JSON goes into `problems`.

    Raises:
        EditFileError: the text is not JSON, and there are no records a line in it either.
    """
    try:
        yield from list(_values(text))
        return
    except json.JSONDecodeError as error:
        wrong = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError, EditFileError) as error:
        wrong = str(error)
    lines = numbered_lines(text)
    if not any(_is_record(line) for _, line in lines):  # not a record a line: told once
        raise EditFileError(f"{path}: not JSON ({wrong}); mend it, or write one record a line")
    yield from parsed_lines(lines, problems)


def _values(text: str) -> Iterator[tuple[int, object]]:
    """(line number, value) of JSON values, in a list or one after the other, however laid out."""
    decode = json.JSONDecoder().raw_decode
    at, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if text[at:end].startswith("[") and text[at:end].endswith("]"):
        at, end = at + 1, end - 1
    line = 1 + text.count("\n", 0, at)
    while at < end:
        stop = _GAP.match(text, at, end).end()  # type: ignore[union-attr]
        line += text.count("\n", at, stop)
        if stop == end:
            return
        value, at = decode(text, stop)
        if "\\u" in text[stop:at]:
            parsed(text[stop:at])
        yield line, value
        line += text.count("\n", stop, at)


def parsed_lines(
    lines: Sequence[tuple[int, str]], problems: list[str]
) -> Iterator[tuple[int, object]]:
    """(line number, value) of lines of JSON; what is none goes into `problems`."""
    for number, line in lines:
        try:
            yield number, parsed(line)
        except EditFileError as error:
            problems.append(f"line {number}: {error}")


def _is_record(line: str) -> bool:
    """Whether a line by itself is a record: an object inside one has no subject."""
    try:
        return "subject" in json.loads(line)
    except (ValueError, RecursionError, TypeError):
        return False

"""Lines of JSON, numbered and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lks.errors import EditFileError


def parsed(line: str) -> Any:
    """A line of JSON; EditFileError for what is none, or cannot be written as text again."""
    try:
        value = json.loads(line)
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


def counted(problems: Sequence[str]) -> str:
    """How many there are: "1 bad line", of those that say a line twice or more only once."""
    lines = len({problem.partition(":")[0] for problem in problems})
    return f"{lines} bad line{'s' if lines > 1 else ''}"


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line) of the lines that are not blank."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise EditFileError(f"{path}: no such file; give a JSONL file of edits") from None
    except OSError as error:
        raise EditFileError(
            f"{path}: cannot be read ({error.strerror}); give a JSONL file"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EditFileError(
            f"{path}: not UTF-8 text (byte {error.start}); give a JSONL file of edits"
        ) from None
    if "\x00" in text:
        raise EditFileError(f"{path}: a binary file; give a JSONL file of edits")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line

"""Facts that are sent: JSON, JSON lines or CSV, and under which terms they come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import Request

from lks.edits.edit import Edit
from lks.edits.jsonl import parsed
from lks.edits.records import records_in
from lks.edits.text import counted
from lks.errors import EditFileError
from lks.serving.http.errors import ApiError
from lks.serving.http.facts_requests import AddRequest, Edits
from lks.serving.service import Terms
from lks.serving.terms import with_own_terms

LINES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")
TABLE, JSON = "text/csv", "application/json"
BODY = Path("body")


def read_body(request: Request, content: bytes) -> AddRequest:
    """The facts of a request and its options; those of files stand in the query.

    Raises:
        ApiError: it is of no kind that is known, or not what it says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 text (byte {error.start})") from None
    if kind == JSON:
        try:
            return AddRequest.model_validate(parsed(text))
        except EditFileError as error:
            raise ApiError(400, f"the body is {error}") from None
    if kind == TABLE or kind in LINES:
        query: dict[str, Any] = {**request.query_params}
        if tags := request.query_params.getlist("tags"):
            query["tags"] = tags
        for flag in ("replace", "propose"):
            if flag in query:
                query[flag] = {"true": True, "false": False}.get(query[flag], query[flag])
        problems: list[str] = []
        numbered = list(records_in(text, BODY, problems)) if text.strip() else []
        if problems:
            raise _bad(problems)
        return AddRequest.model_validate({**query, "edits": [record for _, record in numbered]})
    kinds = ", ".join((JSON, LINES[0], TABLE))
    raise ApiError(400, f'content-type "{kind}": send one of {kinds}', param="content-type")


def edits_of(given: Edits) -> tuple[list[Edit], Terms]:
    """The facts, and the terms under which they come.

    Raises:
        ApiError: with every problem of every record.
    """
    edits, problems = list[Edit](), list[str]()
    for number, record in enumerate(given.edits, start=1):
        try:
            edits.append(Edit.from_record(record))
        except EditFileError as error:
            problems += [f"edit {number}: {problem}" for problem in error.problems]
    terms = given.terms()
    try:
        edits, terms = with_own_terms(edits, terms)
    except EditFileError as error:
        problems += error.problems
    problems += _twice(edits)
    if problems:
        raise _bad(problems)
    return edits, terms


def _twice(edits: Iterable[Edit]) -> list[str]:
    seen: dict[str, Edit] = {}
    return [
        f'two edits have the id "{edit.id}"'
        for edit in edits
        if seen.setdefault(edit.id, edit) is not edit
    ]


def _bad(problems: list[str]) -> ApiError:
    told = f"{counted(len(problems), 'problem')} in the edits: {'; '.join(problems)}"
    return ApiError(400, told, param="edits", code="invalid_edits", problems=problems)

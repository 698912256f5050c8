"""Facts that are sent: JSON, JSON lines or CSV, and under which terms they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
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

LINES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")
TABLE, JSON = "text/csv", "application/json"
OWN_TERMS = ("tags", "valid_from", "valid_until")  # a record may have its own
BODY = Path("body")


async def read_body(request: Request) -> AddRequest:
    """The facts of a request and its options; those of files stand in the query.

    Raises:
        ApiError: it is of no kind that is known, or not what it says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await request.body()
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


def edits_of(given: Edits) -> tuple[list[Edit], dict[str, Terms]]:
    """The facts, and the terms of those that have their own, by id.

    Raises:
        ApiError: with every problem of every record.
    """
    usual, problems = given.terms(), list[str]()
    edits, own = [], {}
    for number, record in enumerate(given.edits, start=1):
        rest, terms = record, usual
        if isinstance(record, Mapping):
            rest = {key: value for key, value in record.items() if key not in OWN_TERMS}
            mine = {key: record[key] for key in OWN_TERMS if record.get(key) is not None}
            terms = _terms(usual, mine, number, problems)
        try:
            edit = Edit.from_record(rest)
        except EditFileError as error:
            problems += [f"edit {number}: {problem}" for problem in error.problems]
            continue
        edits.append(edit)
        if terms != usual:
            own[edit.id] = terms
    problems += _twice(edits)
    if problems:
        raise _bad(problems)
    return edits, own


def _terms(usual: Terms, own: Mapping[str, Any], number: int, problems: list[str]) -> Terms:
    read: dict[str, Any] = {}
    for key, value in own.items():
        if key == "tags":
            tags = [t.strip() for t in value.split("|")] if isinstance(value, str) else value
            if isinstance(tags, list) and all(isinstance(t, str) and t for t in tags):
                read[key] = tuple(tags)
            else:
                problems.append(f"edit {number}: tags: must be a list of texts")
            continue
        try:
            read[key] = time_of(value)
        except ValueError as error:
            problems.append(f"edit {number}: {key}: {error}")
    return replace(usual, **read)


def time_of(value: object) -> datetime:
    """A time with its zone, as ISO 8601 writes it; ValueError for another one."""
    told = f"must be a time with its zone, such as 2027-01-31T12:00:00Z, not {value!r:.40}"
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        raise ValueError(told) from None
    if time is None or time.tzinfo is None:
        raise ValueError(told)
    return time


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

"""The API of facts as calls: what is sent, and what is made of the answer. Without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from lks.edits.edit import Edit
from lks.errors import (
    Conflict,
    EditFileError,
    Forbidden,
    InputError,
    LKSError,
    NotFound,
    VersionMismatch,
)
from lks.serving.facts import Caller, Change, Fact, FactSet, Job, JobState, Page, Role, State

Result = TypeVar("Result")
Record = Mapping[str, Any]
_OF_SERVER = (
    *("revision", "state", "why", "shaky", "valid_from", "valid_until", "tags"),
    *("by", "reason", "at", "since", "until", "hits"),
)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request; `read` makes of its JSON, or of its text, what is given back."""

    method: str
    path: str
    read: Callable[[Any], Result]
    body: object = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_text: bool = False


# --- sets


def whoami() -> Call[Caller]:
    """Whose key it is."""
    return Call("GET", "/v1/lks/whoami", _caller)


def sets() -> Call[list[FactSet]]:
    """The sets that there are."""
    return Call("GET", "/v1/lks/sets", lambda told: [_set(own) for own in told["data"]])


def create_set(name: str, *, approval: bool = False) -> Call[FactSet]:
    """Make an empty set. With `approval`, new facts wait for somebody with that role."""
    return Call("POST", "/v1/lks/sets", _set, {"name": name, "approval": approval})


def delete_set(name: str) -> Call[None]:
    """Delete a set with all its facts."""
    return Call("DELETE", _of(name), _nothing)


# --- facts


def facts(
    set_name: str,
    *,
    search: str | None = None,
    states: Sequence[State] = (),
    tag: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Call[Page]:
    """The newest revision of each fact, by id; `after` of a page asks for the next one."""
    given = {"search": search, "tag": tag, "limit": limit, "after": after}
    query = {**_given(given), "state": [str(state) for state in states]}
    return Call("GET", _of(set_name, "edits"), _page, query=query)


def fact(set_name: str, fact_id: str) -> Call[Fact]:
    """One fact."""
    return Call("GET", _of(set_name, "edits", fact_id), _fact)


def revisions(set_name: str, fact_id: str) -> Call[list[Fact]]:
    """All revisions of a fact, the newest first."""
    path = _of(set_name, "edits", fact_id, "revisions")
    return Call("GET", path, lambda told: [_fact(own) for own in told["data"]])


def add(
    set_name: str,
    edits: Iterable[Edit | Record],
    *,
    reason: str | None = None,
    tags: Sequence[str] = (),
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    replace: bool = False,
    propose: bool = False,
    if_version: int | None = None,
    once: str | None = None,
) -> Call[Job]:
    """New facts; they are in force when the job is done (`wait`).

    Args:
        edits: also records of the file of facts, which may have tags and times of their own.
        reason: kept in the history.
        valid_from, valid_until: with a time zone; in force only between them.
        replace: take the place of a fact with the same id, or of the same prompt.
        propose: wait for approval, though the set does not ask for it.
        if_version: only if the set is at this version; else VersionMismatch.
        once: a name for this change: sent again, it is not made again.
    """
    body = {
        "edits": [e.to_record() if isinstance(e, Edit) else dict(e) for e in edits],
        **_given({"reason": reason, "valid_from": _iso(valid_from)}),
        **_given({"valid_until": _iso(valid_until)}),
        "tags": list(tags),
        "replace": replace,
        "propose": propose,
    }
    return Call("POST", _of(set_name, "edits"), _job, body, headers=_conditions(if_version, once))


def retire(
    set_name: str,
    ids: Iterable[str],
    *,
    reason: str | None = None,
    if_version: int | None = None,
    once: str | None = None,
) -> Call[int]:
    """Take facts out; they are out of force when this returns. The version now."""
    body = {"ids": list(ids), **_given({"reason": reason})}
    headers = _conditions(if_version, once)
    return Call("POST", _of(set_name, "retire"), _version, body, headers=headers)


def approve(set_name: str, ids: Iterable[str], *, reason: str | None = None) -> Call[Job]:
    """Have proposed facts learnt."""
    return Call("POST", _of(set_name, "approve"), _job, _chosen(ids, reason))


def reject(set_name: str, ids: Iterable[str], *, reason: str | None = None) -> Call[None]:
    """Do not take proposed facts."""
    return Call("POST", _of(set_name, "reject"), _nothing, _chosen(ids, reason))


def rollback(
    set_name: str, version: int, *, reason: str | None = None, if_version: int | None = None
) -> Call[int]:
    """Bring into force exactly what was at another version; the version now."""
    body = {"version": version, **_given({"reason": reason})}
    headers = _conditions(if_version, None)
    return Call("POST", _of(set_name, "rollback"), _version, body, headers=headers)


# --- looking


def job(job_id: str) -> Call[Job]:
    """How far new facts are on their way into force."""
    return Call("GET", f"/v1/lks/jobs/{_quoted(job_id)}", _job)


def jobs(set_name: str, *, limit: int = 20) -> Call[list[Job]]:
    """The newest jobs of a set."""

    def read(told: Any) -> list[Job]:
        return [_job(own) for own in told["data"]]

    return Call("GET", _of(set_name, "jobs"), read, query={"limit": limit})


def history(set_name: str, *, limit: int = 50, before: int | None = None) -> Call[list[Change]]:
    """Who changed what, when and why; the newest first, `before` a version."""

    def read(told: Any) -> list[Change]:
        return [_change(own) for own in told["data"]]

    query = _given({"limit": limit, "before": before})
    return Call("GET", _of(set_name, "history"), read, query=query)


def dry_run(
    set_name: str, texts: Iterable[str], *, edits: Iterable[Edit | Record] = ()
) -> Call[list[dict[str, Any]]]:
    """What each text would fire, also with more edits in force."""
    more = [e.to_record() if isinstance(e, Edit) else dict(e) for e in edits]
    body = {"texts": list(texts), "edits": more}
    return Call("POST", _of(set_name, "dry-run"), lambda told: list(told["data"]), body)


def diff(set_name: str, a: int, b: int | None = None) -> Call[dict[str, Any]]:
    """What differs between two versions; `b` is what is in force now if not given."""
    return Call("GET", _of(set_name, "diff"), dict, query=_given({"a": a, "b": b}))


def export(set_name: str, *, format: str = "jsonl", version: int | None = None) -> Call[str]:
    """The facts in force as a file: jsonl, csv or markdown."""
    query = _given({"format": format, "version": version})
    return Call("GET", _of(set_name, "export"), str, query=query, is_text=True)


def test(set_name: str, ids: Iterable[str] | None = None) -> Call[list[dict[str, Any]]]:
    """Run the checks of facts in force, all or some."""
    body = {} if ids is None else {"ids": list(ids)}
    return Call("POST", _of(set_name, "test"), lambda told: list(told["data"]), body)


def traffic() -> Call[dict[str, Any]]:
    """What was asked lately, and what fired."""
    return Call("GET", "/v1/lks/traffic", dict)


# --- errors

_ERRORS: Mapping[int, type[LKSError]] = {
    400: InputError,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: VersionMismatch,
    413: InputError,
}


def error_of(status: int, body: object) -> LKSError:
    """The error that an answer tells."""
    told = body.get("error") if isinstance(body, dict) else None
    if not isinstance(told, dict):
        return LKSError(f"the server answered {status}, which is none of its own errors")
    message, problems = str(told.get("message")), told.get("problems") or ()
    if told.get("code") == "invalid_edits":
        return EditFileError(message, problems)
    return _ERRORS.get(status, LKSError)(message)


# --- from JSON


def _nothing(told: object) -> None:
    return None


def _version(told: Any) -> int:
    return int(told["version"])


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _caller(told: Any) -> Caller:
    return Caller(told["tenant"], Role(told["role"]), told["name"], told["default_set"])


def _set(told: Any) -> FactSet:
    created = datetime.fromisoformat(told["created"])
    return FactSet(told["name"], told["version"], told["approval"], told["facts"], created)


def _fact(told: Any) -> Fact:
    record = {key: value for key, value in told.items() if key not in _OF_SERVER}
    return Fact(
        Edit.from_record(record, any_keys=True),
        told["revision"],
        State(told["state"]),
        why=told["why"],
        shaky=None if told["shaky"] is None else tuple(told["shaky"]),
        valid_from=_time(told["valid_from"]),
        valid_until=_time(told["valid_until"]),
        tags=tuple(told["tags"]),
        by=told["by"],
        reason=told["reason"],
        at=_time(told["at"]),
        since=told["since"],
        until=told["until"],
    )


def _page(told: Any) -> Page:
    return Page(tuple(_fact(own) for own in told["data"]), told["total"], told["after"])


def _job(told: Any) -> Job:
    return Job(
        told["id"],
        told["set"],
        JobState(told["state"]),
        tuple(told["facts"]),
        told["failed"],
        told["version"],
        datetime.fromisoformat(told["created"]),
        _time(told["finished"]),
    )


def _change(told: Any) -> Change:
    return Change(
        told["version"],
        datetime.fromisoformat(told["at"]),
        told["by"],
        told["action"],
        tuple(told["facts"]),
        told["reason"],
    )


# --- to the request


def _of(set_name: str, *parts: str) -> str:
    return "/".join(["/v1/lks/sets", *map(_quoted, (set_name, *parts))])


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _chosen(ids: Iterable[str], reason: str | None) -> dict[str, Any]:
    return {"ids": list(ids), **_given({"reason": reason})}


def _conditions(if_version: int | None, once: str | None) -> dict[str, str]:
    match = None if if_version is None else f'"{if_version}"'
    return _given({"if-match": match, "idempotency-key": once})

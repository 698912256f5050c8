"""/v1/lks: sets of facts, and what may be asked of them and changed in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from lks.edits.records import kind_of
from lks.serving.facts import LONGEST_ID, Caller, Job, State
from lks.serving.http import replies as r
from lks.serving.http.auth import WRITES, Admin, Approver, Asker, Editor, TheBackend, TheServer
from lks.serving.http.errors import ApiError
from lks.serving.http.facts_body import JSON, LINES, TABLE, edits_of, read_body
from lks.serving.http.facts_json import fact_json, job_json, set_json
from lks.serving.http.facts_requests import (
    Edits,
    FactIds,
    Record,
    RollbackRequest,
    SetRequest,
)
from lks.serving.http.json_response import Json
from lks.serving.http.replies import replies
from lks.serving.http.server import Backend
from lks.serving.service import Service

MOST = 500  # of anything in one answer
SETS, SET = "/v1/lks/sets", "/v1/lks/sets/{set_name}"
EDITS, EDIT = f"{SET}/edits", f"{SET}/edits/{{fact_id:path}}"

router = APIRouter(tags=["facts"])

SetName = Annotated[str, Path(min_length=1, max_length=200)]
FactId = Annotated[str, Path(min_length=1, max_length=LONGEST_ID)]
Limit = Annotated[int, Query(ge=1, le=MOST)]
VersionNumber = Annotated[int, Query(ge=0, lt=2**31)]
IfMatch = Annotated[
    str | None, Header(description='"VERSION": the change is meant for this version of the set.')
]
Once = Annotated[
    str | None,
    Header(alias="idempotency-key", max_length=200, description="The same change is made once."),
]


# --- sets


@router.get(SETS, responses=replies(r.Sets))
def sets(backend: TheBackend, who: Asker) -> Response:
    """The sets of the key's tenant."""
    return Json({"data": [set_json(own) for own in backend.service.sets(who)]})


@router.post(SETS, responses=replies(r.SetReply, 201), status_code=201, dependencies=WRITES)
def create_set(body: SetRequest, backend: TheBackend, who: Admin) -> Response:
    """Make an empty set. With `approval`, new facts wait for somebody with that role."""
    made = backend.service.create_set(who, body.name, approval=body.approval)
    return Json(set_json(made), 201, {"location": f"{SETS}/{quote(made.name, safe='')}"})


@router.delete(SET, responses=replies(None, 204), status_code=204, dependencies=WRITES)
def delete_set(set_name: SetName, backend: TheBackend, who: Admin) -> Response:
    """Delete a set with all its facts."""
    backend.service.delete_set(who, set_name)
    return Response(status_code=204)


# --- facts: reading


@router.get(EDITS, responses=replies(r.Facts))
def facts(
    set_name: SetName,
    server: TheServer,
    backend: TheBackend,
    who: Editor,
    search: Annotated[str | None, Query(max_length=500)] = None,
    state: Annotated[Sequence[State], Query()] = (),
    tag: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    after: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The newest revision of each fact, by id; `after` of an answer asks for the next page."""
    version = version_of(backend.service, who, set_name)  # first: it must not be newer
    found = backend.service.facts(
        who, set_name, search=search, states=state, tag=tag, limit=limit, after=after
    )
    hits = server.traffic.hits_of
    told = [fact_json(fact, hits(who.tenant, set_name, fact.id)) for fact in found.facts]
    return Json({"data": told, "total": found.total, "after": found.after, "version": version})


@router.get(f"{EDIT}/revisions", responses=replies(r.Revisions))
def revisions(
    set_name: SetName, fact_id: FactId, server: TheServer, backend: TheBackend, who: Editor
) -> Response:
    """All revisions of a fact, the newest first."""
    hits = server.traffic.hits_of(who.tenant, set_name, fact_id)
    found = backend.service.revisions(who, set_name, fact_id)
    return Json({"data": [fact_json(fact, hits) for fact in found]})


@router.get(EDIT, responses=replies(r.FactReply))
def fact(
    set_name: SetName, fact_id: FactId, server: TheServer, backend: TheBackend, who: Editor
) -> Response:
    """A fact. The header ETag has the set's version, for If-Match."""
    version = version_of(backend.service, who, set_name)  # first: it must not be newer
    found = backend.service.fact(who, set_name, fact_id)
    hits = server.traffic.hits_of(who.tenant, set_name, fact_id)
    return Json(fact_json(found, hits), headers={"etag": f'"{version}"'})


# --- facts: changing

_BODIES = {kind: {"schema": {"type": "string"}} for kind in (TABLE, LINES[0])} | {
    JSON: {"schema": {"$ref": "#/components/schemas/AddRequest"}}
}
_OPTIONS = [
    {"name": name, "in": "query", "required": False, "schema": {"type": kind}}
    for name, kind in (("reason", "string"), ("replace", "boolean"), ("propose", "boolean"),
                       ("valid_from", "string"), ("valid_until", "string"))
] + [{"name": "tags", "in": "query", "required": False,
      "schema": {"type": "array", "items": {"type": "string"}}}]  # fmt: skip


@router.post(
    EDITS,
    responses=replies(r.JobReply, 202),
    status_code=202,
    dependencies=WRITES,
    openapi_extra={
        "requestBody": {"required": True, "content": _BODIES},
        "parameters": _OPTIONS,
    },
)
async def add(
    set_name: SetName,
    request: Request,
    backend: TheBackend,
    who: Editor,
    if_match: IfMatch = None,
    once: Once = None,
) -> Response:
    """New facts, which are in force when the job is done. Options of CSV and JSON lines stand in
    the query."""
    content = await request.body()

    def whole() -> Job:  # megabytes take seconds to read
        return _add(backend, who, set_name, read_body(request, content), if_match, once)

    return _job(await run_in_threadpool(whole), 202)


@router.put(EDIT, responses=replies(r.JobReply, 202), status_code=202, dependencies=WRITES)
def replace(
    set_name: SetName,
    fact_id: FactId,
    body: Annotated[Record, Body()],
    backend: TheBackend,
    who: Editor,
    reason: Annotated[str | None, Query(max_length=2000)] = None,
    if_match: IfMatch = None,
    once: Once = None,
) -> Response:
    """A record in place of a fact; the old one stays in force until the new one is."""
    if not isinstance(body, dict):
        raise ApiError(400, f"the body must be a JSON object, not {kind_of(body)}")
    if body.get("id", fact_id) != fact_id:
        raise ApiError(400, f'id: must be "{fact_id}" as in the path, or left out', param="id")
    record = {**body, "id": fact_id}
    backend.service.fact(who, set_name, fact_id)  # NotFound
    wanted = Edits(edits=[record], replace=True, reason=reason)
    return _job(_add(backend, who, set_name, wanted, if_match, once), 202)


@router.delete(EDIT, responses=replies(r.Version), dependencies=WRITES)
def retire_one(
    set_name: SetName,
    fact_id: FactId,
    backend: TheBackend,
    who: Editor,
    reason: Annotated[str | None, Query(max_length=2000)] = None,
    if_match: IfMatch = None,
    once: Once = None,
) -> Response:
    """Take a fact out; it is out of force before the answer."""
    wanted = FactIds(ids=[fact_id], reason=reason)
    return _retire(backend, who, set_name, wanted, if_match, once)


@router.post(f"{SET}/retire", responses=replies(r.Version), dependencies=WRITES)
def retire(
    set_name: SetName,
    body: FactIds,
    backend: TheBackend,
    who: Editor,
    if_match: IfMatch = None,
    once: Once = None,
) -> Response:
    """Take facts out; they are out of force before the answer."""
    return _retire(backend, who, set_name, body, if_match, once)


@router.post(
    f"{SET}/approve", responses=replies(r.JobReply, 202), status_code=202, dependencies=WRITES
)
def approve(set_name: SetName, body: FactIds, backend: TheBackend, who: Approver) -> Response:
    """Have proposed facts learnt."""
    return _job(backend.service.approve(who, set_name, body.ids, reason=body.reason), 202)


@router.post(f"{SET}/reject", responses=replies(None, 204), status_code=204, dependencies=WRITES)
def reject(set_name: SetName, body: FactIds, backend: TheBackend, who: Approver) -> Response:
    """Do not take proposed facts."""
    backend.service.reject(who, set_name, body.ids, reason=body.reason)
    return Response(status_code=204)


@router.post(f"{SET}/rollback", responses=replies(r.Version), dependencies=WRITES)
def rollback(
    set_name: SetName,
    body: RollbackRequest,
    backend: TheBackend,
    who: Approver,
    if_match: IfMatch = None,
) -> Response:
    """Bring into force exactly what was at another version; nothing is trained."""
    version = backend.service.rollback(
        who, set_name, body.version, reason=body.reason, if_version=_if_version(if_match)
    )
    return Json({"version": version})


# --- jobs


@router.get("/v1/lks/jobs/{job_id}", responses=replies(r.JobReply))
def job(job_id: FactId, backend: TheBackend, who: Editor) -> Response:
    """How far new facts are on their way into force."""
    return _job(backend.service.job(who, job_id))


@router.get(f"{SET}/jobs", responses=replies(r.Jobs))
def jobs(set_name: SetName, backend: TheBackend, who: Editor, limit: Limit = 20) -> Response:
    """The newest jobs of a set."""
    found = backend.service.jobs(who, set_name, limit=limit)
    return Json({"data": [job_json(one) for one in found]})


# --- what several share


def _add(
    backend: Backend,
    who: Caller,
    set_name: str,
    body: Edits,
    if_match: str | None,
    once: str | None,
) -> Job:
    edits, terms = edits_of(body)
    return backend.service.add(
        who, set_name, edits, terms, if_version=_if_version(if_match), once=once
    )


def _retire(
    backend: Backend,
    who: Caller,
    set_name: str,
    body: FactIds,
    if_match: str | None,
    once: str | None,
) -> Response:
    version = backend.service.retire(
        who,
        set_name,
        body.ids,
        reason=body.reason,
        if_version=_if_version(if_match),
        once=once,
    )
    return Json({"version": version})


def _job(job: Job, status: int = 200) -> Response:
    headers = {"location": f"/v1/lks/jobs/{quote(job.id, safe='')}"} if status == 202 else None
    return Json(job_json(job), status, headers)


def _if_version(header: str | None) -> int | None:
    """The version of If-Match; `*` stands for whatever is there."""
    if header is None or header.strip() == "*":
        return None
    match = re.fullmatch(r'\s*"(\d{1,9})"\s*', header)
    if match is None:
        raise ApiError(
            400, f'If-Match: must be a version in quotes, "12", not {header:.40}', param="if-match"
        )
    return int(match[1])


def version_of(service: Service, who: Caller, set_name: str) -> int:
    """Of what is in force now."""
    return service.snapshot(who, set_name).version

"""/v1/lks: what is told of the facts of a set as a whole; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from lks.edits.diff import diff
from lks.edits.export import FORMATS
from lks.serving.http import replies as r
from lks.serving.http.answering import spot_json
from lks.serving.http.auth import Asker, Editor, TheBackend
from lks.serving.http.errors import ApiError
from lks.serving.http.facts import SET, Limit, SetName, VersionNumber, version_of
from lks.serving.http.facts_body import edits_of
from lks.serving.http.facts_json import change_json
from lks.serving.http.facts_requests import DryRunRequest, Edits, TestRequest
from lks.serving.http.json_response import Json
from lks.serving.http.replies import replies
from lks.serving.http.streaming import unless_gone

MEDIA = {"jsonl": "application/jsonl", "csv": "text/csv", "markdown": "text/markdown"}
TESTED_AT_ONCE = 16  # facts

router = APIRouter(tags=["facts"])


@router.post(f"{SET}/dry-run", responses=replies(r.DryRun))
def dry_run(set_name: SetName, body: DryRunRequest, backend: TheBackend, who: Asker) -> Response:
    """What texts would fire; with `edits`, if these were in force too. Nothing is written."""
    edits = edits_of(Edits(edits=[*body.edits]))[0] if body.edits else []
    snapshot = backend.service.snapshot(who, set_name)
    found = backend.front.dry_run(body.texts, snapshot, edits)
    data = [
        {"text": text, "fired": [*map(spot_json, fired)], "near": [*map(spot_json, near)]}
        for text, (fired, near) in zip(body.texts, found, strict=True)
    ]
    return Json({"version": snapshot.version, "data": data})


@router.get(f"{SET}/history", responses=replies(r.History))
def history(
    set_name: SetName,
    backend: TheBackend,
    who: Editor,
    limit: Limit = 50,
    before: VersionNumber | None = None,
) -> Response:
    """Who changed what, when and why; the newest first."""
    found = backend.service.history(who, set_name, limit=limit, before=before)
    return Json({"data": [change_json(change) for change in found]})


@router.get(f"{SET}/diff", responses=replies(r.Diff))
def difference(
    set_name: SetName,
    backend: TheBackend,
    who: Editor,
    a: VersionNumber,
    b: VersionNumber | None = None,
) -> Response:
    """What version `b`, or what is in force now, has that version `a` has not, and so on."""
    service = backend.service
    last = version_of(service, who, set_name) if b is None else b
    before, after = (service.at_version(who, set_name, version) for version in (a, last))
    return Json(diff(before, after).to_json())


@router.get(
    f"{SET}/export",
    responses={
        **replies(None),
        200: {
            "description": "The file.",
            "content": {kind: {"schema": {"type": "string"}} for kind in MEDIA.values()},
        },
    },
)
def export(
    set_name: SetName,
    backend: TheBackend,
    who: Editor,
    format: Annotated[str, Query(pattern="^(jsonl|csv|markdown)$")] = "jsonl",
    version: VersionNumber | None = None,
) -> Response:
    """The facts in force, now or at a version, as a file."""
    service = backend.service
    number = version_of(service, who, set_name) if version is None else version
    text = FORMATS[format](service.at_version(who, set_name, number))
    ending = {"markdown": "md"}.get(format, format)
    name = re.sub(r"[^\w.-]", "_", f"{set_name}-{number}.{ending}", flags=re.ASCII)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), headers=headers, media_type=f"{MEDIA[format]}; charset=utf-8")


@router.post(f"{SET}/test", responses=replies(r.Tests))
async def run_tests(
    set_name: SetName, body: TestRequest, request: Request, backend: TheBackend, who: Editor
) -> Response:
    """Run the checks of the facts in force, or of some of them."""
    snapshot = backend.service.snapshot(who, set_name)
    in_force = snapshot.in_force.edits
    ids = list(in_force) if body.ids is None else body.ids
    if absent := [fact_id for fact_id in ids if fact_id not in in_force]:
        told = f'no fact "{absent[0]}" is in force in "{set_name}"'
        raise ApiError(404, told, param="ids", code="not_found")
    test = backend.test
    if test is None:
        raise ApiError(400, "this server cannot run the checks of facts", code="unsupported")

    async def whole() -> Response:
        """A few at a time: others need not wait behind all, nor is all asked for nobody."""
        found = list[Mapping[str, object]]()
        for start in range(0, len(ids), TESTED_AT_ONCE):
            some = [in_force[i] for i in ids[start : start + TESTED_AT_ONCE]]
            found += await run_in_threadpool(test, snapshot, some)
        return Json({"data": found})

    return await unless_gone(request.receive, whole()) or Response(status_code=499)

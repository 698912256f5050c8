"""What is told of the server itself: models, who asks, traffic, health, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from lks.serving.facts import Caller, Role
from lks.serving.http import replies as r
from lks.serving.http.answering import unknown_model
from lks.serving.http.auth import (
    Asker,
    Editor,
    TheBackend,
    TheServer,
    caller_of,
    check,
    is_local,
)
from lks.serving.http.json_response import Json
from lks.serving.http.replies import replies
from lks.serving.http.server import Backend

router = APIRouter()


@router.get("/v1/models", responses=replies(r.Models), tags=["OpenAI"])
def models(backend: TheBackend, who: Asker) -> Response:
    """The unedited model, and MODEL:SET for each set."""
    return Json({"object": "list", "data": _models(backend, who)})


@router.get("/v1/models/{name:path}", responses=replies(r.Model), tags=["OpenAI"])
def model(name: str, backend: TheBackend, who: Asker) -> Response:
    """One model."""
    for one in _models(backend, who):
        if one["id"] == name:
            return Json(one)
    raise unknown_model(backend, name)


def _models(backend: Backend, who: Caller) -> list[dict[str, Any]]:
    sets = backend.service.sets(who)
    own = [(backend.model, backend.created)]
    own += [(f"{backend.model}:{one.name}", int(one.created.timestamp())) for one in sets]
    return [
        {"id": name, "object": "model", "created": created, "owned_by": "lks"}
        for name, created in own
    ]


@router.get("/v1/lks/whoami", responses=replies(r.WhoAmI), tags=["facts"])
def whoami(backend: TheBackend, who: Asker) -> Response:
    """Who has the key."""
    return Json(
        {
            "tenant": who.tenant,
            "role": str(who.role),
            "name": who.name,
            "default_set": who.default_set,
            "model": backend.model,
            "open": backend.service.open,
        }
    )


@router.get("/v1/lks/traffic", responses=replies(r.TrafficReply), tags=["facts"])
def traffic(server: TheServer, backend: TheBackend, who: Editor) -> Response:
    """What the tenant's keys asked since the server was started, and what fired."""
    load = backend.engine.load
    queue = {"running": load.running, "waiting": load.waiting}
    return Json({**server.traffic.told(who.tenant), "queue": queue})


@router.get("/health", responses=replies(r.Health), tags=["server"])
async def health() -> Response:
    """200 as long as the process lives."""
    return Json({"status": "ok"})


@router.get("/ready", responses=replies(r.Health), tags=["server"])
async def ready(server: TheServer) -> Response:
    """200 once the model is loaded, 503 before."""
    server.ready()
    return Json({"status": "ready"})


@router.get(
    "/metrics",
    responses={
        **replies(None),
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
    tags=["server"],
)
def metrics(request: Request, server: TheServer) -> Response:
    """For Prometheus: from this machine without a key, else with an admin's."""
    tenant = None
    if not is_local(request):
        who = caller_of(request, server.ready())
        check(who, Role.ADMIN)
        tenant = who.tenant
    return Response(server.metrics.text(tenant), headers={"content-type": CONTENT_TYPE_LATEST})

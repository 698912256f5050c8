"""The app: its routes, and what stands around them."""

from __future__ import annotations

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lks.serving.http import about, chat, completions, docs, facts, facts_reports
from lks.serving.http.errors import UNEXPECTED, ApiError, answer_errors
from lks.serving.http.facts_requests import AddRequest
from lks.serving.http.limits import Guard
from lks.serving.http.page import FOLDER, page
from lks.serving.http.server import Server

LOG = logging.getLogger("lks.serving")


def make_app(server: Server, page_folder: Path = FOLDER) -> FastAPI:
    """The app over a server's state, which may get its backend later."""

    app = FastAPI(
        title="LKS",
        summary="A language model with facts that can be changed: OpenAI's API, and one of facts.",
        version=version("latent-knowledge-scalpel"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_name,
    )
    app.state.server = server
    for part in (chat, completions, about, facts, facts_reports, docs):
        app.include_router(part.router)
    app.include_router(page(page_folder))
    answer_errors(app)
    _describe(app)
    settings = server.settings
    most = {"/v1/lks/": settings.max_facts_body, "": settings.max_body}
    app.add_middleware(
        Guard,
        most=most,
        strangers=lambda: server.backend is not None and server.backend.service.open,
        hosts=frozenset(settings.hosts),
        full=server.full,
    )
    app.add_middleware(Counted, server=server)
    return app


def _name(route: APIRoute) -> str:
    return route.name


def _describe(app: FastAPI) -> None:
    """/openapi.json without what this server never answers, and with all bodies."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            known = schema["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                known.pop(name, None)
            own = AddRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(own.pop("$defs", {}), AddRequest=own)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


class Counted:
    """The outermost layer: counts requests by route and status, tells each one on stderr if that is
    wanted, and logs what nobody expected."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at, status, begun = time.monotonic(), 500, False

        async def noted(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            LOG.exception("%s %s", scope["method"], scope["path"])
            if begun:
                raise  # the connection is closed: so the client sees that it ends too early
            await ApiError(500, UNEXPECTED).response(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._server.metrics.requests.labels(route, str(status)).inc()
            if self._server.settings.verbose:
                told = {
                    "at": round(time.time(), 3),
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "seconds": round(time.monotonic() - at, 4),
                }
                print(json.dumps(told), file=sys.stderr, flush=True)

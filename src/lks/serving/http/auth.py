"""Who asks, and whether they may."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from lks.serving.facts import Caller, Role
from lks.serving.http.errors import ApiError
from lks.serving.http.server import Backend, Server

ASKS_KEY = {"www-authenticate": "Bearer"}


def server_of(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


def backend_of(request: Request) -> Backend:
    """What serves; ApiError while it is not there."""
    return server_of(request).ready()


def caller_of(request: Request, backend: Annotated[Backend, Depends(backend_of)]) -> Caller:
    """Whose key was sent. Without keys in the store everybody is the local user."""
    key = _key(request)
    who = backend.service.caller(key)
    if who is None:
        told = (
            "no API key; send the header Authorization: Bearer KEY"
            if key is None
            else "unknown API key; it may have been revoked"
        )
        raise ApiError(401, told, code="invalid_api_key", headers=ASKS_KEY)
    return who


def _key(request: Request) -> str | None:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if kind.lower() == "bearer" else None


def _needing(role: Role) -> Callable[..., Caller]:
    def who(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        check(caller, role)
        return caller

    return who


def check(caller: Caller, role: Role) -> None:
    """ApiError for a caller who may not do what this role may."""
    if not caller.role.allows(role):
        raise ApiError(
            403, f"this needs a key with the role {role}; this one has {caller.role}",
            code="forbidden",
        )  # fmt: skip


def writable(server: Annotated[Server, Depends(server_of)]) -> None:
    """ApiError where nothing may be changed."""
    if server.settings.read_only:
        raise ApiError(403, "this server is read-only", code="read_only")


def is_local(request: Request) -> bool:
    """Whether the request comes from this machine."""
    try:
        return ipaddress.ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False


TheServer = Annotated[Server, Depends(server_of)]
TheBackend = Annotated[Backend, Depends(backend_of)]
Asker = Annotated[Caller, Depends(_needing(Role.ASK))]
Editor = Annotated[Caller, Depends(_needing(Role.EDIT))]
Approver = Annotated[Caller, Depends(_needing(Role.APPROVE))]
Admin = Annotated[Caller, Depends(_needing(Role.ADMIN))]
WRITES: list[Any] = [Depends(writable)]

"""The page: whatever files are in its folder."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent.parent / "page"
# The page loads nothing from elsewhere, is in no frame, and keeps to itself where it was called.
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # kept, but asked for anew: an upgrade is seen at once
}
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".woff2": "font/woff2"}


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> _File:
        content = path.read_bytes()
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        kind = kind or "application/octet-stream"
        if kind.startswith("text/") or path.suffix in (".json", ".svg"):
            kind += "; charset=utf-8"
        return cls(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def page(folder: Path = FOLDER) -> APIRouter:
    """Routes of the files in a folder, read once. `/` is its index.html."""
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    files = {
        path.relative_to(folder).as_posix(): _File.read(path)
        for path in found
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise HTTPException(404, "there is no such file")
        headers = {**HEADERS, "etag": file.etag}
        known = request.headers.get("if-none-match", "")
        if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.kind)

    @router.api_route("/", methods=["GET", "HEAD"])
    def index(request: Request) -> Response:
        return answer(request, "index.html")

    @router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    def one(request: Request, name: str) -> Response:
        return answer(request, name)

    return router

"""/docs: the API as a page for people, made from /openapi.json. It loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from lks.serving.http.page import HEADERS

router = APIRouter()
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}table{border-collapse:collapse;width:100%}td{border-top:1px solid "
    "#8884;padding:.3rem .6rem .3rem 0;vertical-align:top}code{font-size:.95em}h2{margin-top:2rem}"
    "h3{margin-bottom:.2rem}"
)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    page = "".join(_page(request.app.openapi()))
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return HTMLResponse(page, headers={**HEADERS, "content-security-policy": policy})


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    title = escape(schema["info"]["title"])
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    yield '<meta name=viewport content="width=device-width">'
    yield f"<style>{STYLE}</style><h1>{title}</h1><p>{escape(schema['info']['summary'])}</p>"
    yield '<p>For programs: <a href="/openapi.json">/openapi.json</a></p>'
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((path, method, operation))
    for tag, operations in groups.items():
        yield f"<h2>{escape(tag)}</h2>"
        for path, method, operation in operations:
            yield from _operation(path, method, operation, schema["components"]["schemas"])


def _operation(
    path: str, method: str, operation: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
    yield f"<p>{escape(operation.get('description', ''))}</p><table>"
    for one in operation.get("parameters", ()):
        told = f"{one['in']}. {one.get('description', '')}"
        yield _row(one["name"], _kind(one["schema"]), told)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
    for key, own in known.get(name, {}).get("properties", {}).items():
        yield _row(key, _kind(own), own.get("description", ""))
    yield "</table>"


def _row(name: str, kind: str, told: str) -> str:
    cells = (f"<code>{escape(name)}</code>", escape(kind), escape(told))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _kind(schema: Mapping[str, Any]) -> str:
    """A type as people say it."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    return str(schema.get("type", "any"))

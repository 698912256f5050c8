"""Every error of the server in one shape, OpenAI's: {"error": {message, type, param, code}}."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lks.errors import (
    Conflict,
    EditFileError,
    Forbidden,
    InputError,
    LKSError,
    NotFound,
    VersionMismatch,
)
from lks.serving.http.json_response import Json
from lks.serving.http.unsupported import UNSUPPORTED
from lks.serving.protocol import EngineFailure

LOG = logging.getLogger("lks.serving")
INVALID, SERVER = "invalid_request_error", "server_error"
UNEXPECTED = "something went wrong in the server; its log tells what"
# The first that fits counts.
_STATUS: Sequence[tuple[type[LKSError], int, str | None]] = (
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (VersionMismatch, 412, "version_mismatch"),
    (Forbidden, 403, "forbidden"),
    (EditFileError, 400, "invalid_edits"),
    (InputError, 400, None),
    (LKSError, 500, None),
)


class ApiError(Exception):
    """A request that ends with an error.

    Args:
        param: the field of the request that is wrong.
        code: a word that programs can go by.
        problems: a line for each of several things that are wrong.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        problems: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.problems, self.headers = problems, headers

    @classmethod
    def of(cls, error: LKSError) -> ApiError:
        status, code = next((s, code) for kind, s, code in _STATUS if isinstance(error, kind))
        message = "; ".join([str(error), *error.problems])
        return cls(status, message, code=code, problems=error.problems)

    @property
    def body(self) -> dict[str, object]:
        error: dict[str, object] = {
            "message": str(self),
            "type": SERVER if self.status >= 500 else INVALID,
            "param": self.param,
            "code": self.code,
        }
        if self.problems:
            error["problems"] = list(self.problems)
        return {"error": error}

    @property
    def response(self) -> Response:
        return Json(self.body, self.status, headers=self.headers)


def engine_failure() -> ApiError:
    """What a client is told where the engine could not go on; its log tells more."""
    return ApiError(500, "the model could not go on with this request; try again", code="engine")


def answer_errors(app: FastAPI) -> None:
    """Have the app answer with this shape whatever goes wrong."""

    @app.exception_handler(ApiError)
    async def own(request: Request, error: ApiError) -> Response:
        return error.response

    @app.exception_handler(EngineFailure)
    async def engine(request: Request, error: EngineFailure) -> Response:
        LOG.warning("the engine: %s", error)
        return engine_failure().response

    @app.exception_handler(LKSError)
    async def known(request: Request, error: LKSError) -> Response:
        told = ApiError.of(error)
        if told.status >= 500:
            LOG.error("%s %s: %s", request.method, request.url.path, error)
        return told.response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return of_validation(error.errors(), UNSUPPORTED).response

    @app.exception_handler(ValidationError)
    async def own_body(request: Request, error: ValidationError) -> Response:
        told = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        return of_validation(told).response

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return ApiError(400, "the body ended too early").response  # nobody reads it

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        if isinstance(error.__cause__, ValueError | RecursionError):  # of reading the body
            message = f"the body is not JSON in UTF-8 ({error.__cause__})"
        code = HTTPStatus(error.status_code).name.lower()
        return ApiError(error.status_code, message, code=code, headers=error.headers).response


def of_validation(
    problems: Sequence[Mapping[str, Any]], unsupported: Container[str] = ()
) -> ApiError:
    """One clear line of what pydantic found; `param` is the first field that is wrong.

    Args:
        unsupported: fields that are known, but not to this server.
    """
    lines, params, code = [], [], None
    for problem in problems:
        told = problem.get("ctx") or {}
        kind = problem["type"]
        where = told.get("field") or ("" if kind == "json_invalid" else _path(problem["loc"]))
        if kind == "extra_forbidden":
            known = where.rpartition(".")[2] in unsupported
            code = code or ("unsupported_parameter" if known else "unknown_parameter")
            lines.append(f"{where}: {'not supported' if known else 'unknown field'}; leave it out")
        else:
            lines.append(_line(where, problem))
        params.append(where)
    lines = list(dict.fromkeys(lines))
    return ApiError(
        400,
        "; ".join(lines),
        param=params[0] or None,
        code=code,
        problems=lines if len(lines) > 1 else (),
    )


_KINDS = {
    **dict.fromkeys(("model_attributes_type", "model_type", "dict_type"), "must be an object"),
    "string_type": "must be a text",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_unicode": "has half a character, as of an emoji that was cut",
    "none_required": "is not supported; leave it out",
    "too_short": "is empty",
}


def _line(where: str, problem: Mapping[str, Any]) -> str:
    kind, told = problem["type"], str(problem["msg"])
    if kind == "json_invalid":
        return f"the body is not JSON: {problem['ctx'].get('error', told)}"
    if not where and (kind == "missing" or kind in _KINDS):
        return "the body must be a JSON object, sent with content-type: application/json"
    if kind == "missing":
        return f"{where}: is missing"
    told = re.sub(r"^(Value error, |Input should be )(must be )?", "must be ", told)
    return f"{where}: {_KINDS.get(kind, told)}"


def _path(parts: Sequence[str | int]) -> str:
    """("body", "messages", 0, "content") as messages[0].content; without pydantic's own words."""
    own = [part for part in parts[1:] if not (isinstance(part, str) and _WORDS.search(part))]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in own)
    return text.removeprefix(".")


_WORDS = re.compile(r"[\[(]|^(str|int|float|bool|list|dict|function-.*|[A-Z]\w*)$")

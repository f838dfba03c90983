# SPDX-License-Identifier: Apache-2.0
"""Failures as answers: `{"error": {"code": ..., "message": "one line"}}`, whatever went wrong and
wherever."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Literal

import fastapi
import pydantic
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mizar import errors
from mizar.store import events

_log = logging.getLogger(__name__)

Code = Literal["invalid", "conflict", "not-found", "unavailable", "internal"]


class Problem(pydantic.BaseModel):
    """What was wrong."""

    code: Code = pydantic.Field(
        description="what the caller can do: correct it, wait for another state, or try later"
    )
    message: str = pydantic.Field(
        description="one line: what is wrong, the value, what would be right",
        examples=["endpoint 'blue/web-1': host 'h9' does not exist"],
    )


class Answer(pydantic.BaseModel):
    """The body of every answer that is not a success."""

    error: Problem


_STATUS: Final[tuple[tuple[type[errors.MizarError], int, Code], ...]] = (
    (errors.InvalidError, 422, "invalid"),
    (errors.ConflictError, 409, "conflict"),
    (errors.NotFoundError, 404, "not-found"),
    (errors.UnavailableError, 503, "unavailable"),
    (errors.MizarError, 500, "internal"),
)

_LONGEST: Final = 600
"""Letters of a message: the beginning says what is wrong, the end what would be right."""

_HTTP_CODES: Final[Mapping[int, Code]] = {404: "not-found", 503: "unavailable"}


class TooLargeError(errors.InvalidError):
    """The body is larger than this server takes (HTTP 413)."""


_EXACT: Final[Mapping[type[Exception], int]] = {TooLargeError: 413, events.GoneError: 410}
"""Statuses that say more than the kind of failure does."""


def install(app: fastapi.FastAPI) -> None:
    """Answer every failure of `app` in this form."""
    app.exception_handler(errors.MizarError)(_on_refusal)
    app.exception_handler(RequestValidationError)(_on_bad_query)
    app.exception_handler(HTTPException)(_on_http)
    app.exception_handler(Exception)(_on_bug)


def answer(status: int, code: Code, message: str) -> fastapi.Response:
    # A message quotes what was sent, which may hold lone surrogates: these are no UTF-8.
    line = " ".join(message.split()).encode(errors="backslashreplace").decode()
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 100]} ... {line[-95:]}"
    body = Answer(error=Problem(code=code, message=line))
    return fastapi.Response(body.model_dump_json(), status_code=status, media_type="application/json")


async def _on_refusal(request: fastapi.Request, failure: Exception) -> fastapi.Response:
    status, code = next((status, code) for kind, status, code in _STATUS if isinstance(failure, kind))
    status = _EXACT.get(type(failure), status)
    return answer(status, code, str(failure))


async def _on_bad_query(request: fastapi.Request, failure: Exception) -> fastapi.Response:
    found = failure.errors() if isinstance(failure, RequestValidationError) else []
    if not found:
        return answer(422, "invalid", str(failure))
    where = " ".join(str(step) for step in found[0]["loc"])
    return answer(422, "invalid", f"{where}: {found[0].get('input')!r}: {found[0]['msg'].lower()}")


async def _on_http(request: fastapi.Request, failure: Exception) -> fastapi.Response:
    """No such path, or no such method on it."""
    if not isinstance(failure, HTTPException):
        raise failure
    path, method = request.url.path, request.method
    if failure.status_code == 404:
        return answer(404, "not-found", f"{method} {path}: no such path; see /docs")
    if failure.status_code == 405:
        return answer(405, "invalid", f"{method} {path}: the path does not have this method; see /docs")
    code = _HTTP_CODES.get(failure.status_code, "invalid")
    return answer(failure.status_code, code, str(failure.detail))


async def _on_bug(request: fastapi.Request, failure: Exception) -> fastapi.Response:
    _log.error("%s %s", request.method, request.url.path, exc_info=failure)
    return answer(500, "internal", f"{type(failure).__name__}: this is a bug; the controller's log has more")

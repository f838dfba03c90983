# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to the API and its answer, over a unix socket or TCP.

What holds: whatever goes wrong is raised as one of mizar.errors with one line of text; the API's own
refusals keep its words. A connection is used for one request: the API is local or near.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

from mizar import errors
from mizar.client import target

Json = Any

_FAILURES: Final[dict[int, type[errors.MizarError]]] = {
    400: errors.InvalidError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.ConflictError,
    413: errors.InvalidError,
    422: errors.InvalidError,
    503: errors.UnavailableError,
}


class _UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: str, *, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(
    to: target.Target, method: str, path: str, *, body: Json = None, timeout: float | None = 60.0
) -> Json:
    """The decoded answer; None for an empty one."""
    with _answer(to, method, path, body=body, timeout=timeout) as response, _our_errors(to, timeout):
        data = response.read()
    return json.loads(data) if data else None


def lines(to: target.Target, path: str, *, timeout: float | None) -> Iterator[Json]:
    """The decoded lines of an endless answer, until the server ends it. Raises TimeoutError when nothing
    was heard for `timeout` seconds."""
    with _answer(to, "GET", path, body=None, timeout=timeout) as response:
        while line := _next_line(response, to):
            if line.strip():
                yield json.loads(line)


def _next_line(response: http.client.HTTPResponse, to: target.Target) -> bytes:
    try:
        return response.readline()
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as failure:
        raise _failure(to, failure) from failure


@contextlib.contextmanager
def _answer(
    to: target.Target, method: str, path: str, *, body: Json, timeout: float | None
) -> Iterator[http.client.HTTPResponse]:
    connection = (
        _UnixConnection(to.path, timeout=timeout)
        if to.path
        else http.client.HTTPConnection(to.host, to.port, timeout=timeout)
    )
    data = None if body is None else json.dumps(body).encode()
    try:
        with _our_errors(to, timeout):
            connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status >= 300:
                raise _refusal(response.status, response.read())
        yield response
    finally:
        connection.close()


@contextlib.contextmanager
def _our_errors(to: target.Target, timeout: float | None) -> Iterator[None]:
    try:
        yield
    except TimeoutError as failure:
        raise errors.UnavailableError(f"the API at {to} did not answer within {timeout:g} s") from failure
    except (OSError, http.client.HTTPException) as failure:
        raise _failure(to, failure) from failure


def _failure(to: target.Target, failure: OSError | http.client.HTTPException) -> errors.UnavailableError:
    """What ended the conversation, which is no refusal."""
    match failure:
        case ConnectionResetError() | BrokenPipeError() | http.client.IncompleteRead():
            text = f"the API at {to} closed the connection: the controller may be stopping"
        case ConnectionError() | FileNotFoundError() | socket.gaierror():
            text = f"no controller answers at {to} ({failure.strerror}): {to.remedy}"
        case _:
            text = f"ask the API at {to}: {failure}"
    return errors.UnavailableError(text)


def _refusal(status: int, data: bytes) -> errors.MizarError:
    kind = _FAILURES.get(status, errors.MizarError)
    try:
        message = str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        text = data.decode(errors="replace").strip()[:200]
        return errors.MizarError(f"the API answered {status}: {text or 'without a reason'}")
    return kind(message)

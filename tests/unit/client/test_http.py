# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a conversation with the API early is one line, not a traceback."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
from collections.abc import Iterator

import pytest

from mizar import errors
from mizar.client import http, target

_CLOSED = "closed the connection: the controller may be stopping"


@contextlib.contextmanager
def saying(path: pathlib.Path, answer: bytes) -> Iterator[target.Target]:
    """A server that reads one request, says this much, and is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(1)

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(answer)

        job = threading.Thread(target=serve)
        job.start()
        try:
            yield target.parse(f"unix://{path}")
        finally:
            job.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["nothing", "headers", "a part", "a part of a refusal", "a part of a chunk"],
)
def test_an_answer_that_breaks_off(tmp_path: pathlib.Path, answer: bytes) -> None:
    with saying(tmp_path / "api", answer) as to, pytest.raises(errors.UnavailableError, match=_CLOSED):
        http.call(to, "GET", "/v1/vpcs", timeout=5)


def test_an_endless_answer_that_breaks_off(tmp_path: pathlib.Path) -> None:
    answer = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"n":1}\n\r\n8\r\n{"n"'
    with saying(tmp_path / "api", answer) as to:
        told = http.lines(to, "/v1/vpcs?watch=true", timeout=5)
        assert next(told) == {"n": 1}
        with pytest.raises(errors.UnavailableError, match=_CLOSED):
            next(told)

# SPDX-License-Identifier: Apache-2.0
"""The command line in this process, against an API of canned answers on a real unix socket."""

from __future__ import annotations

import dataclasses
import http.server
import json
import pathlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mizar.cli import main

Answer = tuple[int, Any]


class Api:
    """Answers by "METHOD /path"; what was asked is kept."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, Any]] = []

    def answer(self, request: str, *bodies: Any, status: int = 200) -> None:
        """One body after the other; the last goes on."""
        self.answers[request] = [(status, body) for body in bodies]

    def refuse(self, request: str, status: int, message: str) -> None:
        self.answers[request] = [(status, {"error": {"code": "x", "message": message}})]

    def take(self, request: str) -> Answer:
        waiting = self.answers.get(request)
        if not waiting:
            return 404, {"error": {"code": "not-found", "message": f"nothing at {request}"}}
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


class _Handler(http.server.BaseHTTPRequestHandler):
    api: Api

    def handle_request(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        request = f"{self.command} {self.path}"
        self.api.asked.append((request, body))
        status, answer = self.api.take(request)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture
def api(tmp_path: pathlib.Path) -> Iterator[Api]:
    found = Api(tmp_path / "api.sock")
    handler = type("Handler", (_Handler,), {"api": found})
    with _Server(str(found.path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `mizar ARGUMENTS` against the API."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> Done:
        monkeypatch.setenv("MIZAR_API", f"unix://{api.path}")
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as exited:
            main.main(arguments)
        shown = capsys.readouterr()
        code = exited.value.code
        return Done(code if isinstance(code, int) else 0, shown.out, shown.err)

    return run

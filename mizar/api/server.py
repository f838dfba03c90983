# SPDX-License-Identifier: Apache-2.0
"""Sockets of the API, and uvicorn on them.

A unix socket is made with mode 0600: who may open it may do everything. A socket that a dead controller left
behind is replaced, one on which somebody answers is not.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import stat
from collections.abc import Iterator, Sequence

import fastapi
import uvicorn

from mizar import errors
from mizar.rpc import wire

_BACKLOG = 512


class Server(uvicorn.Server):
    """uvicorn that leaves signals to the process it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Refuse new requests, let running ones end, return from serve()."""
        self.should_exit = True


def build(app: fastapi.FastAPI) -> Server:
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )


@contextlib.contextmanager
def listening(targets: Sequence[str]) -> Iterator[list[socket.socket]]:
    """Open sockets for all targets; closed, and unix sockets removed, at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_listening(_target(target))) for target in targets]


def _target(text: str) -> wire.Target:
    try:
        return wire.parse_target(text)
    except errors.InvalidError as failure:
        raise errors.InvalidError(f"listen address {text!r}: wanted unix:///path or host:port") from failure


@contextlib.contextmanager
def _listening(target: wire.Target) -> Iterator[socket.socket]:
    opened = _unix(target.path) if target.path is not None else _tcp(target)
    with opened:
        opened.listen(_BACKLOG)
        opened.setblocking(False)
        try:
            yield opened
        finally:
            if target.path is not None:
                target.path.unlink(missing_ok=True)


def _tcp(target: wire.Target) -> socket.socket:
    try:
        return socket.create_server((target.host.strip("[]"), target.port), backlog=_BACKLOG)
    except OSError as failure:
        raise errors.UnavailableError(f"listen on {target}: {failure.strerror or failure}") from failure


def _unix(path: pathlib.Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        _bind_private(opened, path)
    except OSError as failure:
        opened.close()
        raise errors.UnavailableError(f"listen on {path}: {failure.strerror or failure}") from failure
    except errors.MizarError:
        opened.close()
        raise
    return opened


def _bind_private(opened: socket.socket, path: pathlib.Path) -> None:
    """Mode 0600 from the first moment; a chmod after bind would leave a gap."""
    before = os.umask(0o177)
    try:
        opened.bind(str(path))
    finally:
        os.umask(before)


def _remove_stale(path: pathlib.Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise errors.UnavailableError(f"listen on {path}: it exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise errors.UnavailableError(f"listen on {path}: another controller answers there; stop it first")

# SPDX-License-Identifier: Apache-2.0
"""The controller process: store, controller and API in one event loop, until a signal ends it.

Stopping is never needed for safety: what was acknowledged is in the store, agents keep what they have, and
kill -9 is one way to stop. SIGTERM and SIGINT let running requests end first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import pathlib
import signal
import socket
import time

from mizar import errors
from mizar.api import app, server
from mizar.controller import config, link, service
from mizar.store import sqlite

_log = logging.getLogger(__name__)


def run(wanted: config.ControllerConfig) -> None:
    """Be a controller until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=wanted.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _make_directory(wanted.state_dir)
    asyncio.run(_serve(wanted))


async def _serve(wanted: config.ControllerConfig) -> None:
    agents = link.Agents(tls=wanted.agent_tls, insecure=wanted.agent_insecure)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(sqlite.SqliteStore(wanted.database, clock=time.time)))
        sockets = stack.enter_context(server.listening(wanted.listen))
        async with service.Controller(store, connector=agents.connector, timing=wanted.timing) as controller:
            serving = server.build(app.build(controller, max_body_bytes=wanted.max_body_bytes))
            loop = asyncio.get_running_loop()
            stop = functools.partial(_stop, serving, controller)
            controller.on_failure = stop
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            _log.info("serving the API on %s", ", ".join(wanted.listen))
            _notify("READY=1")
            await serving.serve(sockets=sockets)
            _notify("STOPPING=1")
        if controller.failed:
            raise errors.MizarError(
                "planning failed, which is a bug; the log has more. Start the controller again"
            )


def _stop(serving: server.Server, controller: service.Controller) -> None:
    """Watches have no end of their own: they are ended first."""
    controller.end_watches()
    serving.stop()


def _make_directory(path: pathlib.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as failure:
        raise errors.UnavailableError(f"make state directory {path}: {failure.strerror}") from failure


def _notify(state: str) -> None:
    """Tell systemd (sd_notify), where it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying, contextlib.suppress(OSError):
        notifying.connect("\0" + address[1:] if address.startswith("@") else address)
        notifying.send(state.encode())

# SPDX-License-Identifier: Apache-2.0
"""The daemons of a lab: one controller and an agent a host, started by the commands that an init system uses.

Agents run in their host's network namespace, the controller where the lab was started. They talk over unix
sockets, so management traffic never meets the underlay.
"""

from __future__ import annotations

import dataclasses
import pathlib
import socket
import sys
import time
from collections.abc import Iterable
from typing import Final

from mizar import errors
from mizar.lab import config, processes, state, topology

PINS: Final = pathlib.Path("/sys/fs/bpf/mizar-lab")
"""What agents pin is below here, a directory for each host."""

_POLL_SECONDS: Final = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    """One to be started. `socket`: listening there is what tells that it works."""

    name: str
    argv: tuple[str, ...]
    netns: str | None
    log: pathlib.Path
    socket: pathlib.Path

    def start(self) -> processes.Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return processes.start(self.argv, netns=self.netns, log=self.log)


def agent(machine: topology.Machine, wanted: config.LabConfig) -> Daemon:
    directory = state.directory("hosts", machine.name)
    listen = directory / "agent.sock"
    return Daemon(
        name=f"agent of {machine.name}",
        argv=_mizar(
            "agent",
            f"--name={machine.name}",
            f"--address={machine.address}",
            f"--interface={machine.interface}",
            f"--transit={wanted.transit.value}",
            f"--state-dir={directory}",
            f"--pin-root={PINS / machine.name}",
            f"--listen=unix://{listen}",
        ),
        netns=machine.netns,
        log=directory / "agent.log",
        socket=listen,
    )


def controller() -> Daemon:
    directory = state.directory("controller")
    return Daemon(
        name="controller",
        argv=_mizar("controller", f"--state-dir={directory}", f"--listen=unix://{config.API_SOCKET}"),
        netns=None,
        log=directory / "controller.log",
        socket=config.API_SOCKET,
    )


def wait_listening(started: Iterable[tuple[Daemon, processes.Process]], *, timeout: float) -> None:
    """Until all listen. ToolError names the first that ended or is late, with its last words."""
    waiting = list(started)
    deadline = time.monotonic() + timeout
    while waiting := [(daemon, process) for daemon, process in waiting if not _listens(daemon.socket)]:
        for daemon, process in waiting:
            if not processes.alive(process):
                raise errors.ToolError(
                    f"start {daemon.name}: it ended: {processes.last_line(daemon.log)}",
                    stderr=daemon.log.read_text(encoding="utf-8", errors="replace"),
                )
        if time.monotonic() > deadline:
            daemon, _ = waiting[0]
            raise errors.ToolError(
                f"start {daemon.name}: it does not listen on {daemon.socket} after {timeout:g} s:"
                f" {processes.last_line(daemon.log)}"
            )
        time.sleep(_POLL_SECONDS)


def _mizar(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "mizar", *arguments)


def _listens(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

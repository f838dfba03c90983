# SPDX-License-Identifier: Apache-2.0
"""Lab: a lab that is up. What commands, tests, the demo and benchmarks do with one.

lab = lifecycle.up(config.LabConfig(hosts=4, manifest=path))
lab.exec("blue/web-1", ["ping", "-c1", "10.0.1.6"]).returncode
lab.kill_agent("h2"); lab.start_agent("h2")
lifecycle.down()
"""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
from collections.abc import Sequence

from mizar import errors
from mizar.agent import namespaces
from mizar.client import api, target
from mizar.lab import config, daemons, processes, state, tools, topology
from mizar.model import kinds, names


class Lab:
    """Handle of the lab of this machine. It holds no connection and no process: state is read when needed."""

    def __init__(self, wanted: config.LabConfig) -> None:
        self.config = wanted
        self.topology = topology.of(wanted)
        self.client = api.Client(target.Target(path=str(config.API_SOCKET)))

    # ------------------------------------------------------------- places

    def host(self, name: str) -> topology.Machine:
        """NotFoundError names those that exist."""
        for machine in self.topology.hosts:
            if machine.name == name:
                return machine
        raise errors.NotFoundError(
            f"host {name!r} is not in the lab, which has h1 to h{len(self.topology.hosts)}"
        )

    def endpoint_netns(self, full_name: str) -> str:
        """Where an endpoint lives: the namespace that its agent made, or the one its manifest names."""
        vpc, name = names.split(full_name)
        if vpc is None:
            raise errors.InvalidError(f"endpoint {full_name!r}: wanted VPC/NAME, such as blue/web-1")
        made = f"{topology.ENDPOINT_NETNS}{vpc}.{name}"
        if namespaces.path_of(made).exists():  # found without the controller, which may be stopped
            return made
        found = self.client.get(kinds.Ref(kinds.ENDPOINT, vpc, name))
        if found["spec"].get("type") == "scaled":
            raise errors.InvalidError(
                f"endpoint {full_name!r} is scaled: it is nowhere; name a backend of it"
            )
        netns = (found.get("status") or {}).get("netns") or found["spec"].get("netns")
        if not netns:
            raise errors.UnavailableError(f"endpoint {full_name!r} has no namespace yet: it is not ready")
        return str(netns)

    def exec(
        self, endpoint: str, argv: Sequence[str], *, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a program where an endpoint is."""
        return tools.attempt(argv, netns=self.endpoint_netns(endpoint), timeout=timeout)

    def exec_host(
        self, host: str, argv: Sequence[str], *, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        return tools.attempt(argv, netns=self.host(host).netns, timeout=timeout)

    def exec_outside(self, argv: Sequence[str], *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return tools.attempt(argv, netns=self.topology.outside.netns, timeout=timeout)

    # ------------------------------------------------------------- daemons

    def start_agent(self, host: str) -> processes.Process:
        """Returns when it serves. ConflictError if one runs."""
        daemon = daemons.agent(self.host(host), self.config)
        with state.locked():
            return self._start(daemon, agent=host)

    def stop_agent(self, host: str, *, kill: bool = False) -> None:
        """SIGTERM (or SIGKILL), and wait for its end. ConflictError if none runs."""
        self.host(host)
        with state.locked():
            self._stop(f"agent of {host}", _current().agents.get(host), kill=kill)
            _record(agent=host, process=None)

    def start_controller(self) -> processes.Process:
        with state.locked():
            return self._start(daemons.controller(), agent=None)

    def stop_controller(self, *, kill: bool = False) -> None:
        with state.locked():
            self._stop("controller", _current().controller, kill=kill)
            _record(agent=None, process=None)

    def agent_process(self, host: str) -> processes.Process | None:
        """None: it does not run."""
        return _if_alive(_current().agents.get(self.host(host).name))

    def controller_process(self) -> processes.Process | None:
        return _if_alive(_current().controller)

    def agent_log(self, host: str) -> pathlib.Path:
        return daemons.agent(self.host(host), self.config).log

    def controller_log(self) -> pathlib.Path:
        return daemons.controller().log

    def _start(self, daemon: daemons.Daemon, *, agent: str | None) -> processes.Process:
        now = _current()
        running = now.agents.get(agent) if agent else now.controller
        if processes.alive(running):
            raise errors.ConflictError(f"{daemon.name} runs already, process {running and running.pid}")
        process = daemon.start()
        _record(agent=agent, process=process)
        daemons.wait_listening([(daemon, process)], timeout=self.config.ready_timeout)
        return process

    def _stop(self, name: str, process: processes.Process | None, *, kill: bool) -> None:
        if process is None or not processes.alive(process):
            raise errors.ConflictError(f"{name} does not run")
        processes.end([process], kill=kill)


def current() -> Lab:
    """The lab that is up. ConflictError if there is none, or only a part of one."""
    return Lab(_current().config)


def _current() -> state.State:
    found = state.load()
    if found is None:
        raise errors.ConflictError("no lab is up: start one with `mizar lab up`")
    if found.phase is state.Phase.STOPPING:
        raise errors.ConflictError("the lab is going down: `mizar lab down` removes what is left of it")
    return found


def _record(*, agent: str | None, process: processes.Process | None) -> None:
    now = _current()
    if agent is None:
        state.save(dataclasses.replace(now, controller=process))
    else:
        state.save(dataclasses.replace(now, agents={**now.agents, agent: process}))


def _if_alive(process: processes.Process | None) -> processes.Process | None:
    return process if processes.alive(process) else None

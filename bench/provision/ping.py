# SPDX-License-Identifier: Apache-2.0
"""From the request for an endpoint to its first answered packet, all of it real.

A controller process and two agents; each endpoint gets an interface and a namespace that the agent makes.
The clock starts before the HTTP request, and stops when the API has said that the endpoint is ready and a UDP
packet from inside its namespace has been answered by an endpoint on the other host.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from bench import tools
from bench.core import command, results, world
from bench.path import agents, topology
from bench.provision import figures, plane
from mizar import errors
from mizar.client import api, target
from mizar.dataplane import netns
from mizar.model import kinds

_PORT: Final = 5205
_SERVER: Final = 0
_RETRY_SECONDS: Final = 0.001
_ANSWER_SECONDS: Final = 0.01
_PATIENCE: Final = 20.0
_RUN_DIR: Final = pathlib.Path("/run/netns")


def measure(result: results.Result, *, count: int) -> None:
    """Create `count` endpoints, one after the other."""
    with world.World() as owner:
        client = _cluster(owner)
        times = []
        for number in range(1, count + 1):
            raw = plane.endpoint(number, "p1")
            begun = time.perf_counter()
            client.put(raw)
            ref = kinds.Ref(kinds.ENDPOINT, plane.VPC, f"e{number}")
            _until(functools.partial(_is_ready, client, ref), "the endpoint is ready")
            _first_answer(_RUN_DIR / f"{plane.ENDPOINT_NAMESPACES}e{number}")
            times.append((time.perf_counter() - begun) * 1e3)
    for repetition, value in enumerate(times):
        key = figures.at("ping_p50", figures.ONE_HOST)
        result.taken.add(key, repetition=repetition, value=value)


def _cluster(owner: world.World) -> api.Client:
    """Two hosts, their agents, a controller, and an endpoint that echoes on the second host."""
    owner.adopt(plane.ENDPOINT_NAMESPACES)
    hosts = topology.two_hosts(owner, "p", topology.Wire.GSO)
    placed = [
        dataclasses.replace(host, label=name) for name, host in (("p1", hosts.left), ("p2", hosts.right))
    ]
    running = [agents.launch(owner, host, "tcx") for host in placed]
    for agent, process in running:
        socket_path = pathlib.Path(agent.target.removeprefix("unix://"))
        process.wait_until(socket_path.exists, what="serving", timeout=_PATIENCE)
    state = owner.directory / "controller"
    listen = f"unix://{owner.directory}/api.sock"
    owner.start(
        [*(sys.executable, "-m", "mizar", "controller"), "--state-dir", str(state), "--listen", listen]
    )
    client = api.Client(target.parse(listen))
    _until(client.healthy, "the controller answers")
    targets = [agent.target for agent, _ in running]
    manifests = [
        plane.host(host.label, host.address, socket_, takes_roles=True)
        for host, socket_ in zip(placed, targets, strict=True)
    ]
    client.apply([*manifests, *plane.tenant(bouncers=1), plane.endpoint(_SERVER, "p2")])
    server = f"{plane.ENDPOINT_NAMESPACES}e{_SERVER}"
    _until((_RUN_DIR / server).exists, "the server's endpoint exists")
    echo = owner.start([tools.path("first_packet"), "echo", str(_PORT)], place=command.Place(netns=server))
    echo.wait_listening(_PORT, protocol="udp")
    return client


def _is_ready(client: api.Client, ref: kinds.Ref) -> bool:
    return bool(client.get(ref)["status"]["ready"])


def _first_answer(path: pathlib.Path) -> None:
    """One packet after the other from the namespace until one has been answered."""
    with netns.inside(path):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        probe.connect((plane.address(_SERVER), _PORT))
        _until(functools.partial(_answered, probe), f"{path.name} is answered")


def _answered(probe: socket.socket) -> bool:
    probe.send(bytes(64))
    ready, _, _ = select.select([probe], [], [], _ANSWER_SECONDS)
    return bool(ready) and bool(probe.recv(64))


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise errors.UnavailableError(f"not within {_PATIENCE:g} s: {what}")
        time.sleep(_RETRY_SECONDS)

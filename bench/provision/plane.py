# SPDX-License-Identifier: Apache-2.0
"""A controller in this process over a store on disk, and simulated hosts beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from bench.core import command, world
from bench.provision import fleet
from mizar import errors
from mizar.controller import config, feed, hostqueue, link, service
from mizar.model import addresses, kinds, objects, reading
from mizar.store import sqlite

VPC: Final = f"{world.PREFIX}-{os.getpid()}"
"""Its endpoints' namespaces are called after it, so the name is this run's own."""
ENDPOINT_NAMESPACES: Final = f"mizar.{VPC}."
NETWORK: Final = "all"
_CIDR: Final = "10.0.0.0/8"
_FIRST: Final = int(ipaddress.IPv4Address("10.0.0.1"))
_PATIENCE: Final = 300.0
# Fleet and controller each have a processor, as they have machines of their own in a cluster.
FLEET_CPUS: Final = "1"
CONTROLLER_CPU: Final = 0


Ready = Callable[[str], Awaitable[None]]
"""Waits until the endpoint of this name is ready."""


class Fleet:
    """The process with the simulated hosts."""

    def __init__(self, owner: world.World, count: int) -> None:
        self.count = count
        self._directory = owner.directory / f"fleet-{count}-{time.monotonic_ns()}"
        self._directory.mkdir()
        self._process = owner.start(
            [sys.executable, "-m", "bench.provision.fleet", str(self._directory), str(count)],
            place=command.Place(cpus=FLEET_CPUS),
        )
        self._process.wait_until(lambda: "ready" in self._process.output(), what="serving", timeout=120)

    def manifests(self, *, roles: int) -> list[dict[str, Any]]:
        """All hosts as objects; only the first `roles` may bounce and divide."""
        return [
            host(
                fleet.name_of(number),
                str(ipaddress.IPv4Address(fleet.FIRST_ADDRESS + number)),
                f"unix://{fleet.socket_of(self._directory, number)}",
                takes_roles=number <= roles,
            )
            for number in range(1, self.count + 1)
        ]

    def written(self) -> dict[str, int]:
        """Rows that hosts have been told since the last call, by table."""
        report = self._directory / fleet.REPORT
        report.unlink(missing_ok=True)
        os.kill(self._process.pid, signal.SIGUSR1)
        self._process.wait_until(report.exists, what="reporting")
        counted: dict[str, int] = json.loads(report.read_text(encoding="utf-8"))
        return counted

    def stop(self) -> None:
        self._process.stop()


class Plane:
    """A running controller, with what the figures do with it."""

    def __init__(self, controller: service.Controller) -> None:
        self.controller = controller

    async def apply(self, raws: Sequence[object]) -> None:
        await self.controller.apply(reading.read_many(raws))

    async def put(self, declared: Sequence[objects.Declared]) -> None:
        await self.controller.apply(declared)

    async def settle(self) -> None:
        """Until every host has acknowledged everything."""
        deadline = time.monotonic() + _PATIENCE
        # All hosts are looked at only when it seems to be over: asking must cost nothing.
        while self.controller.pusher.busy or not self._all_connected():
            if time.monotonic() > deadline:
                raise errors.UnavailableError(f"hosts have not acknowledged everything after {_PATIENCE:g} s")
            await asyncio.sleep(0.001)

    def connected(self, host: str) -> bool:
        """Its agent is connected and has had its snapshot."""
        return self.controller.pusher.hosts[host].state is hostqueue.HostState.CONNECTED

    def _all_connected(self) -> bool:
        health = self.controller.health()
        return health.connected == health.hosts

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Ready]:
        """Endpoints from now on, as a client would watch them; what is yielded waits until one is ready."""
        since = self.controller.health().revision
        events = self.controller.watch(kinds.ENDPOINT, vpc=VPC, since=since)
        # Begun before anything is created: it costs one task, and no list.
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)

        async def ready(name: str) -> None:
            nonlocal following
            while not _is_ready(name, await following):
                following = asyncio.ensure_future(anext(events))
            following = asyncio.ensure_future(anext(events))

        try:
            yield ready
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(directory: pathlib.Path, *, timing: config.Timing | None = None) -> AsyncIterator[Plane]:
    """A controller over the store in `directory`."""
    with contextlib.closing(sqlite.SqliteStore(directory / "mizar.db", clock=time.time)) as store:
        agents = link.Agents()
        async with service.Controller(store, connector=agents.connector, timing=timing) as controller:
            yield Plane(controller)


def _is_ready(name: str, event: feed.Event) -> bool:
    found = event.object
    if not isinstance(found, objects.Endpoint) or found.metadata.name != name:
        return False
    return found.status is not None and found.status.ready


@contextlib.contextmanager
def own_processor() -> Iterator[None]:
    """This process on its own processor, and afterwards where it was."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CONTROLLER_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---------------------------------------------------------------- objects


def host(name: str, address: str, agent: str, *, takes_roles: bool) -> dict[str, Any]:
    spec = {"addresses": [address], "agent": agent, "unschedulable": not takes_roles}
    return {"kind": "Host", "metadata": {"name": name}, "spec": spec}


def tenant(*, bouncers: int, replicas: int = 1, dividers: int = 1) -> list[dict[str, Any]]:
    """One VPC with one network over all of it."""
    return [
        {"kind": "VPC", "metadata": {"name": VPC}, "spec": {"cidrs": [_CIDR], "dividers": dividers}},
        network(bouncers=bouncers, replicas=replicas),
    ]


def network(*, bouncers: int, replicas: int = 1) -> dict[str, Any]:
    spec: Mapping[str, Any] = {"cidrs": [_CIDR], "bouncers": bouncers, "replicas": replicas}
    return {"kind": "Network", "metadata": {"name": NETWORK, "vpc": VPC}, "spec": spec}


def address(number: int) -> str:
    return addresses.to_text(_FIRST + number)


def endpoint(number: int, on: str) -> dict[str, Any]:
    """The endpoint of this number, with the address of this number."""
    return {
        "kind": "Endpoint",
        "metadata": {"name": f"e{number}", "vpc": VPC},
        "spec": {
            "network": NETWORK,
            "host": on,
            "addresses": [address(number)],
        },
    }


def spread(first: int, count: int, hosts: int) -> list[dict[str, Any]]:
    """Endpoints in turn over the simulated hosts."""
    return [endpoint(number, fleet.name_of(number % hosts + 1)) for number in range(first, first + count)]

# SPDX-License-Identifier: Apache-2.0
"""One VPC that grows rung by rung; at each rung the same questions are asked.

How fast did the endpoints of this rung come; what does one more cost, in rows and in time; how much memory do
controller and a bystander's agent have. At the top: grow the bouncer set, and kill a bouncer's agent, while
a flow runs.
"""

from __future__ import annotations

import asyncio
import gc
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench.core import progress, results, samples, world
from bench.provision import figures, flow, plane, reals
from mizar import errors
from mizar.model import kinds, objects, reading

_BATCH: Final = 50_000
_PAGE: Final = 4096
_FLOW_SECONDS: Final = 5.0


class Ladder:
    """The run of one ladder."""

    def __init__(
        self,
        owner: world.World,
        running: plane.Plane,
        fleet: plane.Fleet,
        real: reals.Reals,
        result: results.Result,
    ) -> None:
        self._owner = owner
        self._plane = running
        self._fleet = fleet
        self._real = real
        self._result = result
        self._next = reals.SERVER + 1
        self._memory = 0
        self._hosts = 1

    async def climb(self, sizes: Sequence[int], *, ones: int) -> None:
        """All rungs. `ones`: endpoints that are created one by one at each."""
        await self._plane.apply([*self._fleet.manifests(roles=0), *self._real.manifests()])
        await self._plane.settle()
        await self._plane.apply(plane.tenant(bouncers=2, replicas=figures.REPLICAS))
        await self._plane.apply(self._real.endpoints())
        await self._plane.settle()
        gc.collect()
        self._memory = _resident()
        for endpoints in sizes:
            await self._rung(endpoints, ones)

    async def _rung(self, endpoints: int, ones: int) -> None:
        where = figures.size(endpoints)
        progress.say(f"to {where}")
        # What a host gets once, with its first endpoint of the VPC, is no cost of the endpoints after it.
        self._hosts = min(self._fleet.count, max(1, (endpoints - self._next) // 2))
        await self._bulk(endpoints - self._next, where)
        gc.collect()
        self._note("memory", where, (_resident() - self._memory) / self._next)
        # The first are slow for reasons of their own: connections, code that runs for the first time.
        await self._singles(ones // 10)
        await self._plane.settle()
        self._fleet.written()
        before = self._real.locations()
        times = await self._singles(ones)
        await self._plane.settle()
        rows = sum(self._fleet.written().values()) + self._real.locations() - before
        self._note("writes", where, rows / ones)
        self._note("one_p50", where, samples.percentile(times, 0.5) * 1e3)
        self._note("one_p99", where, samples.percentile(times, 0.99) * 1e3)
        # The controller does so every half minute: at each rung it has been asked for its status by then.
        self._real.bystander.answers()
        self._note("agent_memory", where, self._real.bystander.memory() / 2**20)

    async def _bulk(self, count: int, where: str) -> None:
        """Requests of up to 50,000 endpoints one after the other, as one client would send them."""
        if count <= 0:
            return
        seconds = used = 0.0
        for first, some in _parts(self._next, count):
            raws = plane.spread(first, some, self._hosts)  # the client's work, not the controller's
            begun, begun_cpu = time.perf_counter(), time.process_time()
            await self._plane.put(reading.read_many(raws))
            if first + some == self._next + count:
                await self._plane.settle()
            seconds += time.perf_counter() - begun
            used += time.process_time() - begun_cpu
        self._note("bulk", where, count / seconds)
        self._note("bulk_cpu", where, used / count * 1e6)
        self._next += count

    async def _singles(self, count: int) -> list[float]:
        """Seconds from the request to ready, one endpoint at a time."""
        times = []
        async with self._plane.watching() as ready:
            for number in range(self._next, self._next + count):
                raw = plane.spread(number, 1, self._hosts)
                begun = time.perf_counter()
                await self._plane.apply(raw)
                await ready(f"e{number}")
                times.append(time.perf_counter() - begun)
        self._next += count
        return times

    async def disturb(self, endpoints: int) -> None:
        """Grow the bouncer set, then kill an agent, each while a flow uses the bouncers."""
        where = figures.size(endpoints)
        vpc = await self._plane.controller.get(kinds.Ref(kinds.VPC, None, plane.VPC))
        stream = flow.Flow(self._owner, self._real.ends(_vni_of(vpc)))
        before = {real.name: real.entries("locations") for real in self._real.bouncers}
        progress.say("bouncers from 2 to 3")
        begun = time.perf_counter()
        with stream.running(_FLOW_SECONDS):
            await self._plane.apply([plane.network(bouncers=3, replicas=figures.REPLICAS)])
            await self._plane.settle()
            self._note("grow", where, time.perf_counter() - begun)
        moved = sum(max(0, real.entries("locations") - before[real.name]) for real in self._real.bouncers)
        self._note("moved", where, moved / sum(before.values()))
        lost = stream.lost
        progress.say("kill -9 of a bouncer's agent")
        with stream.running(_FLOW_SECONDS):
            await self._restart(where)
        self._note("lost", where, lost + stream.lost)

    async def _restart(self, where: str) -> None:
        victim = max(self._real.bouncers, key=lambda real: real.entries("locations"))
        begun = time.perf_counter()
        await asyncio.to_thread(self._real.restart, victim)
        deadline = begun + 120
        while not self._plane.connected(victim.name):
            if time.perf_counter() > deadline:
                raise errors.UnavailableError(f"agent {victim.name} is not reconciled after 120 s")
            await asyncio.sleep(0.01)
        await self._plane.settle()
        self._note("restart", where, time.perf_counter() - begun)

    def _note(self, figure: str, where: str, value: float) -> None:
        progress.say(f"{figure}, {where}: {value:,.4g}")
        self._result.taken.add(figures.at(figure, where), repetition=0, value=value)


def _parts(first: int, count: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, first + count, _BATCH):
        yield begin, min(_BATCH, first + count - begin)


def _resident() -> int:
    """Resident bytes of this process: the controller's, and what the bench itself holds of them."""
    return int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def _vni_of(vpc: object) -> int:
    if not isinstance(vpc, objects.Vpc) or vpc.status is None or vpc.status.vni is None:
        raise errors.NotFoundError(f"VPC {plane.VPC!r} has no VNI")
    return vpc.status.vni

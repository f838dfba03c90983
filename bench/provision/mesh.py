# SPDX-License-Identifier: Apache-2.0
"""The usual model beside ours: a conventional virtual switch has every host told of every endpoint.

Simulated with the same pusher, messages and hosts: the row that a bouncer gets for a new endpoint goes to
every host instead. A benchmark, not a product feature. The planner's work is left out of the mesh's time,
which is in its favour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from bench.core import progress, results, samples, world
from bench.provision import figures, fleet, plane
from mizar.controller import rollout
from mizar.plan import delta, rows

_FIRST: Final = 0x0B00_0000
_VNI: Final = 0xFFFFFF
_NETWORK: Final = 0xFFFF


async def measure(result: results.Result, *, counts: Sequence[int], ones: int) -> None:
    """One endpoint at a time, ours and the mesh's in turns, on clusters of several sizes."""
    for hosts in counts:
        progress.say(f"full mesh of {hosts:,} hosts")
        with world.World() as owner:
            simulated = plane.Fleet(owner, hosts)
            async with plane.running(owner.directory) as running:
                with plane.own_processor():
                    await _compare(result, running, simulated, ones)


async def _compare(result: results.Result, running: plane.Plane, simulated: plane.Fleet, ones: int) -> None:
    where = figures.hosts(simulated.count)
    await running.apply(simulated.manifests(roles=min(3, simulated.count)))
    await running.settle()
    await running.apply(plane.tenant(bouncers=2, replicas=figures.REPLICAS))
    await running.settle()
    # An endpoint on every host first: the VPC's own rows come to a host with its first endpoint.
    await running.apply(plane.spread(0, simulated.count, simulated.count))
    await running.settle()
    simulated.written()
    times: dict[str, list[float]] = {figures.MIZAR: [], figures.MESH: []}
    rows_sent = dict.fromkeys(times, 0)
    for number in range(ones):
        begun = time.perf_counter()
        await running.apply(plane.spread(simulated.count + number, 1, simulated.count))
        await running.settle()
        times[figures.MIZAR].append(time.perf_counter() - begun)
        rows_sent[figures.MIZAR] += sum(simulated.written().values())
        begun = time.perf_counter()
        await _tell_everyone(running, simulated.count, number)
        times[figures.MESH].append(time.perf_counter() - begun)
        rows_sent[figures.MESH] += sum(simulated.written().values())
    for subject, taken in times.items():
        key = figures.at("mesh_writes", where, subject)
        result.taken.add(key, repetition=0, value=rows_sent[subject] / ones)
        key = figures.at("mesh_one", where, subject)
        result.taken.add(key, repetition=0, value=samples.percentile(taken, 0.5) * 1e3)


async def _tell_everyone(running: plane.Plane, hosts: int, number: int) -> None:
    """One new endpoint to all hosts; returns when all have acknowledged."""
    row = rows.LocationRow(_VNI, _NETWORK, _FIRST + number, fleet.FIRST_ADDRESS + 1)
    made = delta.Delta()
    for host in range(1, hosts + 1):
        made.batch(rows.Stage.BOUNCERS, fleet.name_of(host)).upserts.append(row)
    acknowledged = asyncio.Event()
    pusher = running.controller.pusher
    pusher.submit(rollout.Change(pusher.version, pusher.version, made, acknowledged.set))
    await acknowledged.wait()

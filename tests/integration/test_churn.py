# SPDX-License-Identifier: Apache-2.0
"""Many writers at once, hosts that come and go, clients that hang up: at the end every table is as
planned."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
from typing import Any

import pytest

from mizar import errors
from mizar.model import addresses
from mizar.plan import planner, rows
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, vpc

SUBNETS = {"web": "10.0.1.0/24", "db": "10.0.2.0/24"}


@pytest.mark.parametrize("seed", range(3))
def test_after_any_churn_agents_have_what_is_planned(
    agents: cluster.Cluster, tmp_path: pathlib.Path, seed: int
) -> None:
    async def story() -> None:
        rng = random.Random(seed)
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(dividers=2))
            await asyncio.gather(
                *(writer(p, random.Random(100 * seed + n), n) for n in range(4)), breaker(agents, rng)
            )
            for agent in agents.agents.values():
                agent.stop()
                agent.start()
            await p.until(lambda: calm(p), what="all is told")
            assert len(p.controller.world.endpoints) > 5
            for name, agent in agents.agents.items():
                check(p, name, agent)
            assert all(obj.status.ready for obj in await p.listed("endpoint"))  # type: ignore[union-attr]

    asyncio.run(story())


async def writer(p: plane.Plane, rng: random.Random, number: int) -> None:
    """Applies and deletes; refusals are part of the game."""
    for _ in range(30):
        with contextlib.suppress(errors.MizarError):
            await (p.delete(odd(rng, number)) if rng.random() < 0.3 else p.apply(*some(rng, number)))


def some(rng: random.Random, number: int) -> list[dict[str, Any]]:
    name = rng.choice(sorted(SUBNETS))
    made = [network(name, cidrs=(SUBNETS[name],), bouncers=rng.randrange(2, 5), replicas=rng.randrange(1, 3))]
    for _ in range(rng.randrange(6)):
        host, serial = f"h{rng.randrange(1, 5)}", rng.randrange(12)
        made.append(endpoint(f"{name}-{number}-{serial}", host=host, network=name))
    return made


def odd(rng: random.Random, number: int) -> str:
    name = rng.choice(sorted(SUBNETS))
    return rng.choice([f"endpoint blue/{name}-{number}-{rng.randrange(12)}"] * 9 + [f"network blue/{name}"])


async def breaker(agents: cluster.Cluster, rng: random.Random) -> None:
    for _ in range(4):
        agent = agents[f"h{rng.randrange(1, 5)}"]
        agent.stop()
        await asyncio.sleep(0.1)
        agent.start()
        await asyncio.sleep(0.05)


async def calm(p: plane.Plane) -> bool:
    health = p.controller.health()
    there = [obj for kind in ("endpoint", "network") for obj in await p.listed(kind)]
    marked = any(obj.metadata.deletion_timestamp for obj in there)  # type: ignore[union-attr]
    queues = p.controller.pusher.hosts.values()
    return (
        health.connected == 4 and not marked and not p.controller.pusher.busy and all(q.idle for q in queues)
    )


def check(p: plane.Plane, name: str, agent: cluster.Agent) -> None:
    """The agent's tables against a snapshot from scratch."""
    staged = planner.snapshot(p.controller.world, name)
    wanted = [row for group in staged.values() for row in group]
    located = {
        (row.vni, addresses.to_text(row.address)): addresses.to_text(row.host)
        for row in wanted
        if isinstance(row, rows.LocationRow)
    }
    assert agent.locations() == located
    attached = {f"{row.vpc}/{row.name}" for row in wanted if isinstance(row, rows.EndpointRow)}
    assert agent.endpoints() == attached
    shards = {(row.network, row.shard) for row in wanted if isinstance(row, rows.ShardRow)}
    assert {(row["network"], row["shard"]) for row in agent.rows("shards")} == shards
    routes = {
        (row.vni, f"{addresses.to_text(row.prefix)}/{row.length}")
        for row in wanted
        if isinstance(row, rows.RouteRow)
    }
    assert {(row["vni"], row["prefix"]) for row in agent.rows("routes")} == routes


def test_a_client_that_hangs_up_does_not_part_a_transaction_from_its_plan(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network())
            for number in range(20):
                client = asyncio.create_task(p.apply(endpoint(f"e{number}", host="h2")))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                client.cancel()
            await p.apply(endpoint("last"))
            stored = [obj.full_name for obj in await p.listed("endpoint")]
            await p.ready(*(f"endpoint {name}" for name in stored))
            assert agents["h2"].endpoints() | agents["h1"].endpoints() == set(stored)

    asyncio.run(story())


def test_a_planner_that_fails_ends_the_controller(
    agents: cluster.Cluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        ended: list[bool] = []
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network())
            p.controller.on_failure = lambda: ended.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(planner, "apply", _fail)
                with pytest.raises(ZeroDivisionError):
                    await p.apply(endpoint("a"))
            assert p.controller.failed
            assert ended == [True]
        async with plane.running(tmp_path) as p:
            await p.ready("endpoint blue/a")

    asyncio.run(story())


def _fail(*_: object) -> None:
    raise ZeroDivisionError

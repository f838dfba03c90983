# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints: what their bouncers know of them, and what becomes of it.

controller --gRPC--> h1 h2 h3 h4 (agents with tables in memory; what checks find is put in by the tests)
"""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

from mizar.agent import health
from mizar.model import kinds, objects
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, scaled, vpc

ADDRESS = "10.0.1.100"
BACKENDS = {"web-1": "10.0.1.1", "web-2": "10.0.1.2", "web-3": "10.0.1.3"}
CHECK = {"type": "http", "path": "/"}


async def shop(p: plane.Plane, agents: cluster.Cluster, **spec: Any) -> None:
    """web-1 to web-3 on h1 to h3 serve 10.0.1.100."""
    await p.join(agents)
    await p.apply(
        vpc(),
        network(bouncers=2),
        *(endpoint(name, at, host=f"h{name[-1]}") for name, at in BACKENDS.items()),
        scaled("shop", ADDRESS, backends=tuple(BACKENDS), **spec),
    )
    await p.ready("endpoint blue/shop", *(f"endpoint blue/{name}" for name in BACKENDS))


def given_out(agent: cluster.Agent) -> set[str] | None:
    """Backends of the service at a bouncer; None where it is not known, or is coming or going."""
    located = [host for (_, address), host in agent.locations().items() if address == ADDRESS]
    if not located:
        return None
    assert located == [None]
    numbers = [row["id"] for row in agent.rows("services") if row["address"] == ADDRESS]
    return (
        {row["address"] for row in agent.rows("backends") if row["service"] in numbers and row["weight"]}
        if numbers
        else None
    )


def everywhere(agents: cluster.Cluster) -> list[set[str]]:
    found = [given_out(agent) for agent in agents.agents.values()]
    return [backends for backends in found if backends is not None]


async def becomes(p: plane.Plane, agents: cluster.Cluster, *names: str) -> None:
    """One bouncer has the service, with these backends."""
    wanted = [{BACKENDS[name] for name in names}]

    async def is_so() -> bool:
        return everywhere(agents) == wanted

    await p.until(is_so, what=f"backends are {names}, not {everywhere(agents)}")


def find(agents: cluster.Cluster, backend: str, *, healthy: bool) -> None:
    """The check of a backend on its host ends so."""
    key = health.Key("blue", backend, "blue/shop")
    message = "" if healthy else "connection refused"
    agents[f"h{backend[-1]}"].node.health.report(key, health.Result(healthy, message))


async def states(p: plane.Plane) -> dict[str, str]:
    status = (await p.get("endpoint blue/shop")).status
    return {one.name: one.state for one in status.backends}


def test_only_the_bouncers_of_its_address_know_a_service(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents)
            await becomes(p, agents, *BACKENDS)
            status = (await p.get("endpoint blue/shop")).status
            assert [(one.name, one.address, one.host, one.state) for one in status.backends] == [
                (name, at, f"h{name[-1]}", "unknown") for name, at in BACKENDS.items()
            ]

    asyncio.run(story())


def test_drained_and_deleted_backends_get_no_new_flows(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents)
            spec = [{"name": "web-1", "drain": True}, {"name": "web-2"}, {"name": "web-3"}]
            drained = scaled("shop", ADDRESS)
            drained["spec"]["backends"] = spec
            await p.apply(drained)
            await becomes(p, agents, "web-2", "web-3")
            assert (await states(p))["web-1"] == "draining"
            await p.delete("endpoint blue/web-2")
            await p.gone("endpoint blue/web-2")
            await becomes(p, agents, "web-3")

    asyncio.run(story())


def test_backends_follow_labels(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    def labelled(name: str, *, app: str) -> dict[str, object]:
        made = endpoint(name, BACKENDS[name], host=f"h{name[-1]}")
        made["metadata"]["labels"] = {"app": app}
        return made

    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), labelled("web-1", app="shop"))
            await p.apply(scaled("shop", ADDRESS, backendSelector={"app": "shop"}))
            await becomes(p, agents, "web-1")
            await p.apply(labelled("web-2", app="shop"), labelled("web-3", app="other"))
            await becomes(p, agents, "web-1", "web-2")
            await p.apply(labelled("web-1", app="other"), labelled("web-3", app="shop"))
            await becomes(p, agents, "web-2", "web-3")

    asyncio.run(story())


def test_unhealthy_backends_are_left_out_until_they_recover(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents, healthCheck=CHECK)
            find(agents, "web-2", healthy=False)
            await becomes(p, agents, "web-1", "web-3")
            find(agents, "web-1", healthy=True)
            find(agents, "web-3", healthy=False)
            await becomes(p, agents, "web-1")
            assert await states(p) == {"web-1": "healthy", "web-2": "unhealthy", "web-3": "unhealthy"}
            status = (await p.get("endpoint blue/shop")).status
            assert {one.message for one in status.backends} == {None, "connection refused"}
            find(agents, "web-1", healthy=False)
            await becomes(p, agents)
            find(agents, "web-2", healthy=True)
            await becomes(p, agents, "web-2")
            assert (await p.get("endpoint blue/shop")).status.ready

    asyncio.run(story())


def test_health_is_heard_again_after_agent_and_controller_were_away(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents, healthCheck=CHECK)
            find(agents, "web-2", healthy=False)
            await becomes(p, agents, "web-1", "web-3")
            agents["h2"].stop()
            agents["h2"].start()  # with a board that is empty
            find(agents, "web-2", healthy=True)
            await becomes(p, agents, *BACKENDS)
            find(agents, "web-2", healthy=False)
            await becomes(p, agents, "web-1", "web-3")
        async with plane.running(tmp_path) as p:
            await p.ready("endpoint blue/shop", "host h1", "host h2", "host h3")
            await becomes(p, agents, "web-1", "web-3")
            find(agents, "web-2", healthy=True)
            await becomes(p, agents, *BACKENDS)

    asyncio.run(story())


def test_watchers_are_told_of_backends_that_fall_ill(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents, healthCheck=CHECK)
            events = p.controller.watch(kinds.ENDPOINT)
            find(agents, "web-2", healthy=False)
            async with asyncio.timeout(10):
                async for event in events:
                    status = event.object.status
                    backends = status.backends if isinstance(status, objects.EndpointStatus) else None
                    if any(one.state == "unhealthy" for one in backends or ()):
                        return

    asyncio.run(story())


def test_a_backend_that_moves_is_checked_where_it_is(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents, healthCheck=CHECK)
            find(agents, "web-2", healthy=False)
            await becomes(p, agents, "web-1", "web-3")
            await p.apply(endpoint("web-2", BACKENDS["web-2"], host="h4"))
            await becomes(p, agents, *BACKENDS)
            await p.ready("endpoint blue/web-2")
            assert (await states(p))["web-2"] == "unknown"
            agents["h4"].node.health.report(
                health.Key("blue", "web-2", "blue/shop"), health.Result(healthy=False, message="timeout")
            )
            await becomes(p, agents, "web-1", "web-3")

    asyncio.run(story())


def test_a_service_moves_with_its_shard(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents)
            (bouncer,) = [name for name, agent in agents.agents.items() if given_out(agent) is not None]
            manifest = agents[bouncer].manifest
            manifest["spec"]["unschedulable"] = True
            await p.apply(manifest)

            async def has_moved() -> bool:
                holders = [name for name, agent in agents.agents.items() if given_out(agent) is not None]
                return len(holders) == 1 and holders != [bouncer]

            await p.until(has_moved, what="another bouncer has the service")
            await becomes(p, agents, *BACKENDS)
            await p.ready("endpoint blue/shop")

    asyncio.run(story())


def test_a_deleted_service_leaves_all_tables_and_its_address_is_free(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await shop(p, agents, healthCheck=CHECK)
            await p.delete("endpoint blue/shop")
            await p.gone("endpoint blue/shop")
            assert everywhere(agents) == []
            assert all(not agent.node.checks() for agent in agents.agents.values())
            await p.apply(endpoint("web-4", ADDRESS, host="h4"))
            await p.ready("endpoint blue/web-4")

    asyncio.run(story())

# SPDX-License-Identifier: Apache-2.0
"""Hosts that go away and come back, roles that move, a controller that starts again."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

from mizar import errors
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, vpc


def test_a_host_that_is_away_is_named_and_catches_up(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", host="h1"))
            await p.ready("endpoint blue/a", "host h2")
            agents["h2"].stop()
            await p.until(lambda: _agent(p, "h2", "away"), what="h2 is away")
            await p.apply(endpoint("b", host="h2"), endpoint("c", host="h1"))
            await p.ready("endpoint blue/c")
            status = (await p.get("endpoint blue/b")).status
            assert not status.ready
            assert status.conditions[0].reason == "HostAway"
            assert status.message.startswith("host h2 is away: ")
            agents["h2"].start()
            await p.ready("endpoint blue/b", "host h2")
            assert agents["h2"].endpoints() == {"blue/b"}

    asyncio.run(story())


def test_deleting_does_not_wait_for_a_host_that_is_away_and_it_forgets_when_it_is_back(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", "10.0.1.5", host="h2"))
            await p.ready("endpoint blue/a", "host h2")
            agents["h2"].stop()
            await p.until(lambda: _agent(p, "h2", "away"), what="h2 is away")
            await p.delete("endpoint blue/a")
            await p.gone("endpoint blue/a")
            assert agents["h2"].endpoints() == {"blue/a"}
            agents["h2"].start()
            await p.until(lambda: _has(agents["h2"], set()), what="h2 has forgotten")

    asyncio.run(story())


def test_a_grown_bouncer_set_is_made_before_it_is_used_and_broken_last(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            some = [endpoint(f"e{i}", host=f"h{i % 4 + 1}") for i in range(60)]
            await p.join(agents)
            await p.apply(vpc(dividers=2), network(bouncers=2), *some)
            await p.ready(*(f"endpoint blue/e{i}" for i in range(60)))
            before = set((await p.get("network blue/web")).status.bouncers)
            agents.log.clear()
            await p.apply(network(bouncers=3))
            await p.ready("network blue/web")
            (new,) = set((await p.get("network blue/web")).status.bouncers) - before
            await p.until(lambda: _one_holder_each(agents, 60), what="old bouncers have let go")
            log = agents.log
            located = log.position(lambda host, m: host == new and bool(m.upsert.locations), last=True)
            used = log.position(lambda host, m: bool(m.upsert.shards))
            last_use = log.position(lambda host, m: bool(m.upsert.shards), last=True)
            broken = log.position(lambda host, m: bool(m.remove.locations))
            assert located < used <= last_use < broken
            assert agents[new].locations()

    asyncio.run(story())


def test_nothing_is_broken_while_a_host_that_uses_it_is_away(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            some = [endpoint(f"e{i}", host=f"h{i % 4 + 1}") for i in range(40)]
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=1), *some)
            await p.ready(*(f"endpoint blue/e{i}" for i in range(40)), "host h4")
            bouncers = (await p.get("network blue/web")).status.bouncers
            away = next(name for name in agents.agents if name not in bouncers)
            agents[away].stop()
            await p.until(lambda: _agent(p, away, "away"), what=f"{away} is away")
            agents.log.clear()
            await p.apply(network(bouncers=3))
            await p.until(lambda: _shards_told(agents, away), what="others use the new bouncers")
            assert not any(message.remove.locations for _, message in agents.log)
            agents[away].start()
            await p.until(lambda: _one_holder_each(agents, 40), what="old bouncers have let go")

    asyncio.run(story())


def test_an_unschedulable_host_loses_its_roles_and_keeps_its_endpoints(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(dividers=4), network(bouncers=4), endpoint("a", host="h1"))
            await p.ready("endpoint blue/a")
            drained = agents["h1"].manifest
            drained["spec"]["unschedulable"] = True
            await p.apply(drained)
            await p.ready("network blue/web", "vpc blue")
            assert "h1" not in (await p.get("network blue/web")).status.bouncers
            assert "h1" not in (await p.get("vpc blue")).status.dividers
            assert agents["h1"].endpoints() == {"blue/a"}

    asyncio.run(story())


def test_a_controller_that_starts_again_changes_nothing_at_agents_that_are_right(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=2), endpoint("a"), endpoint("b", host="h2"))
            await p.ready("endpoint blue/a", "endpoint blue/b", "host h4")
        written = {name: agent.node.output.rows_written for name, agent in agents.agents.items()}
        agents.log.clear()
        async with plane.running(tmp_path) as p:
            await p.ready("endpoint blue/a", "endpoint blue/b", "host h4")
            await p.until(lambda: _pruned(agents), what="all are told to prune")
        assert written == {name: agent.node.output.rows_written for name, agent in agents.agents.items()}

    asyncio.run(story())


def test_a_controller_that_starts_again_finishes_what_was_being_deleted(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", host="h1"))
            await p.ready("endpoint blue/a")
            attachments = agents["h1"].parts.attachments
            refuse = _Refuse(attachments)
            await p.delete("endpoint blue/a")
            await p.until(lambda: _true(refuse.asked > 0), what="the removal is tried")
            assert await p.exists("endpoint blue/a")
        refuse.end()
        async with plane.running(tmp_path) as p:
            await p.gone("endpoint blue/a")
            assert agents["h1"].endpoints() == set()

    asyncio.run(story())


def test_a_removed_host_is_told_to_forget_everything(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(dividers=4), network(bouncers=4, replicas=4), endpoint("a"))
            await p.ready("endpoint blue/a", "host h4")
            await p.delete("host h4")
            await p.gone("host h4")
            await p.until(lambda: _empty(agents["h4"]), what="h4 has nothing left")
            assert not any(row["address"] == "172.30.0.14" for row in agents["h1"].rows("hosts"))

    asyncio.run(story())


class _Refuse:
    """Attachments that cannot be removed, until the end."""

    def __init__(self, attachments: Any) -> None:
        self.asked = 0
        self._attachments = attachments
        self._remove = attachments.remove

        def remove(*args: object, **more: object) -> None:
            self.asked += 1
            raise errors.KernelError("remove interface: Device or resource busy")

        attachments.remove = remove

    def end(self) -> None:
        self._attachments.remove = self._remove


async def _true(holds: bool) -> bool:
    return holds


async def _agent(p: plane.Plane, name: str, state: str) -> bool:
    return bool((await p.get(f"host {name}")).status.agent == state)


async def _has(agent: cluster.Agent, endpoints: set[str]) -> bool:
    return agent.endpoints() == endpoints


async def _empty(agent: cluster.Agent) -> bool:
    return not any(agent.rows(table) for table in ("vpcs", "routes", "shards", "locations", "endpoints"))


async def _one_holder_each(agents: cluster.Cluster, count: int) -> bool:
    held = [key for agent in agents.agents.values() for key in agent.locations()]
    return len(held) == len(set(held)) == count


async def _shards_told(agents: cluster.Cluster, away: str) -> bool:
    told = {host for host, message in agents.log if message.upsert.shards}
    return told == set(agents.agents) - {away}


async def _pruned(agents: cluster.Cluster) -> bool:
    prune = node_pb2.SyncRequest.PRUNE
    return {host for host, message in agents.log if message.mode == prune} == set(agents.agents)


def test_a_host_takes_no_role_before_its_agent_was_reached(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    """Others would send it packets that it knows nothing of; afterwards it keeps its roles while away."""

    async def story() -> None:
        agents["h3"].stop()
        async with plane.running(tmp_path) as p:
            await p.apply(*agents.manifests)
            await p.ready("host h1", "host h2", "host h4")
            await p.apply(vpc(dividers=4), network(bouncers=4), endpoint("a", host="h1"))
            await p.ready("endpoint blue/a")
            assert "h3" not in (await p.get("network blue/web")).status.bouncers
            assert "h3" not in (await p.get("vpc blue")).status.dividers
        async with plane.running(tmp_path) as p:
            assert "h3" not in (await p.get("network blue/web")).status.bouncers
            agents["h3"].start()
            await p.ready("host h3")
            assert "h3" in (await p.get("network blue/web")).status.bouncers
            assert "h3" in (await p.get("vpc blue")).status.dividers
            agents["h3"].stop()
        async with plane.running(tmp_path) as p:
            assert "h3" in (await p.get("network blue/web")).status.bouncers

    asyncio.run(story())

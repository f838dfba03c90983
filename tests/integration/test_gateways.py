# SPDX-License-Identifier: Apache-2.0
"""Gateways and outside addresses: who leads out, and who answers.

controller --gRPC--> h1 h2 h3 h4 (agents with tables in memory)
h1 and h2 lead out, h3 has the endpoint.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Mapping
from typing import Any

from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, inside, network, scaled, vpc

OUTSIDE = "192.0.2.20"
POOL = ("192.0.2.10", "192.0.2.11")


def gateway(name: str = "out", **spec: Any) -> dict[str, Any]:
    return inside("Gateway", name, **spec)


async def ways_out(p: plane.Plane, agents: cluster.Cluster, **spec: Any) -> None:
    await p.join(agents)
    await p.apply(vpc(), network(), endpoint("web-1", "10.0.1.1", host="h3"))
    await p.apply(gateway(**(spec or {"hosts": ["h1", "h2"], "addresses": list(POOL)})))
    await p.ready("endpoint blue/web-1", "gateway blue/out")


def to_outside(agent: cluster.Agent) -> list[Mapping[str, Any]]:
    return [row for row in agent.rows("routes") if row["kind"] == "gateway"]


def answers(agents: cluster.Cluster, address: str) -> list[str]:
    return [
        name
        for name, agent in agents.agents.items()
        if any(row["address"] == address for row in agent.rows("outside"))
    ]


async def answering(p: plane.Plane, agents: cluster.Cluster, host: str) -> None:
    async def is_so() -> bool:
        return answers(agents, OUTSIDE) == [host]

    await p.until(is_so, what=f"{host} answers for {OUTSIDE}, not {answers(agents, OUTSIDE)}")


def test_endpoints_hosts_know_the_hosts_of_their_gateway(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            (route,) = to_outside(agents["h3"])
            assert route["prefix"] == "0.0.0.0/0"
            shards = [row for row in agents["h3"].rows("shards") if row["network"] == route["network"]]
            assert [row["hosts"] for row in shards] == [["172.30.0.11", "172.30.0.12"]]
            assert not agents["h3"].rows("gateways")
            for name, address in zip(("h1", "h2"), POOL, strict=True):
                (row,) = agents[name].rows("gateways")
                assert row["addresses"] == [address]
                assert len(to_outside(agents[name])) == 1
            assert not to_outside(agents["h4"])
            status = (await p.get("gateway blue/out")).status
            assert [(one.name, one.addresses, one.up) for one in status.hosts] == [
                ("h1", (POOL[0],), True),
                ("h2", (POOL[1],), True),
            ]

    asyncio.run(story())


def test_gateway_hosts_know_before_anybody_is_sent_to_them(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("web-1", "10.0.1.1", host="h3"))
            await p.ready("endpoint blue/web-1")
            agents.log.clear()
            await p.apply(gateway(hosts=["h1", "h2"]))
            await p.ready("gateway blue/out")
            last = agents.log.position(lambda host, request: bool(request.upsert.gateways), last=True)
            used = agents.log.position(
                lambda host, request: host == "h3" and any(r.kind == 6 for r in request.upsert.routes)
            )
            assert last < used

    asyncio.run(story())


def test_every_host_of_the_vpc_masquerades(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents, hostMasquerade=True)
            assert [row["network"] for row in to_outside(agents["h3"])] == [0]
            assert [name for name, agent in agents.agents.items() if agent.rows("gateways")] == ["h3"]
            await p.apply(endpoint("web-2", "10.0.1.2", host="h4"))
            await p.ready("endpoint blue/web-2")
            assert agents["h4"].rows("gateways")
            assert [row["network"] for row in to_outside(agents["h4"])] == [0]
            status = (await p.get("gateway blue/out")).status
            assert [one.name for one in status.hosts] == ["h3", "h4"]

    asyncio.run(story())


def test_a_floating_address_is_answered_for_by_another_host_while_one_is_away(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            await p.apply(
                inside("FloatingAddress", "web-outside", gateway="out", address=OUTSIDE, endpoint="web-1")
            )
            await p.ready("floatingaddress blue/web-outside")
            for name in ("h1", "h2"):
                assert [row["outside"] for row in agents[name].rows("floating")] == [OUTSIDE]
            first = (await p.get("floatingaddress blue/web-outside")).status.host
            other = {"h1": "h2", "h2": "h1"}[first]
            await answering(p, agents, first)
            agents[first].stop()

            async def other_answers() -> bool:
                return other in answers(agents, OUTSIDE)

            await p.until(other_answers, what=f"{other} answers")
            assert (await p.get("floatingaddress blue/web-outside")).status.host == other
            status = (await p.get("gateway blue/out")).status
            assert {one.name: one.up for one in status.hosts} == {first: False, other: True}
            agents[first].start()
            await answering(p, agents, first)
            assert (await p.get("floatingaddress blue/web-outside")).status.host == first

    asyncio.run(story())


def test_a_host_that_its_neighbours_do_not_reach_answers_no_more(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    """Its agent is well, and says that it reaches nobody."""

    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            await p.apply(inside("FloatingAddress", "f", gateway="out", address=OUTSIDE, endpoint="web-1"))
            await p.ready("floatingaddress blue/f")
            first = (await p.get("floatingaddress blue/f")).status.host
            other = {"h1": "h2", "h2": "h1"}[first]

            def cut(*, down: bool) -> None:
                for name in {"h1", "h2", "h3"} - {first}:
                    agents[name].node.set_down({agents[first].address: down})
                    agents[first].node.set_down({agents[name].address: down})

            cut(down=True)
            await answering(p, agents, other)
            status = (await p.get("gateway blue/out")).status
            assert {one.name: one.up for one in status.hosts} == {first: False, other: True}
            cut(down=False)
            await answering(p, agents, first)

    asyncio.run(story())


def test_a_forward_is_answered_for_by_the_host_that_has_the_address(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            await p.apply(
                scaled("shop", "10.0.1.100", backends=("web-1",)),
                inside("PortForward", "ssh", gateway="out", address=POOL[1], port=2222, endpoint="web-1"),
                inside("PortForward", "web", gateway="out", address=OUTSIDE, port=80, endpoint="shop"),
            )
            await p.ready("portforward blue/ssh", "portforward blue/web")
            assert (await p.get("portforward blue/ssh")).status.host == "h2"
            assert answers(agents, POOL[1]) == ["h2"]
            assert len(answers(agents, OUTSIDE)) == 1
            for name in ("h1", "h2"):
                inwards = {
                    (row["address"], row["port"]): (row["to_address"], row["to_port"])
                    for row in agents[name].rows("forwards")
                    if not row["vni"]
                }
                assert inwards == {
                    (POOL[1], 2222): ("10.0.1.1", 2222),
                    (OUTSIDE, 80): ("10.0.1.100", 80),
                }

    asyncio.run(story())


def test_a_host_that_leaves_a_gateway_is_left(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            await p.apply(gateway(hosts=["h2", "h4"], addresses=list(POOL)))
            await p.ready("gateway blue/out")

            async def has_left() -> bool:
                return not agents["h1"].rows("gateways") and not to_outside(agents["h1"])

            await p.until(has_left, what="h1 leads out no more")
            assert agents["h4"].rows("gateways")
            shards = [row["hosts"] for row in agents["h3"].rows("shards")]
            assert ["172.30.0.12", "172.30.0.14"] in shards

    asyncio.run(story())


def test_what_is_deleted_leaves_all_tables(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await ways_out(p, agents)
            await p.apply(
                endpoint("web-2", "10.0.1.2", host="h4"),
                inside("FloatingAddress", "f", gateway="out", address=OUTSIDE, endpoint="web-1"),
                inside("PortForward", "ssh", gateway="out", address=POOL[0], port=2222, endpoint="web-2"),
            )
            await p.ready("floatingaddress blue/f", "portforward blue/ssh")
            await p.delete("floatingaddress blue/f", "portforward blue/ssh")
            await p.gone("floatingaddress blue/f", "portforward blue/ssh")
            await p.delete("gateway blue/out")
            await p.gone("gateway blue/out")
            for agent in agents.agents.values():
                for table in ("gateways", "outside", "floating", "forwards"):
                    assert not agent.rows(table)
                assert not to_outside(agent)

    asyncio.run(story())

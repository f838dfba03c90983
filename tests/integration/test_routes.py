# SPDX-License-Identifier: Apache-2.0
"""Route tables and peerings: the rows that they become, on the hosts that need them.

controller --gRPC--> h1 h2 h3 h4 (agents with tables in memory)
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mizar.controller import feed
from mizar.model import kinds, services
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, inside, network, vpc

Routes = dict[str, Mapping[str, Any]]


def table(name: str = "main", *routes: dict[str, Any], networks: tuple[str, ...] = ()) -> dict[str, Any]:
    return inside("RouteTable", name, routes=list(routes), networks=list(networks))


def routes(agent: cluster.Agent, vni: int) -> Routes:
    """Of a VPC, by prefix."""
    return {row["prefix"]: row for row in agent.rows("routes") if row["vni"] == vni}


def own_table(agent: cluster.Agent, number: int) -> Routes:
    """Of a network, by prefix."""
    return {row["prefix"]: row for row in agent.rows("routes") if row["table"] == f"network {number}"}


def own_routes(agent: cluster.Agent, number: int) -> dict[str, str]:
    """Kinds of the routes of a network's own table, by prefix."""
    return {prefix: row["kind"] for prefix, row in own_table(agent, number).items()}


async def vni(p: plane.Plane, name: str) -> int:
    return int((await p.get(f"vpc {name}")).status.vni)


def test_routes_of_a_vpc_are_on_the_hosts_of_its_endpoints(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(
                vpc(),
                network(),
                endpoint("web-1", "10.0.1.1", host="h3"),
                endpoint("firewall", "10.0.1.9", host="h4", forwarding=True),
                table(
                    "main",
                    {"to": "192.168.0.0/16", "endpoint": "firewall"},
                    {"to": "192.168.7.0/24", "blackhole": True},
                ),
            )
            await p.ready("endpoint blue/web-1", "endpoint blue/firewall", "routetable blue/main")
            web = (await p.get("network blue/web")).status.id
            for name in ("h3", "h4"):
                found = own_table(agents[name], web)
                assert found["192.168.0.0/16"]["endpoint"] == "10.0.1.9"
                assert found["192.168.7.0/24"]["kind"] == "blackhole"
                assert "192.168.0.0/16" not in routes(agents[name], await vni(p, "blue"))
            assert not any(own_table(agents[name], web) for name in ("h1", "h2"))
            flags = {row["address"]: row["flags"] for row in agents["h4"].rows("ports")}
            assert "forwards" in flags["10.0.1.9"]
            await p.apply(endpoint("firewall", "10.0.1.8", host="h4", forwarding=True))
            await p.ready("endpoint blue/firewall")
            assert own_table(agents["h3"], web)["192.168.0.0/16"]["endpoint"] == "10.0.1.8"
            await p.delete("routetable blue/main")
            await p.gone("routetable blue/main")
            assert not own_table(agents["h3"], web)

    asyncio.run(story())


def test_a_network_with_a_table_has_routes_of_its_own(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(
                vpc(),
                network(),
                network("db", cidrs=("10.0.2.0/24",)),
                endpoint("web-1", "10.0.1.1", host="h3"),
                endpoint("db-1", "10.0.2.1", host="h3", network="db"),
                table("main", {"to": "192.168.0.0/16", "blackhole": True}),
                table("inner", {"to": "172.16.0.0/12", "blackhole": True}, networks=("db",)),
            )
            await p.ready("endpoint blue/web-1", "endpoint blue/db-1", "routetable blue/inner")
            web, db = [(await p.get(f"network blue/{name}")).status.id for name in ("web", "db")]
            found = own_routes(agents["h3"], db)
            assert (found["192.168.0.0/16"], found["172.16.0.0/12"]) == ("blackhole", "blackhole")
            assert "10.0.0.0/16" in found
            assert not own_routes(agents["h3"], web)
            assert "172.16.0.0/12" not in routes(agents["h3"], await vni(p, "blue"))
            flags = {row["address"]: row["flags"] for row in agents["h3"].rows("ports")}
            assert ("routes" in flags["10.0.2.1"], "routes" in flags["10.0.1.1"]) == (True, False)

    asyncio.run(story())


async def two_vpcs(p: plane.Plane, agents: cluster.Cluster) -> tuple[int, int]:
    """VNIs of blue, with web-1 on h3, and green, with api-1 on h4. Roles are on h1 and h2."""
    await p.join(agents)
    for name in ("h3", "h4"):
        manifest = agents[name].manifest
        manifest["spec"]["unschedulable"] = True
        await p.apply(manifest)
    await p.apply(
        vpc(),
        network(),
        endpoint("web-1", "10.0.1.1", host="h3"),
        vpc("green", cidrs=("10.8.0.0/16",)),
        network("api", vpc="green", cidrs=("10.8.1.0/24",)),
        endpoint("api-1", "10.8.1.1", host="h4", vpc="green", network="api"),
    )
    await p.ready("endpoint blue/web-1", "endpoint green/api-1")
    return await vni(p, "blue"), await vni(p, "green")


def test_a_peering_works_once_both_sides_agree_and_as_long(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            blue, green = await two_vpcs(p, agents)
            await p.apply(inside("Peering", "to-green", peer="green"))
            waiting = (await p.get("peering blue/to-green")).status
            assert (waiting.active, waiting.ready, waiting.conditions[0].reason) == (
                False,
                False,
                "PeerMissing",
            )
            assert "10.8.0.0/16" not in routes(agents["h3"], blue)
            await p.apply(inside("Peering", "to-blue", vpc="green", peer="blue"))
            await p.ready("peering blue/to-green", "peering green/to-blue")
            assert (await p.get("peering blue/to-green")).status.active
            assert routes(agents["h3"], blue)["10.8.0.0/16"]["kind"] == "divider"
            assert routes(agents["h3"], blue)["10.8.0.0/16"]["peer_vni"] == green
            assert routes(agents["h4"], green)["10.0.0.0/16"]["kind"] == "divider"
            (divider,) = (await p.get("vpc blue")).status.dividers
            row = routes(agents[divider], blue)["10.8.1.0/24"]
            assert (row["kind"], row["peer_vni"]) == ("network", green)
            shards = {one["network"] for one in agents[divider].rows("shards")}
            assert row["network"] in shards
            await p.delete("peering green/to-blue")
            await p.gone("peering green/to-blue")
            assert "10.8.0.0/16" not in routes(agents["h3"], blue)
            assert "10.8.1.0/24" not in routes(agents[divider], blue)
            assert not (await p.get("peering blue/to-green")).status.active
            await p.delete("peering blue/to-green")
            await p.gone("peering blue/to-green")

    asyncio.run(story())


def test_watchers_are_told_of_peerings_that_begin_and_end(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def until(events: AsyncIterator[feed.Event], *, ready: bool) -> None:
        async with asyncio.timeout(10):
            async for event in events:
                status = event.object.status
                if isinstance(status, services.PeeringStatus) and (status.active, status.ready) == (
                    ready,
                    ready,
                ):
                    return

    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await two_vpcs(p, agents)
            await p.apply(inside("Peering", "to-green", peer="green"))
            events = p.controller.watch(kinds.PEERING, vpc="blue")
            await until(events, ready=False)
            await p.apply(inside("Peering", "to-blue", vpc="green", peer="blue"))
            await until(events, ready=True)
            await p.delete("peering green/to-blue")
            await until(events, ready=False)

    asyncio.run(story())


def test_dividers_keep_up_with_the_networks_of_a_peer(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            blue, green = await two_vpcs(p, agents)
            await p.apply(
                inside("Peering", "to-green", peer="green"),
                inside("Peering", "to-blue", vpc="green", peer="blue"),
            )
            await p.ready("peering blue/to-green", "peering green/to-blue")
            await p.apply(network("more", vpc="green", cidrs=("10.8.2.0/24",), bouncers=4, replicas=2))
            await p.ready("network green/more")
            (divider,) = (await p.get("vpc blue")).status.dividers
            row = routes(agents[divider], blue)["10.8.2.0/24"]
            assert (row["kind"], row["peer_vni"]) == ("network", green)
            held = [one for one in agents[divider].rows("shards") if one["network"] == row["network"]]
            assert {len(one["hosts"]) for one in held} == {2}
            manifest = agents[divider].manifest
            manifest["spec"]["unschedulable"] = True
            await p.apply(manifest)

            async def has_moved() -> bool:
                dividers = (await p.get("vpc blue")).status.dividers
                return (
                    divider not in dividers
                    and "10.8.2.0/24" in routes(agents[dividers[0]], blue)
                    and "10.8.2.0/24" not in routes(agents[divider], blue)
                )

            await p.until(has_moved, what="another divider knows the peer's networks")

    asyncio.run(story())

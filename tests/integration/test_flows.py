# SPDX-License-Identifier: Apache-2.0
"""Create, move, delete: from the API's side to the rows in the tables of real agents.

controller --gRPC--> h1 h2 h3 h4 (agents with tables in memory)
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable

import pytest

from mizar import errors
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, vpc


def test_an_endpoint_is_at_its_host_and_its_bouncer_when_it_is_ready(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=2), endpoint("web-1", "10.0.1.5", host="h3"))
            await p.ready("endpoint blue/web-1", "network blue/web", "vpc blue", "host h1")
            assert agents["h3"].endpoints() == {"blue/web-1"}
            bouncers = (await p.get("network blue/web")).status.bouncers
            located = [
                name for name in bouncers if any("10.0.1.5" in key for key in agents[name].locations())
            ]
            assert len(located) == 1

    asyncio.run(story())


def test_a_manifest_applied_again_changes_nothing(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            objects = [*agents.manifests, vpc(), network(), endpoint("web-1"), endpoint("web-2", host="h2")]
            assert set(await p.apply(*objects)) == {"created"}
            await p.ready("endpoint blue/web-1", "endpoint blue/web-2")
            before = await p.get("endpoint blue/web-1")
            assert set(await p.apply(*objects)) == {"unchanged"}
            assert await p.get("endpoint blue/web-1") == before

    asyncio.run(story())


def test_a_deleted_endpoint_leaves_all_tables_and_its_address_is_free(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=4, replicas=4), endpoint("a", "10.0.1.5"))
            await p.ready("endpoint blue/a")
            await p.delete("endpoint blue/a")
            await p.gone("endpoint blue/a")
            assert all(not agent.locations() and not agent.endpoints() for agent in agents.agents.values())
            await p.apply(endpoint("b", "10.0.1.5", host="h2"))
            await p.ready("endpoint blue/b")
            assert agents["h2"].endpoints() == {"blue/b"}

    asyncio.run(story())


def test_a_moved_endpoint_is_at_the_new_host_before_it_leaves_the_old_one(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", "10.0.1.5", host="h1"))
            await p.ready("endpoint blue/a")
            agents.log.clear()
            await p.apply(endpoint("a", "10.0.1.5", host="h2"))
            await p.ready("endpoint blue/a")
            await p.until(lambda: _has(agents["h1"], set()), what="gone from h1")
            assert agents["h2"].endpoints() == {"blue/a"}
            made = agents.log.position(lambda host, message: bool(message.upsert.endpoints) and host == "h2")
            located = agents.log.position(lambda host, message: bool(message.upsert.locations))
            broken = agents.log.position(
                lambda host, message: bool(message.remove.endpoints) and host == "h1"
            )
            assert made < located < broken

    asyncio.run(story())


def test_everything_is_deleted_by_one_request_in_any_order(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), *(endpoint(f"e{i}", host="h2") for i in range(9)))
            await p.ready("endpoint blue/e0", "endpoint blue/e8")
            await p.delete("vpc blue", "network blue/web", *(f"endpoint blue/e{i}" for i in range(9)))
            await p.gone("vpc blue", "network blue/web")
            await p.delete(*(f"host {name}" for name in agents.agents))
            await p.gone(*(f"host {name}" for name in agents.agents))
            for agent in agents.agents.values():
                assert all(not agent.rows(table) for table in ("vpcs", "routes", "shards", "locations"))

    asyncio.run(story())


@pytest.mark.parametrize("gone", ["vpc blue", "network blue/web", "host h1"])
def test_what_is_in_use_is_not_deleted(agents: cluster.Cluster, tmp_path: pathlib.Path, gone: str) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", host="h1"))
            with pytest.raises(errors.ConflictError):
                await p.delete(gone)
            await p.ready("endpoint blue/a")
            assert (await p.get(gone)).metadata.deletion_timestamp is None

    asyncio.run(story())


def test_a_refused_request_changes_nothing(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a", "10.0.1.5"))
            revision = p.controller.health().revision
            for wrong in (
                endpoint("b", "10.0.1.5"),
                endpoint("b", "10.9.0.5"),
                endpoint("b", network="nowhere"),
                endpoint("b", host="h9"),
                network("web2", cidrs=("10.0.1.128/25",)),
            ):
                with pytest.raises(errors.MizarError):
                    await p.apply(endpoint("good"), wrong)
            assert p.controller.health().revision == revision
            assert not await p.exists("endpoint blue/good")

    asyncio.run(story())


def test_an_endpoint_that_its_host_refuses_says_why_and_recovers(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            attachments = agents["h1"].parts.attachments
            attachments.broken.add("blue/a")  # type: ignore[attr-defined]  # simulated.MemoryAttachments
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a"), endpoint("b"))
            await p.ready("endpoint blue/b")
            await p.until(lambda: _reason(p, "endpoint blue/a", "EntryRefused"), what="refusal is told")
            assert (await p.get("endpoint blue/a")).status.message.startswith(
                "host h1: create interface of blue/a"
            )
            attachments.broken.clear()  # type: ignore[attr-defined]
            await p.ready("endpoint blue/a")

    asyncio.run(story())


async def _has(agent: cluster.Agent, endpoints: set[str]) -> bool:
    return agent.endpoints() == endpoints


async def _reason(p: plane.Plane, name: str, reason: str) -> bool:
    return bool((await p.get(name)).status.conditions[0].reason == reason)


def test_a_new_bouncer_takes_its_rows_in_messages_of_any_size(
    agents: cluster.Cluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its role comes before the rows that need it, even where one message does not hold them all."""
    monkeypatch.setattr(wire, "CHUNK_ROWS", 2)

    async def story() -> None:
        async with plane.running(tmp_path) as p:
            some = [endpoint(f"e{number}", host="h1") for number in range(12)]
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=1), *some)
            await p.ready("network blue/web")
            await p.apply(network(bouncers=4, replicas=4))
            await p.ready("network blue/web")
            for host in ("h1", "h2", "h3", "h4"):
                assert len(agents[host].locations()) == len(some)
                role = agents.log.position(_tells(host, "networks"))
                first = agents.log.position(_tells(host, "locations"))
                assert role <= first

    asyncio.run(story())


def _tells(host: str, table: str) -> Callable[[str, node_pb2.SyncRequest], bool]:
    """Messages to `host` with rows of `table`."""
    return lambda name, message: name == host and bool(getattr(message.upsert, table))

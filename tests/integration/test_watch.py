# SPDX-License-Identifier: Apache-2.0
"""What a watcher is told, and when."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator

import pytest

from mizar import errors
from mizar.controller import feed
from mizar.model import kinds
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, vpc


async def until(
    events: AsyncIterator[feed.Event], kind: str, name: str, *, ready: bool | None = None
) -> feed.Event:
    """The next event of this type and object; other events are skipped."""
    async with asyncio.timeout(10):
        async for event in events:
            obj = event.object
            fits = event.type == kind and obj.metadata.name == name
            if fits and (
                ready is None or (obj.status is not None and getattr(obj.status, "ready", None) is ready)
            ):
                return event
    pytest.fail(f"the watch ended without {kind} {name}")


def test_a_watch_begins_with_what_there_is_and_goes_on(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a"))
            events = p.controller.watch(kinds.ENDPOINT)
            assert (await until(events, "ADDED", "a")).object.full_name == "blue/a"
            await p.apply(endpoint("b", host="h2"))
            await until(events, "ADDED", "b")
            await p.ready("endpoint blue/b")
            await p.delete("endpoint blue/b")
            assert (await until(events, "DELETED", "b")).object.full_name == "blue/b"

    asyncio.run(story())


def test_an_object_comes_again_when_it_turns_ready(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network())
            await p.ready("host h2")
            agents["h2"].stop()
            hosts = p.controller.watch(kinds.HOST)
            await until(hosts, "MODIFIED", "h2", ready=False)
            await p.apply(endpoint("b"))
            events = p.controller.watch(kinds.ENDPOINT)
            await until(events, "ADDED", "b")
            await p.apply(endpoint("a", host="h2"))
            await until(events, "ADDED", "a", ready=False)
            agents["h2"].start()
            await until(events, "MODIFIED", "a", ready=True)
            await until(hosts, "MODIFIED", "h2", ready=True)

    asyncio.run(story())


def test_an_object_comes_again_when_a_host_refuses_it(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network())
            broken = agents["h1"].parts.attachments.broken  # type: ignore[attr-defined]  # simulated
            broken.add("blue/a")
            await p.apply(endpoint("b"))
            events = p.controller.watch(kinds.ENDPOINT)
            await until(events, "ADDED", "b")
            await p.apply(endpoint("a"))
            event = await until(events, "ADDED", "a", ready=False)
            while "Operation not permitted" not in str(event.object.status):
                event = await until(events, "MODIFIED", "a", ready=False)
            broken.clear()
            await until(events, "MODIFIED", "a", ready=True)

    asyncio.run(story())


def test_a_watch_from_a_version_has_what_was_missed(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("a"))
            version = p.controller.health().revision
            await p.apply(endpoint("b"))
            events = p.controller.watch(kinds.ENDPOINT, since=version)
            async with asyncio.timeout(10):
                first = await anext(events)
            assert (first.type, first.object.metadata.name) == ("ADDED", "b")

    asyncio.run(story())


def test_a_watch_from_a_version_follows_what_was_not_ready_then(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(), endpoint("b"))
            await p.ready("host h2", "endpoint blue/b")
            agents["h2"].stop()
            await p.apply(endpoint("a", host="h2"))
            events = p.controller.watch(kinds.ENDPOINT, since=p.controller.health().revision)
            turned = asyncio.create_task(until(events, "MODIFIED", "a", ready=True))
            await asyncio.sleep(0)
            agents["h2"].start()
            await turned

    asyncio.run(story())


def test_a_version_from_before_the_start_is_too_old(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.apply(*agents.manifests)
            version = p.controller.health().revision
            await p.apply(vpc())
        async with plane.running(tmp_path) as p:
            with pytest.raises(errors.ConflictError, match="too old"):
                await anext(p.controller.watch(kinds.HOST, since=version))

    asyncio.run(story())


def test_a_hundred_endpoints_each_turn_ready_once_told(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            await p.join(agents)
            await p.apply(vpc(), network(bouncers=3, replicas=2))
            events = p.controller.watch(kinds.ENDPOINT)
            watching = asyncio.create_task(_all_ready(events, 100))
            await asyncio.sleep(0)
            await p.apply(*(endpoint(f"e{i}", host=f"h{i % 4 + 1}") for i in range(100)))
            async with asyncio.timeout(10):
                await watching

    asyncio.run(story())


async def _all_ready(events: AsyncIterator[feed.Event], count: int) -> None:
    ready: set[str] = set()
    async for event in events:
        if event.object.status is not None and getattr(event.object.status, "ready", False):
            ready.add(event.object.full_name)
        if len(ready) == count:
            return


def test_roles_cannot_be_watched(agents: cluster.Cluster, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            with pytest.raises(errors.InvalidError, match="bouncers cannot be watched"):
                await anext(p.controller.watch(kinds.BOUNCER))

    asyncio.run(story())

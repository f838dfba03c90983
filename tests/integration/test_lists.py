# SPDX-License-Identifier: Apache-2.0
"""Long lists are written without objects; they say what the objects say."""

from __future__ import annotations

import asyncio
import json
import pathlib
from typing import Any

import pytest

from mizar import errors
from mizar.model import kinds, objects
from tests.integration import cluster, plane
from tests.integration.manifests import endpoint, network, vpc


async def written(p: plane.Plane, *, vpc: str | None = None) -> list[dict[str, Any]]:
    pieces = [piece async for piece in p.controller.endpoints_json(vpc=vpc)]
    found: list[dict[str, Any]] = json.loads(b"".join(pieces))
    return found


def test_a_list_of_endpoints_is_what_their_objects_say(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            labelled = endpoint("b", "10.0.1.9", "10.0.1.10", netns='/run/a "b"', ifname="net1")
            labelled["metadata"]["labels"] = {"tier": 'a "front"'}
            await p.join(agents)
            await p.apply(vpc(), network(), vpc("red"), network(vpc="red"))
            assert await written(p) == []
            await p.apply(endpoint("a"), labelled, endpoint("c", vpc="red"))
            await p.ready("endpoint blue/a", "endpoint blue/b", "endpoint red/c", "host h2")
            agents["h2"].stop()
            await p.apply(endpoint("d", host="h2"))
            await p.delete("endpoint red/c")
            for name in (None, "blue", "red"):
                listed = await p.controller.listing(kinds.ENDPOINT, vpc=name)
                assert await written(p, vpc=name) == [objects.to_json(obj) for obj in listed]

    asyncio.run(story())


def test_a_list_of_more_than_a_page_has_every_endpoint_once(
    agents: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            many = [endpoint(f"e{number}", network="wide") for number in range(500)]
            await p.join(agents)
            await p.apply(vpc(), network("wide", cidrs=("10.0.4.0/22",)), *many)
            names = [obj["metadata"]["name"] for obj in await written(p, vpc="blue")]
            assert names == sorted(f"e{number}" for number in range(500))

    asyncio.run(story())


def test_a_list_in_a_vpc_that_does_not_exist_is_refused(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with plane.running(tmp_path) as p:
            with pytest.raises(errors.NotFoundError, match="vpc 'blue' does not exist"):
                await written(p, vpc="blue")

    asyncio.run(story())

# SPDX-License-Identifier: Apache-2.0
"""A controller in this process, with short names for what tests do with it all the time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from mizar.controller import config, link, service
from mizar.model import kinds, objects, reading
from mizar.store import sqlite
from tests.integration import cluster

TIMING = config.Timing(drain=0.1, backoff_first=0.05, backoff_last=0.2, connect=1.0, look=0.1)


class Plane:
    """A controller with short names for what the tests do all the time."""

    def __init__(self, controller: service.Controller) -> None:
        self.controller = controller

    async def apply(self, *raws: dict[str, Any]) -> list[str]:
        results = await self.controller.apply(reading.read_many(raws))
        return [one.outcome.value for one in results]

    async def join(self, agents: cluster.Cluster) -> None:
        """All hosts are part of the cluster: roles stay where they are put."""
        await self.apply(*agents.manifests)
        await self.ready(*(f"host {name}" for name in agents.agents))

    async def delete(self, *names: str) -> None:
        await self.controller.delete([ref(name) for name in names])

    async def get(self, name: str) -> Any:
        return await self.controller.get(ref(name))

    async def exists(self, name: str) -> bool:
        return any(obj.full_name == ref(name).full_name for obj in await self.listed(name.partition(" ")[0]))

    async def listed(self, kind: str) -> Sequence[objects.AnyObject]:
        return await self.controller.listing(kinds.find(kind))

    async def ready(self, *names: str) -> None:
        for name in names:
            await self.until(functools.partial(self._is_ready, name), what=f"{name} ready")

    async def gone(self, *names: str) -> None:
        for name in names:
            await self.until(functools.partial(self._is_gone, name), what=f"{name} gone")

    async def until(self, holds: Callable[[], Awaitable[bool]], *, what: str, seconds: float = 10) -> None:
        """Poll with a deadline."""
        try:
            async with asyncio.timeout(seconds):
                while not await holds():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"not within {seconds} s: {what}")

    async def _is_ready(self, name: str) -> bool:
        return bool((await self.get(name)).status.ready)

    async def _is_gone(self, name: str) -> bool:
        return not await self.exists(name)


def ref(name: str) -> kinds.Ref:
    """`endpoint blue/web-1`"""
    kind, _, full_name = name.partition(" ")
    vpc, slash, last = full_name.partition("/")
    return kinds.Ref(kinds.find(kind), vpc if slash else None, last if slash else vpc)


@contextlib.asynccontextmanager
async def running(directory: pathlib.Path) -> AsyncIterator[Plane]:
    """A controller over the store in `directory`."""
    store = sqlite.SqliteStore(directory / "mizar.db", clock=time.time)
    with contextlib.closing(store):
        async with service.Controller(store, connector=link.Agents().connector, timing=TIMING) as controller:
            yield Plane(controller)

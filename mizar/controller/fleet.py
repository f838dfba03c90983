# SPDX-License-Identifier: Apache-2.0
"""The workers of all hosts, and questions to many agents at once."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from mizar import errors
from mizar.controller import config
from mizar.controller.pusher import Pusher
from mizar.controller.worker import Connect, Session, Worker
from mizar.model import addresses
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 128
"""Agents asked at the same time."""


class Fleet:
    """One worker per host."""

    def __init__(
        self,
        pusher: Pusher,
        *,
        connector: Callable[[str], Connect],
        on_health: Callable[[str, node_pb2.HealthReport], None],
        has_checks: Callable[[str], bool],
        timing: config.Timing,
        rng: random.Random,
    ) -> None:
        """`connector(target)` is what reaches the agent at a target; `on_health(host, report)` hears what the
        checks find on the hosts that have any."""
        self.statuses: dict[str, node_pb2.NodeStatus] = {}
        """What agents said of themselves last; kept while they are away."""
        self._pusher = pusher
        self._connector = connector
        self._timing = timing
        self._rng = rng
        self._on_health = on_health
        self._has_checks = has_checks
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._targets: dict[str, str] = {}
        self._addresses: dict[str, int] = {}

    # ------------------------------------------------------------ life of workers

    def add(self, name: str, target: str, *, address: int, expected: bool = False) -> None:
        """Begin to keep a host told. `address`: its underlay address as declared, 0 if that does not
        matter."""
        if name in self._tasks:  # of the same name, and still letting go
            self._drop(name)
        self._pusher.add_host(name, expected=expected)
        self._addresses[name] = address
        self._start(name, target)

    def retarget(self, name: str, target: str) -> None:
        """The agent listens elsewhere now."""
        if self._targets[name] != target:
            self._stop(name)
            self._pusher.away(name, f"its agent is now at {target}")
            self._start(name, target)

    def leave(self, name: str) -> None:
        """The host was removed: its worker ends after what is queued."""
        self._pusher.leave(name)

    def hear(self, names: Iterable[str]) -> None:
        """These hosts have checks from now on."""
        for name in names:
            if name in self._workers:
                self._workers[name].has_checks.set()

    async def close(self) -> None:
        """End all workers; agents keep what they have."""
        tasks = list(self._tasks.values())
        for name in list(self._tasks):
            self._stop(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, target: str) -> None:
        self._targets[name] = target
        worker = Worker(
            name,
            address=self._addresses[name],
            pusher=self._pusher,
            connect=self._connector(target),
            on_status=self.statuses.__setitem__,
            on_health=self._on_health,
            timing=self._timing,
            rng=self._rng,
            rows=wire.CHUNK_ROWS,
        )
        self._workers[name] = worker
        if self._has_checks(name):
            worker.has_checks.set()
        task = asyncio.create_task(worker.run(), name=f"worker {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self._workers.pop(name, None)
        task.cancel()

    def _drop(self, name: str) -> None:
        self._stop(name)
        self._targets.pop(name, None)
        self.statuses.pop(name, None)
        self._pusher.remove_host(name)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._tasks.get(name) is not task:
            return
        failure = task.exception()
        if failure is None:
            self._drop(name)
            return
        _log.error("host %s: the worker failed and is started again", name, exc_info=failure)
        self._pusher.away(name, f"internal error: {failure}")
        loop = asyncio.get_running_loop()
        loop.call_later(self._timing.backoff_last, lambda: self._start_again(name, task))

    def _start_again(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            self._start(name, self._targets[name])

    # ------------------------------------------------------------ questions

    def session(self, name: str) -> Session:
        """The open connection to a host's agent; UnavailableError while there is none."""
        worker = self._workers.get(name)
        if worker is None or worker.session is None:
            queue = self._pusher.hosts.get(name)
            reason = queue.reason if queue is not None and queue.reason else "not connected yet"
            raise errors.UnavailableError(f"host {name!r}: agent is away: {reason}")
        return worker.session

    async def counters(self, name: str) -> node_pb2.Counters:
        """Counters of one host."""
        session = self.session(name)
        try:
            async with asyncio.timeout(self._timing.connect):
                return await session.counters()
        except TimeoutError as failure:
            raise errors.UnavailableError(f"host {name!r}: agent has not answered in time") from failure

    async def counters_of(self, names: Iterable[str]) -> dict[str, node_pb2.Counters]:
        """Counters of the hosts that answer within `timing.gather`."""
        limit = asyncio.Semaphore(_AT_ONCE)
        found: dict[str, node_pb2.Counters] = {}

        async def ask(name: str) -> None:
            async with limit:
                try:
                    found[name] = await self.session(name).counters()
                except errors.MizarError as failure:
                    _log.debug("host %s: no counters: %s", name, failure)

        tasks = [asyncio.create_task(ask(name)) for name in names]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._timing.gather)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def unreached(self, name: str) -> frozenset[int] | None:
        """Underlay addresses of hosts that do not answer this one; None if it does not say."""
        found: list[str] = []
        try:
            async with asyncio.timeout(self._timing.connect):
                async for page in self.table(name, "hosts"):
                    found += [row["address"] for row in map(json.loads, page) if "down" in row["flags"]]
        except (errors.MizarError, TimeoutError) as failure:
            _log.debug("host %s does not say whom it reaches: %s", name, failure)
            return None
        return frozenset(map(addresses.parse, found))

    def table(self, name: str, table: str) -> AsyncIterator[list[str]]:
        """Pages of rows of one table of one host."""
        return self.session(name).table(table)

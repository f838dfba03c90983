# SPDX-License-Identifier: Apache-2.0
"""One worker against an agent that goes away, hangs, and lies. In fake time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any

from mizar import errors
from mizar.controller import config, pusher, worker
from mizar.controller.hostqueue import HostState, Mode, Outgoing
from mizar.controller.rollout import Change
from mizar.plan.delta import Batch, Delta
from mizar.plan.rows import HostRow, Key, Stage
from tests.unit.controller import faketime

TIMING = config.Timing()


class Agent:
    """What answers. `up` and `hangs` are turned by the test."""

    def __init__(self, name: str = "h1") -> None:
        self.name = name
        self.address = 1
        self.up = True
        self.hangs = False
        self.messages: list[Outgoing] = []
        self.attempts: list[float] = []
        self.reports: asyncio.Queue[Any] = asyncio.Queue()
        self.listeners = 0
        self.deaf = False
        self.broken = asyncio.Event()
        self._unanswered: asyncio.Queue[None] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Agent]:
        self.attempts.append(asyncio.get_running_loop().time())
        if not self.up:
            raise errors.UnavailableError("connection refused")
        self._unanswered = asyncio.Queue()
        yield self

    def go_down(self) -> None:
        self.up = False
        self.broken.set()

    def come_up(self) -> None:
        self.up = True
        self.broken.clear()

    async def status(self) -> Any:
        return SimpleNamespace(name=self.name, revision=0, address=self.address)

    async def send(self, message: Outgoing) -> None:
        self.messages.append(message)
        self._unanswered.put_nowait(None)

    async def receive(self) -> Any:
        waits = asyncio.create_task(self._unanswered.get())
        breaks = asyncio.create_task(self.broken.wait())
        try:
            await asyncio.wait([waits, breaks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()
            breaks.cancel()
        if self.broken.is_set():
            raise errors.UnavailableError("connection reset")
        if self.hangs:
            await asyncio.sleep(3600)

    def refused(self, message: Outgoing, ack: Any) -> Mapping[Key, str]:
        return {}

    async def health(self) -> AsyncIterator[Any]:
        self.listeners += 1
        while not self.deaf:
            yield await self.reports.get()
        raise errors.UnavailableError("no such method")

    async def counters(self) -> Any:
        raise errors.UnavailableError("not asked here")

    async def table(self, name: str) -> AsyncIterator[list[str]]:
        yield []

    @property
    def rows(self) -> set[Any]:
        return {row for message in self.messages for row in message.upserts}


class Bench:
    """A pusher with one host and its worker, running."""

    def __init__(self, agent: Agent) -> None:
        loop = asyncio.get_running_loop()
        self.agent = agent
        self.state: list[Any] = []
        self.heard: list[Any] = []
        self.pusher = pusher.Pusher(
            snapshot=lambda name: [Batch(list(self.state)), Batch(), Batch(), Batch(), Batch()],
            later=loop.call_later,
            listener=self,
            drain=TIMING.drain,
            retry_delay=lambda n: 0.5,
        )
        self.queue = self.pusher.add_host("h1", expected=True)
        self.worker = worker.Worker(
            "h1",
            address=1,
            pusher=self.pusher,
            connect=agent.connect,
            on_status=lambda name, status: None,
            on_health=lambda name, report: self.heard.append(report),
            timing=TIMING,
            rng=random.Random(1),
            rows=1000,
        )
        self.task = asyncio.create_task(self.worker.run())

    def settled(self, host: str) -> None: ...

    def turned(self, host: str) -> None: ...

    def tell(self, number: int) -> HostRow:
        row = HostRow(number, f"peer-{number}")
        self.state.append(row)
        delta = Delta()
        delta.batch(Stage.PEERS, "h1").upserts.append(row)
        self.pusher.submit(Change(number, number, delta))
        return row

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def bench(agent: Agent | None = None) -> AsyncIterator[Bench]:
    one = Bench(agent or Agent())
    try:
        yield one
    finally:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)


def test_a_change_reaches_a_connected_agent() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            row = b.tell(1)
            await b.until(lambda: b.queue.settled(1))
            assert row in b.agent.rows

    faketime.run(story())


def test_attempts_back_off_to_ten_seconds_with_jitter() -> None:
    async def story() -> list[float]:
        agent = Agent()
        agent.up = False
        async with bench(agent) as b:
            await b.until(lambda: len(agent.attempts) > 14, seconds=300)
            return agent.attempts

    attempts = faketime.run(story())
    waits = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert 0.1 <= waits[0] <= 0.2
    assert all(5.0 <= wait <= 10.0 for wait in waits[7:])
    assert len(set(waits[7:])) == len(waits[7:])


def test_an_agent_that_comes_back_gets_a_snapshot_and_then_deltas() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            b.agent.go_down()
            await b.until(lambda: b.queue.state is HostState.AWAY)
            assert b.queue.reason == "connection reset"
            b.tell(1)
            second = b.tell(2)
            b.agent.messages.clear()
            b.agent.come_up()
            await b.until(lambda: b.queue.settled(2))
            assert b.agent.messages[0].mode is Mode.SNAPSHOT_BEGIN
            assert second in b.agent.messages[0].upserts
            third = b.tell(3)
            await b.until(lambda: b.queue.settled(3))
            assert b.agent.messages[-1].mode is Mode.DELTA
            assert b.agent.messages[-1].upserts == [third]

    faketime.run(story())


def test_an_agent_that_hangs_is_away_after_the_deadline() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            b.agent.hangs = True
            begun = asyncio.get_running_loop().time()
            b.tell(1)
            await b.until(lambda: b.queue.state is HostState.AWAY)
            assert asyncio.get_running_loop().time() - begun <= 1.3 * TIMING.acknowledge
            b.agent.hangs = False
            await b.until(lambda: b.queue.settled(1))

    faketime.run(story())


def test_an_agent_of_another_name_is_not_used() -> None:
    async def story() -> None:
        async with bench(Agent("h2")) as b:
            await b.until(lambda: b.queue.state is HostState.AWAY)
            assert b.queue.reason == "the agent that answers says it is host 'h2'; wanted 'h1'"
            assert b.agent.messages == []

    faketime.run(story())


def test_an_agent_of_another_address_is_not_used() -> None:
    async def story() -> None:
        agent = Agent()
        agent.address = 2
        async with bench(agent) as b:
            await b.until(lambda: b.queue.state is HostState.AWAY)
            assert b.queue.reason == (
                "the agent's underlay address is 0.0.0.2, the host's first address is 0.0.0.1; "
                "they must be the same"
            )

    faketime.run(story())


def test_the_worker_of_a_removed_host_ends_after_its_last_message() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            row = b.tell(1)
            b.pusher.leave("h1")
            async with asyncio.timeout(5):
                await b.task
            assert row in b.agent.rows

    faketime.run(story())


def test_the_worker_of_a_removed_host_that_is_away_ends_at_once() -> None:
    async def story() -> None:
        agent = Agent()
        agent.up = False
        async with bench(agent) as b:
            await b.until(lambda: len(agent.attempts) > 10, seconds=300)
            b.pusher.leave("h1")
            begun = asyncio.get_running_loop().time()
            async with asyncio.timeout(20):
                await b.task
            assert asyncio.get_running_loop().time() == begun

    faketime.run(story())


def test_many_small_changes_become_few_messages() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            b.agent.messages.clear()
            for number in range(1, 2001):
                b.tell(number)
            await b.until(lambda: b.queue.settled(2000))
            assert len(b.agent.messages) <= 4

    faketime.run(story())


def test_an_agent_without_checks_is_not_listened_to() -> None:
    async def story() -> None:
        async with bench() as b:
            await b.until(lambda: b.queue.state is HostState.CONNECTED)
            await asyncio.sleep(100)
            assert b.agent.listeners == 0
            b.worker.has_checks.set()
            b.agent.reports.put_nowait("ill")
            await b.until(lambda: b.heard == ["ill"])

    faketime.run(story())


def test_an_agent_that_cannot_report_is_asked_again_and_told_all_the_same() -> None:
    async def story() -> None:
        agent = Agent()
        agent.deaf = True
        async with bench(agent) as b:
            b.worker.has_checks.set()
            await b.until(lambda: agent.listeners > 3)
            row = b.tell(1)
            await b.until(lambda: row in agent.rows)
            agent.deaf = False
            agent.reports.put_nowait("well")
            await b.until(lambda: b.heard == ["well"])

    faketime.run(story())

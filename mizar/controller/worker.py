# SPDX-License-Identifier: Apache-2.0
"""The task that talks to one agent: connect, snapshot, then whatever its queue has.

What holds:
 - One stream at a time. Whatever breaks it (connection, deadline, an agent that hangs) makes the host away;
   the next attempt comes after a back-off with jitter and begins with a snapshot.
 - At most WINDOW messages are in flight, so that a slow agent slows its own queue and nobody's memory.
 - The worker of a removed host ends when its queue is empty or its agent is away.

What does not belong here: what is sent and in which order (pusher).
"""

from __future__ import annotations

import asyncio
import collections
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from mizar import errors
from mizar.controller import backoff, config
from mizar.controller.hostqueue import Outgoing
from mizar.controller.pusher import Pusher
from mizar.model import addresses
from mizar.plan.rows import Key
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_log = logging.getLogger(__name__)

WINDOW: Final = 4
"""Messages in flight to one agent."""


class Session(Protocol):
    """An open connection to an agent. Failures are MizarError."""

    async def status(self) -> node_pb2.NodeStatus: ...

    async def send(self, message: Outgoing) -> None: ...

    async def receive(self) -> node_pb2.SyncAck:
        """Wait for the next acknowledgement; they come in the order of the messages."""
        ...

    def refused(self, message: Outgoing, ack: node_pb2.SyncAck) -> Mapping[Key, str]:
        """The rows of the message that the agent has refused."""
        ...

    async def counters(self) -> node_pb2.Counters: ...

    def health(self) -> AsyncIterator[node_pb2.HealthReport]:
        """What the agent's checks find: all that is known, then what changes."""
        ...

    def table(self, name: str) -> AsyncIterator[list[str]]:
        """Pages of rows, each row a JSON object."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Session]]


class Worker:
    """Keeps one host told."""

    def __init__(
        self,
        name: str,
        *,
        address: int,
        pusher: Pusher,
        connect: Connect,
        on_status: Callable[[str, node_pb2.NodeStatus], None],
        on_health: Callable[[str, node_pb2.HealthReport], None] = lambda name, report: None,
        timing: config.Timing,
        rng: random.Random,
        rows: int,
    ) -> None:
        """`address`: the declared underlay address, 0 if any will do; `rows`: at most in one message."""
        self.name = name
        self._address = address
        self._pusher = pusher
        self._queue = pusher.hosts[name]
        self._connect = connect
        self._on_status = on_status
        self._on_health = on_health
        self.has_checks = asyncio.Event()
        """Set when there is something to hear of backends' health: a stream costs the agent a thread."""
        self._timing = timing
        self._rng = rng
        self._rows = rows
        self.session: Session | None = None
        """The open connection, for questions beside the stream; None while the agent is away."""
        self._sent: collections.deque[float] = collections.deque()
        """When each message in flight was sent."""
        self._wake = asyncio.Event()
        self._queue.wake = self._wake.set

    @property
    def _over(self) -> bool:
        return self._queue.leaving and self._queue.idle

    async def run(self) -> None:
        """Until the host is removed or the task is cancelled."""
        attempt = 0
        while True:
            try:
                async with self._connect() as session:
                    await self._greet(session)
                    attempt = 0
                    self.session = session
                    await self._converse(session)
                    return
            except (errors.MizarError, TimeoutError) as failure:
                attempt += 1
                self._lost(failure)
            finally:
                self.session = None
            if self._queue.leaving:
                return
            await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        """Back off; a removal of the host ends the wait."""
        timing = self._timing
        seconds = backoff.delay(attempt, first=timing.backoff_first, last=timing.backoff_last, rng=self._rng)
        deadline = self._now() + seconds
        while not self._queue.leaving:
            self._wake.clear()
            left = deadline - self._now()
            if left <= 0 or not await _within(left, self._wake.wait()):
                return

    def _lost(self, failure: Exception) -> None:
        reason = str(failure) or "no answer in time"
        if self._queue.reason != reason:
            _log.warning("host %s: agent is away: %s", self.name, reason)
        self._pusher.away(self.name, reason)

    async def _greet(self, session: Session) -> None:
        async with asyncio.timeout(self._timing.connect):
            status = await session.status()
        if status.name != self.name:
            raise errors.UnavailableError(
                f"the agent that answers says it is host {status.name!r}; wanted {self.name!r}"
            )
        if self._address and status.address not in (0, self._address):
            said, declared = addresses.to_text(status.address), addresses.to_text(self._address)
            raise errors.UnavailableError(
                f"the agent's underlay address is {said}, the host's first address is {declared}; "
                f"they must be the same"
            )
        _log.info("host %s: agent connected, revision %d", self.name, status.revision)
        self._on_status(self.name, status)
        self._pusher.connected(self.name)

    async def _converse(self, session: Session) -> None:
        """Send and take in acknowledgements until the host is removed; raises when the stream breaks."""
        window = asyncio.Semaphore(WINDOW)
        self._sent.clear()
        tasks = {
            asyncio.create_task(self._send(session, window), name=f"send {self.name}"),
            asyncio.create_task(self._receive(session, window), name=f"receive {self.name}"),
            asyncio.create_task(self._watch(session), name=f"watch {self.name}"),
            asyncio.create_task(self._hear(session), name=f"hear {self.name}"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, session: Session, window: asyncio.Semaphore) -> None:
        while not self._over:
            self._wake.clear()
            await window.acquire()
            message = self._pusher.take(self.name, self._rows)
            if message is None:
                window.release()
                await self._wake.wait()
                continue
            self._sent.append(self._now())
            await session.send(message)

    async def _receive(self, session: Session, window: asyncio.Semaphore) -> None:
        """Always reading, so that a stream that breaks while nothing is sent is noticed, too."""
        while True:
            ack = await session.receive()
            if not self._sent:
                raise errors.UnavailableError("the agent acknowledges what was not sent")
            self._sent.popleft()
            refused = session.refused(self._queue.in_flight[0], ack)
            self._log_refused(refused)
            self._pusher.acknowledged(self.name, refused)
            window.release()
            self._wake.set()

    def _log_refused(self, refused: Mapping[Key, str]) -> None:
        """Once, and not for each attempt."""
        for key, text in refused.items():
            before = self._queue.failing.get(key)
            if before is None or before.message != text:
                _log.warning("host %s: refused %s: %s", self.name, " ".join(map(str, key)), text)

    async def _watch(self, session: Session) -> None:
        """Notice an agent that hangs, and renew what is known of it."""
        timing = self._timing
        next_look = self._now() + timing.status * (0.5 + self._rng.random())
        while True:
            await asyncio.sleep(timing.acknowledge / 4)
            now = self._now()
            if self._sent and now - self._sent[0] > timing.acknowledge:
                raise errors.UnavailableError(
                    f"the agent has not acknowledged within {timing.acknowledge:g} s"
                )
            if now >= next_look:
                next_look = now + timing.status
                async with asyncio.timeout(timing.acknowledge):
                    self._on_status(self.name, await session.status())

    async def _hear(self, session: Session) -> None:
        """Listen to the agent's checks, if it has any. Hosts are told what they are told without that, so a
        stream that breaks is opened again by itself."""
        timing, attempt = self._timing, 0
        await self.has_checks.wait()
        while True:
            try:
                async for report in session.health():
                    attempt = 0
                    self._on_health(self.name, report)
            except errors.MizarError as failure:
                _log.debug("host %s: no reports of checks: %s", self.name, failure)
            attempt += 1
            await asyncio.sleep(
                backoff.delay(attempt, first=timing.backoff_first, last=timing.backoff_last, rng=self._rng)
            )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _within(seconds: float, wait: Awaitable[Any]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wait
    except TimeoutError:
        return False
    return True

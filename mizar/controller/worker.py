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
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from mizar import errors
from mizar.controller import backoff, config
from mizar.controller.hostqueue import Outgoing
from mizar.controller.pusher import Pusher
from mizar.plan.rows import Key
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_log = logging.getLogger(__name__)

WINDOW: Final = 4
"""Messages in flight to one agent."""


class Session(Protocol):
    """An open connection to an agent. Failures are MizarError."""

    async def status(self) -> node_pb2.NodeStatus: ...

    async def send(self, message: Outgoing) -> None: ...

    async def receive(self, message: Outgoing) -> Mapping[Key, str]:
        """Wait for the acknowledgement of the oldest message in flight; returns the rows that were
        refused."""
        ...

    async def counters(self) -> node_pb2.Counters: ...

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
        pusher: Pusher,
        connect: Connect,
        on_status: Callable[[str, node_pb2.NodeStatus], None],
        timing: config.Timing,
        rng: random.Random,
        rows: int,
    ) -> None:
        """`rows`: at most in one message."""
        self.name = name
        self._pusher = pusher
        self._queue = pusher.hosts[name]
        self._connect = connect
        self._on_status = on_status
        self._timing = timing
        self._rng = rng
        self._rows = rows
        self.session: Session | None = None
        """The open connection, for questions beside the stream; None while the agent is away."""
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
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._queue.leaving:
            self._wake.clear()
            left = deadline - asyncio.get_running_loop().time()
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
        _log.info("host %s: agent connected, revision %d", self.name, status.revision)
        self._on_status(self.name, status)
        self._pusher.connected(self.name)

    async def _converse(self, session: Session) -> None:
        """Send and take in acknowledgements until the host is removed; raises when the stream breaks."""
        window = asyncio.Semaphore(WINDOW)
        sent: asyncio.Queue[Outgoing] = asyncio.Queue()
        tasks = {
            asyncio.create_task(self._send(session, window, sent), name=f"send {self.name}"),
            asyncio.create_task(self._receive(session, window, sent), name=f"receive {self.name}"),
            asyncio.create_task(self._look(session), name=f"look {self.name}"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, session: Session, window: asyncio.Semaphore, sent: asyncio.Queue[Outgoing]) -> None:
        while not self._over:
            self._wake.clear()
            await window.acquire()
            message = self._pusher.take(self.name, self._rows)
            if message is None:
                window.release()
                await self._wake.wait()
                continue
            sent.put_nowait(message)
            await session.send(message)

    async def _receive(
        self, session: Session, window: asyncio.Semaphore, sent: asyncio.Queue[Outgoing]
    ) -> None:
        while True:
            message = await sent.get()
            async with asyncio.timeout(self._timing.acknowledge):
                refused = await session.receive(message)
            for key, text in refused.items():
                _log.warning("host %s: refused %s: %s", self.name, key, text)
            self._pusher.acknowledged(self.name, refused)
            window.release()
            self._wake.set()

    async def _look(self, session: Session) -> None:
        """Renew what is known of the agent."""
        while True:
            await asyncio.sleep(self._timing.status * (0.75 + self._rng.random() / 2))
            async with asyncio.timeout(self._timing.acknowledge):
                self._on_status(self.name, await session.status())


async def _within(seconds: float, wait: Awaitable[Any]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wait
    except TimeoutError:
        return False
    return True

# SPDX-License-Identifier: Apache-2.0
"""Makes the checks of backends, each at its own pace, and puts what they find on the board.

What holds:
 - A check changes its mind only after as many equal answers in a row as it was told; the first result takes
   as many.
 - An endpoint that is not here is unhealthy at once: "gone".
 - Checks start at random times and wander by a tenth, so that many do not come at the same moment.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from mizar import errors
from mizar.agent import attachment, bell, health, probes
from mizar.rpc.gen.mizar.node.v1 import node_pb2

GONE: Final = health.Result(False, "gone")

_FIRST_WITHIN: Final = 1.0
"""Seconds over which first checks are spread."""
_WANDER: Final = 0.1
"""Part of the interval by which checks come earlier or later."""
_SETTLE: Final = 0.05
"""Seconds to wait for more changes before they are looked at."""


Key: TypeAlias = health.Key


class Backends(Protocol):
    """What the checker needs of the node."""

    @property
    def changed(self) -> bell.Bell:
        """Rings when checks or endpoints are others."""
        ...

    @property
    def health(self) -> health.Board: ...

    def checks(self) -> dict[Key, node_pb2.Check]: ...

    def attached(self, vpc: str, name: str) -> attachment.Target | None: ...


class Tally:
    """How many equal answers there were in a row, and what follows."""

    def __init__(self, check: node_pb2.Check) -> None:
        self._needed = {True: check.successes, False: check.failures}
        self._last: bool | None = None
        self._count = 0
        self._settled: bool | None = None

    def take(self, result: health.Result) -> health.Result | None:
        """The result, if that is now the check's opinion."""
        self._count = self._count + 1 if result.healthy is self._last else 1
        self._last = result.healthy
        if result.healthy is not self._settled and self._count < self._needed[result.healthy]:
            return None
        self._settled = result.healthy
        return result

    def settle(self, result: health.Result) -> health.Result:
        """Without further questions."""
        self._last = self._settled = result.healthy
        self._count = 0
        return result


Probe = Callable[[attachment.Target, node_pb2.Check], Awaitable[None]]


class Checker:
    """Runs in an event loop."""

    def __init__(self, backends: Backends, *, probe: Probe = probes.probe) -> None:
        self._backends = backends
        self._probe = probe
        self._running: dict[Key, tuple[node_pb2.Check, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Until cancelled; the checks end with it."""
        try:
            with self._backends.changed.heard() as changed:
                while True:
                    await changed.wait()
                    changed.clear()
                    self._follow()
                    await asyncio.sleep(_SETTLE)
        finally:
            for _, task in self._running.values():
                task.cancel()

    def _follow(self) -> None:
        """Start, restart and stop, as the node has it now."""
        wanted = self._backends.checks()
        for key in self._running.keys() - wanted.keys():
            self._running.pop(key)[1].cancel()
            self._backends.health.forget(key)
        for key, check in wanted.items():
            known = self._running.get(key)
            if known is None or known[0] != check:
                if known is not None:
                    known[1].cancel()
                self._running[key] = check, asyncio.create_task(self._repeat(key, check))
            if self._target(key) is None:
                self._backends.health.report(key, GONE)

    async def _repeat(self, key: Key, check: node_pb2.Check) -> None:
        interval, tally = check.interval_ms / 1000, Tally(check)
        await asyncio.sleep(random.uniform(0, min(interval, _FIRST_WITHIN)))
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + interval * random.uniform(1 - _WANDER, 1 + _WANDER)
            target = self._target(key)
            if target is None:
                news: health.Result | None = tally.settle(GONE)
            else:
                news = tally.take(await self._ask(target, check))
            if news is not None:
                self._backends.health.report(key, news)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _ask(self, target: attachment.Target, check: node_pb2.Check) -> health.Result:
        try:
            async with asyncio.timeout(check.timeout_ms / 1000):
                await self._probe(target, check)
        except TimeoutError:
            return health.Result(False, f"no answer within {check.timeout_ms} ms")
        except OSError as failure:
            cause = os.strerror(failure.errno).lower() if failure.errno else str(failure)
            return health.Result(False, cause)
        except (probes.UnfitError, errors.MizarError) as failure:
            return health.Result(False, str(failure))
        return health.Result(True)

    def _target(self, key: Key) -> attachment.Target | None:
        return self._backends.attached(key.vpc, key.endpoint)

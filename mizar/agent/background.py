# SPDX-License-Identifier: Apache-2.0
"""An event loop in a thread of its own, for work that mostly waits: checks, sweeps, announcements."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, Final

_log: Final = logging.getLogger(__name__)


class Background:
    """Runs coroutines from construction until close()."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mizar-background", daemon=True)
        self._thread.start()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; if it fails, that is logged, and nothing else ends with it."""
        self._loop.call_soon_threadsafe(self._start, work)

    def close(self) -> None:
        """Cancel what runs and wait for its end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ------------------------------------------------------------ in the thread

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            _log.error("%s ended", task.get_coro(), exc_info=failure)

    async def _end(self) -> None:
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._loop.shutdown_default_executor()

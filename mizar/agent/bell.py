# SPDX-License-Identifier: Apache-2.0
"""Tells listeners that something has changed; what, they look up for themselves.

So nothing is lost when changes come faster than they are looked at, and who changes something does not
wait for who listens. Safe for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator


class Bell:
    """Rings for all who listen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def ring(self) -> None:
        with self._lock:
            for listener in self._listeners:
                listener()

    @contextlib.contextmanager
    def heard(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever the bell rings. It is set at first."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        event.set()

        def wake() -> None:
            loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._listeners.append(wake)
        try:
            yield event
        finally:
            with self._lock:
                self._listeners.remove(wake)

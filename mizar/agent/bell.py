# SPDX-License-Identifier: Apache-2.0
"""Tells listeners that something has changed; what, they look up for themselves.

So nothing is lost when changes come faster than they are looked at, and who changes something does not
wait for who listens.
"""

from __future__ import annotations

from collections.abc import Callable


class Bell:
    """Safe for threads, as long as listeners come before it is rung."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """`listener` is called from any thread and must return at once."""
        self._listeners.append(listener)

    def ring(self) -> None:
        for listener in self._listeners:
            listener()

# SPDX-License-Identifier: Apache-2.0
"""Slots of the counter array: who counts where. Pure, and safe for threads.

What holds:
 - Slot 0 is nobody's; a slot is never given twice before it was freed.
 - Freed slots wait behind all that were never used, so a packet that still counts into an old slot
   during a change counts for nobody.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable

from mizar import errors


class Slots:
    """Gives out slots 1 .. capacity - 1."""

    def __init__(self, capacity: int, taken: Iterable[int] = ()) -> None:
        """`taken`: what a kernel that we adopt uses already."""
        self._capacity = capacity
        self._taken = {slot for slot in taken if 0 < slot < capacity}
        self._next = 1
        self._freed: collections.deque[int] = collections.deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self) -> int:
        """A free slot; its counters may hold what a former owner left."""
        with self._lock:
            return self._take()

    def _take(self) -> int:
        while self._next < self._capacity:
            slot = self._next
            self._next += 1
            if slot not in self._taken:
                self._taken.add(slot)
                return slot
        if not self._freed:
            raise errors.ConflictError(f"allocate statistics slot: all {self._capacity - 1} are in use")
        slot = self._freed.popleft()
        self._taken.add(slot)
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back; 0 and what is free already are ignored."""
        with self._lock:
            if slot not in self._taken:
                return
            self._taken.remove(slot)
            if slot < self._next:
                self._freed.append(slot)

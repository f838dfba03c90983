# SPDX-License-Identifier: Apache-2.0
"""The log of what changed, for watchers inside the process.

What holds:
  - Events are appended after their transaction is durable, in the order of revisions.
  - The log is bounded. A watcher that starts or falls behind its oldest event gets GoneError, lists again and
    watches from the revision of the list. It never misses an event silently.
  - Thread-safe: one lock.
"""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import Iterable
from typing import NamedTuple

from mizar import errors
from mizar.model import kinds, objects


class GoneError(errors.ConflictError):
    """The events that were asked for are no longer in the log (HTTP 410): list, then watch from there."""


class EventType(enum.StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event(NamedTuple):
    """One object changed. `last` is what it was, for DELETED only; others are to be read from the store."""

    type: EventType
    ref: kinds.Ref
    revision: int
    last: objects.Declared | None = None


class EventLog:
    """A bounded sequence of events that any number of subscriptions read at their own pace."""

    def __init__(self, *, revision: int, limit: int) -> None:
        """`revision`: that of the store now; what came before is gone. `limit`: events that are kept."""
        self._events: collections.deque[Event] = collections.deque()
        self._limit = limit
        self._first = 0  # sequence number of the oldest event kept
        self._floor = revision  # every event after this revision is kept
        self._lock = threading.Lock()

    def append(self, events: Iterable[Event]) -> None:
        with self._lock:
            self._events.extend(events)
            while len(self._events) > self._limit:
                self._floor = self._events.popleft().revision
                self._first += 1

    def subscribe(self, since: int) -> Subscription:
        """Events after the revision `since`."""
        with self._lock:
            if since < self._floor:
                raise _gone(since, self._floor)
            older = sum(1 for event in self._events if event.revision <= since)
            return Subscription(self, self._first + older)

    def read(self, position: int, limit: int) -> list[Event]:
        """Up to `limit` events from a sequence number on."""
        with self._lock:
            start = position - self._first
            if start < 0:
                raise _gone(0, self._floor)
            end = min(start + limit, len(self._events))
            return [self._events[index] for index in range(start, end)]

    def end(self) -> int:
        """The sequence number of the next event."""
        with self._lock:
            return self._first + len(self._events)


class Subscription:
    """One watcher's place in the log."""

    def __init__(self, log: EventLog, position: int) -> None:
        self._log = log
        self._position = position

    def poll(self, limit: int = 1000) -> list[Event]:
        """The next events, oldest first; none when there are none yet. GoneError when it fell behind."""
        events = self._log.read(self._position, limit)
        self._position += len(events)
        return events

    def skip(self) -> None:
        """Leave out all that is there by now."""
        self._position = self._log.end()


def _gone(since: int, floor: int) -> GoneError:
    return GoneError(f"revision {since} is too old to watch from, the oldest is {floor}; list again")

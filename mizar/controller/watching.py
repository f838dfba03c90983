# SPDX-License-Identifier: Apache-2.0
"""Who watches which objects, and what they have not read yet.

What holds:
 - Changes of one object that a watcher has not read coalesce: it reads the object as it is then. So a slow
   watcher holds one entry per object, not per change, and never an old state.
 - A deletion carries the object as it was last, and is never merged with what comes after it.
"""

from __future__ import annotations

import asyncio
import collections
import enum
from dataclasses import dataclass

from mizar.model import kinds, objects


class EventType(enum.StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(slots=True, eq=False)
class Entry:
    """News of one object. `object` is there for a deletion only."""

    type: EventType
    ref: kinds.Ref
    object: objects.AnyObject | None = None


class Watcher:
    """One reader of the news of a kind."""

    def __init__(self, kind: kinds.Kind, vpc: str | None) -> None:
        self._kind = kind
        self._vpc = vpc
        self._unread: collections.deque[Entry] = collections.deque()
        self._latest: dict[kinds.Ref, Entry] = {}
        self._some = asyncio.Event()
        self._closed = False

    def wants(self, ref: kinds.Ref) -> bool:
        return ref.kind is self._kind and (self._vpc is None or ref.vpc == self._vpc)

    def tell(self, entry: Entry) -> None:
        before = self._latest.get(entry.ref)
        if before is not None and entry.type is EventType.MODIFIED and before.type is not EventType.DELETED:
            return
        self._unread.append(entry)
        self._latest[entry.ref] = entry
        self._some.set()

    def close(self) -> None:
        """What is unread is still read; then the end."""
        self._closed = True
        self._some.set()

    async def next(self) -> Entry | None:
        """The oldest unread news; None when the watch is over."""
        while not self._unread:
            if self._closed:
                return None
            self._some.clear()
            await self._some.wait()
        entry = self._unread.popleft()
        if self._latest.get(entry.ref) is entry:
            del self._latest[entry.ref]
        return entry


class Watchers:
    """All of them."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, kind: kinds.Kind, vpc: str | None) -> Watcher:
        watcher = Watcher(kind, vpc)
        self._all.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        self._all.discard(watcher)

    def interested(self, ref: kinds.Ref) -> bool:
        return any(watcher.wants(ref) for watcher in self._all)

    def tell(self, type_: EventType, ref: kinds.Ref, *, gone: objects.AnyObject | None = None) -> None:
        """`gone` is the deleted object."""
        for watcher in self._all:
            if watcher.wants(ref):
                watcher.tell(Entry(type_, ref, gone))

    def close(self) -> None:
        for watcher in self._all:
            watcher.close()

# SPDX-License-Identifier: Apache-2.0
"""News of objects for watchers: what the store writes, and statuses that turn.

What holds:
 - A watcher misses nothing between what it is told first and what comes then: it is on the list of watchers
   before the store is read.
 - Statuses are followed only while somebody watches (status.Board).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from mizar import errors
from mizar.controller import status, subjects, watching
from mizar.controller import views as views_
from mizar.controller.watching import EventType
from mizar.model import kinds, objects
from mizar.plan import state
from mizar.store import events, protocol

_log = logging.getLogger(__name__)

_TURN: Final = 1000
"""Endpoints looked at between two turns for others."""

KEPT: Final = 1000
"""Objects that are kept to be told once more."""


class Event(NamedTuple):
    """One line of a watch."""

    type: EventType
    object: objects.AnyObject


class Latest:
    """Objects as they are in the store, read once for as long as nothing is written: one that has come is
    asked for again when it is ready, often with nothing in between."""

    def __init__(self, store: protocol.Store) -> None:
        self._store = store
        self._revision = 0
        self._read: dict[kinds.Ref, objects.Declared] = {}

    def __len__(self) -> int:
        return len(self._read)

    def get(self, ref: kinds.Ref) -> objects.Declared | None:
        # Asked for before it is read: what is written meanwhile makes it old.
        revision = self._store.revision
        if revision != self._revision or len(self._read) >= KEPT:
            self._revision = revision
            self._read.clear()
        found = self._read.get(ref) or self._store.get(ref)
        if found is not None:
            self._read[ref] = found
        return found


Present = Callable[[kinds.Kind, str | None], AsyncIterator[objects.Declared]]
"""What there is of a kind, in a VPC if given, one by one."""


class Feed:
    """All watches of one controller."""

    def __init__(
        self,
        store: protocol.Store,
        *,
        world: state.State,
        board: status.Board,
        views: views_.Views,
    ) -> None:
        self._store = store
        self._world = world
        self._board = board
        self._views = views
        self._latest = Latest(store)
        self._watchers = watching.Watchers()
        self._log = self._follow()

    def close(self) -> None:
        """End all watches."""
        self._watchers.close()

    async def watch(
        self, kind: kinds.Kind, *, vpc: str | None, since: int | None, present: Present
    ) -> AsyncIterator[Event]:
        """What there is (as ADDED) and what happens to it, or what happened after the version `since`;
        without end. An object comes again as MODIFIED when its status turns. ConflictError when `since` is
        too old."""
        if kind.read_only:
            raise errors.InvalidError(f"{kind.plural} cannot be watched; list them")
        watcher = self._watchers.add(kind, vpc)
        self._board.watched = True
        try:
            if since is None:
                async for obj in present(kind, vpc):
                    self._follow_up(obj)
                    yield Event(EventType.ADDED, obj)
            else:
                await self._follow_late(kind, vpc, present)
                for event in self._missed(kind, vpc, since):
                    yield event
            while (entry := await watcher.next()) is not None:
                news = self._event(entry.type, entry.ref, entry.object)
                if news is not None:
                    yield news
        finally:
            self._watchers.remove(watcher)
            if not self._watchers:
                self._board.rest()

    def tell(self, subject: subjects.Subject) -> None:
        """An object's status has turned."""
        ref = self._ref(subject)
        if ref is not None:
            self._watchers.tell(EventType.MODIFIED, ref)

    # ------------------------------------------------------------ what a new watcher is told first

    def _follow_up(self, obj: objects.Declared) -> None:
        """Give news of an object once it is ready, if it is not."""
        if obj.status is not None and not obj.status.ready:
            self._board.track(subjects.of(self._world, obj), obj.metadata.resource_version or 0)

    async def _follow_late(self, kind: kinds.Kind, vpc: str | None, present: Present) -> None:
        """The same for all that is not ready. Of endpoints, only those that a late host must know are looked
        at: there may be a million others."""
        if kind is not kinds.ENDPOINT:
            async for obj in present(kind, vpc):
                self._follow_up(obj)
            return
        for count, subject in enumerate(tuple(self._board.late_endpoints()), start=1):
            self._board.track_latest(subject)
            if count % _TURN == 0:
                await asyncio.sleep(0)

    def _missed(self, kind: kinds.Kind, vpc: str | None, since: int) -> list[Event]:
        subscription = self._store.watch(since)
        found: list[Event] = []
        while some := subscription.poll():
            for one in some:
                if one.ref.kind is kind and (vpc is None or one.ref.vpc == vpc):
                    event = self._event(EventType(one.type), one.ref, self._last(one))
                    found.extend([event] if event is not None else [])
        return found

    # ------------------------------------------------------------ the store's log

    def _follow(self) -> events.Subscription:
        return self._store.watch(self._store.revision)

    def look(self) -> None:
        """The store has been written, and the planner knows of it. Not before: who watches would read what
        has changed while the hosts wait to be told."""
        if not self._watchers:
            self._log.skip()
            return
        try:
            while some := self._log.poll():
                for one in some:
                    self._watchers.tell(EventType(one.type), one.ref, gone=self._last(one))
        except events.GoneError:
            _log.warning("the store's log went on too far; watches end, and must begin anew")
            self.close()
            self._watchers = watching.Watchers()
            self._log = self._follow()

    def _last(self, event: events.Event) -> objects.Declared | None:
        """A deleted object as it was last, with the version of its deletion: a watch can go on from there."""
        if event.last is None:
            return None
        last = self._views.of(event.last)
        metadata = last.metadata.model_copy(update={"resource_version": event.revision})
        return last.model_copy(update={"metadata": metadata})

    def _event(self, type_: EventType, ref: kinds.Ref, gone: objects.AnyObject | None) -> Event | None:
        """The event with the object as it is now; None when it has gone meanwhile."""
        if type_ is EventType.DELETED:
            return None if gone is None else Event(type_, gone)
        found = self._latest.get(ref)
        return None if found is None else Event(type_, self._views.of(found))

    def _ref(self, subject: subjects.Subject) -> kinds.Ref | None:
        if subject.kind == "Peering":
            return self._peering(*subject.id)
        return subjects.ref(self._world, subject)

    def _peering(self, vni: int, peer: int) -> kinds.Ref | None:
        """The planner has no name of it: that of a VPC's few peerings which is with this peer."""
        both = self._world.vpcs.get(vni), self._world.vpcs.get(peer)
        names = [vpc.fact.name for vpc in both if vpc is not None]
        for obj in self._store.select(kinds.PEERING, names[0]) if len(names) == 2 else ():
            if isinstance(obj, objects.Peering) and obj.spec.peer == names[1]:
                return obj.ref
        return None

# SPDX-License-Identifier: Apache-2.0
"""Who is ready, and why not.

An object is ready when every host that must know has acknowledged all changes up to the object's version, and
has refused none of its rows. That is computed when somebody asks, from the planner's state and the queues: an
object that is ready costs nothing, and neither does one that is not, unless somebody watches.

For watchers, objects that are not ready wait at the *first* host that holds them up, and are looked at again
when that host has acknowledged their version; so an object is looked at once per host that must know, however
many objects change together.

What does not belong here: the JSON form of a status (views).
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mizar.controller import subjects
from mizar.controller.hostqueue import HostQueue, HostState
from mizar.controller.pusher import Pusher
from mizar.controller.subjects import Subject
from mizar.plan import rows, state


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an object is ready; else the reason in one word and in one line, and the host that holds it
    up."""

    ready: bool
    reason: str
    message: str = ""
    host: str | None = None


READY: Final = Verdict(ready=True, reason="Acknowledged")
_REFUSED: Final = "EntryRefused"
_JOINING: Final = Verdict(ready=False, reason="Pending", message="it has connected and is about to join")
_NO_PEER: Final = Verdict(
    ready=False, reason="PeerMissing", message="the other VPC has no peering with this one yet"
)
_PLANNING: Final = Verdict(ready=False, reason="Pending", message="the change is being planned")


class Board:
    """Verdicts on demand, and news of objects that became ready or stopped being so."""

    def __init__(self, world: state.State, news: Callable[[Subject], None]) -> None:
        """`news` is called for objects whose verdict changed while somebody watches."""
        self.pusher: Pusher | None = None
        self.watched = False
        self._world = world
        self._news = news
        self._waiting: dict[str, collections.deque[tuple[int, Subject]]] = {}
        self._refused: dict[str, dict[rows.Key, str]] = {}

    # ------------------------------------------------------------ verdicts

    def verdict(self, subject: Subject, version: int) -> Verdict:
        """Of one object, whose last change has this resource version."""
        pusher = self._pusher
        knowers = subjects.knowers(self._world, subject)
        if knowers is None and subject.kind == "Peering" and version <= pusher.version:
            return _NO_PEER
        if knowers is None or version > pusher.version:
            return _PLANNING
        for host in knowers:
            queue = pusher.hosts.get(host)
            if queue is not None:
                found = self._at(queue, subject, version)
                if not found.ready:
                    return found
        return READY

    def _at(self, queue: HostQueue, subject: Subject, version: int) -> Verdict:
        if subject.kind == "Host":
            return self._host_at(queue, subject, version)
        if not queue.settled(version):
            return _unsettled(queue)
        for key, failure in queue.failing.items():
            if subjects.concerns(self._world, key, subject):
                text = f"host {queue.name}: {failure.message}"
                return Verdict(ready=False, reason=_REFUSED, message=text, host=queue.name)
        return READY

    def _host_at(self, queue: HostQueue, subject: Subject, version: int) -> Verdict:
        """A host is ready when it is connected and has joined, and the others that are here know it."""
        if queue.name == subject.id:
            if queue.state is not HostState.CONNECTED or not queue.settled(version):
                return _unsettled(queue)
            return READY if self._world.hosts[queue.name].fact.joined else _JOINING
        if queue.state is HostState.CONNECTED and not queue.settled(version):
            return _unsettled(queue)
        return READY

    # ------------------------------------------------------------ news

    @property
    def _pusher(self) -> Pusher:
        assert self.pusher is not None, "a board has its pusher before it is asked"
        return self.pusher

    def track(self, subject: Subject, version: int) -> None:
        """Give news of the object when it is ready."""
        found = self.verdict(subject, version)
        if found.ready:
            self._news(subject)
        elif found.host is not None and found.reason != _REFUSED:
            self._waiting.setdefault(found.host, collections.deque()).append((version, subject))

    def track_latest(self, subject: Subject) -> None:
        """The same for an object whose version is not at hand: up to the latest, so news may come of one that
        was ready already, and never none."""
        self.track(subject, self._pusher.version)

    def late_endpoints(self) -> Iterator[Subject]:
        """Endpoints that a host must know which has not acknowledged everything, or has refused something;
        all others are ready. Costs what those hosts know."""
        pusher = self._pusher
        for name, queue in pusher.hosts.items():
            host = self._world.hosts.get(name)
            if host is None or (queue.settled(pusher.version) and not queue.failing):
                continue
            yield from (Subject("Endpoint", serial) for serial in host.endpoints)
            for space in host.bounces.values():
                for holders, inside in zip(space.holders, space.index, strict=True):
                    if inside and name in holders:
                        yield from map(subjects.of_located, inside.values())

    def rest(self) -> None:
        """Nobody watches any more."""
        self.watched = False
        self._waiting.clear()
        self._refused.clear()

    def settled(self, host: str) -> None:
        """pusher.Listener: the host has acknowledged more."""
        if not self.watched:
            return
        queue = self._pusher.hosts.get(host)
        waiting = self._waiting.get(host)
        if queue is None:
            return
        self._compare_refused(queue)
        for _ in range(len(waiting) if waiting else 0):
            if not waiting or not queue.settled(waiting[0][0]):
                return
            version, subject = waiting.popleft()
            self.track(subject, version)

    def turned(self, host: str) -> None:
        """pusher.Listener: the host is away, or back."""
        if self.watched:
            self._news(Subject("Host", host))
            self.settled(host)

    def _compare_refused(self, queue: HostQueue) -> None:
        before = self._refused.get(queue.name, {})
        after = {key: failure.message for key, failure in queue.failing.items()}
        if before == after:
            return
        self._refused[queue.name] = after
        for key in before.keys() | after.keys():
            subject = (
                subjects.of_row(self._world, key, queue.name) if before.get(key) != after.get(key) else None
            )
            if subject is not None:
                self._news(subject)
                self.track(subject, self._pusher.version)


def _unsettled(queue: HostQueue) -> Verdict:
    if queue.state is HostState.AWAY:
        text = f"host {queue.name} is away: {queue.reason}"
        return Verdict(ready=False, reason="HostAway", message=text, host=queue.name)
    text = f"host {queue.name} has not acknowledged yet"
    return Verdict(ready=False, reason="Pending", message=text, host=queue.name)

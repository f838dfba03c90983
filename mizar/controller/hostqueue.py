# SPDX-License-Identifier: Apache-2.0
"""The ordered queue of what one host is still to be told.

What holds:
 - Items leave in the order in which they came, and none before its gate is open. So of two changes to the
   same row the later one wins, whatever became of their stages elsewhere.
 - A break that has not come is *held* outside of the queue, by key; a later upsert of the key cancels it.
 - Open items coalesce into one message of at most `limit` rows; large ones are split. A service with many
   backends counts for many rows.
 - A row that the agent refused is *failing*: sent again until it is taken, or until something newer has
   replaced it.
 - `settled(version)`: everything that objects up to this resource version need from this host is
   acknowledged.
"""

from __future__ import annotations

import collections
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mizar.controller.rollout import Rollout
from mizar.plan.delta import Batch
from mizar.plan.rows import Key, Row, ServiceRow, Stage

SNAPSHOT_PHASES: Final = int(Stage.MOVES)
"""Of a snapshot, one a stage: the peers first, the endpoints last."""


_BACKENDS: Final = 8
"""Backends of a service that are as large as a row, in a message."""


class HostState(enum.StrEnum):
    EXPECTED = "expected"  # the controller has just started and has not asked yet
    SYNCING = "syncing"  # connected; the snapshot is on its way
    CONNECTED = "connected"
    AWAY = "away"


class Mode(enum.Enum):
    """As SyncRequest.Mode of the node API."""

    DELTA = 0
    SNAPSHOT_BEGIN = 1
    SNAPSHOT_PART = 2
    PRUNE = 3


@dataclass(slots=True, eq=False)
class Item:
    """One batch in a queue."""

    batch: Batch
    revision: int
    stage: int = 0
    mode: Mode = Mode.DELTA
    rollout: Rollout | None = None
    phase: int = 0
    """Of a snapshot, 1..; 0: not of a snapshot."""
    gate: Callable[[], bool] | None = None
    settles: bool = False
    """Its acknowledgement takes the front mark from `HostQueue.unsettled`."""
    sent: int = 0
    """Rows that were taken already."""

    @property
    def is_retry(self) -> bool:
        return self.rollout is None and not self.phase

    @property
    def is_open(self) -> bool:
        return self.gate is None or self.gate()


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message to an agent."""

    mode: Mode
    revision: int = 0
    upserts: list[Row] = field(default_factory=list)
    removals: list[Key] = field(default_factory=list)
    extra: int = 0
    """Rows that large ones count for beyond themselves."""
    parts: list[Item] = field(default_factory=list)
    """Items that have rows in it."""
    finished: list[Item] = field(default_factory=list)
    """Items that are through once this message is acknowledged."""

    @property
    def rows(self) -> int:
        return len(self.upserts) + len(self.removals) + self.extra

    def accepts(self, item: Item) -> bool:
        """Agents apply upserts before removals, so an upsert must not join a removal before it."""
        if self.mode in (Mode.SNAPSHOT_BEGIN, Mode.SNAPSHOT_PART):
            return item.mode is Mode.SNAPSHOT_PART
        both_deltas = self.mode is Mode.DELTA and item.mode is Mode.DELTA
        return both_deltas and not (self.removals and item.batch.upserts)

    def add(self, item: Item, room: int) -> None:
        """Take up to `room` further rows of the item."""
        upserts, removals = item.batch.upserts, item.batch.removals
        start, end = item.sent, min(item.sent + room, len(item.batch))
        taken = upserts[start:end]
        if ServiceRow in set(map(type, taken)):
            fitting, weight = _fitting(taken, room)
            self.extra += weight - len(fitting)
            if len(fitting) < len(taken):
                taken, end = fitting, start + len(fitting)
        self.upserts.extend(taken)
        gone = removals[max(0, start - len(upserts)) : max(0, end - len(upserts))]
        if gone:
            self._remove(gone)
        item.sent = end
        self.parts.append(item)
        self.revision = max(self.revision, item.revision)
        if end == len(item.batch):
            self.finished.append(item)

    def _remove(self, keys: Iterable[Key]) -> None:
        gone = set(keys)
        self.upserts = [row for row in self.upserts if row.key not in gone]
        self.removals.extend(keys)


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that the agent refused. `row` is None for a removal; `part` is the item that it was of."""

    message: str
    row: Row | None
    part: Item | None

    def concerns(self, change: Rollout) -> bool:
        """Whether the change's break must wait for it. A snapshot stands for all changes before
        it, but for its last phase: nobody else depends on an endpoint's interface."""
        if self.part is None or self.part.rollout is None:
            return self.part is not None and 0 < self.part.phase < SNAPSHOT_PHASES
        return self.part.rollout is change


class HostQueue:
    """What one host is to be told, and what it has acknowledged."""

    def __init__(self, name: str, *, state: HostState) -> None:
        self.name = name
        self.state = state
        self.reason = "has not answered yet"
        self.leaving = False
        self.wake: Callable[[], None] = lambda: None
        self.items: collections.deque[Item] = collections.deque()
        self.in_flight: collections.deque[Outgoing] = collections.deque()
        self.unsettled: collections.deque[int] = collections.deque([1])
        self.held: dict[Key, Rollout] = {}
        self.failing: dict[Key, Failure] = {}
        self.applied = 0
        """Revision of the last message that was applied in full."""
        self.retries = 0
        self.has_refused = False
        """Some rollout may count the host as missing for a row that it refused."""
        self.prune_waits: set[Rollout] | None = None
        """Breaks to be opened before rows may be pruned; None: no prune is due."""

    @property
    def awaited(self) -> bool:
        """Changes wait for this host."""
        return self.state is not HostState.AWAY and not self.leaving

    @property
    def idle(self) -> bool:
        """Nothing is left to be told, now or after a break."""
        return not self.items and not self.in_flight and not self.held and self.prune_waits is None

    def settled(self, version: int) -> bool:
        return not self.unsettled or self.unsettled[0] > version

    # ------------------------------------------------------------ in

    def push(self, item: Item, *, first: int = 0) -> None:
        """Append; `first` is the lowest resource version that this item is to settle."""
        if item.settles and first:
            self.unsettled.append(first)
        self.supersede(item.batch)
        self.items.append(item)

    def hold(self, origin: Rollout) -> None:
        """Remember a break that has not come; a failing row that is to go is not tried again."""
        batch = origin.breaks[self.name]
        self.supersede(batch)
        self.held.update(dict.fromkeys((row.key for row in batch.upserts), origin))
        self.held.update(dict.fromkeys(batch.removals, origin))

    def release(self, origin: Rollout) -> Batch:
        """What nothing newer has cancelled of a change's break, no longer held."""
        batch = origin.breaks[self.name]
        mine = Batch(
            [row for row in batch.upserts if self.held.get(row.key) is origin],
            [key for key in batch.removals if self.held.get(key) is origin],
        )
        for key in itertools.chain((row.key for row in mine.upserts), mine.removals):
            del self.held[key]
        return mine

    def reset(self, *, known: int) -> None:
        """The stream is gone: all that was queued will be in the next snapshot. `known`: the latest
        version."""
        floor = self.unsettled[0] - 1 if self.unsettled else known
        self.items.clear()
        self.in_flight.clear()
        self.failing.clear()
        self.retries = 0
        self.prune_waits = None
        self.unsettled = collections.deque([floor + 1])

    def supersede(self, batch: Batch) -> None:
        """What the batch says again need not be removed, nor tried again as it was."""
        if not self.held and not self.failing:
            return
        for row in batch.upserts:
            self.held.pop(row.key, None)
            self.failing.pop(row.key, None)
        for key in batch.removals:
            self.failing.pop(key, None)

    # ------------------------------------------------------------ out

    def take(self, limit: int) -> Outgoing | None:
        """The next message, or None while nothing is open. It is in flight until `acknowledge`."""
        message: Outgoing | None = None
        while self.items and self.items[0].is_open:
            item = self.items[0]
            if message is None:
                message = Outgoing(mode=item.mode)
            elif message.rows >= limit or not message.accepts(item):
                break
            if item.phase and item.sent and item.mode is Mode.SNAPSHOT_BEGIN:
                message.mode = Mode.SNAPSHOT_PART
            message.add(item, limit - message.rows)
            if item.sent < len(item.batch):
                break
            self.items.popleft()
        if message is not None:
            self.in_flight.append(message)
        return message

    def acknowledge(self, refused: Mapping[Key, str]) -> Outgoing:
        """The oldest message was applied, but for the `refused` keys."""
        message = self.in_flight.popleft()
        if not refused:
            self.applied = message.revision
        for item in message.finished:
            if item.settles:
                self.unsettled.popleft()
        if message.mode is Mode.PRUNE:
            self.prune_waits = set() if refused else None
        else:
            self._settle_failures(message, refused)
        return message

    def _settle_failures(self, message: Outgoing, refused: Mapping[Key, str]) -> None:
        before = self._forget_failures(message) if self.failing else {}
        if not refused:
            return
        rows = {row.key: row for row in message.upserts if row.key in refused}
        parts = {key: part for part in message.parts for key in _keys(part.batch)}
        for key in refused.keys() - self._newer():
            part = parts.get(key)
            again = before.get(key) if part is None or part.is_retry else None
            self.failing[key] = Failure(refused[key], rows.get(key), again.part if again else part)
        self.has_refused = True

    def _forget_failures(self, message: Outgoing) -> dict[Key, Failure]:
        keys = itertools.chain((row.key for row in message.upserts), message.removals)
        return {key: self.failing.pop(key) for key in keys if key in self.failing}

    def _newer(self) -> set[Key]:
        """Rows that something queued or in flight replaces anyway. All are read: only after a refusal."""
        queued = (item.batch for item in self.items)
        sent = (part.batch for message in self.in_flight for part in message.parts)
        batches = itertools.chain(queued, sent)
        return set(self.held).union(*map(_keys, batches))

    def refuses(self, change: Rollout) -> bool:
        """Rows of this change were refused and are to be tried again."""
        return any(failure.concerns(change) for failure in self.failing.values())

    def has_queued(self, change: Rollout) -> bool:
        """Rows of this change are queued or in flight."""
        sent = (part for message in self.in_flight for part in message.parts)
        return any(item.rollout is change for item in itertools.chain(self.items, sent))

    @property
    def prune_due(self) -> bool:
        """The host is here and has yet to prune what its snapshot did not name."""
        if self.state is HostState.AWAY:
            return False
        sent = (part for message in self.in_flight for part in message.parts)
        return self.prune_waits is not None or any(
            item.mode is Mode.PRUNE for item in itertools.chain(self.items, sent)
        )


def _fitting(taken: list[Row], room: int) -> tuple[list[Row], int]:
    """As many rows as have room, one at least, and for how many they count."""
    total = 0
    for count, row in enumerate(taken):
        weight = 1 + len(row.backends) // _BACKENDS if isinstance(row, ServiceRow) else 1
        if count and total + weight > room:
            return taken[:count], total
        total += weight
    return taken, total


def _keys(batch: Batch) -> Iterator[Key]:
    return itertools.chain((row.key for row in batch.upserts), batch.removals)


def needs(rollout: Rollout, stage: int) -> Callable[[], bool]:
    """The gate of a make: open once its stage is."""
    return lambda: stage >= Stage.BREAK or rollout.open_stage >= stage

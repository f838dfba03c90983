# SPDX-License-Identifier: Apache-2.0
"""What every host is still to be told, and when: queues, stages, snapshots, breaks.

Workers (worker.py) take messages from here and report back; nothing here does I/O. The only outside thing is
`later`, a timer. Single-threaded: everything runs on the controller's event loop.

What holds:
 - A change's stages are told make before break (rollout.py), each host's part in the order of changes
   (hostqueue.py).
 - A host that (re)connects gets a snapshot in three phases; a phase waits until all hosts that are getting
   one have the phases before, so that a cluster that comes up together makes before it uses, too.
 - Rows that a returning host must lose go by PRUNE: after every snapshot under way, and after the breaks that
   the host had still to wait for.
 - No cycle of waiting: a snapshot's phase waits for lower phases only, a stage for lower stages and older
   changes, and both are ahead of what waits for them in every queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from mizar.controller import hostqueue
from mizar.controller.hostqueue import HostQueue, HostState, Item, Mode, Outgoing
from mizar.controller.rollout import Change, Phase, Rollout
from mizar.plan.delta import Batch
from mizar.plan.rows import Key, Stage

PHASES: Final = hostqueue.SNAPSHOT_PHASES

Later = Callable[[float, Callable[[], None]], object]
Snapshot = Callable[[str], Sequence[Batch]]


class Listener(Protocol):
    """Who wants to know of progress; called often, so it must be quick."""

    def settled(self, host: str) -> None:
        """The host has acknowledged more, or what it refused has changed."""

    def turned(self, host: str) -> None:
        """The host's state has changed."""


class Resync:
    """How far the hosts are that are getting a snapshot."""

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}
        self._counts = [0] * (PHASES + 1)

    def __contains__(self, host: str) -> bool:
        return host in self._reached

    @property
    def hosts(self) -> Sequence[str]:
        return tuple(self._reached)

    def set(self, host: str, phase: int) -> None:
        self.drop(host)
        self._reached[host] = phase
        self._counts[phase] += 1

    def drop(self, host: str) -> None:
        before = self._reached.pop(host, None)
        if before is not None:
            self._counts[before] -= 1

    def open(self, host: str, phase: int) -> bool:
        """All others that are getting a snapshot have the phases before this one."""
        behind = sum(self._counts[: phase - 1])
        return behind == (self._reached.get(host, phase) < phase - 1)

    @property
    def level(self) -> int:
        """The latest phase that is open to all."""
        return next((phase for phase, count in enumerate(self._counts) if count), PHASES) + 1

    @property
    def over(self) -> bool:
        return not self._reached


class Pusher:
    """All hosts and all changes under way."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        later: Later,
        listener: Listener,
        drain: float,
        retry_delay: Callable[[int], float],
        version: int = 0,
    ) -> None:
        """`retry_delay(n)`: seconds before rows that were refused n times are sent again.

        `version`: the latest resource version that the planner's state has in it.
        """
        self.hosts: dict[str, HostQueue] = {}
        self.version = version
        self._snapshot = snapshot
        self._later = later
        self._listener = listener
        self._drain = drain
        self._retry_delay = retry_delay
        self._rollouts: dict[Rollout, None] = {}
        self._resync = Resync()
        self._level = self._resync.level
        self._on_pruned: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        """Something is under way that needs no absent host."""
        return any(rollout.phase is not Phase.WAITING for rollout in self._rollouts) or not self._resync.over

    # ------------------------------------------------------------ hosts

    def add_host(self, name: str, *, expected: bool = False) -> HostQueue:
        """A host to be told things. `expected`: the controller starts, and others should wait for the first
        answer."""
        queue = HostQueue(name, state=HostState.EXPECTED if expected else HostState.AWAY)
        self.hosts[name] = queue
        if expected:
            self._resync.set(name, 0)
        return queue

    def remove_host(self, name: str) -> None:
        """Forget the host: its worker has ended. Nothing waits for it any more."""
        queue = self.hosts.pop(name, None)
        if queue is None:
            return
        self._resync.drop(name)
        for rollout in tuple(self._rollouts):
            rollout.lose(name)
            rollout.missing.discard(name)
        self._proceed_all()
        self._advance_resync()

    def leave(self, name: str) -> None:
        """The host object is gone: nothing waits for it any more, what is queued is still tried."""
        queue = self.hosts[name]
        queue.leaving = True
        for rollout in tuple(self._rollouts):
            rollout.missing.discard(name)
        self._proceed_all()
        queue.wake()

    def connected(self, name: str) -> None:
        """The agent answers: queue a snapshot, in front of all that comes from now on."""
        queue = self.hosts[name]
        queue.reset(known=self.version)
        for rollout in tuple(self._rollouts):  # the snapshot has these rows, too
            rollout.lose(name)
        queue.state = HostState.SYNCING
        queue.reason = ""
        queue.prune_waits = set(queue.held.values())
        self._resync.set(name, 0)
        batches = self._snapshot(name)
        for phase, batch in enumerate(batches, start=1):
            queue.push(self._snapshot_item(name, batch, phase=phase))
        self._proceed_all()
        self._listener.turned(name)
        self._wake_resync()

    def _snapshot_item(self, name: str, batch: Batch, *, phase: int) -> Item:
        return Item(
            batch,
            revision=self.version,
            mode=Mode.SNAPSHOT_BEGIN if phase == 1 else Mode.SNAPSHOT_PART,
            phase=phase,
            gate=lambda: self._resync.open(name, phase),
            settles=phase == PHASES,
        )

    def away(self, name: str, reason: str) -> None:
        """The agent does not answer, or the stream broke. `reason`: one line."""
        queue = self.hosts[name]
        was = queue.state
        queue.state = HostState.AWAY
        queue.reason = reason
        if was is not HostState.AWAY:
            queue.reset(known=self.version)
            self._resync.drop(name)
            for rollout in tuple(self._rollouts):
                rollout.lose(name)
            self._proceed_all()
            self._advance_resync()
            self._listener.turned(name)

    # ------------------------------------------------------------ changes

    def submit(self, change: Change) -> Rollout:
        """Queue a change whose rows are in the planner's state already. Its delta is the pusher's from now
        on: what queues have taken over is dropped from it, because a break may wait for days."""
        rollout = Rollout(change)
        self.version = max(self.version, change.revision)
        rollout.begin(self._is_awaited)
        for stage in rollout.makes:
            for host, batch in change.delta.at(stage).items():
                self._enqueue(host, batch, rollout, stage)
        for stage in rollout.makes:
            del change.delta.stages[stage]
        for host in rollout.breaks:
            if host in self.hosts:
                self.hosts[host].hold(rollout)
        self._rollouts[rollout] = None
        self._proceed(rollout)
        return rollout

    def _is_awaited(self, host: str) -> bool:
        queue = self.hosts.get(host)
        return queue is not None and queue.awaited

    def _enqueue(self, host: str, batch: Batch, rollout: Rollout, stage: int) -> None:
        queue = self.hosts.get(host)
        if queue is None or queue.state is HostState.AWAY:
            if queue is not None:
                queue.supersede(batch)
            return
        item = Item(
            batch,
            revision=rollout.change.revision,
            stage=stage,
            rollout=rollout,
            gate=hostqueue.needs(rollout, stage),
            settles=True,
        )
        queue.push(item, first=rollout.change.first)

    def _proceed_all(self) -> None:
        for rollout in tuple(self._rollouts):
            self._proceed(rollout)

    def _proceed(self, rollout: Rollout) -> None:
        """Do what the rollout's progress allows now."""
        if rollout.phase in (Phase.MAKING, Phase.WAITING):
            for host in rollout.open_next():
                self.hosts[host].wake()
            if rollout.may_break:
                self._start_break(rollout)
            elif rollout.made:
                rollout.phase = Phase.WAITING
        elif rollout.phase is Phase.BREAKING and not rollout.breaking:
            self._finish(rollout)

    def _start_break(self, rollout: Rollout) -> None:
        rollout.phase = Phase.DRAINING
        if rollout.breaks and rollout.change.delta.replaces and self._drain > 0:
            self._later(self._drain, lambda: self._break(rollout))
        else:
            self._break(rollout)

    def _break(self, rollout: Rollout) -> None:
        rollout.phase = Phase.BREAKING
        for host in rollout.breaks:
            queue = self.hosts.get(host)
            if queue is None:
                continue
            batch = queue.release(rollout)
            if batch and queue.state is not HostState.AWAY:
                rollout.breaking.add(host)
                queue.push(Item(batch, rollout.change.revision, Stage.BREAK, rollout=rollout))
                queue.wake()
            self._check_prune(queue)
        self._proceed(rollout)

    def _finish(self, rollout: Rollout) -> None:
        rollout.phase = Phase.DONE
        self._rollouts.pop(rollout, None)
        if rollout.change.done is not None:
            rollout.change.done()

    # ------------------------------------------------------------ workers

    def take(self, name: str, limit: int) -> Outgoing | None:
        """The next message for a host; it is in flight until `acknowledged`."""
        return self.hosts[name].take(limit)

    def acknowledged(self, name: str, refused: Mapping[Key, str]) -> None:
        """The host has applied its oldest message in flight, but for the `refused` rows."""
        queue = self.hosts[name]
        message = queue.acknowledge(refused)
        if message.mode is Mode.PRUNE and refused:
            self._later(self._retry_delay(1), lambda: self._check_prune(queue))
            return
        for item in message.finished:
            self._finished(queue, item)
        if refused:
            self._schedule_retry(queue)
        elif queue.has_refused:
            queue.has_refused = bool(queue.failing)
            queue.retries = queue.retries if queue.failing else 0
            self._caught_up(queue)
        self._listener.settled(name)

    def _finished(self, queue: HostQueue, item: Item) -> None:
        if item.phase:
            self._phase_reached(queue, item.phase)
        elif item.mode is Mode.PRUNE:
            self._pruned()
        rollout = item.rollout
        if rollout is None:
            return
        if not queue.refuses(rollout):
            rollout.acknowledge(item.stage, queue.name)
        elif item.stage != Stage.BREAK:
            rollout.missing.add(queue.name)
            rollout.acknowledge(item.stage, queue.name)
        self._proceed(rollout)

    def _schedule_retry(self, queue: HostQueue) -> None:
        queue.retries += 1
        epoch = queue.retries
        self._later(self._retry_delay(queue.retries), lambda: self._retry(queue, epoch))

    def _retry(self, queue: HostQueue, epoch: int) -> None:
        if queue.retries != epoch or not queue.failing or queue.state is HostState.AWAY:
            return
        rows = [failure.row for failure in queue.failing.values() if failure.row is not None]
        gone = [key for key, failure in queue.failing.items() if failure.row is None]
        if rows:
            queue.items.append(Item(Batch(upserts=rows), self.version))
        if gone:
            queue.items.append(Item(Batch(removals=gone), self.version))
        queue.wake()

    def _caught_up(self, queue: HostQueue) -> None:
        """The host has its snapshot, or took what it had refused: what waited for that goes on."""
        if queue.state is not HostState.CONNECTED:
            return
        for rollout in tuple(self._rollouts):
            if queue.refuses(rollout):
                continue
            rollout.missing.discard(queue.name)
            if queue.name in rollout.breaking and not queue.has_queued(rollout):
                rollout.acknowledge(Stage.BREAK, queue.name)
            self._proceed(rollout)

    # ------------------------------------------------------------ snapshots

    def _phase_reached(self, queue: HostQueue, phase: int) -> None:
        if phase == PHASES:
            queue.state = HostState.CONNECTED
            self._resync.drop(queue.name)
            self._caught_up(queue)
            self._listener.turned(queue.name)
        else:
            self._resync.set(queue.name, phase)
        self._advance_resync()

    def _advance_resync(self) -> None:
        self._wake_resync()
        if self._resync.over:
            for queue in self.hosts.values():
                self._check_prune(queue)
            self._pruned()

    def _wake_resync(self) -> None:
        """Once a phase and not once a host that has come to it: with a thousand hosts that is a million. Who
        is the last to come is awake, because it has just acknowledged."""
        before, self._level = self._level, self._resync.level
        if self._level > before:
            for name in self._resync.hosts:
                self.hosts[name].wake()

    def _check_prune(self, queue: HostQueue) -> None:
        """Queue PRUNE once no snapshot is under way and the host's old breaks are open."""
        if queue.prune_waits is None or queue.state is not HostState.CONNECTED or not self._resync.over:
            return
        queue.prune_waits = {
            one for one in queue.prune_waits if one.phase not in (Phase.BREAKING, Phase.DONE)
        }
        if queue.prune_waits:
            return
        queue.prune_waits = None
        queue.items.append(Item(Batch(), self.version, mode=Mode.PRUNE))
        queue.wake()

    def when_pruned(self, call: Callable[[], None]) -> None:
        """Call once every reachable host has its snapshot and has pruned what was not in it."""
        self._on_pruned.append(call)
        self._pruned()

    def _pruned(self) -> None:
        if not self._on_pruned or not self._resync.over or any(one.prune_due for one in self.hosts.values()):
            return
        calls, self._on_pruned = self._on_pruned, []
        for call in calls:
            call()

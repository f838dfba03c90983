# SPDX-License-Identifier: Apache-2.0
"""One change on its way to the hosts: make before break.

What holds:
 - Stages open one after the other. A stage opens when every host that must know has acknowledged the stages
   before.
 - A host that is away, or that refused an entry, does not hold up the makes of others; it is *missing*, and
   the break waits for it where something replaces what is broken, and not where that is simply gone.
 - The break opens `drain` seconds after the last make, so that what is on the wire still finds its way.

What does not belong here: queues (hostqueue) and the choice of what a host is told (plan).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mizar.plan import delta, rows


@dataclass(frozen=True, slots=True)
class Change:
    """What the planner made of one step."""

    first: int
    """Resource versions of the objects in it: first to revision."""
    revision: int
    delta: delta.Delta
    done: Callable[[], None] | None = None
    """Called once the break is acknowledged by all reachable hosts."""


class Phase(enum.Enum):
    MAKING = "making"
    WAITING = "waiting"  # made; missing hosts still use what is to be broken
    DRAINING = "draining"
    BREAKING = "breaking"
    DONE = "done"


@dataclass(slots=True, eq=False)
class Rollout:
    """Progress of one Change. `Pusher` drives it; sets of host names, never one object per endpoint."""

    change: Change
    phase: Phase = Phase.MAKING
    open_stage: int = -1
    """Makes up to this stage may be sent."""
    pending: dict[int, set[str]] = field(default_factory=dict)
    """By make stage: hosts whose acknowledgement is awaited. Emptied stages are removed."""
    missing: set[str] = field(default_factory=set)
    breaking: set[str] = field(default_factory=set)
    """Hosts whose acknowledgement of the break is awaited."""

    @property
    def breaks(self) -> Mapping[str, delta.Batch]:
        return self.change.delta.at(rows.Stage.BREAK)

    @property
    def makes(self) -> list[rows.Stage]:
        return sorted(stage for stage in self.change.delta.stages if stage < rows.Stage.BREAK)

    def begin(self, awaited: Callable[[str], bool]) -> None:
        """Enter every make; hosts for which `awaited` is false are missing from the start."""
        for stage in self.makes:
            hosts = self.change.delta.at(stage)
            here = {host for host in hosts if awaited(host)}
            self.missing.update(hosts.keys() - here)
            if here:
                self.pending[stage] = here

    def open_next(self) -> Collection[str]:
        """Open the next stage if the one before is through; returns the hosts that may now be told."""
        stage = min(self.pending, default=rows.Stage.BREAK - 1)
        if stage <= self.open_stage:
            return ()
        self.open_stage = stage
        return tuple(self.pending.get(stage, ()))

    @property
    def made(self) -> bool:
        return not self.pending

    @property
    def may_break(self) -> bool:
        waits = self.breaks and self.change.delta.replaces and self.missing
        return self.made and not waits

    def acknowledge(self, stage: int, host: str) -> None:
        """`host` has applied its part of a stage."""
        if stage == rows.Stage.BREAK:
            self.breaking.discard(host)
            return
        awaited = self.pending.get(stage)
        if awaited is None:
            return
        awaited.discard(host)
        if not awaited:
            del self.pending[stage]

    def lose(self, host: str) -> None:
        """`host` went away before it had acknowledged everything."""
        self.breaking.discard(host)
        for stage in [stage for stage, hosts in self.pending.items() if host in hosts]:
            self.missing.add(host)
            self.acknowledge(stage, host)

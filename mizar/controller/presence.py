# SPDX-License-Identifier: Apache-2.0
"""Which gateway hosts are away, so that others answer for what they would answer for.

A host is away when its agent has been for a while (an agent that is started again is not worth a move), or
when its neighbours say that it does not answer (sentries). It is back as soon as it is connected, has all its
tables and is not said to be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mizar.controller.hostqueue import HostState
from mizar.controller.pusher import Pusher
from mizar.plan import planner, state


class Presence:
    """Follows the hosts of gateways; of others nothing is noted."""

    def __init__(
        self,
        world: state.State,
        pusher: Pusher,
        *,
        plan: Callable[[planner.Change], None],
        later: Callable[[float, Callable[[], None]], object],
        patience: float,
    ) -> None:
        """`patience`: seconds until a host whose agent does not answer is away."""
        self._world = world
        self._pusher = pusher
        self._plan = plan
        self._later = later
        self._patience = patience
        self._doubted: set[str] = set()
        self._lost: set[str] = set()

    def lost(self, names: set[str]) -> None:
        """What neighbours say: these hosts do not answer, all others do."""
        turned, self._lost = self._lost ^ names, names
        self.look(sorted(turned))

    def look(self, names: Iterable[str]) -> None:
        """These hosts have turned, or lead out of a VPC from now on."""
        for name in names:
            host = self._world.hosts.get(name)
            if host is None or not (host.gateways or name in self._world.away):
                continue
            if name in self._lost:
                self._give_up(name)
            elif self._is_away(name):
                self._doubt(name)
            elif name in self._world.away and self._has_all(name):
                self._plan(planner.Change(away={name: False}))

    def _doubt(self, name: str) -> None:
        if name not in self._world.away and name not in self._doubted:
            self._doubted.add(name)
            self._later(self._patience, lambda: self._give_up(name))

    def _give_up(self, name: str) -> None:
        self._doubted.discard(name)
        known = name in self._world.hosts and name not in self._world.away
        if known and (name in self._lost or self._is_away(name)):
            self._plan(planner.Change(away={name: True}))

    def _is_away(self, name: str) -> bool:
        queue = self._pusher.hosts.get(name)
        return queue is None or queue.state is HostState.AWAY

    def _has_all(self, name: str) -> bool:
        queue = self._pusher.hosts.get(name)
        return queue is not None and queue.state is HostState.CONNECTED

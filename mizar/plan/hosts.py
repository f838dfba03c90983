# SPDX-License-Identifier: Apache-2.0
"""Hosts come, change, and go."""

from __future__ import annotations

from collections.abc import Sequence

from mizar.model import facts
from mizar.plan import cells, delta, placement, spaces, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage


def change_hosts(
    world: state.State, edit: Edit, put: Sequence[facts.HostFact], *, gone: Sequence[str]
) -> None:
    """Hosts come, change, and lose their roles; those that are gone are dropped when the delta is made."""
    if not put and not gone:
        return
    for fact in put:
        known = world.hosts.get(fact.name)
        if known is None:
            _welcome(world, edit, fact)
        else:
            known.fact = fact
    able = {name for name, host in world.hosts.items() if host.fact.takes_roles}
    pool = placement.Pool(able.difference(gone))
    if pool.names != world.pool.names:
        world.pool = pool
        spaces.place_all(world, edit)


def _welcome(world: state.State, edit: Edit, fact: facts.HostFact) -> None:
    row = cells.host_row(fact)
    world.hosts[fact.name] = state.HostState(fact)
    peers = edit.delta.batch(Stage.PEERS, fact.name).upserts
    for name, other in world.hosts.items():
        peers.append(cells.host_row(other.fact))
        if name != fact.name:
            edit.upsert(Stage.PEERS, name, row)


def drop_hosts(world: state.State, made: delta.Delta, names: Sequence[str]) -> None:
    """Everyone forgets the hosts that are gone, and they everyone."""
    gone = {name: cells.host_row(world.hosts[name].fact).key for name in names if name in world.hosts}
    if not gone:
        return
    everyone = {name: cells.host_row(host.fact).key for name, host in world.hosts.items()}
    for name in everyone:
        removals = everyone if name in gone else gone
        made.batch(Stage.BREAK, name).removals.extend(removals.values())
    for name in gone:
        del world.hosts[name]
        world.away.discard(name)

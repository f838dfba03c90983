# SPDX-License-Identifier: Apache-2.0
"""The last touch to a delta: nothing is removed that the host is to have after all, and no batch is empty.

A key may be both given and removed when something takes over the address or name of something else in the
same change. Who has it in the end is what the state says.
"""

from __future__ import annotations

from mizar.abi import hashes
from mizar.model import facts
from mizar.plan import delta, items, rows, state
from mizar.plan.rows import Stage


def settle(world: state.State, made: delta.Delta) -> None:
    """Drop removals that the state contradicts, then empty batches."""
    for name, broken in made.at(Stage.BREAK).items():
        if broken.removals:
            kept = _kept(world, made, name, set(broken.removals))
            if kept:
                broken.removals[:] = [key for key in broken.removals if key not in kept]
    for stage in tuple(made.stages):
        filled = {name: batch for name, batch in made.stages[stage].items() if batch}
        if filled:
            made.stages[stage] = filled
        else:
            del made.stages[stage]


def _kept(world: state.State, made: delta.Delta, host: str, removed: set[rows.Key]) -> set[rows.Key]:
    """Keys that the delta both gives to the host and removes there, and that the state says it has."""
    batches = (hosts[host] for hosts in made.stages.values() if host in hosts)
    both = (row for batch in batches for row in batch.upserts if row.key in removed)
    return {row.key for row in both if _is_wanted(world, host, row)}


def _is_wanted(world: state.State, host: str, row: rows.Row) -> bool:
    if isinstance(row, rows.LocationRow):
        return _holds_location(world.vpcs[row.vni], host, row.address)
    if isinstance(row, rows.EndpointRow):
        fact = world.endpoints.get(facts.serial_of(row.mac))
        return fact is not None and fact.host == host
    if isinstance(row, items.ItemRow):
        return row in items.by_host(world, items.item_of(row)).get(host, ())
    return isinstance(row, rows.HostRow) and host in world.hosts and row.name in world.hosts


def _holds_location(vpc: state.VpcState, host: str, address: int) -> bool:
    for space in vpc.spaces():
        shard = hashes.shard_of(address, space.shards)
        if host in space.holders[shard] and space.has(address, shard):
            return True
    return False

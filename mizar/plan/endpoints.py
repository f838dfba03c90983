# SPDX-License-Identifier: Apache-2.0
"""Endpoints come, change, move and go.

The hot path: a new endpoint costs the same whatever is there already, some microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from mizar.abi import hashes
from mizar.model import facts
from mizar.plan import cells, referrers, rows, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage

_FEW = 32
"""So many addresses are hashed one by one; more go through numpy at once."""


def put_endpoints(world: state.State, edit: Edit, endpoints: Sequence[facts.EndpointFact]) -> None:
    """The hot path: a new endpoint costs the same whatever is there already."""
    if world.referrers:
        for fact in endpoints:
            referrers.touch(world, edit, fact.id)
    mixed = _mixed([address for fact in endpoints for address in fact.addresses])
    at = 0
    for fact in endpoints:
        count = len(fact.addresses)
        before = world.endpoints.get(fact.id)
        if before is None:
            _add_endpoint(world, edit, fact, mixed[at : at + count])
        elif before != fact:
            _change_endpoint(world, edit, before, fact)
        at += count


def _mixed(addresses: list[int]) -> list[int]:
    """mix32 of every address."""
    if len(addresses) <= _FEW:
        return [hashes.mix32(address) for address in addresses]
    mixed: list[int] = hashes.mix32_column(addresses).tolist()
    return mixed


def _add_endpoint(world: state.State, edit: Edit, fact: facts.EndpointFact, mixed: Sequence[int]) -> None:
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    _count_endpoint(world, edit, vpc, network, fact)
    space, host = network.space, world.hosts[fact.host].fact.address
    located = edit.delta.making(Stage.BOUNCERS)
    for address, mix in zip(fact.addresses, mixed, strict=True):
        shard = mix & (space.shards - 1)
        space.put(address, shard, fact)
        row = rows.LocationRow(fact.vni, fact.network, address, host)
        for name in space.holders[shard]:
            located[name].upserts.append(row)
    attached = edit.delta.making(Stage.ENDPOINTS)
    attached[fact.host].upserts.append(cells.endpoint_row(vpc, network, fact))


def _count_endpoint(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    network: state.NetworkState,
    fact: facts.EndpointFact,
) -> None:
    """The endpoint is on its host from now on."""
    host = fact.host
    if host not in network.hosts:
        edit.touch_network(vpc, network, (host,))
    network.hosts[host] = network.hosts.get(host, 0) + 1
    vpc.hosts[host] = vpc.hosts.get(host, 0) + 1
    world.hosts[host].endpoints.add(fact.id)
    world.endpoints[fact.id] = fact


def _uncount_endpoint(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    network: state.NetworkState,
    fact: facts.EndpointFact,
) -> None:
    """The endpoint is on its host no longer."""
    host = fact.host
    if network.hosts[host] == 1:
        edit.touch_network(vpc, network, (host,))
        del network.hosts[host]
    else:
        network.hosts[host] -= 1
    vpc.hosts[host] -= 1
    if not vpc.hosts[host]:
        del vpc.hosts[host]
    world.hosts[host].endpoints.discard(fact.id)
    del world.endpoints[fact.id]


def remove_endpoint(world: state.State, edit: Edit, serial: int) -> None:
    fact = world.endpoints.get(serial)
    if fact is None:
        return
    referrers.touch(world, edit, serial)
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    edit.remove(fact.host, (rows.Table.ENDPOINTS, vpc.fact.name, fact.name))
    for address in fact.addresses:
        _remove_location(edit, network.space, fact, address)
    _uncount_endpoint(world, edit, vpc, network, fact)


def _remove_location(edit: Edit, space: state.Space, fact: facts.EndpointFact, address: int) -> None:
    shard = hashes.shard_of(address, space.shards)
    space.drop(address, shard, fact)
    key = (rows.Table.LOCATIONS, fact.vni, address)
    for name in space.holders[shard]:
        edit.remove(name, key)


def _change_endpoint(
    world: state.State, edit: Edit, before: facts.EndpointFact, fact: facts.EndpointFact
) -> None:
    """It moves, or changes its addresses or attachment: what it leaves is broken last."""
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    space = network.space
    moved = fact.host != before.host
    for address in before.addresses:
        if address not in fact.addresses:
            _remove_location(edit, space, before, address)
    for address in fact.addresses:
        shard = hashes.shard_of(address, space.shards)
        space.put(address, shard, fact)
        stays = address in before.addresses
        if moved or not stays:
            row = cells.location_row(world, fact, address)
            for name in space.holders[shard]:
                edit.upsert(Stage.MOVES if stays else Stage.BOUNCERS, name, row)
    edit.upsert(Stage.ENDPOINTS, fact.host, cells.endpoint_row(vpc, network, fact))
    if not moved:
        world.endpoints[fact.id] = fact
        return
    edit.delta.replaces = True
    referrers.forget_health(world, fact.id)
    edit.remove(before.host, (rows.Table.ENDPOINTS, vpc.fact.name, before.name))
    _uncount_endpoint(world, edit, vpc, network, before)
    _count_endpoint(world, edit, vpc, network, fact)

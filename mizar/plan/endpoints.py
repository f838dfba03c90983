# SPDX-License-Identifier: Apache-2.0
"""Endpoints come, change, move and go.

The hot path: a new endpoint costs the same whatever is there already, some microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import Final

from mizar.abi import hashes
from mizar.model import bulk, facts
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
    known = world.endpoints
    for fact in endpoints:
        before = known.get(fact.id)
        if before is not None and before != fact:
            _change_endpoint(world, edit, before, fact)
    _add_endpoints(world, edit, [fact for fact in endpoints if fact.id not in known])


# --------------------------------------------------------------------------------------------------- coming


def _add_endpoints(world: state.State, edit: Edit, new: Sequence[facts.EndpointFact]) -> None:
    """Neighbours of one network on one host go together: what they share is looked up and counted once, and
    their rows are made from columns."""
    mixed = iter(_mixed([address for fact in new for address in fact.addresses]))
    for (number, host), run in groupby(new, key=_PLACE):
        some = list(run)
        network = world.networks[number]
        vpc = world.vpcs[network.fact.vni]
        _count_endpoints(world, edit, vpc, network, host, some)
        _locate(world, edit, network, host, some, mixed)
        edit.delta.batch(Stage.ENDPOINTS, host).upserts.extend(cells.endpoint_rows(vpc, network, some))


_PLACE: Final = operator.attrgetter("network", "host")


def _mixed(addresses: list[int]) -> list[int]:
    """mix32 of every address."""
    if len(addresses) <= _FEW:
        return [hashes.mix32(address) for address in addresses]
    mixed: list[int] = hashes.mix32_column(addresses).tolist()
    return mixed


def _locate(
    world: state.State,
    edit: Edit,
    network: state.NetworkState,
    host: str,
    new: Sequence[facts.EndpointFact],
    mixed: Iterator[int],
) -> None:
    """Rows for the bouncers. Takes as many numbers from `mixed` as there are addresses."""
    space, located = network.space, edit.delta.making(Stage.BOUNCERS)
    holders, last_shard = space.holders, space.shards - 1
    owned = [(address, fact) for fact in new for address in fact.addresses]
    made = bulk.tuples(
        rows.LocationRow,
        repeat(network.fact.vni),
        repeat(network.fact.id),
        [address for address, _ in owned],
        repeat(world.address_of(host)),
    )
    for (address, fact), row, mix in zip(owned, made, mixed, strict=False):  # ends with `owned`
        shard = mix & last_shard
        space.put(address, shard, fact)
        for name in holders[shard]:
            located[name].upserts.append(row)


def _count_endpoints(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    network: state.NetworkState,
    host: str,
    some: Sequence[facts.EndpointFact],
) -> None:
    """The endpoints are on their host from now on."""
    if host not in network.hosts:
        edit.touch_network(vpc, network, (host,))
    network.hosts[host] = network.hosts.get(host, 0) + len(some)
    vpc.hosts[host] = vpc.hosts.get(host, 0) + len(some)
    numbered = {fact.id: fact for fact in some}
    world.hosts[host].endpoints.update(numbered)
    world.endpoints.update(numbered)


# ------------------------------------------------------------------------------------------ changing, going


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
    _count_endpoints(world, edit, vpc, network, fact.host, [fact])

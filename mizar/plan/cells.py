# SPDX-License-Identifier: Apache-2.0
"""The rows that one host has for one VPC or one network, as a function of the state.

A *cell* is a host with a VPC, or a host with a network. Snapshots are made of cells; a delta compares the
cells that a change touches as they were with what they have become. So both say the same by construction.

Rows here are those of roles: what a host must know because it has endpoints of the VPC, divides it, or
bounces for it. Locations and endpoints are not: `planner` follows those one by one, there may be a million.

No two cells of a host have the same row: a network whose prefix is a whole CIDR of its VPC owns that route
where it is present (so a network's cell must not be touched without its VPC's).
"""

from __future__ import annotations

from typing import NamedTuple

from mizar.model import addresses, facts
from mizar.plan import rows, state

Head = rows.VpcRow | rows.NetworkRow


class Cell(NamedTuple):
    """Rows of one host for one VPC (`head` is a VpcRow) or network; `divides`: as a divider."""

    head: Head | None
    routes: tuple[rows.RouteRow, ...]
    shards: tuple[rows.ShardRow, ...]
    divides: bool


def of_vpc(world: state.State, vpc: state.VpcState, host: str) -> Cell:
    """The VPC's row, the routes of its CIDRs, and at a divider the shards of its group space."""
    divides, uses = host in vpc.dividers, host in vpc.hosts
    if not (divides or uses or host in vpc.bouncing):
        return _EMPTY
    dividers = tuple(world.address_of(name) for name in vpc.dividers) if divides or uses else ()
    head = rows.VpcRow(vpc.fact.vni, vpc.fact.name, dividers, divides)
    if divides:
        shards = vpc.group.rows if vpc.group is not None else ()
        return Cell(head, _outside_subnets(vpc), shards, divides=True)
    routes = _to_dividers(vpc, host) if uses else ()
    return Cell(head, routes, (), divides=False)


def of_network(vpc: state.VpcState, network: state.NetworkState, host: str) -> Cell:
    """The network's row, and where packets are sent to it also its routes and shards."""
    divides, uses, bounces = host in vpc.dividers, host in network.hosts, host in network.space.bouncers
    if not network.alive or not (divides or uses or bounces):
        return _EMPTY
    fact = network.fact
    head = rows.NetworkRow(fact.id, fact.vni, fact.name, bounces)
    if network.is_group or not (divides or uses):
        return Cell(head, (), (), divides)
    routes = tuple(
        rows.RouteRow(fact.vni, cidr.address, cidr.length, rows.RouteKind.NETWORK, fact.id, fact.shards)
        for cidr in _longest_first(fact)
    )
    return Cell(head, routes, network.space.rows, divides)


def host_row(fact: facts.HostFact) -> rows.HostRow:
    return rows.HostRow(fact.address, fact.name)


def location_row(world: state.State, fact: facts.EndpointFact, address: int) -> rows.LocationRow:
    return rows.LocationRow(fact.vni, fact.network, address, world.hosts[fact.host].fact.address)


def endpoint_row(
    vpc: state.VpcState, network: state.NetworkState, fact: facts.EndpointFact
) -> rows.EndpointRow:
    return rows.EndpointRow(
        vpc.fact.name,
        fact.name,
        fact.vni,
        fact.network,
        network.fact.shards if network.onlink else 0,
        facts.mac(fact.id),
        fact.addresses,
        network.onlink,
        vpc.fact.mtu,
        fact.netns,
        fact.ifname,
    )


def shard_rows(world: state.State, space: state.Space) -> tuple[rows.ShardRow, ...]:
    """The shard table of a space; rows that have not changed are the very same objects as before."""
    if not space.bouncers:
        return ()
    underlay = {name: world.address_of(name) for name in space.bouncers}
    known: dict[tuple[str, ...], tuple[int, ...]] = {}
    made = []
    before = space.rows or (None,) * space.shards
    for shard, (holders, old) in enumerate(zip(space.holders, before, strict=True)):
        hosts = known.get(holders)
        if hosts is None:
            hosts = known[holders] = tuple(underlay[name] for name in holders)
        made.append(old if old is not None and old.hosts == hosts else rows.ShardRow(space.id, shard, hosts))
    return tuple(made)


_EMPTY = Cell(None, (), (), divides=False)


def _outside_subnets(vpc: state.VpcState) -> tuple[rows.RouteRow, ...]:
    """What a divider does with an address that is in no subnet: the group space, or nothing."""
    kind, network, shards = rows.RouteKind.NONE, 0, 0
    if vpc.group is not None:
        kind, network, shards = rows.RouteKind.NETWORK, vpc.group.id, vpc.group.shards
    return tuple(
        rows.RouteRow(vpc.fact.vni, cidr.address, cidr.length, kind, network, shards)
        for cidr in _longest_first(vpc.fact)
        if cidr not in vpc.prefixes
    )


def _to_dividers(vpc: state.VpcState, host: str) -> tuple[rows.RouteRow, ...]:
    """What a host that only has endpoints does with an address outside of their networks."""
    return tuple(
        rows.RouteRow(vpc.fact.vni, cidr.address, cidr.length, rows.RouteKind.DIVIDER, 0, 0)
        for cidr in _longest_first(vpc.fact)
        if cidr not in vpc.prefixes or host not in vpc.prefixes[cidr].hosts
    )


def _longest_first(fact: facts.VpcFact | facts.NetworkFact) -> list[addresses.Prefix]:
    return sorted(fact.cidrs, key=lambda cidr: (-cidr.length, cidr.address))

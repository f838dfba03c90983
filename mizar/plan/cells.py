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

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from mizar.model import bulk, facts
from mizar.plan import outside, routes, rows, state

Head = rows.VpcRow | rows.NetworkRow


class Cell(NamedTuple):
    """Rows of one host for one VPC (`head` is a VpcRow) or network."""

    head: Head | None = None
    routes: tuple[rows.RouteRow, ...] = ()
    shards: tuple[rows.ShardRow, ...] = ()
    early: bool = False
    """Others turn to this host, as a divider or a way out: it must know before they do."""
    way_out: tuple[rows.GatewayRow | rows.ShardRow, ...] = ()
    """Where the VPC's gateways are, and what this host is to do as one."""


def of_vpc(world: state.State, vpc: state.VpcState, host: str) -> Cell:
    """The VPC's row, the routes of its CIDRs and those that were declared, the way out, and at a divider the
    shards of its group space."""
    divides, uses, knows = host in vpc.dividers, host in vpc.hosts, _knows(vpc, host)
    if not (divides or uses or knows or host in vpc.bouncing):
        return _EMPTY
    shards = vpc.group.rows if (divides or knows) and vpc.group is not None else ()
    if not (divides or uses or host in vpc.bouncing):
        return Cell(shards=shards, early=True)
    dividers = tuple(world.address_of(name) for name in vpc.dividers) if divides or uses else ()
    head = rows.VpcRow(vpc.fact.vni, vpc.fact.name, dividers, divides)
    found = routes.of_vpc(world, vpc, host, divides=divides, uses=uses)
    out = outside.way_out(world, vpc, host) if uses and vpc.gateways else ()
    return Cell(head, found, shards, divides or knows or vpc.leads_out(host), out)


def of_network(vpc: state.VpcState, network: state.NetworkState, host: str) -> Cell:
    """The network's row, and where packets are sent to it also its routes and shards. A divider of a peer has
    the shards only: its routes are the peer's."""
    divides, uses, knows = host in vpc.dividers, host in network.hosts, _knows(vpc, host)
    bounces = host in network.space.bouncers
    if not network.alive or not (divides or uses or bounces or knows):
        return _EMPTY
    fact = network.fact
    early = divides or knows or vpc.leads_out(host)
    shards = network.space.rows if (divides or uses or knows) and not network.is_group else ()
    if not (divides or uses or bounces):
        return Cell(shards=shards, early=early)
    head = rows.NetworkRow(fact.id, fact.vni, fact.name, bounces)
    found = routes.of_network(network) if divides or uses else ()
    return Cell(head, found, shards, early)


def host_row(fact: facts.HostFact) -> rows.HostRow:
    return rows.HostRow(fact.address, fact.name)


def location_row(world: state.State, fact: state.Located, address: int) -> rows.LocationRow:
    host = world.address_of(fact.host) if isinstance(fact, facts.EndpointFact) else 0
    return rows.LocationRow(fact.vni, fact.network, address, host)


def endpoint_row(
    vpc: state.VpcState, network: state.NetworkState, fact: facts.EndpointFact
) -> rows.EndpointRow:
    (row,) = endpoint_rows(vpc, network, [fact])
    return row


def endpoint_rows(
    vpc: state.VpcState, network: state.NetworkState, some: Sequence[facts.EndpointFact]
) -> list[rows.EndpointRow]:
    """Of one network."""
    ids, _, names, _, _, numbers, netns, ifnames, forwarding = zip(*some, strict=True)
    return bulk.tuples(
        rows.EndpointRow,
        repeat(vpc.fact.name),
        names,
        repeat(network.fact.vni),
        repeat(network.fact.id),
        repeat(network.fact.shards if network.onlink else 0),
        map(facts.mac, ids),
        numbers,
        repeat(network.onlink),
        repeat(vpc.fact.mtu),
        netns,
        ifnames,
        forwarding,
        repeat(network.own_routes),
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


_EMPTY = Cell()


def _knows(vpc: state.VpcState, host: str) -> bool:
    """The host divides a VPC that reaches this one."""
    return any(host in other.dividers for other in vpc.onlookers.values())

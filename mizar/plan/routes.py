# SPDX-License-Identifier: Apache-2.0
"""The route rows that one host has for one VPC, as a function of the state.

Implied are the CIDRs of the VPC and of its peers. A divider knows the networks in them; who only has
endpoints asks a divider. Declared routes (`routing`) are for endpoints, so only hosts that have any, or that
lead out of the VPC, have them.

A network's own table is flattened: what is implied, as far as no declared route takes it over, and all that
is declared for the network, so that one look-up finds the longest match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mizar.model import addresses, facts
from mizar.plan import routing, rows, state
from mizar.plan.rows import RouteKind


def of_vpc(
    world: state.State, vpc: state.VpcState, host: str, *, divides: bool, uses: bool
) -> tuple[rows.RouteRow, ...]:
    """All but those of the VPC's networks; longest prefix first."""
    if divides:
        implied = [*_as_divider(vpc), *_peers_as_divider(vpc)]
    else:
        implied = [*_as_user(vpc, host), *_peers_as_user(vpc)] if uses else []
    if not uses or vpc.routing is routing.NOTHING:
        return _longest_first(implied) if vpc.peers else tuple(implied)
    here = _Here(world, vpc, host, divides=divides)
    shared = [here.row(route, 0, implied) for route in vpc.routing.shared]
    return _longest_first([*implied, *shared, *here.own_tables(implied)])


def of_network(network: state.NetworkState) -> tuple[rows.RouteRow, ...]:
    """Where packets for a subnet are sent."""
    return tuple(_subnets(network.fact.vni, network, peer_vni=0))


class _Here:
    """Declared routes on one host."""

    def __init__(self, world: state.State, vpc: state.VpcState, host: str, *, divides: bool) -> None:
        self._world = world
        self._vpc = vpc
        self._host = host
        self._divides = divides

    def row(self, route: facts.RouteFact, table: int, implied: Sequence[rows.RouteRow]) -> rows.RouteRow:
        """A route whose target is not there swallows its packets: they must not find another way."""
        made = rows.RouteRow(
            self._vpc.fact.vni, route.to.address, route.to.length, RouteKind.BLACKHOLE, table=table
        )
        match route.kind:
            case routing.ENDPOINT:
                address = self._world.address_inside(route.target)
                if address is not None:
                    return made._replace(kind=RouteKind.APPLIANCE, endpoint=address)
            case routing.GATEWAY:
                gateway = self._vpc.gateways.get(route.target)
                if gateway is not None:
                    network = 0 if gateway.fact.masquerades else route.target
                    return made._replace(kind=RouteKind.GATEWAY, network=network)
            case routing.PEER:
                if route.target in self._vpc.peers:
                    return self._to_peer(made, route, implied)
        return made

    def _to_peer(
        self, made: rows.RouteRow, route: facts.RouteFact, implied: Sequence[rows.RouteRow]
    ) -> rows.RouteRow:
        """What is implied for the peer, for a prefix of other length."""
        if not self._divides:
            return made._replace(kind=RouteKind.DIVIDER, peer_vni=route.target)
        wider = [row for row in implied if _prefix(row).covers(route.to)]
        if not wider:
            return made._replace(kind=RouteKind.NONE, peer_vni=route.target)
        longest = max(wider, key=lambda row: row.length)
        return longest._replace(prefix=made.prefix, length=made.length, table=made.table)

    def own_tables(self, implied: Sequence[rows.RouteRow]) -> Iterator[rows.RouteRow]:
        """Rows of the networks that have endpoints here and a table of their own."""
        vpc, host = self._vpc, self._host
        here = [network for network in vpc.networks.values() if self._divides or host in network.hosts]
        owners = [network for network in here if host in network.hosts and vpc.routing.owns(network.fact.id)]
        if owners:
            known = [*implied, *(row for network in here for row in of_network(network))]
            for network in owners:
                yield from self._own_table(network, known)

    def _own_table(
        self, network: state.NetworkState, implied: Sequence[rows.RouteRow]
    ) -> Iterator[rows.RouteRow]:
        number = network.fact.id
        declared = self._vpc.routing.of(number)
        cidrs = [*self._vpc.fact.cidrs, *(c for peer in self._vpc.peers.values() for c in peer.fact.cidrs)]
        for row in implied:
            prefix = _prefix(row)
            if prefix not in declared and not _is_taken_over(prefix, declared, cidrs):
                yield row._replace(table=number)
        for route in declared.values():
            yield self.row(route, number, implied)


def _is_taken_over(
    prefix: addresses.Prefix, declared: routing.Routes, cidrs: Iterable[addresses.Prefix]
) -> bool:
    """A declared route inside of the CIDR that the prefix is in holds all of the prefix: networks are how a
    CIDR is reached, not routes that anybody has declared."""
    shortest = max((cidr.length for cidr in cidrs if cidr.covers(prefix)), default=0)
    for length in range(prefix.length, shortest - 1, -1):
        route = declared.get(addresses.Prefix(prefix.address & addresses.mask(length), length))
        if route is not None:
            return route.kind != routing.PEER
    return False


# ------------------------------------------------------------------ implied


def _as_divider(vpc: state.VpcState) -> Iterator[rows.RouteRow]:
    return _outside_subnets(vpc.fact.vni, vpc, peer_vni=0)


def _peers_as_divider(vpc: state.VpcState) -> Iterator[rows.RouteRow]:
    """The peers' networks, under this VPC's number."""
    for vni, peer in vpc.peers.items():
        for network in peer.networks.values():
            yield from _subnets(vpc.fact.vni, network, peer_vni=vni)
        yield from _outside_subnets(vpc.fact.vni, peer, peer_vni=vni)


def _as_user(vpc: state.VpcState, host: str) -> Iterator[rows.RouteRow]:
    """What a host that only has endpoints does with an address outside of their networks."""
    for cidr in _sorted(vpc.fact.cidrs):
        if cidr not in vpc.prefixes or host not in vpc.prefixes[cidr].hosts:
            yield rows.RouteRow(vpc.fact.vni, cidr.address, cidr.length, RouteKind.DIVIDER)


def _peers_as_user(vpc: state.VpcState) -> Iterator[rows.RouteRow]:
    for vni, peer in vpc.peers.items():
        for cidr in peer.fact.cidrs:
            yield rows.RouteRow(vpc.fact.vni, cidr.address, cidr.length, RouteKind.DIVIDER, peer_vni=vni)


def _subnets(vni: int, network: state.NetworkState, *, peer_vni: int) -> Iterator[rows.RouteRow]:
    fact = network.fact
    for cidr in _sorted(fact.cidrs):
        yield rows.RouteRow(vni, cidr.address, cidr.length, RouteKind.NETWORK, fact.id, fact.shards, peer_vni)


def _outside_subnets(vni: int, vpc: state.VpcState, *, peer_vni: int) -> Iterator[rows.RouteRow]:
    """What a divider does with an address that is in no subnet: the group space, or nothing."""
    kind, network, shards = RouteKind.NONE, 0, 0
    if vpc.group is not None:
        kind, network, shards = RouteKind.NETWORK, vpc.group.id, vpc.group.shards
    for cidr in _sorted(vpc.fact.cidrs):
        if cidr not in vpc.prefixes:
            yield rows.RouteRow(vni, cidr.address, cidr.length, kind, network, shards, peer_vni)


def _prefix(row: rows.RouteRow) -> addresses.Prefix:
    return addresses.Prefix(row.prefix, row.length)


def _sorted(cidrs: Iterable[addresses.Prefix]) -> list[addresses.Prefix]:
    return sorted(cidrs, key=lambda cidr: (-cidr.length, cidr.address))


def _longest_first(found: Iterable[rows.RouteRow]) -> tuple[rows.RouteRow, ...]:
    return tuple(sorted(found, key=lambda row: (-row.length, row.prefix, row.table)))

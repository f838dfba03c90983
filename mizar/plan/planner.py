# SPDX-License-Identifier: Apache-2.0
"""Changes to deltas, and the snapshot of a host.

    apply(state, change) -> Delta      mutates the state; costs what the change touches
    snapshot(state, host) -> rows      all rows of one host, from scratch

What the caller (the store's rules) guarantees: names and ids refer to something, addresses are free and
inside their network, a host's address, a network's shards and whether it has CIDRs never change, and nothing
is deleted that is in use by something that is not deleted in the same change.

Order inside a change: what refers to endpoints goes first, then endpoints go, hosts, VPCs and networks change
and roles move, endpoints come, and at last what refers to them. So roles are moved once, with the fewest
endpoints, and nothing refers to what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mizar.model import facts
from mizar.plan import (
    cells,
    declared,
    delta,
    endpoints,
    gateways,
    hosts,
    items,
    networks,
    outside,
    peerings,
    rows,
    scaled,
    services,
    settle,
    state,
)
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage


@dataclass(frozen=True, slots=True)
class Change:
    """Objects that were created or changed, and the keys of those that were deleted. One object once."""

    hosts: Sequence[facts.HostFact] = ()
    vpcs: Sequence[facts.VpcFact] = ()
    networks: Sequence[facts.NetworkFact] = ()
    endpoints: Sequence[facts.EndpointFact] = ()
    gone_hosts: Sequence[str] = ()
    gone_vpcs: Sequence[int] = ()
    gone_networks: Sequence[int] = ()
    gone_endpoints: Sequence[int] = ()
    services: Sequence[facts.ServiceFact] = ()
    gone_services: Sequence[int] = ()
    gateways: Sequence[facts.GatewayFact] = ()
    gone_gateways: Sequence[int] = ()
    floating: Sequence[facts.FloatingFact] = ()
    gone_floating: Sequence[int] = ()
    """By outside address."""
    forwards: Sequence[facts.ForwardFact] = ()
    gone_forwards: Sequence[tuple[int, int, int]] = ()
    """By outside address, port and protocol."""
    route_tables: Sequence[facts.RouteTableFact] = ()
    gone_route_tables: Sequence[tuple[int, str]] = ()
    """By VNI and name."""
    peerings: Sequence[facts.PeeringFact] = ()
    gone_peerings: Sequence[tuple[int, int]] = ()
    """By VNI and the peer's VNI."""
    health: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    """Whether a backend is healthy, by the serial numbers of scaled and simple endpoint. Not in the store."""
    away: Mapping[str, bool] = field(default_factory=dict)
    """Whether a host is away, by name: another one answers for it outside. Not in the store."""


def apply(world: state.State, change: Change) -> delta.Delta:
    """Take the change into the state; returns what every host must be told."""
    edit = Edit(world)
    _remove_referrers(world, edit, change)
    for serial in change.gone_endpoints:
        endpoints.remove_endpoint(world, edit, serial)
    hosts.change_hosts(world, edit, change.hosts, gone=change.gone_hosts)
    for vpc in change.vpcs:
        networks.put_vpc(world, edit, vpc)
    for network in change.networks:
        networks.put_network(world, edit, network)
    for number in change.gone_networks:
        networks.remove_network(world, edit, number)
    for vni in change.gone_vpcs:
        networks.remove_vpc(world, edit, vni)
    endpoints.put_endpoints(world, edit, change.endpoints)
    _put_referrers(world, edit, change)
    made = edit.finish()
    hosts.drop_hosts(world, made, change.gone_hosts)
    settle.settle(world, made)
    return made


def _remove_referrers(world: state.State, edit: Edit, change: Change) -> None:
    for forward in change.gone_forwards:
        gateways.remove_forward(world, edit, forward)
    for address in change.gone_floating:
        gateways.remove_floating(world, edit, address)
    for number in change.gone_services:
        services.remove_service(world, edit, number)
    for table in change.gone_route_tables:
        declared.remove_table(world, edit, table)
    for peering in change.gone_peerings:
        peerings.remove_peering(world, edit, peering)
    for number in change.gone_gateways:
        gateways.remove_gateway(world, edit, number)


def _put_referrers(world: state.State, edit: Edit, change: Change) -> None:
    for gateway in change.gateways:
        gateways.put_gateway(world, edit, gateway)
    for peering in change.peerings:
        peerings.put_peering(world, edit, peering)
    for table in change.route_tables:
        declared.put_table(world, edit, table)
    for service in change.services:
        services.put_service(world, edit, service)
    for floating in change.floating:
        gateways.put_floating(world, edit, floating)
    for forward in change.forwards:
        gateways.put_forward(world, edit, forward)
    services.put_health(world, edit, change.health)
    gateways.put_away(world, edit, change.away)


def snapshot(world: state.State, host: str) -> dict[Stage, list[rows.Row]]:
    """All rows of one host, by the stage in which a host that has nothing should get them."""
    known = world.hosts.get(host)
    if known is None:
        return {}
    staged: dict[Stage, list[rows.Row]] = {stage: [] for stage in Stage if stage < Stage.MOVES}
    staged[Stage.PEERS].extend(cells.host_row(other.fact) for other in world.hosts.values())
    for vpc, present in _present(world, known).items():
        for network in present:
            _add_cell(staged, cells.of_network(vpc, network, host))
        _add_cell(staged, cells.of_vpc(world, vpc, host))
    for space in known.bounces.values():
        _add_space(staged, world, space, host)
    for serial in known.endpoints:
        fact = world.endpoints[serial]
        vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
        staged[Stage.ENDPOINTS].append(cells.endpoint_row(vpc, network, fact))
        staged[Stage.ENDPOINTS].extend(_checks(world, serial))
    for number in known.gateways:
        staged[Stage.ENDPOINTS].extend(_behind(world, number, host))
    return staged


def check(world: state.State, service: int, backend: int) -> rows.CheckRow | None:
    """How a backend of a scaled endpoint is checked; None if it is not."""
    return scaled.check_row(world, service, backend)


def checks(world: state.State, host: str) -> Iterator[rows.CheckRow]:
    """All checks of one host."""
    known = world.hosts.get(host)
    if known is not None:
        for serial in known.endpoints & world.referrers.keys():
            yield from _checks(world, serial)


def _present(world: state.State, host: state.HostState) -> dict[state.VpcState, list[state.NetworkState]]:
    """The networks that the host has rows of, by VPC."""
    found: dict[state.VpcState, dict[int, state.NetworkState]] = {}
    for serial in host.endpoints:
        fact = world.endpoints[serial]
        found.setdefault(world.vpcs[fact.vni], {})[fact.network] = world.networks[fact.network]
    for number in host.gateways:
        found.setdefault(world.vpcs[world.gateways[number].fact.vni], {})
    for space in host.bounces.values():
        found.setdefault(world.vpcs[space.vni], {}).update(space.networks)
    for vni in host.divides:
        for vpc in (world.vpcs[vni], *world.vpcs[vni].peers.values()):
            found.setdefault(vpc, {}).update(vpc.networks)
    return {vpc: list(inside.values()) for vpc, inside in found.items()}


def _add_cell(staged: dict[Stage, list[rows.Row]], cell: cells.Cell) -> None:
    if cell.head is not None:
        staged[Stage.BOUNCERS].append(cell.head)
    lookup = Stage.DIVIDERS if cell.early else Stage.HOSTS
    staged[lookup].extend(cell.shards)
    staged[lookup].extend(cell.routes)
    staged[Stage.DIVIDERS].extend(cell.way_out)


def _add_space(
    staged: dict[Stage, list[rows.Row]], world: state.State, space: state.Space, host: str
) -> None:
    """Services before their locations."""
    made = staged[Stage.BOUNCERS]
    for number in space.services:
        if host in scaled.holders(world, world.services[number].fact):
            made.extend(scaled.service_rows(world, number))
    for holders, inside in zip(space.holders, space.index, strict=True):
        if inside and host in holders:
            made.extend(cells.location_row(world, fact, address) for address, fact in inside.items())


def _checks(world: state.State, serial: int) -> Iterator[rows.CheckRow]:
    for referrer in world.referrers.get(serial, ()):
        if isinstance(referrer, state.Service):
            row = scaled.check_row(world, referrer.id, serial)
            if row is not None:
                yield row


def _behind(world: state.State, number: int, host: str) -> Iterator[rows.Row]:
    for item in outside.all_behind(world.gateways[number]):
        yield from items.by_host(world, item).get(host, ())

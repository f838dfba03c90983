# SPDX-License-Identifier: Apache-2.0
"""Changes to deltas, and the snapshot of a host.

    apply(state, change) -> Delta      mutates the state; costs what the change touches
    snapshot(state, host) -> rows      all rows of one host, from scratch

What the caller (the store's rules) guarantees: names and ids refer to something, addresses are free and
inside their network, a host's address, a network's shards and whether it has CIDRs never change, and nothing
is deleted that is in use by something that is not deleted in the same change.

Order inside a change: endpoints go first, then hosts, VPCs and networks change and roles move, then endpoints
come. So roles are moved once, with the fewest endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mizar.model import facts
from mizar.plan import cells, delta, endpoints, hosts, networks, rows, settle, state
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
    made = edit.finish()
    hosts.drop_hosts(world, made, change.gone_hosts)
    settle.settle(world, made)
    return made


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
        staged[Stage.BOUNCERS].extend(_locations(world, space, host))
    for serial in known.endpoints:
        fact = world.endpoints[serial]
        vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
        staged[Stage.ENDPOINTS].append(cells.endpoint_row(vpc, network, fact))
    return staged


def _present(world: state.State, host: state.HostState) -> dict[state.VpcState, list[state.NetworkState]]:
    """The networks that the host has rows of, by VPC."""
    found: dict[state.VpcState, dict[int, state.NetworkState]] = {}
    for serial in host.endpoints:
        fact = world.endpoints[serial]
        found.setdefault(world.vpcs[fact.vni], {})[fact.network] = world.networks[fact.network]
    for space in host.bounces.values():
        found.setdefault(world.vpcs[space.vni], {}).update(space.networks)
    for vni in host.divides:
        vpc = world.vpcs[vni]
        found.setdefault(vpc, {}).update(vpc.networks)
    return {vpc: list(inside.values()) for vpc, inside in found.items()}


def _add_cell(staged: dict[Stage, list[rows.Row]], cell: cells.Cell) -> None:
    if cell.head is None:
        return
    lookup = Stage.DIVIDERS if cell.divides else Stage.HOSTS
    staged[Stage.BOUNCERS].append(cell.head)
    staged[lookup].extend(cell.shards)
    staged[lookup].extend(cell.routes)


def _locations(world: state.State, space: state.Space, host: str) -> Iterable[rows.LocationRow]:
    for holders, inside in zip(space.holders, space.index, strict=True):
        if inside and host in holders:
            for address, fact in inside.items():
                yield cells.location_row(world, fact, address)

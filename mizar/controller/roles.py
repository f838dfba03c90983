# SPDX-License-Identifier: Apache-2.0
"""Bouncers and dividers as objects: what follows from placement, with what their hosts have counted.

Read-only: they are computed from the planner's state when somebody asks. `counted` holds the counters of the
hosts that answered; a host that did not leaves `status.packets` out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mizar.controller.counters import HostCounters
from mizar.model import objects
from mizar.plan import state


class _Counted(NamedTuple):
    packets: int
    bytes: int


def hosts_with_roles(world: state.State, *, kind: str, vpc: str | None) -> set[str]:
    """Hosts whose counters are needed for the objects of a kind (Bouncer, Divider)."""
    chosen = _vpcs(world, vpc)
    if kind == "Divider":
        return {host for one in chosen for host in one.dividers}
    return {host for one in chosen for host in one.bouncing}


def bouncers(
    world: state.State, counted: Mapping[str, HostCounters], *, vpc: str | None = None
) -> list[objects.Bouncer]:
    """One object per network and host that bounces for it."""
    made = []
    for one in _vpcs(world, vpc):
        for network in sorted(one.networks.values(), key=lambda network: network.fact.name):
            entries = _entries(network)
            made += [
                _bouncer(one, network, host, entries.get(host, 0), counted.get(host))
                for host in sorted(network.space.bouncers)
            ]
    return made


def dividers(
    world: state.State, counted: Mapping[str, HostCounters], *, vpc: str | None = None
) -> list[objects.Divider]:
    """One object per VPC and host that divides it."""
    return [
        _divider(one, host, counted.get(host)) for one in _vpcs(world, vpc) for host in sorted(one.dividers)
    ]


def _vpcs(world: state.State, name: str | None) -> list[state.VpcState]:
    chosen = (one for one in world.vpcs.values() if name is None or one.fact.name == name)
    return sorted(chosen, key=lambda one: one.fact.name)


def _entries(network: state.NetworkState) -> dict[str, int]:
    """Rows of the network in each bouncer's table."""
    found: dict[str, int] = {}
    space = network.space
    for holders, endpoints in zip(space.holders, space.index, strict=True):
        if not endpoints:
            continue
        rows = len(endpoints)
        if network.is_group:  # shares its shards with the VPC's other group networks
            rows = sum(fact.network == network.fact.id for fact in endpoints.values())
        for host in holders:
            found[host] = found.get(host, 0) + rows
    return found


def _bouncer(
    vpc: state.VpcState, network: state.NetworkState, host: str, entries: int, counted: HostCounters | None
) -> objects.Bouncer:
    fact = network.fact
    return objects.Bouncer(
        metadata=objects.RoleMetadata(name=f"{fact.name}/{host}", vpc=vpc.fact.name),
        spec=objects.RoleSpec(
            role="bouncer",
            vpc=vpc.fact.name,
            network=fact.name,
            host=host,
            shards=sum(host in holders for holders in network.space.holders),
            entries=entries,
        ),
        status=_status(counted, "bouncer", vpc.fact.name, fact.name),
    )


def _divider(vpc: state.VpcState, host: str, counted: HostCounters | None) -> objects.Divider:
    return objects.Divider(
        metadata=objects.RoleMetadata(name=host, vpc=vpc.fact.name),
        spec=objects.RoleSpec(
            role="divider",
            vpc=vpc.fact.name,
            network=None,
            host=host,
            shards=sum(space.shards for space in vpc.spaces()),
            entries=len(vpc.networks),
        ),
        status=_status(counted, "divider", vpc.fact.name, None),
    )


def _status(counted: HostCounters | None, role: str, vpc: str, network: str | None) -> objects.RoleStatus:
    if counted is None:
        return objects.RoleStatus(packets=None, bytes=None)
    found = _sum(one for one in _of(counted, role, vpc, network))
    return objects.RoleStatus(packets=found.packets, bytes=found.bytes)


def _of(counted: HostCounters, role: str, vpc: str, network: str | None) -> Iterator[_Counted]:
    for one in counted.roles:
        if (one.role, one.vpc, one.network) == (role, vpc, network):
            yield _Counted(one.packets, one.bytes)


def _sum(found: Iterator[_Counted]) -> _Counted:
    packets = total = 0
    for one in found:
        packets += one.packets
        total += one.bytes
    return _Counted(packets, total)

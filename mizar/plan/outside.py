# SPDX-License-Identifier: Apache-2.0
"""The rows of gateways and of the outside addresses behind them, as functions of the state.

What holds:
  - All hosts of a gateway can translate for all floating addresses and forwards behind it; one of them
    *answers* for an address outside: the one that has the address for source NAT, else the first by
    rendezvous of those that are not away, so that a host that is lost or comes back moves only its share.
  - A host leads a VPC out in one way: where several gateways have it, the one with the lowest id, and one
    with hosts of its own before one that is everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from mizar.plan import placement, rows, state


def way_out(
    world: state.State, vpc: state.VpcState, host: str
) -> tuple[rows.GatewayRow | rows.ShardRow, ...]:
    """Where the VPC's gateways are, and what this host, which has endpoints or is one, is to do as one."""
    here = [row for row in (_leads_out(vpc, host),) if row is not None]
    elsewhere = [
        rows.ShardRow(number, 0, tuple(world.address_of(name) for name in gateway.hosts))
        for number, gateway in sorted(vpc.gateways.items())
        if gateway.hosts
    ]
    return (*elsewhere, *here)


def floating_rows(world: state.State, address: int) -> dict[str, tuple[rows.FloatingRow, ...]]:
    """By host; empty if nobody can translate for it."""
    fact = world.floating.get(address)
    gateway = world.gateways.get(fact.gateway) if fact is not None else None
    inside = world.address_inside(fact.endpoint) if fact is not None else None
    if fact is None or gateway is None or inside is None:
        return {}
    answering = _answering(world, gateway, address)
    return {host: (rows.FloatingRow(address, fact.vni, inside, host == answering),) for host in gateway.hosts}


def forward_rows(world: state.State, key: state.ForwardKey) -> dict[str, tuple[rows.ForwardRow, ...]]:
    """By host, as `floating_rows`."""
    fact = world.forwards.get(key)
    gateway = world.gateways.get(fact.gateway) if fact is not None else None
    inside = world.address_inside(fact.endpoint) if fact is not None else None
    if fact is None or gateway is None or inside is None:
        return {}
    answering = _answering(world, gateway, fact.address)
    return {
        host: (
            rows.ForwardRow(
                fact.address, fact.port, fact.protocol, fact.vni, inside, fact.target_port, host == answering
            ),
        )
        for host in gateway.hosts
    }


def answering(world: state.State, gateway: int, address: int) -> str | None:
    """The host that answers outside for an address behind a gateway."""
    known = world.gateways.get(gateway)
    return _answering(world, known, address) if known is not None else None


def _answering(world: state.State, gateway: state.GatewayState, address: int) -> str | None:
    for host, own in gateway.hosts.items():
        if address in (own or (world.address_of(host),)):
            return host
    here = [host for host in gateway.hosts if host not in world.away]
    return placement.first(placement.OUTSIDE, address, here or gateway.hosts)


def _leads_out(vpc: state.VpcState, host: str) -> rows.GatewayRow | None:
    def order(gateway: state.GatewayState) -> tuple[bool, int]:
        return gateway.fact.masquerades, gateway.fact.id

    for gateway in sorted(vpc.gateways.values(), key=order):
        fact = gateway.fact
        if fact.masquerades or host in gateway.hosts:
            name = f"{vpc.fact.name}/{fact.name}"
            own = gateway.hosts.get(host, ())
            return rows.GatewayRow(fact.vni, name, own, fact.first_port, fact.last_port)
    return None


def all_behind(gateway: state.GatewayState) -> Iterator[state.Floating | state.Forward]:
    """Every floating address and forward of a gateway."""
    yield from map(state.Floating, gateway.floating)
    yield from map(state.Forward, gateway.forwards)

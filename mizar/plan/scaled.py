# SPDX-License-Identifier: Apache-2.0
"""The rows of scaled endpoints, as functions of the state: services at bouncers, checks at backends' hosts.

A backend is in the rows if it is there and not known to be unhealthy; with weight 0 it drains.
"""

from __future__ import annotations

from mizar.abi import hashes
from mizar.model import facts
from mizar.plan import rows, state


def holders(world: state.State, fact: facts.ServiceFact) -> tuple[str, ...]:
    """The bouncers that know the service."""
    space = world.networks[fact.network].space
    return space.holders[hashes.shard_of(fact.address, space.shards)]


def service_rows(world: state.State, number: int) -> tuple[rows.ServiceRow, ...]:
    """One a port, the same at every bouncer."""
    service = world.services.get(number)
    if service is None:
        return ()
    fact = service.fact
    name = f"{world.vpcs[fact.vni].fact.name}/{fact.name}"
    backends = _serving(world, service)
    return tuple(
        rows.ServiceRow(
            fact.vni, fact.address, one.port, one.protocol, name, one.target, fact.affinity, backends, number
        )
        for one in fact.ports
    )


def rows_by_bouncer(world: state.State, number: int) -> dict[str, tuple[rows.ServiceRow, ...]]:
    service = world.services.get(number)
    if service is None:
        return {}
    return dict.fromkeys(holders(world, service.fact), service_rows(world, number))


def check_row(world: state.State, number: int, serial: int) -> rows.CheckRow | None:
    """How one backend is checked; None if it is not."""
    service, backend = world.services.get(number), world.endpoints.get(serial)
    if service is None or backend is None or service.fact.check is None or serial not in service.weights:
        return None
    vpc, check = world.vpcs[backend.vni].fact.name, service.fact.check
    return rows.CheckRow(
        vpc,
        backend.name,
        f"{vpc}/{service.fact.name}",
        rows.CheckKind(check.kind),
        check.port,
        check.path,
        check.interval_ms,
        check.timeout_ms,
        check.failures,
        check.successes,
        number,
        serial,
    )


def check_by_host(world: state.State, number: int, serial: int) -> dict[str, tuple[rows.CheckRow, ...]]:
    row = check_row(world, number, serial)
    return {world.endpoints[serial].host: (row,)} if row is not None else {}


def _serving(world: state.State, service: state.ServiceState) -> tuple[tuple[int, int], ...]:
    """Addresses and weights, by address, so that the same backends make the same row."""
    here = (
        (world.endpoints.get(one.endpoint), one.weight)
        for one in service.fact.backends
        if one.endpoint not in service.unhealthy
    )
    return tuple(sorted((fact.addresses[0], weight) for fact, weight in here if fact is not None))

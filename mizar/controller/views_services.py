# SPDX-License-Identifier: Apache-2.0
"""Statuses of scaled endpoints, gateways and outside addresses: who serves, and from where. Pure."""

from __future__ import annotations

from collections.abc import Callable

from mizar.controller import health
from mizar.controller.subjects import Subject
from mizar.model import addresses, facts, services
from mizar.plan import outside, state


def backends(
    world: state.State, known: health.Health, subject: Subject
) -> tuple[services.BackendStatus, ...]:
    """By name."""
    service = world.services.get(subject.id)
    if service is None:
        return ()
    there = [
        (world.endpoints[serial], weight)
        for serial, weight in service.weights.items()
        if serial in world.endpoints
    ]
    return tuple(
        _backend(fact, weight, known.of(service.fact.id, fact))
        for fact, weight in sorted(there, key=lambda one: one[0].name)
    )


def _backend(fact: facts.EndpointFact, weight: int, report: health.Report | None) -> services.BackendStatus:
    return services.BackendStatus(
        name=fact.name,
        address=addresses.to_text(fact.addresses[0]),
        host=fact.host,
        weight=weight,
        state=health.state_of(report, weight=weight),
        message=report.message or None if report is not None and not report.healthy else None,
    )


def gateway_hosts(
    world: state.State, subject: Subject, *, is_up: Callable[[str], bool]
) -> tuple[services.GatewayHost, ...]:
    """Where every host masquerades, all of the VPC."""
    gateway = world.gateways.get(subject.id)
    if gateway is None:
        return ()
    hosts = gateway.hosts or dict.fromkeys(sorted(world.vpcs[gateway.fact.vni].hosts), ())
    return tuple(
        services.GatewayHost(
            name=name,
            addresses=tuple(map(addresses.to_text, own or (world.address_of(name),))),
            up=is_up(name),
        )
        for name, own in hosts.items()
    )


def answering(world: state.State, subject: Subject) -> str | None:
    """The host that answers for an outside address."""
    known = world.floating if subject.kind == "FloatingAddress" else world.forwards
    fact = known.get(subject.id)
    if not isinstance(fact, facts.FloatingFact | facts.ForwardFact):
        return None
    return outside.answering(world, fact.gateway, fact.address)

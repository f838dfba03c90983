# SPDX-License-Identifier: Apache-2.0
"""Planner rows of services, gateways and outside addresses as entries of the node API. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mizar.abi import decode
from mizar.model import addresses
from mizar.plan import rows
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_CHECK_KINDS: Final = {
    rows.CheckKind.UP: node_pb2.Check.UP,
    rows.CheckKind.TCP: node_pb2.Check.TCP_CONNECT,
    rows.CheckKind.HTTP: node_pb2.Check.HTTP_GET,
}


def add_services(message: node_pb2.Tables, group: list[rows.ServiceRow]) -> None:
    """Ports of one scaled endpoint have the same backends: those are made once."""
    known: dict[tuple[tuple[int, int], ...], list[node_pb2.Backend]] = {}
    for row in group:
        backends = known.get(row.backends)
        if backends is None:
            backends = known[row.backends] = [
                node_pb2.Backend(address=address, weight=weight) for address, weight in row.backends
            ]
        message.services.add(
            key=service_key(row.vni, row.address, row.port, row.protocol),
            name=row.service,
            target_port=row.target,
            affinity_seconds=row.affinity,
            backends=backends,
        )


def add_gateways(message: node_pb2.Tables, group: list[rows.GatewayRow]) -> None:
    for row in group:
        message.gateways.add(
            vni=row.vni,
            name=row.name,
            addresses=row.addresses,
            first_port=row.first_port,
            last_port=row.last_port,
        )


def add_floating(message: node_pb2.Tables, group: list[rows.FloatingRow]) -> None:
    for row in group:
        message.floating.add(address=row.address, vni=row.vni, endpoint=row.endpoint, answers=row.answers)


def add_forwards(message: node_pb2.Tables, group: list[rows.ForwardRow]) -> None:
    for row in group:
        message.forwards.add(
            key=forward_key(row.address, row.port, row.protocol),
            vni=row.vni,
            endpoint=row.endpoint,
            target_port=row.target,
            answers=row.answers,
        )


def add_checks(message: node_pb2.Tables, group: list[rows.CheckRow]) -> None:
    for row in group:
        message.checks.add(
            key=check_key(row.vpc, row.endpoint, row.service),
            kind=_CHECK_KINDS[row.kind],
            port=row.port,
            path=row.path,
            interval_ms=row.interval_ms,
            timeout_ms=row.timeout_ms,
            failures=row.failures,
            successes=row.successes,
        )


# ---------------------------------------------------------------------- keys


def service_key(vni: int, address: int, port: int, protocol: int) -> node_pb2.ServiceKey:
    return node_pb2.ServiceKey(
        vni=vni,
        address=address,
        port=port,
        protocol=protocol,  # type: ignore[arg-type]  # an IP protocol number, as the enum has them
    )


def forward_key(address: int, port: int, protocol: int) -> node_pb2.PortForwardKey:
    return node_pb2.PortForwardKey(
        address=address,
        port=port,
        protocol=protocol,  # type: ignore[arg-type]  # as above
    )


def check_key(vpc: str, endpoint: str, service: str) -> node_pb2.CheckKey:
    return node_pb2.CheckKey(endpoint=node_pb2.EndpointKey(vpc=vpc, name=endpoint), service=service)


TABLES: Final = frozenset(
    (
        rows.Table.SERVICES,
        rows.Table.GATEWAYS,
        rows.Table.FLOATING,
        rows.Table.FORWARDS,
        rows.Table.CHECKS,
    )
)


def key_text(key: rows.Key) -> str:
    """A key of one of these tables as agents print it in errors."""
    match key:
        case rows.Table.SERVICES, int(vni), int(address), int(port), int(protocol):
            return f"{vni}/{_outlet(address, port, protocol)}"
        case rows.Table.FLOATING, int(address):
            return addresses.to_text(address)
        case rows.Table.FORWARDS, int(address), int(port), int(protocol):
            return _outlet(address, port, protocol)
        case rows.Table.CHECKS, vpc, endpoint, service:
            return f"{vpc}/{endpoint} for {service}"
    return str(key[1])


def _outlet(address: int, port: int, protocol: int) -> str:
    return f"{addresses.to_text(address)}:{port}/{decode.PROTOCOLS.get(protocol, str(protocol))}"


def remove(message: node_pb2.Keys, table: rows.Table, gone: Iterable[list[Any]]) -> None:
    """Keys of one of these tables, each as the rest of `row.key`."""
    match table:
        case rows.Table.SERVICES:
            message.services.extend(service_key(*key) for key in gone)
        case rows.Table.GATEWAYS:
            message.gateways.extend(vni for (vni,) in gone)
        case rows.Table.FLOATING:
            message.floating.extend(address for (address,) in gone)
        case rows.Table.FORWARDS:
            message.forwards.extend(forward_key(*key) for key in gone)
        case rows.Table.CHECKS:
            message.checks.extend(check_key(*key) for key in gone)

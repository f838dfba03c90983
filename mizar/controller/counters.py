# SPDX-License-Identifier: Apache-2.0
"""What an agent counted, as values with names instead of numbers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import pydantic
from pydantic.alias_generators import to_camel

from mizar.rpc.gen.mizar.node.v1 import node_pb2


class _Value(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Drop(_Value):
    """Packets that one host dropped for one reason."""

    host: str
    reason: str = pydantic.Field(description="as in bpf/include/abi.h", examples=["spoofed_ip"])
    packets: int
    bytes: int


class Verdict(_Value):
    """How packets left the host's programs."""

    name: str = pydantic.Field(examples=["bounced"])
    drop: bool
    packets: int
    bytes: int


class Role(_Value):
    """What one role of the host passed on. Of a service: packets that began a flow and were given a backend;
    of a gateway: packets out and in."""

    role: Literal["bouncer", "divider", "gateway", "service"]
    vpc: str | None
    network: str | None = None
    service: str | None = pydantic.Field(None, description="full name of the scaled endpoint")
    packets: int
    bytes: int


class EndpointTraffic(_Value):
    """What one endpoint sent (tx) and was given (rx)."""

    name: str = pydantic.Field(description="full name", examples=["blue/web-1"])
    tx_packets: int
    tx_bytes: int
    rx_packets: int
    rx_bytes: int


class HostCounters(_Value):
    """All that one host counts."""

    verdicts: list[Verdict]
    roles: list[Role]
    endpoints: list[EndpointTraffic]


Names = Callable[[int], str | None]
"""A number (VNI, network id) to the name that people use; None if it means nothing any more."""


def read(message: node_pb2.Counters, *, vpc_name: Names, network_name: Names) -> HostCounters:
    return HostCounters(
        verdicts=[
            Verdict(name=one.name, drop=one.drop, packets=one.packets, bytes=one.bytes)
            for one in message.verdicts
        ],
        roles=[_role(one, vpc_name, network_name) for one in message.roles],
        endpoints=[_traffic(one) for one in message.endpoints],
    )


def _role(one: node_pb2.RoleCount, vpc_name: Names, network_name: Names) -> Role:
    return Role(
        role=_ROLES[one.role],
        vpc=vpc_name(one.vni),
        network=network_name(one.network) if one.network else None,
        service=one.service or None,
        packets=one.packets,
        bytes=one.bytes,
    )


_ROLES: Final[Mapping[int, Literal["bouncer", "divider", "gateway", "service"]]] = {
    node_pb2.RoleCount.BOUNCER: "bouncer",
    node_pb2.RoleCount.DIVIDER: "divider",
    node_pb2.RoleCount.GATEWAY: "gateway",
    node_pb2.RoleCount.SERVICE: "service",
}


def _traffic(one: node_pb2.EndpointCount) -> EndpointTraffic:
    count: Any = one.traffic
    return EndpointTraffic(
        name=f"{one.key.vpc}/{one.key.name}",
        tx_packets=count.tx_packets,
        tx_bytes=count.tx_bytes,
        rx_packets=count.rx_packets,
        rx_bytes=count.rx_bytes,
    )


def drops(host: str, counted: HostCounters) -> list[Drop]:
    """The verdicts that are drops, most packets first."""
    found = [
        Drop(host=host, reason=one.name, packets=one.packets, bytes=one.bytes)
        for one in counted.verdicts
        if one.drop and one.packets
    ]
    return sorted(found, key=lambda drop: -drop.packets)

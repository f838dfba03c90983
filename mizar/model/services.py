# SPDX-License-Identifier: Apache-2.0
"""Specs and statuses of in-network services: scaled endpoints, gateways, floating addresses, port forwards,
route tables, peerings. `objects` makes objects of them; docs/design/services.md says what they do.

As everywhere in the model: what stands here is all that is known of a field, and what one object can break
alone is checked here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, Field, StrictBool, StrictInt

from mizar.model import parts
from mizar.model.parts import Address, Destination, Name, Part, Port, Protocol, Status

MAX_SERVICE_PORTS = 64
MAX_BACKENDS = 4096
MAX_WEIGHT = 100
MAX_GATEWAY_HOSTS = 64
MAX_OUTSIDE = 8
"""Outside addresses for source NAT that a host has of one VPC (MZ_MAX_OUTSIDE)."""
MAX_DESTINATIONS = 64
MAX_ROUTES = 1000
MAX_TABLE_NETWORKS = 1000
MAX_AFFINITY = 86_400 * 7
MAX_INTERVAL = 300


def _check_distinct(what: str, keys: Iterable[Hashable]) -> None:
    """Refuse a list in which two have the same key."""
    seen = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"{what} {key} is given twice")
        seen.add(key)


def _one_of(who: str, given: dict[str, Any]) -> None:
    """Refuse more than one of several fields."""
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ValueError(f"{who} has {' and '.join(named)}; give one of them only")


def _check_sctp(protocol: Protocol, port: int, target: int) -> None:
    """SCTP's checksum is a CRC over the ports, which no program can correct on the way."""
    if protocol == "SCTP" and target != port:
        raise ValueError(f"targetPort {target} differs from port {port}; ports of SCTP cannot be translated")


# --------------------------------------------------------------------------------------- scaled endpoints


class ServicePort(Part):
    """One port of a scaled endpoint."""

    name: Name | None = Field(None, description="for people")
    port: Port = Field(description="that clients use")
    target_port: Port | None = Field(None, description="that backends listen on; none: the same")
    protocol: Protocol = Field("TCP", description="TCP, UDP or SCTP")

    @pydantic.model_validator(mode="after")
    def _check_sctp(self) -> Self:
        _check_sctp(self.protocol, self.port, self.target)
        return self

    @property
    def target(self) -> int:
        return self.target_port or self.port


class Backend(Part):
    """One backend, by name."""

    name: Name = Field(description="a simple endpoint of the VPC, in any of its networks")
    weight: Annotated[StrictInt, Field(ge=1, le=MAX_WEIGHT)] = Field(
        1, description="share of new flows, relative to the other backends'"
    )
    drain: StrictBool = Field(False, description="true: no new flows; those that there are go on")


class SessionAffinity(Part):
    """A client's flows go to one backend."""

    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_AFFINITY)] = Field(
        10_800, description="how long after its last new flow a client is remembered"
    )


def _check_path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is not the path of a URL, such as /healthz")
    return text


class HealthCheck(Part):
    """How each backend is checked, on its own host, at its own address."""

    type: Literal["up", "tcp", "http"] = Field(
        "tcp",
        description="up: its interface is up; tcp: it accepts connections; http: GET is answered 2xx or 3xx",
    )
    port: Port | None = Field(None, description="tcp and http; none: the first port's targetPort")
    path: Annotated[str, AfterValidator(_check_path)] | None = Field(
        None, max_length=1024, description="http; none: /"
    )
    interval_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_INTERVAL)] = Field(
        2, description="from one check to the next"
    )
    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_INTERVAL)] = Field(
        1, description="a check that takes longer has failed"
    )
    failures: Annotated[StrictInt, Field(ge=1, le=10)] = Field(
        2, description="in a row, until a backend is unhealthy"
    )
    successes: Annotated[StrictInt, Field(ge=1, le=10)] = Field(
        1, description="in a row, until it is healthy again"
    )

    @pydantic.model_validator(mode="after")
    def _check_fields(self) -> Self:
        if self.path is not None and self.type != "http":
            raise ValueError(f"path {self.path!r} is for checks of type http; this one's is {self.type}")
        if self.port is not None and self.type == "up":
            raise ValueError(f"port {self.port} is for checks of type tcp and http; this one's is up")
        if self.timeout_seconds > self.interval_seconds:
            raise ValueError(
                f"timeoutSeconds {self.timeout_seconds} is above intervalSeconds {self.interval_seconds}; "
                f"a check ends before the next one"
            )
        return self


class ScaledSpec(Part):
    """One address that many simple endpoints serve."""

    type: Literal["scaled"] = Field(description="scaled: one address, many backends. Immutable")
    network: Name = Field(description="network of the same VPC that the address is in. Immutable")
    addresses: tuple[Address, ...] = Field(
        (), max_length=1, description="one; none: one is picked from the network, and kept"
    )
    ports: tuple[ServicePort, ...] = Field(
        min_length=1, max_length=MAX_SERVICE_PORTS, description="what it serves"
    )
    backends: tuple[Backend, ...] = Field(
        (), max_length=MAX_BACKENDS, description="simple endpoints that serve it; one that is deleted leaves"
    )
    backend_selector: dict[str, str] | None = Field(
        None, min_length=1, description="instead: all simple endpoints of the VPC with these labels"
    )
    session_affinity: SessionAffinity | None = Field(None, description="none: every flow is chosen for anew")
    health_check: HealthCheck | None = Field(None, description="none: all backends count as healthy")

    @pydantic.model_validator(mode="after")
    def _check_lists(self) -> Self:
        _one_of("it", {"backends": self.backends, "backendSelector": self.backend_selector})
        _check_distinct("port", (f"{port.port}/{port.protocol}" for port in self.ports))
        _check_distinct("port name", (repr(port.name) for port in self.ports if port.name))
        _check_distinct("backend", (repr(backend.name) for backend in self.backends))
        return self


class BackendStatus(Part):
    """One backend as it is now."""

    name: str = Field(description="of the simple endpoint")
    address: str = Field(description="that flows go to")
    host: str = Field(description="host that it is on")
    weight: int = Field(description="share of new flows; 0: none")
    state: Literal["healthy", "unhealthy", "draining", "unknown"] = Field(
        description="unknown counts as healthy: nothing was reported yet, or nothing is checked"
    )
    message: str | None = Field(None, description="why it is unhealthy")


# ------------------------------------------------------------------------------------------------ gateways


class PortRange(Part):
    """First and last port, both included."""

    first: Port = Field(1024, description="first port")
    last: Port = Field(65535, description="last port")

    @pydantic.model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first {self.first} is above last {self.last}")
        return self


class GatewaySpec(Part):
    """A VPC's way out."""

    hosts: Annotated[tuple[Name, ...], AfterValidator(parts.check_distinct)] = Field(
        (), max_length=MAX_GATEWAY_HOSTS, description="hosts that packets leave through; flows are spread"
    )
    host_masquerade: StrictBool = Field(
        False, description="true, and no hosts: each host lets its own endpoints out, with its own address"
    )
    addresses: Annotated[tuple[Address, ...], AfterValidator(parts.check_distinct)] = Field(
        (),
        max_length=MAX_GATEWAY_HOSTS * MAX_OUTSIDE,
        description=f"outside addresses for source NAT, given to the hosts in turn, at most {MAX_OUTSIDE} "
        f"each; none: the hosts' own",
    )
    ports: PortRange | None = Field(
        None, description="for source NAT; none: 1024 to 65535, of a host's own address 61000 to 65535"
    )
    destinations: Annotated[tuple[Destination, ...], AfterValidator(parts.check_distinct)] = Field(
        ("0.0.0.0/0",), min_length=1, max_length=MAX_DESTINATIONS, description="what is behind it"
    )

    @pydantic.model_validator(mode="after")
    def _check_hosts(self) -> Self:
        if self.host_masquerade:
            for name, given in (("hosts", self.hosts), ("addresses", self.addresses)):
                if given:
                    raise ValueError(
                        f"hostMasquerade has no {name}, {given[0]!r} is given; every host is its own gateway"
                    )
            return self
        if not self.hosts:
            raise ValueError(
                "hosts are missing; name the hosts that packets leave through, or hostMasquerade"
            )
        count, hosts = len(self.addresses), len(self.hosts)
        if 0 < count < hosts:
            raise ValueError(
                f"{count} addresses for {hosts} hosts; give at least one a host, or none for the hosts' own"
            )
        if count > hosts * MAX_OUTSIDE:
            raise ValueError(
                f"{count} addresses for {hosts} hosts; a host has at most {MAX_OUTSIDE} of a gateway"
            )
        return self

    def addresses_of(self) -> dict[str, tuple[str, ...]]:
        """Outside addresses of each host."""
        return {host: self.addresses[index :: len(self.hosts)] for index, host in enumerate(self.hosts)}


class GatewayHost(Part):
    """One host of a gateway as it is now."""

    name: str = Field(description="of the host")
    addresses: tuple[str, ...] = Field(description="outside addresses that flows through it have")
    up: bool = Field(description="whether its agent is connected")


class GatewayStatus(Status):
    id: int | None = Field(None, description="number of the gateway in the tables, allocated")
    hosts: tuple[GatewayHost, ...] | None = Field(None, description="the hosts and their addresses")


class FloatingAddressSpec(Part):
    """An outside address that is one endpoint's, both ways."""

    gateway: Name = Field(description="gateway of the VPC, one with hosts")
    address: Address = Field(description="outside address")
    endpoint: Name = Field(description="simple endpoint of the VPC; its first address is meant")


class FloatingAddressStatus(Status):
    host: str | None = Field(None, description="gateway host that answers for the address")


class PortForwardSpec(Part):
    """A port of an outside address that leads to an endpoint."""

    gateway: Name = Field(description="gateway of the VPC, one with hosts")
    address: Address = Field(description="outside address: one of the gateway's, or one more")
    port: Port = Field(description="port outside")
    protocol: Protocol = Field("TCP", description="TCP, UDP or SCTP")
    endpoint: Name = Field(description="simple or scaled endpoint of the VPC")
    target_port: Port | None = Field(None, description="port inside; none: the same")

    @pydantic.model_validator(mode="after")
    def _check_sctp(self) -> Self:
        _check_sctp(self.protocol, self.port, self.target)
        return self

    @property
    def target(self) -> int:
        return self.target_port or self.port


class PortForwardStatus(Status):
    host: str | None = Field(None, description="gateway host that answers for the address")


# -------------------------------------------------------------------------------------- routes and peering

TARGETS = ("endpoint", "gateway", "peer", "blackhole")
"""What a route may lead to."""


class Route(Part):
    """Where packets to a prefix go."""

    to: Destination = Field(description="prefix; the longest that holds an address counts")
    endpoint: Name | None = Field(None, description="a simple endpoint of the VPC with forwarding: true")
    gateway: Name | None = Field(None, description="a gateway of the VPC")
    peer: Name | None = Field(None, description="a VPC that this one has a peering with")
    blackhole: StrictBool = Field(False, description="true: packets are dropped")

    @pydantic.model_validator(mode="after")
    def _check_target(self) -> Self:
        given = [name for name in TARGETS if getattr(self, name)]
        if len(given) != 1:
            have = " and ".join(given) if given else "no target"
            raise ValueError(f"route to {self.to} has {have}; give exactly one of {', '.join(TARGETS)}")
        return self

    @property
    def target(self) -> tuple[str, str]:
        """Which of TARGETS, and its name; no name for blackhole."""
        kind = next(name for name in TARGETS if getattr(self, name))
        return kind, "" if kind == "blackhole" else getattr(self, kind)


class RouteTableSpec(Part):
    """Routes of a VPC, or of some of its networks."""

    networks: Annotated[tuple[Name, ...], AfterValidator(parts.check_distinct)] = Field(
        (), max_length=MAX_TABLE_NETWORKS, description="networks whose endpoints use it; none: all of the VPC"
    )
    routes: tuple[Route, ...] = Field((), max_length=MAX_ROUTES, description="each prefix once")

    @pydantic.model_validator(mode="after")
    def _check_routes(self) -> Self:
        _check_distinct("route to", (route.to for route in self.routes))
        return self


class RouteTableStatus(Status):
    routes: int | None = Field(None, description="how many routes it has")


class PeeringSpec(Part):
    """One side of a peering between two VPCs."""

    peer: Name = Field(description="the other VPC; it works once that one has a peering with this. Immutable")


class PeeringStatus(Status):
    active: bool | None = Field(None, description="both sides have declared it")

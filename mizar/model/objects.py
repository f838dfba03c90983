# SPDX-License-Identifier: Apache-2.0
"""The model classes: what a user may declare, and what the server says back.

Everything that is known of a field stands here and nowhere else: its name in JSON (camelCase), type, default,
bounds and description. The API's schema, the CLI and the docs are derived from these classes; the names and
table columns of a kind are in `kinds`, which each class refers to as KIND.

What holds:
  - Objects are frozen. `model_copy(update=...)` makes a changed one.
  - A constructed object keeps every rule that it can break alone (shape, bounds, address sanity). Rules
    between objects are in `rules`.
  - Validators raise ValueError with the rule and the value; `reading` prefixes the object's name.
  - `status` and the server's part of `metadata` are accepted from a client and ignored, so that what `get`
    printed may be applied again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import AfterValidator, Field, StrictBool, StrictInt

from mizar.model import kinds, parts, services

Part = parts.Part
Name = parts.Name
Address = parts.Address
Cidr = parts.Cidr
Condition = parts.Condition
Status = parts.Status

# Bounds that the data plane sets (tests compare them with bpf/include/abi.h).
MAX_DIVIDERS = 16
MAX_REPLICAS = 15
MAX_NETWORK_CIDRS = 4
MIN_SHARDS = 8
MAX_SHARDS = 4096
ENVELOPE = 64

MIN_MTU = 576
"""Smallest inner MTU: what every IPv4 host must take in (RFC 791)."""
MAX_MTU = 65535 - ENVELOPE
MIN_UNDERLAY_MTU = MIN_MTU + ENVELOPE

MAX_VPC_CIDRS = 8
MAX_ENDPOINT_ADDRESSES = 16
MAX_IFNAME = 15


def _check_power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two, such as {1 << (value.bit_length() - 1)}")
    return value


def _check_agent(text: str) -> str:
    path = text.removeprefix("unix://")
    host, colon, port = text.rpartition(":")
    if path != text:
        good = path.startswith("/") and "\0" not in path
    else:
        good = bool(host and colon and port.isascii() and port.isdecimal() and 0 < int(port) < 65536)
    if not good:
        raise ValueError(
            f"{text!r} is not an agent's address, such as unix:///run/mizar/agent.sock or 192.0.2.7:6480"
        )
    return text


def _check_netns(text: str) -> str:
    if not text or "\0" in text or text in {".", ".."} or ("/" in text and not text.startswith("/")):
        raise ValueError(
            f"{text!r} is not a network namespace; give a name below /run/netns or an absolute path"
        )
    return text


def _check_ifname(text: str) -> str:
    if (
        not text.isascii()
        or not text.isprintable()
        or any(c in "/: " for c in text)
        or text in {"", ".", "..", "lo"}
    ):
        raise ValueError(f"{text!r} is not a name for an interface, such as eth0")
    if len(text) > MAX_IFNAME:
        raise ValueError(f"{text!r} has {len(text)} letters; an interface name has at most {MAX_IFNAME}")
    return text


# ----------------------------------------------------------------------------------------------- metadata


class Metadata(Part):
    """Name of an object and what the server notes about it."""

    name: Name = Field(description="DNS label, unique among its kind (and VPC)")
    labels: dict[str, str] = Field(default_factory=dict, description="free key-value pairs")
    uid: str | None = Field(None, description="set by the server: never used twice, unlike the name")
    resource_version: StrictInt | None = Field(
        None,
        description="set by the server: revision of the last change; when a client sends it, the change "
        "is refused unless it is still the present one",
    )
    creation_timestamp: str | None = Field(None, description="set by the server, RFC 3339 UTC")
    deletion_timestamp: str | None = Field(
        None, description="set by the server while the object is being deleted"
    )


class ScopedMetadata(Metadata):
    """Metadata of what is inside a VPC."""

    vpc: Name = Field(description="the VPC that it is in")


class RoleMetadata(Part):
    """Metadata of a bouncer (`web/h2` in its VPC) or divider (`h2`)."""

    name: str = Field(description="network and host, or host")
    vpc: Name = Field(description="the VPC that it serves")


# ------------------------------------------------------------------------------------------------- status


class HostStatus(Status):
    agent: Literal["connected", "away"] | None = Field(
        None, description="whether the controller has its agent"
    )
    transit: str | None = Field(None, description="what runs on the NIC: xdp, xdp-generic, tcx, clsact")
    transit_reason: str | None = Field(None, description="why that one")
    interface: str | None = Field(None, description="underlay interface")
    mtu: int | None = Field(None, description="underlay MTU, bytes")
    revision: int | None = Field(None, description="last revision that the agent has applied in full")
    version: str | None = Field(None, description="version of the agent")
    endpoints: int | None = Field(None, description="endpoints on the host")


class VpcStatus(Status):
    vni: int | None = Field(None, description="24-bit number on the wire, allocated")
    networks: int | None = Field(None, description="networks in the VPC")
    endpoints: int | None = Field(None, description="endpoints in the VPC")
    dividers: tuple[str, ...] | None = Field(None, description="hosts that divide the VPC")


class NetworkStatus(Status):
    id: int | None = Field(None, description="number of the network in the tables, allocated")
    endpoints: int | None = Field(None, description="endpoints in the network")
    bouncers: tuple[str, ...] | None = Field(None, description="hosts that hold shards of the network")


class EndpointStatus(Status):
    addresses: tuple[str, ...] | None = Field(None, description="addresses that the endpoint has")
    mac: str | None = Field(None, description="allocated; of a simple endpoint")
    host: str | None = Field(None, description="host that it is on")
    netns: str | None = Field(None, description="network namespace of its interface")
    interface: str | None = Field(None, description="its interface on the host's side")
    backends: tuple[services.BackendStatus, ...] | None = Field(
        None, description="of a scaled endpoint: who serves it"
    )


class RoleStatus(Part):
    packets: int | None = Field(None, description="packets passed on in the role; none when the host is away")
    bytes: int | None = Field(None, description="bytes of inner frames passed on in the role")


# --------------------------------------------------------------------------------------------------- spec


class HostSpec(Part):
    """A machine that carries endpoints."""

    addresses: Annotated[tuple[Address, ...], AfterValidator(parts.check_distinct)] = Field(
        min_length=1, max_length=8, description="underlay IPv4 addresses; tunnels use the first. Immutable"
    )
    agent: Annotated[str, AfterValidator(_check_agent)] = Field(
        description="where its agent listens: unix:///path or host:port"
    )
    unschedulable: StrictBool = Field(
        False, description="true: is no bouncer and no divider; roles move away"
    )


class VpcSpec(Part):
    """A tenant's private address space."""

    cidrs: Annotated[tuple[Cidr, ...], AfterValidator(parts.check_disjoint)] = Field(
        min_length=1,
        max_length=MAX_VPC_CIDRS,
        description="prefixes of the VPC; other VPCs may have the same",
    )
    dividers: StrictInt = Field(
        1, ge=1, le=MAX_DIVIDERS, description="how many hosts divide the VPC's traffic"
    )
    mtu: StrictInt | None = Field(
        None,
        ge=MIN_MTU,
        le=MAX_MTU,
        description=f"MTU of its endpoints, bytes; the default is the underlay's less {ENVELOPE}",
    )


class NetworkSpec(Part):
    """A group of endpoints: a subnet when it has CIDRs, else a group network."""

    cidrs: Annotated[tuple[Cidr, ...], AfterValidator(parts.check_disjoint)] = Field(
        (),
        max_length=MAX_NETWORK_CIDRS,
        description="prefixes inside the VPC's; none: a group network, addresses from anywhere in it",
    )
    bouncers: StrictInt = Field(1, ge=1, description="how many hosts hold the network's table")
    replicas: StrictInt = Field(
        1, ge=1, le=MAX_REPLICAS, description="how many bouncers hold each shard of it"
    )
    shards: Annotated[StrictInt, AfterValidator(_check_power_of_two)] = Field(
        128, ge=MIN_SHARDS, le=MAX_SHARDS, description="parts of the table, a power of two. Immutable"
    )

    @pydantic.model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.replicas > self.bouncers:
            raise ValueError(
                f"replicas {self.replicas} is above bouncers {self.bouncers}; "
                f"a shard is on at most as many bouncers as there are"
            )
        if self.bouncers > self.shards:
            raise ValueError(
                f"bouncers {self.bouncers} is above shards {self.shards}; a bouncer holds at least one shard"
            )
        return self


class EndpointSpec(Part):
    """One attachment to a VPC."""

    type: Literal["simple"] = Field(
        "simple", description="simple: one interface on one host; scaled: many of them. Immutable"
    )
    network: Name = Field(description="network of the same VPC. Immutable")
    host: Name = Field(description="host that it is on; a change moves the endpoint")
    addresses: Annotated[tuple[Address, ...], AfterValidator(parts.check_distinct)] = Field(
        (), max_length=MAX_ENDPOINT_ADDRESSES, description="none: one is picked from the network, and kept"
    )
    netns: Annotated[str, AfterValidator(_check_netns)] | None = Field(
        None, description="network namespace: a name below /run/netns or a path; none: the agent makes one"
    )
    ifname: Annotated[str, AfterValidator(_check_ifname)] | None = Field(
        None, description="name of the interface inside; none: eth0"
    )
    forwarding: StrictBool = Field(
        False, description="true: may send what is not from its own addresses, and be the target of routes"
    )


class RoleSpec(Part):
    role: Literal["bouncer", "divider"]
    vpc: Name
    network: str | None = Field(None, description="the bouncer's network")
    host: Name
    shards: int = Field(
        description="shards that a bouncer holds; rows of the shard tables that a divider has"
    )
    entries: int = Field(description="endpoints in a bouncer's table; networks in a divider's")


# ------------------------------------------------------------------------------------------------ objects


class Object(Part):
    """Base of the objects. Each has `kind`, `metadata`, `spec` and `status`."""

    KIND: ClassVar[kinds.Kind]

    api_version: Literal["mizar.io/v1"] = kinds.API_VERSION

    @property
    def ref(self) -> kinds.Ref:
        metadata: Any = self.metadata  # type: ignore[attr-defined]  # every subclass declares it
        return kinds.Ref(self.KIND, getattr(metadata, "vpc", None), metadata.name)

    @property
    def full_name(self) -> str:
        return self.ref.full_name


class Host(Object):
    """A machine with an underlay address that runs an agent."""

    KIND: ClassVar[kinds.Kind] = kinds.HOST

    kind: Literal["Host"] = "Host"
    metadata: Metadata
    spec: HostSpec
    status: HostStatus | None = None


class Vpc(Object):
    """One tenant's flat, private address space."""

    KIND: ClassVar[kinds.Kind] = kinds.VPC

    kind: Literal["VPC"] = "VPC"
    metadata: Metadata
    spec: VpcSpec
    status: VpcStatus | None = None


class Network(Object):
    """A group of endpoints inside a VPC."""

    KIND: ClassVar[kinds.Kind] = kinds.NETWORK

    kind: Literal["Network"] = "Network"
    metadata: ScopedMetadata
    spec: NetworkSpec
    status: NetworkStatus | None = None


# The first that fits, which for simple endpoints is the first: a million of them cost nothing more.
AnyEndpointSpec = Annotated[EndpointSpec | services.ScaledSpec, Field(union_mode="left_to_right")]


class Endpoint(Object):
    """One attachment (container, pod, VM, host) with addresses in a VPC, or one address that many serve."""

    KIND: ClassVar[kinds.Kind] = kinds.ENDPOINT

    kind: Literal["Endpoint"] = "Endpoint"
    metadata: ScopedMetadata
    spec: AnyEndpointSpec
    status: EndpointStatus | None = None


class SimpleEndpoint(Endpoint):
    """An endpoint that is known to be simple, or meant to be: for errors."""

    spec: EndpointSpec


class ScaledEndpoint(Endpoint):
    """An endpoint that is known to be scaled, or meant to be."""

    spec: services.ScaledSpec


class Gateway(Object):
    """A VPC's way out to the underlay or the internet."""

    KIND: ClassVar[kinds.Kind] = kinds.GATEWAY

    kind: Literal["Gateway"] = "Gateway"
    metadata: ScopedMetadata
    spec: services.GatewaySpec
    status: services.GatewayStatus | None = None


class FloatingAddress(Object):
    """An outside address that is one endpoint's."""

    KIND: ClassVar[kinds.Kind] = kinds.FLOATING_ADDRESS

    kind: Literal["FloatingAddress"] = "FloatingAddress"
    metadata: ScopedMetadata
    spec: services.FloatingAddressSpec
    status: services.FloatingAddressStatus | None = None


class PortForward(Object):
    """A port of an outside address that leads to an endpoint."""

    KIND: ClassVar[kinds.Kind] = kinds.PORT_FORWARD

    kind: Literal["PortForward"] = "PortForward"
    metadata: ScopedMetadata
    spec: services.PortForwardSpec
    status: services.PortForwardStatus | None = None


class RouteTable(Object):
    """Routes of a VPC, or of some of its networks."""

    KIND: ClassVar[kinds.Kind] = kinds.ROUTE_TABLE

    kind: Literal["RouteTable"] = "RouteTable"
    metadata: ScopedMetadata
    spec: services.RouteTableSpec
    status: services.RouteTableStatus | None = None


class Peering(Object):
    """One side of a peering between two VPCs."""

    KIND: ClassVar[kinds.Kind] = kinds.PEERING

    kind: Literal["Peering"] = "Peering"
    metadata: ScopedMetadata
    spec: services.PeeringSpec
    status: services.PeeringStatus | None = None


class Bouncer(Object):
    """Read-only: a host that holds shards of a network."""

    KIND: ClassVar[kinds.Kind] = kinds.BOUNCER

    kind: Literal["Bouncer"] = "Bouncer"
    metadata: RoleMetadata
    spec: RoleSpec
    status: RoleStatus | None = None


class Divider(Object):
    """Read-only: a host that divides a VPC's traffic among bouncers."""

    KIND: ClassVar[kinds.Kind] = kinds.DIVIDER

    kind: Literal["Divider"] = "Divider"
    metadata: RoleMetadata
    spec: RoleSpec
    status: RoleStatus | None = None


Fixture = Gateway | FloatingAddress | PortForward | RouteTable | Peering
"""What a VPC has besides networks and endpoints."""

Declared = Host | Vpc | Network | Endpoint | Gateway | FloatingAddress | PortForward | RouteTable | Peering
"""What a client may create; narrow with isinstance."""

AnyObject = (
    Host
    | Vpc
    | Network
    | Endpoint
    | Gateway
    | FloatingAddress
    | PortForward
    | RouteTable
    | Peering
    | Bouncer
    | Divider
)

CLASSES: dict[str, type[Declared]] = {
    cls.KIND.name: cls
    for cls in (Host, Vpc, Network, Endpoint, Gateway, FloatingAddress, PortForward, RouteTable, Peering)
}

_LIST = pydantic.TypeAdapter(Sequence[AnyObject])


def to_json(obj: AnyObject) -> dict[str, Any]:
    """The JSON form, as the API serves it: defaults filled in, unset fields left out."""
    return obj.model_dump(mode="json", by_alias=True, exclude_none=True)


def dump_list(objs: Sequence[AnyObject]) -> bytes:
    """The JSON array of many objects, without a detour over dicts."""
    return _LIST.dump_json(objs, by_alias=True, exclude_none=True)

# SPDX-License-Identifier: Apache-2.0
"""What the planner and the stores keep of an object: numbers instead of text, allocations filled in.

A fact is the object as the tables need it. Addresses are ints, prefixes `addresses.Prefix`, allocated numbers
are there. Named tuples, because a million of them are held and built: they cost a third of a frozen dataclass
to make, are hashable and compare by value.
"""

from __future__ import annotations

from typing import NamedTuple

from mizar.model import addresses


class HostFact(NamedTuple):
    """A host. `address` is the underlay address that tunnels use. `joined`: its agent has been reached once;
    before, nothing is known of it but its name, and it takes no role."""

    name: str
    address: int
    agent: str
    schedulable: bool
    joined: bool = True

    @property
    def takes_roles(self) -> bool:
        return self.schedulable and self.joined


class VpcFact(NamedTuple):
    """A VPC. `group` is the network id of its group space; `mtu` 0 means the underlay's less the envelope."""

    vni: int
    name: str
    cidrs: tuple[addresses.Prefix, ...]
    dividers: int
    mtu: int
    group: int


class NetworkFact(NamedTuple):
    """A network; without `cidrs` it is a group network. `id` is unique over all VPCs."""

    id: int
    vni: int
    name: str
    cidrs: tuple[addresses.Prefix, ...]
    bouncers: int
    replicas: int
    shards: int


class EndpointFact(NamedTuple):
    """An endpoint. `id` is its serial number, never used twice; `host` the host's name.
    Empty `netns` and `ifname` leave the choice to the agent."""

    id: int
    vni: int
    name: str
    network: int
    host: str
    addresses: tuple[int, ...]
    netns: str
    ifname: str
    forwarding: bool = False

    @property
    def mac(self) -> bytes:
        return mac(self.id)


class BackendFact(NamedTuple):
    """One backend of a scaled endpoint: serial number of a simple endpoint of the VPC. Weight 0: drains."""

    endpoint: int
    weight: int


class PortFact(NamedTuple):
    """One port of a scaled endpoint. `protocol`: IP protocol number."""

    port: int
    protocol: int
    target: int


class CheckFact(NamedTuple):
    """How backends of a scaled endpoint are checked. `kind`: up, tcp or http; `path` of http."""

    kind: str
    port: int
    path: str
    interval_ms: int
    timeout_ms: int
    failures: int
    successes: int


class ServiceFact(NamedTuple):
    """A scaled endpoint. `id` is its serial number, from the same counter as simple endpoints'."""

    id: int
    vni: int
    name: str
    network: int
    address: int
    ports: tuple[PortFact, ...]
    backends: tuple[BackendFact, ...]
    affinity: int
    """Seconds; 0: none."""
    check: CheckFact | None

    @property
    def addresses(self) -> tuple[int, ...]:
        """As of an endpoint."""
        return (self.address,)


class GatewayFact(NamedTuple):
    """A gateway. `id` is a network id of its own, under which hosts look up its hosts. `hosts`: names with
    their outside addresses, () for the host's own; empty where every host masquerades."""

    id: int
    vni: int
    name: str
    hosts: tuple[tuple[str, tuple[int, ...]], ...]
    first_port: int
    """0: the agent's default."""
    last_port: int
    destinations: tuple[addresses.Prefix, ...]

    @property
    def masquerades(self) -> bool:
        return not self.hosts


class FloatingFact(NamedTuple):
    """A floating address: outside address, gateway's id, serial number of a simple endpoint."""

    address: int
    vni: int
    name: str
    gateway: int
    endpoint: int


class ForwardFact(NamedTuple):
    """A port forward. `endpoint`: serial number of a simple or scaled endpoint."""

    address: int
    port: int
    protocol: int
    vni: int
    name: str
    gateway: int
    endpoint: int
    target_port: int


class RouteFact(NamedTuple):
    """One route of a route table. `kind`: endpoint, gateway, peer or blackhole; `target`: serial number of an
    endpoint, id of a gateway, VNI, or 0."""

    to: addresses.Prefix
    kind: str
    target: int


class RouteTableFact(NamedTuple):
    """A route table. `networks`: ids; none: it is the VPC's."""

    vni: int
    name: str
    networks: tuple[int, ...]
    routes: tuple[RouteFact, ...]


class PeeringFact(NamedTuple):
    """A peering that both sides have declared; one fact for each direction."""

    vni: int
    peer: int


def mac(serial: int) -> bytes:
    """MAC address of the endpoint with this serial number: locally administered, unique with it."""
    return (_LOCAL | serial).to_bytes(6, "big")


_LOCAL = 0x02 << 40
"""Bit of locally administered addresses."""


def serial_of(mac_address: bytes) -> int:
    """The reverse of `mac`."""
    return int.from_bytes(mac_address[1:], "big")


def mac_text(serial: int) -> str:
    return mac(serial).hex(":")


ROUTER_SERIAL = 0x4D5A000001
"""Its MAC is the router's (MZ_ROUTER_MAC in abi.h): never given to an endpoint."""
MAX_SERIAL = 2**40 - 1

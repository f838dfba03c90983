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

    @property
    def mac(self) -> bytes:
        return mac(self.id)


def mac(serial: int) -> bytes:
    """MAC address of the endpoint with this serial number: locally administered, unique with it."""
    return b"\x02" + serial.to_bytes(5, "big")


def serial_of(mac_address: bytes) -> int:
    """The reverse of `mac`."""
    return int.from_bytes(mac_address[1:], "big")


def mac_text(serial: int) -> str:
    return mac(serial).hex(":")


ROUTER_SERIAL = 0x4D5A000001
"""Its MAC is the router's (MZ_ROUTER_MAC in abi.h): never given to an endpoint."""
MAX_SERIAL = 2**40 - 1

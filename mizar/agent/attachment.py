# SPDX-License-Identifier: Apache-2.0
"""What an endpoint's interface must look like, and the protocol of what makes it so. Pure.

The kinds of attachment join here: a veth pair now, a tap beside it later.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Final, Protocol

import numpy as np

from mizar import errors
from mizar.abi import decode, layout, macs
from mizar.agent import rows
from mizar.rpc.gen.mizar.node.v1 import node_pb2

HOST_IFNAME: Final = re.compile("mz[0-9a-f]{12}")
"""What all host sides are called, and nothing else."""
ALIAS_PREFIX: Final = "mizar:"
"""Interface alias: prefix and the endpoint's full name."""
DEFAULT_IFNAME: Final = "eth0"
_IFNAME_MAX: Final = 15
_MTU_RANGE: Final = (576, 65535)
_GROUP_BIT: Final = 0x01


@dataclasses.dataclass(frozen=True)
class Attachment:
    """One veth pair as wanted. Everything that the kernel is told, and nothing else."""

    name: str
    """Full name of the endpoint, blue/web-1."""
    host_ifname: str
    netns: str
    """Name below /run/netns or absolute path."""
    owned: bool
    """The namespace is ours to make and to remove."""
    ifname: str
    mac: bytes
    mtu: int
    addresses: tuple[tuple[int, int], ...]
    """(address, prefix length)"""

    @property
    def alias(self) -> str:
        return f"{ALIAS_PREFIX}{self.name}"


@dataclasses.dataclass(frozen=True)
class Made:
    """What exists of an attachment."""

    ifindex: int
    """Host side."""
    netns_cookie: int
    """The kernel's number of an owned namespace: never used twice, while a name may come to mean another."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What it takes to talk to an endpoint from inside its namespace."""

    netns: str
    """As of Attachment."""
    ifname: str
    address: int
    """Its first."""


class Attachments(Protocol):
    """Makes attachments real. Failures leave nothing half made."""

    def make(self, wanted: Attachment) -> Made:
        """Both ends exist and are configured; the host side is still down, so nothing flows.

        An interface that an earlier attempt left is replaced. ConflictError if the inside is taken.
        """
        ...

    def enable(self, wanted: Attachment, made: Made) -> None:
        """Bring it up, the endpoint's side last: from now on packets flow."""
        ...

    def change(self, old: Attachment, new: Attachment, made: Made) -> bool:
        """Change MAC and MTU in place; False if the difference needs a new interface."""
        ...

    def remove(self, wanted: Attachment, made: Made, *, keep_netns: bool = False) -> None:
        """Take away what is there of it."""
        ...

    def alive(self, wanted: Attachment, made: Made) -> bool:
        """Whether the interface is still there. Cheap."""
        ...

    def present(self) -> dict[int, str]:
        """ifindex -> name of all interfaces that are host sides, whoever made them."""
        ...

    def remove_stray(self, ifname: str) -> None:
        """Take away a host side that belongs to no endpoint that is known."""
        ...


# ---------------------------------------------------------------- from messages


def full_name(key: node_pb2.EndpointKey) -> str:
    return f"{key.vpc}/{key.name}"


def host_ifname(name: str) -> str:
    """Stable and short: an interface name has 15 characters, an endpoint's name up to 127."""
    return "mz" + hashlib.blake2b(name.encode(), digest_size=6).hexdigest()


def check(message: node_pb2.Endpoint) -> None:
    """Rules that hold whatever the state is; InvalidError names the first that is broken."""
    name = full_name(message.key)
    if not message.key.vpc or not message.key.name or "/" in message.key.vpc or "/" in message.key.name:
        raise errors.InvalidError(f"endpoint key {name!r}: needs a VPC's name and a name without '/'")
    rows.check_vni(message.vni)
    if not message.network:
        raise errors.InvalidError("network id 0: must be at least 1")
    if message.shards:
        rows.check_shards(message.shards)
    if len(message.mac) != 6 or not any(message.mac) or message.mac[0] & _GROUP_BIT:
        raise errors.InvalidError(f"MAC {message.mac.hex(':')!r}: must be 6 bytes, unicast")
    if macs.is_reserved(message.mac):
        raise errors.InvalidError(
            f"MAC {message.mac.hex(':')!r}: the network speaks with 06:4d to 06:50 itself"
        )
    if not message.addresses or 0 in message.addresses:
        raise errors.InvalidError("an endpoint needs at least one address, none of them 0.0.0.0")
    if len(message.onlink) > layout.MAX_ONLINK:
        raise errors.InvalidError(f"{len(message.onlink)} on-link prefixes: at most {layout.MAX_ONLINK}")
    for prefix in message.onlink:
        rows.check_prefix(prefix.address, prefix.length)
    if len(message.veth.ifname) > _IFNAME_MAX or "/" in message.veth.ifname:
        raise errors.InvalidError(f"interface {message.veth.ifname!r}: at most {_IFNAME_MAX} letters, no '/'")


def mtu_of(message: node_pb2.Endpoint, underlay_mtu: int) -> int:
    """The inner MTU: as asked for, or what the underlay leaves."""
    largest = underlay_mtu - layout.ENVELOPE
    if not message.mtu:
        return min(largest, _MTU_RANGE[1])
    if not _MTU_RANGE[0] <= message.mtu <= largest:
        raise errors.InvalidError(
            f"MTU {message.mtu}: must be {_MTU_RANGE[0]} to {largest}, underlay less {layout.ENVELOPE}"
        )
    return message.mtu


def of(message: node_pb2.Endpoint, mtu: int) -> Attachment:
    """The attachment that a checked message asks for."""
    name = full_name(message.key)
    return Attachment(
        name=name,
        host_ifname=host_ifname(name),
        netns=message.veth.netns or f"mizar.{message.key.vpc}.{message.key.name}",
        owned=not message.veth.netns,
        ifname=message.veth.ifname or DEFAULT_IFNAME,
        mac=message.mac,
        mtu=mtu,
        addresses=tuple((address, _prefix_length(address, message)) for address in message.addresses),
    )


def target(message: node_pb2.Endpoint, mtu: int) -> Target:
    wanted = of(message, mtu)
    return Target(wanted.netns, wanted.ifname, message.addresses[0])


def _prefix_length(address: int, message: node_pb2.Endpoint) -> int:
    """That of the network's prefix with the address; 32 in a group network, where nothing is on-link."""
    lengths = [each.length for each in message.onlink if address & layout.mask4(each.length) == each.address]
    return max(lengths, default=32)


# ---------------------------------------------------------------- rows


def address_keys(message: node_pb2.Endpoint) -> layout.Rows:
    keys = np.zeros(len(message.addresses), dtype=layout.ADDR_KEY4)
    keys["vni"] = message.vni
    keys["addr"] = list(message.addresses)
    return keys


def endpoint_rows(message: node_pb2.Endpoint, *, ifindex: int, slot: int) -> layout.Rows:
    """Rows of mz_endpoints4, one for each address."""
    encoded = np.zeros(len(message.addresses), dtype=layout.ENDPOINT)
    encoded["ifindex"] = ifindex
    encoded["slot"] = slot
    encoded["mac"] = list(message.mac)
    encoded["flags"] = layout.EndpointFlags.PEER
    return encoded


def port_row(message: node_pb2.Endpoint, *, slot: int, mtu: int) -> layout.Rows:
    """The row of mz_ports."""
    encoded = np.zeros(1, dtype=layout.PORT)
    encoded["vni"] = message.vni
    encoded["addr"] = message.addresses[0]
    encoded["mac"] = list(message.mac)
    encoded["mtu"] = mtu
    encoded["network"] = message.network
    encoded["shards"] = message.shards
    encoded["slot"] = slot
    encoded["n_onlink"] = len(message.onlink)
    encoded["flags"] = _port_flags(message)
    for at, prefix in enumerate(message.onlink):
        encoded["onlink"][0, at] = (prefix.address, layout.mask4(prefix.length))
    return encoded


def _port_flags(message: node_pb2.Endpoint) -> layout.PortFlags:
    flags = layout.PortFlags.ROUTES if message.own_routes else layout.PortFlags(0)
    return flags | layout.PortFlags.FORWARDS if message.forwarding else flags


def addresses_text(message: node_pb2.Endpoint) -> str:
    return ", ".join(decode.address4(address) for address in message.addresses)

# SPDX-License-Identifier: Apache-2.0
"""What the tables say, as values: the only place of the evaluation that sees rows."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Final

import numpy as np

from mizar.abi import layout
from mizar.dataplane import protocol

_MASKS: Final = tuple(layout.mask4(length) for length in range(32, -1, -1))
"""Masks of prefixes, longest first."""


@dataclasses.dataclass(frozen=True)
class Config:
    address: int
    ifindex: int
    mac: bytes
    soft_ms: int
    hard_ms: int


@dataclasses.dataclass(frozen=True)
class Host:
    address: int
    mac: bytes
    mac_until: int
    is_self: bool
    is_up: bool


@dataclasses.dataclass(frozen=True)
class Vpc:
    divides: bool
    slot: int
    dividers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Route:
    kind: int
    network: int
    shards: int
    target: int
    """Address of an appliance, else VNI of a peer or 0."""


@dataclasses.dataclass(frozen=True)
class Location:
    host: int
    slot: int


@dataclasses.dataclass(frozen=True)
class Endpoint:
    ifindex: int
    slot: int
    mac: bytes


@dataclasses.dataclass(frozen=True)
class Port:
    ifindex: int
    vni: int
    address: int
    mac: bytes
    mtu: int
    network: int
    shards: int
    slot: int
    flags: layout.PortFlags
    onlink: tuple[tuple[int, int], ...]
    """Prefixes as (address, mask)."""

    @property
    def table(self) -> int:
        """Which routes its packets follow."""
        own = layout.PortFlags.ROUTES in self.flags
        return layout.TABLE_NETWORK | self.network if own else self.vni

    def on_link(self, address: int) -> bool:
        return any(address & mask == prefix for prefix, mask in self.onlink)


@dataclasses.dataclass(frozen=True)
class Direct:
    host: int
    confirmed: int
    vni: int
    """Of the endpoint's own VPC."""


def _route(row: np.void) -> Route:
    kind, target = int(row["kind"]), int(row["target"])
    # An address is in network byte order there.
    target = socket.ntohl(target) if kind == layout.RouteKind.APPLIANCE else target
    return Route(kind, int(row["network"]), int(row["shards"]), target)


class Tables:
    """Look-ups of one run."""

    def __init__(self, lookup: Callable[[layout.Table, protocol.Key], np.void | None]) -> None:
        self._lookup = lookup

    def config(self) -> Config | None:
        """None until the agent has said READY."""
        row = self._lookup(layout.Table.CONFIG, 0)
        if row is None or not int(row["flags"]) & layout.ConfigFlags.READY:
            return None
        return Config(
            address=int(row["underlay_addr"]),
            ifindex=int(row["underlay_ifindex"]),
            mac=row["underlay_mac"].tobytes(),
            soft_ms=int(row["soft_ms"]),
            hard_ms=int(row["hard_ms"]),
        )

    def host(self, address: int) -> Host | None:
        row = self._lookup(layout.Table.HOSTS, address)
        if row is None:
            return None
        flags = layout.HostFlags(int(row["flags"]))
        return Host(
            address=address,
            mac=row["mac"].tobytes(),
            mac_until=int(row["mac_until"]),
            is_self=layout.HostFlags.SELF in flags,
            is_up=layout.HostFlags.DOWN not in flags,
        )

    def is_peer(self, address: int) -> bool:
        """A listed host, and not this one."""
        host = self.host(address)
        return host is not None and not host.is_self

    def vpc(self, vni: int) -> Vpc | None:
        row = self._lookup(layout.Table.VPCS, vni)
        if row is None:
            return None
        return Vpc(
            divides=bool(int(row["flags"]) & layout.VpcFlags.DIVIDER),
            slot=int(row["slot"]),
            dividers=tuple(row["dividers"][: int(row["n_dividers"])].tolist()),
        )

    def route(self, table: int, address: int) -> Route | None:
        """The longest match in the table of a VPC (its VNI) or network."""
        for mask in _MASKS:
            row = self._lookup(layout.Table.ROUTES4, (table, address & mask, mask))
            if row is not None:
                return _route(row)
        return None

    def shard(self, network: int, shard: int) -> tuple[int, ...] | None:
        """Bouncers that hold the shard."""
        row = self._lookup(layout.Table.SHARDS, (network, shard))
        return None if row is None else tuple(row["hosts"][: int(row["n"])].tolist())

    def location(self, vni: int, address: int) -> Location | None:
        row = self._lookup(layout.Table.LOCATIONS4, (vni, address))
        return None if row is None else Location(int(row["host"]), int(row["slot"]))

    def endpoint(self, vni: int, address: int) -> Endpoint | None:
        row = self._lookup(layout.Table.ENDPOINTS4, (vni, address))
        return None if row is None else Endpoint(int(row["ifindex"]), int(row["slot"]), row["mac"].tobytes())

    def direct(self, vni: int, address: int) -> Direct | None:
        row = self._lookup(layout.Table.DIRECT4, (vni, address))
        return None if row is None else Direct(int(row["host"]), int(row["confirmed"]), int(row["vni"]))

    def port(self, ifindex: int) -> Port | None:
        row = self._lookup(layout.Table.PORTS, ifindex)
        if row is None:
            return None
        onlink = row["onlink"][: int(row["n_onlink"])]
        return Port(
            ifindex=ifindex,
            vni=int(row["vni"]),
            address=int(row["addr"]),
            mac=row["mac"].tobytes(),
            mtu=int(row["mtu"]),
            network=int(row["network"]),
            shards=int(row["shards"]),
            slot=int(row["slot"]),
            flags=layout.PortFlags(int(row["flags"])),
            onlink=tuple((int(prefix["addr"]), int(prefix["mask"])) for prefix in onlink),
        )

    def port_has(self, port: Port, address: int) -> bool:
        """Whether an address is one of the port's own."""
        if address == port.address:
            return True
        endpoint = self.endpoint(port.vni, address)
        return endpoint is not None and endpoint.ifindex == port.ifindex

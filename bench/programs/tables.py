# SPDX-License-Identifier: Apache-2.0
"""What the tables hold while programs are timed: one host with every role. Pure.

Each role has a VPC of its own, so that one fill serves all cases. One table at a time grows, the others are
those of a usual host: a bouncer of a million endpoints has no million endpoints of its own.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from bench.programs import frames
from mizar.abi import layout

SELF: Final = frames.number("192.0.2.1")
NEXT: Final = frames.number("192.0.2.2")
CLIENT: Final = frames.number("192.0.2.3")
UNLISTED: Final = frames.number("198.51.100.9")

IFINDEX: Final = 1  # loopback: where TEST_RUN's packets come from
UNDERLAY_MAC: Final = bytes.fromhex("020000000001")
NEXT_MAC: Final = bytes.fromhex("020000000002")
ENDPOINT_MAC: Final = bytes.fromhex("02000000aa01")

FIRST: Final = frames.number("10.0.0.0")
"""Lowest address of every VPC; row i is FIRST + i."""

ENDPOINT: Final = frames.number("10.255.0.1")
"""The endpoint that speaks; in none of the filled ranges."""

MTU: Final = 1436
_FOREVER_MS: Final = 0x7FFF_FFFF  # ages are compared modulo 2^32
_FOREVER_S: Final = 0xFFFF_FFFF
SHARDS: Final = 128
_NETWORK_BITS: Final = 28
ADDRESSES_PER_NETWORK: Final = 1 << (32 - _NETWORK_BITS)
_HOSTS: Final = 1000
USUAL_ROWS: Final = 100
"""Rows of a table that is not the one that grows: endpoints, peers and networks of a usual host."""


class Vni(enum.IntEnum):
    """One VPC a role."""

    BOUNCE = 7  # locations here, and an endpoint whose host is its own bouncer
    LOCAL = 8  # endpoints here
    DIRECT = 9  # learnt here
    VIA_BOUNCER = 10  # nothing known but the bouncers
    VIA_DIVIDER = 11  # nothing known but the divider
    DIVIDE = 12  # networks here
    BARE = 14  # a VPC without dividers
    ABSENT = 99


class Network(enum.IntEnum):
    VIA_BOUNCER = 10
    OWN_BOUNCER = 13
    EMPTY = 14  # has no shards
    LOST = 15  # its shards are on a host that nobody knows
    DIVIDED = 100


class Slot(enum.IntEnum):
    """Of mz_stats."""

    ENDPOINT = 1
    BOUNCER = 2
    DIVIDER = 3
    PEER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Fill:
    """Rows of one table."""

    table: layout.Table
    keys: layout.Rows
    values: layout.Rows


def capacity(table: layout.Table, rows: int) -> int:
    """Of a table that grows to `rows`; a cache needs slack to keep them all, whichever their sets."""
    spec = layout.TABLES[table]
    return max((16 if spec.form is layout.Form.SETS else 2) * rows, spec.max_entries)


def usual(*, now_ms: int) -> Iterator[Fill]:
    """A usual host, with every role; `now_ms` is since boot."""
    yield config(ready=True)
    yield _hosts()
    yield _vpcs()
    yield _few_routes()
    yield _shards()
    for table in GROWING:
        yield growing(table, USUAL_ROWS, now_ms=now_ms)


def growing(table: layout.Table, rows: int, *, now_ms: int) -> Fill:
    """`rows` rows of a table that grows."""
    fill = empty(table, rows)
    GROWING[table](fill, now_ms)
    return fill


def config(*, ready: bool) -> Fill:
    fill = empty(layout.Table.CONFIG, 1)
    row = fill.values[0]
    row["underlay_addr"], row["underlay_ifindex"] = SELF, IFINDEX
    row["soft_ms"], row["hard_ms"] = _FOREVER_MS, _FOREVER_MS
    row["underlay_mac"] = np.frombuffer(UNDERLAY_MAC, dtype="u1")
    row["flags"] = layout.ConfigFlags.READY if ready else 0
    return fill


def port(*, vni: int, network: int = 0, shards: int = 0, onlink: str | None = None) -> Fill:
    """The interface that endpoints' packets come from."""
    fill = empty(layout.Table.PORTS, 1)
    fill.keys[0] = IFINDEX
    row = fill.values[0]
    row["vni"], row["addr"], row["mtu"] = vni, ENDPOINT, MTU
    row["mac"] = np.frombuffer(ENDPOINT_MAC, dtype="u1")
    row["network"], row["shards"], row["slot"] = network, shards, Slot.ENDPOINT
    if onlink is not None:
        prefix = ipaddress.IPv4Network(onlink)
        row["n_onlink"] = 1
        row["onlink"][0] = (int(prefix.network_address), int(prefix.netmask))
    return fill


def empty(table: layout.Table, rows: int) -> Fill:
    """`rows` rows, all zero."""
    spec = layout.TABLES[table]
    return Fill(table=table, keys=spec.keys(rows), values=spec.values(rows))


def _hosts() -> Fill:
    fill = empty(layout.Table.HOSTS, _HOSTS)
    fill.keys[:] = SELF + np.arange(_HOSTS)
    fill.values["mac_until"] = _FOREVER_S
    fill.values["mac"] = np.frombuffer(NEXT_MAC, dtype="u1")
    fill.values["flags"][0] = layout.HostFlags.SELF
    return fill


def _vpcs() -> Fill:
    flags = layout.VpcFlags
    roles = {
        Vni.BOUNCE: flags.BOUNCER | flags.ENDPOINTS,
        Vni.LOCAL: flags.ENDPOINTS,
        Vni.DIRECT: flags.ENDPOINTS,
        Vni.VIA_BOUNCER: flags.ENDPOINTS,
        Vni.VIA_DIVIDER: flags.ENDPOINTS,
        Vni.DIVIDE: flags.DIVIDER,
        Vni.BARE: flags.ENDPOINTS,
    }
    fill = empty(layout.Table.VPCS, len(roles))
    for i, (vni, role) in enumerate(roles.items()):
        fill.keys[i] = vni
        row = fill.values[i]
        row["flags"], row["slot"] = role, Slot.DIVIDER
        if vni is not Vni.BARE:
            row["n_dividers"] = 1
            row["dividers"][0] = NEXT
    return fill


def _few_routes() -> Fill:
    """Of hosts that only have endpoints."""
    few = (
        (Vni.VIA_DIVIDER, "10.0.0.0/8", layout.RouteKind.DIVIDER),
        (Vni.BARE, "10.0.0.0/8", layout.RouteKind.DIVIDER),
        (Vni.VIA_DIVIDER, "10.254.0.0/16", layout.RouteKind.NONE),
    )
    fill = empty(layout.Table.ROUTES4, len(few))
    for i, (vni, text, kind) in enumerate(few):
        prefix = ipaddress.IPv4Network(text)
        fill.keys[i] = (vni, int(prefix.network_address), int(prefix.netmask))
        fill.values[i] = (kind, 0, 0, 0)
    return fill


def _shards() -> Fill:
    holders = {
        Network.VIA_BOUNCER: (NEXT, CLIENT),
        Network.DIVIDED: (NEXT, CLIENT),
        Network.OWN_BOUNCER: (SELF,),
        Network.LOST: (UNLISTED,),
    }
    fill = empty(layout.Table.SHARDS, len(holders) * SHARDS)
    for i, (network, hosts) in enumerate(holders.items()):
        rows = slice(i * SHARDS, (i + 1) * SHARDS)
        fill.keys["network"][rows], fill.keys["shard"][rows] = network, np.arange(SHARDS)
        fill.values["n"][rows] = len(hosts)
        for at, host in enumerate(hosts):
            fill.values["hosts"][rows, at] = host
    return fill


def _addresses(fill: Fill, vni: int) -> None:
    fill.keys["vni"] = vni
    fill.keys["addr"] = FIRST + np.arange(len(fill.keys))


def _networks(fill: Fill, now_ms: int) -> None:
    """The divider's: adjacent prefixes, all of the same size."""
    fill.keys["vni"], fill.keys["mask"] = Vni.DIVIDE, layout.mask4(_NETWORK_BITS)
    fill.keys["addr"] = FIRST + np.arange(len(fill.keys)) * ADDRESSES_PER_NETWORK
    fill.values["kind"] = layout.RouteKind.NETWORK
    fill.values["network"], fill.values["shards"] = Network.DIVIDED, SHARDS


def _locations(fill: Fill, now_ms: int) -> None:
    """The bouncer's."""
    _addresses(fill, Vni.BOUNCE)
    fill.values["host"], fill.values["slot"] = NEXT, Slot.BOUNCER


def _endpoints(fill: Fill, now_ms: int) -> None:
    _addresses(fill, Vni.LOCAL)
    fill.values["ifindex"], fill.values["slot"] = IFINDEX, Slot.PEER
    fill.values["mac"] = np.frombuffer(NEXT_MAC, dtype="u1")
    fill.values["flags"] = layout.EndpointFlags.PEER


def _direct(fill: Fill, now_ms: int) -> None:
    _addresses(fill, Vni.DIRECT)
    fill.values["host"], fill.values["confirmed"] = NEXT, now_ms & 0xFFFF_FFFF
    fill.values["vni"] = fill.keys["vni"]


GROWING: Final[Mapping[layout.Table, Callable[[Fill, int], None]]] = {
    layout.Table.ROUTES4: _networks,
    layout.Table.LOCATIONS4: _locations,
    layout.Table.ENDPOINTS4: _endpoints,
    layout.Table.DIRECT4: _direct,
}
"""Tables whose size depends on the cluster's, and how they are filled."""

# SPDX-License-Identifier: Apache-2.0
"""Rows of the tables of one host, as values, and the stages in which they change.

The rows follow the messages of proto/mizar/node/v1: one class per table, one row per kernel entry, but for
endpoints, which become several. Underlay and endpoint addresses are ints.

What holds:
  - `row.key` is a tuple that begins with the table and identifies the row on its host.
  - Rows are immutable and hashable. They are named tuples because bulk changes make millions of them.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import NamedTuple


class Table(enum.StrEnum):
    """Names as in EntryError.table of the node API."""

    HOSTS = "hosts"
    VPCS = "vpcs"
    NETWORKS = "networks"
    ROUTES = "routes"
    SHARDS = "shards"
    LOCATIONS = "locations"
    ENDPOINTS = "endpoints"


class Stage(enum.IntEnum):
    """When a row changes within one delta: a stage begins when every host that must know has acknowledged
    the one before.

    Within a stage the rows of a host are in no particular order but for routes, which begin with the longest
    prefixes: the agent applies one table after the other (hosts, vpcs, networks, routes, shards, locations,
    endpoints), and packets find their way at every moment of that.
    """

    PEERS = 0
    """Hosts."""
    BOUNCERS = 1
    """Locations; new vpc rows, bouncers' network rows, new shard tables of dividers: not used yet."""
    DIVIDERS = 2
    """Shards and routes at dividers, and that they divide."""
    HOSTS = 3
    """Vpcs, routes and shards at endpoints' hosts."""
    ENDPOINTS = 4
    """Endpoints."""
    MOVES = 5
    """Locations of endpoints that have moved, now that they are at their new host."""
    BREAK = 6
    """Every removal, and every row that says less than before (a host that no longer divides)."""


class RouteKind(enum.IntEnum):
    """enum mz_route_kind."""

    DIVIDER = 1
    NETWORK = 2
    NONE = 3


Key = tuple[Hashable, ...]
"""(Table, ...), as each row's `key` says."""


class HostRow(NamedTuple):
    """A tunnel peer."""

    address: int
    name: str

    @property
    def key(self) -> Key:
        return (Table.HOSTS, self.address)


class VpcRow(NamedTuple):
    """What this host is for a VPC. `dividers` is empty where the host only bounces."""

    vni: int
    name: str
    dividers: tuple[int, ...]
    divides: bool

    @property
    def key(self) -> Key:
        return (Table.VPCS, self.vni)


class NetworkRow(NamedTuple):
    """Name of a network that this host has rows of, and whether it bounces for it."""

    id: int
    vni: int
    name: str
    bounces: bool

    @property
    def key(self) -> Key:
        return (Table.NETWORKS, self.id)


class RouteRow(NamedTuple):
    """One prefix of a VPC. `network` and `shards` are 0 unless the kind is NETWORK."""

    vni: int
    prefix: int
    length: int
    kind: RouteKind
    network: int
    shards: int

    @property
    def key(self) -> Key:
        return (Table.ROUTES, self.vni, self.prefix, self.length)


class ShardRow(NamedTuple):
    """Underlay addresses of the bouncers that hold one shard. A host has all shards of a network or none."""

    network: int
    shard: int
    hosts: tuple[int, ...]

    @property
    def key(self) -> Key:
        return (Table.SHARDS, self.network, self.shard)


class LocationRow(NamedTuple):
    """A bouncer's row: the underlay address of the host that an endpoint's address is on."""

    vni: int
    network: int
    address: int
    host: int

    @property
    def key(self) -> Key:
        return (Table.LOCATIONS, self.vni, self.address)


class EndpointRow(NamedTuple):
    """An endpoint of this host. `shards` is 0 and `onlink` empty in a group network; `mtu` 0, empty `netns`
    and `ifname` leave the choice to the agent."""

    vpc: str
    name: str
    vni: int
    network: int
    shards: int
    mac: bytes
    addresses: tuple[int, ...]
    onlink: tuple[tuple[int, int], ...]
    mtu: int
    netns: str
    ifname: str

    @property
    def key(self) -> Key:
        return (Table.ENDPOINTS, self.vpc, self.name)


Row = HostRow | VpcRow | NetworkRow | RouteRow | ShardRow | LocationRow | EndpointRow

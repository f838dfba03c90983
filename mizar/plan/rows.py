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
    SERVICES = "services"
    GATEWAYS = "gateways"
    FLOATING = "floating"
    FORWARDS = "forwards"
    CHECKS = "checks"


class Stage(enum.IntEnum):
    """When a row changes within one delta: a stage begins when every host that must know has acknowledged
    the one before.

    Within a stage the rows of a host are in no particular order but for routes, which begin with the longest
    prefixes: the agent applies one table after the other (hosts, vpcs, networks, routes, shards, locations,
    endpoints, those of services and gateways), and packets find their way at every moment of that.
    """

    PEERS = 0
    """Hosts."""
    BOUNCERS = 1
    """Locations; new vpc rows, bouncers' network rows, new shard tables of dividers, services at new
    bouncers: not used yet."""
    DIVIDERS = 2
    """Shards and routes at dividers and gateway hosts, and that they are that."""
    HOSTS = 3
    """Vpcs, routes and shards at endpoints' hosts."""
    ENDPOINTS = 4
    """Endpoints; new services."""
    MOVES = 5
    """What leads to endpoints that may be there only now: locations of those that have moved, backends of
    services, outside addresses. Locations of new services. Checks."""
    BREAK = 6
    """Every removal, and every row that says less than before (a host that no longer divides, or that no
    longer answers for an outside address)."""


class RouteKind(enum.IntEnum):
    """enum mz_route_kind."""

    DIVIDER = 1
    NETWORK = 2
    NONE = 3
    BLACKHOLE = 4
    APPLIANCE = 5
    GATEWAY = 6


class CheckKind(enum.Enum):
    """How a backend is checked, by what facts.CheckFact calls it."""

    UP = "up"
    TCP = "tcp"
    HTTP = "http"


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
    """One prefix of a VPC, in the table of the VPC, or of a network of it if `table` is its id.

    `network` is 0 unless the kind is NETWORK, or GATEWAY with hosts of its own; `shards` unless it is
    NETWORK. `peer_vni`: of DIVIDER, NETWORK and NONE in a peer VPC. `endpoint`: of APPLIANCE, its address."""

    vni: int
    prefix: int
    length: int
    kind: RouteKind
    network: int = 0
    shards: int = 0
    peer_vni: int = 0
    endpoint: int = 0
    table: int = 0

    @property
    def key(self) -> Key:
        return (Table.ROUTES, self.vni, self.prefix, self.length, self.table)


class ShardRow(NamedTuple):
    """Underlay addresses of the bouncers that hold one shard, or of the hosts of a gateway. A host has all
    shards of a network or none."""

    network: int
    shard: int
    hosts: tuple[int, ...]

    @property
    def key(self) -> Key:
        return (Table.SHARDS, self.network, self.shard)


class LocationRow(NamedTuple):
    """A bouncer's row: the underlay address of the host that an endpoint's address is on; 0 for a scaled
    endpoint."""

    vni: int
    network: int
    address: int
    host: int

    @property
    def key(self) -> Key:
        return (Table.LOCATIONS, self.vni, self.address)


class EndpointRow(NamedTuple):
    """An endpoint of this host. `shards` is 0 and `onlink` empty in a group network; `mtu` 0, empty `netns`
    and `ifname` leave the choice to the agent. `own_routes`: its network has a table of its own."""

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
    forwarding: bool = False
    own_routes: bool = False

    @property
    def key(self) -> Key:
        return (Table.ENDPOINTS, self.vpc, self.name)


class ServiceRow(NamedTuple):
    """One port of a scaled endpoint, at a bouncer of its shard. `backends`: addresses with weights, those
    that may be given out. `id`: the endpoint's serial number; agents are not told that."""

    vni: int
    address: int
    port: int
    protocol: int
    service: str
    target: int
    affinity: int
    backends: tuple[tuple[int, int], ...]
    id: int

    @property
    def key(self) -> Key:
        return (Table.SERVICES, self.vni, self.address, self.port, self.protocol)


class GatewayRow(NamedTuple):
    """This host leads out of a VPC. `addresses`: for source NAT, () for the host's own; ports 0: the agent's
    default."""

    vni: int
    name: str
    addresses: tuple[int, ...]
    first_port: int
    last_port: int

    @property
    def key(self) -> Key:
        return (Table.GATEWAYS, self.vni)


class FloatingRow(NamedTuple):
    """An outside address that is an endpoint's; `answers`: this host is the one that answers for it."""

    address: int
    vni: int
    endpoint: int
    answers: bool

    @property
    def key(self) -> Key:
        return (Table.FLOATING, self.address)


class ForwardRow(NamedTuple):
    """An outside address and port that lead to an endpoint; `answers` as of FloatingRow."""

    address: int
    port: int
    protocol: int
    vni: int
    endpoint: int
    target: int
    answers: bool

    @property
    def key(self) -> Key:
        return (Table.FORWARDS, self.address, self.port, self.protocol)


class CheckRow(NamedTuple):
    """How an endpoint of this host is checked as a backend of `service` (vpc/name). `service_id` and `serial`
    are the two of them by number; agents are not told those."""

    vpc: str
    endpoint: str
    service: str
    kind: CheckKind
    port: int
    path: str
    interval_ms: int
    timeout_ms: int
    failures: int
    successes: int
    service_id: int
    serial: int

    @property
    def key(self) -> Key:
        return (Table.CHECKS, self.vpc, self.endpoint, self.service)


Row = (
    HostRow
    | VpcRow
    | NetworkRow
    | RouteRow
    | ShardRow
    | LocationRow
    | EndpointRow
    | ServiceRow
    | GatewayRow
    | FloatingRow
    | ForwardRow
    | CheckRow
)

# SPDX-License-Identifier: Apache-2.0
"""What the planner knows: the facts, and the indexes that make a delta cost what it touches.

Words: a *space* is what shares one shard table: a subnet network alone, or all group networks of a VPC
together. The group space has a network id of its own (`VpcFact.group`).

What holds:
  - Only `planner` changes a state. Readers may look at everything between two changes.
  - An endpoint costs one fact, and one dict entry each by id, by host and by address in its space's shard:
    some 500 bytes, whatever the size of the VPC.
  - Counts and sets below are derived from the facts alone, so a state built in any order is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mizar.model import addresses, facts
from mizar.plan import placement, routing, rows

Located = facts.EndpointFact | facts.ServiceFact
"""What has addresses in a space: simple endpoints, and scaled ones."""


class HostState:
    """A host, with what is on it."""

    __slots__ = ("bounces", "divides", "endpoints", "fact", "gateways")

    def __init__(self, fact: facts.HostFact) -> None:
        self.fact = fact
        self.endpoints: set[int] = set()
        self.bounces: dict[int, Space] = {}
        """Spaces that it holds shards of, by id."""
        self.divides: set[int] = set()
        """VPCs that it divides."""
        self.gateways: set[int] = set()
        """Gateways that it is a host of, by id."""


class Space:
    """One shard table: who bounces, who holds which shard, and the endpoints in each shard."""

    __slots__ = (
        "bouncers",
        "holders",
        "id",
        "index",
        "networks",
        "replicas",
        "rows",
        "services",
        "shards",
        "vni",
    )

    def __init__(self, number: int, vni: int, shards: int) -> None:
        self.id = number
        self.vni = vni
        self.shards = shards
        self.networks: dict[int, NetworkState] = {}
        self.replicas = 0
        self.bouncers: tuple[str, ...] = ()
        self.holders: tuple[tuple[str, ...], ...] = ((),) * shards
        self.rows: tuple[rows.ShardRow, ...] = ()
        """The shard table as hosts have it; empty while nobody bounces."""
        self.index: list[dict[int, Located] | None] = [None] * shards
        """Endpoints by address, for each shard that has any."""
        self.services: set[int] = set()
        """Scaled endpoints among them."""

    def has(self, address: int, shard: int) -> bool:
        """An endpoint with this address, whose shard is known, is in the space."""
        endpoints = self.index[shard]
        return endpoints is not None and address in endpoints

    def put(self, address: int, shard: int, fact: Located) -> None:
        endpoints = self.index[shard]
        if endpoints is None:
            endpoints = self.index[shard] = {}
        endpoints[address] = fact

    def drop(self, address: int, shard: int, fact: Located) -> None:
        """Forget the address unless another endpoint has taken it over."""
        endpoints = self.index[shard]
        if endpoints is not None and endpoints.get(address) is fact:
            del endpoints[address]
            if not endpoints:
                self.index[shard] = None

    def endpoints(self) -> Iterator[facts.EndpointFact]:
        """Every simple endpoint once, one with several addresses for its first."""
        for endpoints in self.index:
            for address, fact in (endpoints or {}).items():
                if isinstance(fact, facts.EndpointFact) and fact.addresses[0] == address:
                    yield fact


class NetworkState:
    """A network, with the number of its endpoints on each host that has any."""

    __slots__ = ("alive", "fact", "hosts", "onlink", "own_routes", "space")

    def __init__(self, fact: facts.NetworkFact, space: Space) -> None:
        self.put(fact)
        self.space = space
        self.hosts: dict[str, int] = {}
        self.alive = True
        self.own_routes = False
        """As its endpoints' rows have it: Routing.owns."""

    def put(self, fact: facts.NetworkFact) -> None:
        self.fact = fact
        self.onlink = tuple((cidr.address, cidr.length) for cidr in fact.cidrs)
        """As its endpoints' rows have them."""

    @property
    def is_group(self) -> bool:
        return not self.fact.cidrs


class VpcState:
    """A VPC, with its networks, its group space, and the hosts that serve it in each role."""

    __slots__ = (
        "bouncing",
        "dividers",
        "fact",
        "gateways",
        "group",
        "hosts",
        "networks",
        "onlookers",
        "peers",
        "prefixes",
        "routing",
        "tables",
    )

    def __init__(self, fact: facts.VpcFact) -> None:
        self.fact = fact
        self.networks: dict[int, NetworkState] = {}
        self.prefixes: dict[addresses.Prefix, NetworkState] = {}
        """Subnet networks by each of their prefixes."""
        self.group: Space | None = None
        self.dividers: tuple[str, ...] = ()
        self.hosts: dict[str, int] = {}
        """Endpoints of the VPC on each host that has any, and one for each gateway that it is a host of."""
        self.bouncing: dict[str, int] = {}
        """Spaces of the VPC that each bouncer bounces for."""
        self.gateways: dict[int, GatewayState] = {}
        self.tables: dict[str, facts.RouteTableFact] = {}
        self.routing = routing.NOTHING
        """What gateways and tables make together."""
        self.peers: dict[int, VpcState] = {}
        """VPCs that this one reaches, by VNI."""
        self.onlookers: dict[int, VpcState] = {}
        """VPCs that reach this one: their dividers know its networks."""

    def knowing(self) -> set[str]:
        """Hosts that know where the VPC's networks are: its dividers, and its peers'."""
        return {*self.dividers, *(host for other in self.onlookers.values() for host in other.dividers)}

    def leads_out(self, host: str) -> bool:
        """The host is one of a gateway."""
        return any(host in gateway.hosts for gateway in self.gateways.values())

    def spaces(self) -> Iterator[Space]:
        yield from (network.space for network in self.networks.values() if not network.is_group)
        if self.group is not None:
            yield self.group


class GatewayState:
    """A gateway, with the outside addresses behind it that lead to endpoints."""

    __slots__ = ("fact", "floating", "forwards", "hosts")

    def __init__(self, fact: facts.GatewayFact) -> None:
        self.put(fact)
        self.floating: set[int] = set()
        self.forwards: set[ForwardKey] = set()

    def put(self, fact: facts.GatewayFact) -> None:
        self.fact = fact
        self.hosts = dict(fact.hosts)
        """Outside addresses by host; empty where every host masquerades."""


class ServiceState:
    """A scaled endpoint, and which of its backends are known to be unhealthy."""

    __slots__ = ("fact", "unhealthy", "weights")

    def __init__(self, fact: facts.ServiceFact) -> None:
        self.put(fact)
        self.unhealthy: set[int] = set()

    def put(self, fact: facts.ServiceFact) -> None:
        self.fact = fact
        self.weights = {backend.endpoint: backend.weight for backend in fact.backends}


ForwardKey = tuple[int, int, int]
"""Outside address, port, protocol."""


@dataclass(frozen=True, slots=True)
class Service:
    """The services of a scaled endpoint."""

    id: int


@dataclass(frozen=True, slots=True)
class Floating:
    address: int


@dataclass(frozen=True, slots=True)
class Forward:
    key: ForwardKey


@dataclass(frozen=True, slots=True)
class Routes:
    """All route tables of a VPC."""

    vni: int


Referrer = Service | Floating | Forward | Routes
"""What has rows that say where an endpoint is, by address or name."""


class State:
    """All of it."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostState] = {}
        self.vpcs: dict[int, VpcState] = {}
        self.vnis: dict[str, int] = {}
        """VPCs by name."""
        self.networks: dict[int, NetworkState] = {}
        self.endpoints: dict[int, facts.EndpointFact] = {}
        self.pool = placement.Pool(())
        self.services: dict[int, ServiceState] = {}
        self.gateways: dict[int, GatewayState] = {}
        self.floating: dict[int, facts.FloatingFact] = {}
        self.forwards: dict[ForwardKey, facts.ForwardFact] = {}
        self.away: set[str] = set()
        """Hosts that cannot answer for outside addresses now."""
        self.referrers: dict[int, dict[Referrer, int]] = {}
        """Who refers to an endpoint, by serial number, and how often. Endpoints that nobody refers to, which
        is most of them, are not in it."""

    def address_of(self, host: str) -> int:
        """Underlay address of a host."""
        return self.hosts[host].fact.address

    def address_inside(self, serial: int) -> int | None:
        """The first address of a simple or scaled endpoint; None if there is no such endpoint."""
        fact = self.endpoints.get(serial)
        if fact is not None:
            return fact.addresses[0]
        service = self.services.get(serial)
        return service.fact.address if service is not None else None

    def refer(self, serial: int, who: Referrer) -> None:
        counts = self.referrers.setdefault(serial, {})
        counts[who] = counts.get(who, 0) + 1

    def unrefer(self, serial: int, who: Referrer) -> None:
        counts = self.referrers[serial]
        counts[who] -= 1
        if not counts[who]:
            del counts[who]
            if not counts:
                del self.referrers[serial]

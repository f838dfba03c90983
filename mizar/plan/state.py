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

from mizar.model import addresses, facts
from mizar.plan import placement, rows


class HostState:
    """A host, with what is on it."""

    __slots__ = ("bounces", "divides", "endpoints", "fact")

    def __init__(self, fact: facts.HostFact) -> None:
        self.fact = fact
        self.endpoints: set[int] = set()
        self.bounces: dict[int, Space] = {}
        """Spaces that it holds shards of, by id."""
        self.divides: set[int] = set()
        """VPCs that it divides."""


class Space:
    """One shard table: who bounces, who holds which shard, and the endpoints in each shard."""

    __slots__ = ("bouncers", "holders", "id", "index", "networks", "replicas", "rows", "shards", "vni")

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
        self.index: list[dict[int, facts.EndpointFact] | None] = [None] * shards
        """Endpoints by address, for each shard that has any."""

    def has(self, address: int, shard: int) -> bool:
        """An endpoint with this address, whose shard is known, is in the space."""
        endpoints = self.index[shard]
        return endpoints is not None and address in endpoints

    def put(self, address: int, shard: int, fact: facts.EndpointFact) -> None:
        endpoints = self.index[shard]
        if endpoints is None:
            endpoints = self.index[shard] = {}
        endpoints[address] = fact

    def drop(self, address: int, shard: int, fact: facts.EndpointFact) -> None:
        """Forget the address unless another endpoint has taken it over."""
        endpoints = self.index[shard]
        if endpoints is not None and endpoints.get(address) is fact:
            del endpoints[address]
            if not endpoints:
                self.index[shard] = None

    def endpoints(self) -> Iterator[facts.EndpointFact]:
        """Every endpoint once, one with several addresses for its first."""
        for endpoints in self.index:
            for address, fact in (endpoints or {}).items():
                if fact.addresses[0] == address:
                    yield fact


class NetworkState:
    """A network, with the number of its endpoints on each host that has any."""

    __slots__ = ("alive", "fact", "hosts", "onlink", "space")

    def __init__(self, fact: facts.NetworkFact, space: Space) -> None:
        self.put(fact)
        self.space = space
        self.hosts: dict[str, int] = {}
        self.alive = True

    def put(self, fact: facts.NetworkFact) -> None:
        self.fact = fact
        self.onlink = tuple((cidr.address, cidr.length) for cidr in fact.cidrs)
        """As its endpoints' rows have them."""

    @property
    def is_group(self) -> bool:
        return not self.fact.cidrs


class VpcState:
    """A VPC, with its networks, its group space, and the hosts that serve it in each role."""

    __slots__ = ("bouncing", "dividers", "fact", "group", "hosts", "networks", "prefixes")

    def __init__(self, fact: facts.VpcFact) -> None:
        self.fact = fact
        self.networks: dict[int, NetworkState] = {}
        self.prefixes: dict[addresses.Prefix, NetworkState] = {}
        """Subnet networks by each of their prefixes."""
        self.group: Space | None = None
        self.dividers: tuple[str, ...] = ()
        self.hosts: dict[str, int] = {}
        """Endpoints of the VPC on each host that has any."""
        self.bouncing: dict[str, int] = {}
        """Spaces of the VPC that each bouncer bounces for."""

    def spaces(self) -> Iterator[Space]:
        yield from (network.space for network in self.networks.values() if not network.is_group)
        if self.group is not None:
            yield self.group


class State:
    """All of it."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostState] = {}
        self.vpcs: dict[int, VpcState] = {}
        self.networks: dict[int, NetworkState] = {}
        self.endpoints: dict[int, facts.EndpointFact] = {}
        self.pool = placement.Pool(())

    def address_of(self, host: str) -> int:
        """Underlay address of a host."""
        return self.hosts[host].fact.address

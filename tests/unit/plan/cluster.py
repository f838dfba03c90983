# SPDX-License-Identifier: Apache-2.0
"""The tables of all hosts as the planner's deltas leave them, and what a packet finds in them.

`Cluster.resolve` follows docs/design/data-plane.md through the tables: the sender's host, a divider, a
bouncer, the endpoint's host. Where the data plane chooses by flow hash, every choice is followed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mizar.abi import hashes
from mizar.model import addresses, facts
from mizar.plan import delta, planner, rows, state
from mizar.plan.rows import RouteKind, Table

Tables = dict[rows.Key, rows.Row]

DECLARED = {RouteKind.BLACKHOLE, RouteKind.APPLIANCE, RouteKind.GATEWAY}

# As agents apply them (agent/tables.py).
_ORDER = (
    Table.HOSTS,
    Table.VPCS,
    Table.NETWORKS,
    Table.SERVICES,
    Table.GATEWAYS,
    Table.FLOATING,
    Table.FORWARDS,
    Table.ROUTES,
    Table.SHARDS,
    Table.LOCATIONS,
    Table.ENDPOINTS,
    Table.CHECKS,
)
assert set(_ORDER) == set(Table)


class LostError(Exception):
    """A packet would have been dropped; says where and why."""


class Cluster:
    """Tables by host name."""

    def __init__(self) -> None:
        self.tables: dict[str, Tables] = {}
        self.given_up: set[tuple[int, int]] = set()
        """Addresses (with their VPC) that endpoints which stay exchange for others: whoever sends there is
        lost."""
        self._endpoints: dict[str, list[rows.EndpointRow]] = {}

    def play(
        self,
        change: delta.Delta,
        stage: rows.Stage,
        hosts: Collection[str] | None = None,
        *,
        steps: int = 2 * len(Table),
    ) -> None:
        """Apply one stage, at these hosts only if given, and only the first steps: an agent upserts table by
        table, then removes table by table the other way round."""
        for name, batch in change.at(stage).items():
            if hosts is not None and name not in hosts:
                continue
            tables = self.tables.setdefault(name, {})
            for table in _ORDER[:steps]:
                tables.update((row.key, row) for row in batch.upserts if row.key[0] is table)
            for table in _ORDER[::-1][: max(0, steps - len(_ORDER))]:
                for key in batch.removals:
                    if key[0] is table:
                        tables.pop(key, None)
            self._endpoints[name] = [row for row in tables.values() if isinstance(row, rows.EndpointRow)]

    def resolve(self, host: str, source: facts.EndpointFact, address: int) -> None:
        """Every way of a first packet from `source` on `host` ends where the address is; or LostError. A
        declared route is an end, too."""
        own = next(row for row in self._endpoints[host] if row.vni == source.vni and row.name == source.name)
        if not (own.own_routes and self._is_declared(host, own, address)):
            for end, vni in self._ways(host, own, address):
                if not self._is_at(end, vni, address):
                    raise LostError(f"{end} has not got {addresses.to_text(address)}")

    def _is_declared(self, host: str, own: rows.EndpointRow, address: int) -> bool:
        """The network's own table, which must say something."""
        return self._route(host, own.vni, address, own.network).kind in DECLARED

    def _ways(self, host: str, own: rows.EndpointRow, address: int) -> Iterator[tuple[str, int]]:
        """Hosts that the packet comes to, and the VPC in which it does."""
        if self._is_at(host, own.vni, address):
            yield host, own.vni
            return
        if any(addresses.Prefix(*prefix).holds(address) for prefix in own.onlink):
            yield from self._bounced(host, own.network, own.shards, own.vni, address)
            return
        vpc = self._vpc(host, own.vni)
        route = self._route(host, own.vni, address, own.network if own.own_routes else 0)
        if route.kind in DECLARED:
            return
        if vpc.divides and route.kind is RouteKind.NETWORK:
            yield from self._bounced(host, route.network, route.shards, route.peer_vni or own.vni, address)
            return
        if route.kind is RouteKind.NONE:
            raise LostError(f"{host}: no network")
        if not vpc.dividers:
            raise LostError(f"{host}: no divider")
        for divider in vpc.dividers:
            yield from self._divided(self._name(host, divider), own.vni, address)

    def _divided(self, host: str, vni: int, address: int) -> Iterator[tuple[str, int]]:
        if not self._vpc(host, vni).divides:
            raise LostError(f"{host} does not divide {vni}")
        route = self._route(host, vni, address, 0)
        if route.kind is not RouteKind.NETWORK:
            raise LostError(f"{host} divides, and says {route}")
        yield from self._bounced(host, route.network, route.shards, route.peer_vni or vni, address)

    def _bounced(
        self, host: str, network: int, shards: int, vni: int, address: int
    ) -> Iterator[tuple[str, int]]:
        shard = hashes.shard_of(address, shards)
        row = self.tables[host].get((Table.SHARDS, network, shard))
        if not isinstance(row, rows.ShardRow) or not row.hosts:
            raise LostError(f"{host} has no bouncer for shard {shard} of {network}")
        for bouncer in row.hosts:
            name = self._name(host, bouncer)
            location = self.tables[name].get((Table.LOCATIONS, vni, address))
            if not isinstance(location, rows.LocationRow):
                raise LostError(f"bouncer {name} of {network} does not know {addresses.to_text(address)}")
            if location.host:
                yield self._name(name, location.host), vni
            else:
                self._serve(name, vni, address)

    def _serve(self, bouncer: str, vni: int, address: int) -> None:
        """A scaled endpoint: all backends that may be given out are there."""
        found = [
            row
            for key, row in self.tables[bouncer].items()
            if isinstance(row, rows.ServiceRow) and key[1:3] == (vni, address)
        ]
        if not found:
            raise LostError(f"{bouncer} has no services of {addresses.to_text(address)}")
        for backend, _ in found[0].backends:
            there = (vni, backend) in self.given_up
            if not there and not any(self._is_at(host, vni, backend) for host in self.tables):
                raise LostError(f"{bouncer} gives out {addresses.to_text(backend)}, which is nowhere")

    def _is_at(self, host: str, vni: int, address: int) -> bool:
        return any(row.vni == vni and address in row.addresses for row in self._endpoints.get(host, ()))

    def _name(self, host: str, address: int) -> str:
        row = self.tables[host].get((Table.HOSTS, address))
        if not isinstance(row, rows.HostRow):
            raise LostError(f"{host} does not know the peer {addresses.to_text(address)}")
        return row.name

    def _vpc(self, host: str, vni: int) -> rows.VpcRow:
        row = self.tables[host].get((Table.VPCS, vni))
        if not isinstance(row, rows.VpcRow):
            raise LostError(f"{host} does not know VPC {vni}")
        return row

    def _route(self, host: str, vni: int, address: int, table: int) -> rows.RouteRow:
        for length in range(32, -1, -1):
            row = self.tables[host].get((Table.ROUTES, vni, address & addresses.mask(length), length, table))
            if isinstance(row, rows.RouteRow):
                return row
        raise LostError(f"{host} has no route to {addresses.to_text(address)}")


def scratch(world: state.State) -> dict[str, Tables]:
    """The tables of every host by snapshot."""
    return {
        host: {row.key: row for staged in planner.snapshot(world, host).values() for row in staged}
        for host in world.hosts
    }

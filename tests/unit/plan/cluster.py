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

_ORDER = tuple(Table)


class LostError(Exception):
    """A packet would have been dropped; says where and why."""


class Cluster:
    """Tables by host name."""

    def __init__(self) -> None:
        self.tables: dict[str, Tables] = {}
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
        """Every way of a first packet from `source` on `host` ends where the address is; or LostError."""
        for end in self._ways(host, source, address):
            if not self._is_at(end, source.vni, address):
                raise LostError(f"{end} has not got {addresses.to_text(address)}")

    def _ways(self, host: str, source: facts.EndpointFact, address: int) -> Iterator[str]:
        if self._is_at(host, source.vni, address):
            yield host
            return
        own = next(row for row in self._endpoints[host] if row.vni == source.vni and row.name == source.name)
        if any(addresses.Prefix(*prefix).holds(address) for prefix in own.onlink):
            yield from self._bounced(host, own.network, own.shards, source.vni, address)
            return
        vpc = self._vpc(host, source.vni)
        route = self._route(host, source.vni, address)
        if vpc.divides and route.kind is RouteKind.NETWORK:
            yield from self._bounced(host, route.network, route.shards, source.vni, address)
            return
        if route.kind is RouteKind.NONE:
            raise LostError(f"{host}: no network")
        if not vpc.dividers:
            raise LostError(f"{host}: no divider")
        for divider in vpc.dividers:
            yield from self._divided(self._name(host, divider), source.vni, address)

    def _divided(self, host: str, vni: int, address: int) -> Iterator[str]:
        if not self._vpc(host, vni).divides:
            raise LostError(f"{host} does not divide {vni}")
        route = self._route(host, vni, address)
        if route.kind is not RouteKind.NETWORK:
            raise LostError(f"{host} divides, and says {route}")
        yield from self._bounced(host, route.network, route.shards, vni, address)

    def _bounced(self, host: str, network: int, shards: int, vni: int, address: int) -> Iterator[str]:
        shard = hashes.shard_of(address, shards)
        row = self.tables[host].get((Table.SHARDS, network, shard))
        if not isinstance(row, rows.ShardRow) or not row.hosts:
            raise LostError(f"{host} has no bouncer for shard {shard} of {network}")
        for bouncer in row.hosts:
            name = self._name(host, bouncer)
            location = self.tables[name].get((Table.LOCATIONS, vni, address))
            if not isinstance(location, rows.LocationRow):
                raise LostError(f"bouncer {name} of {network} does not know {addresses.to_text(address)}")
            yield self._name(name, location.host)

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

    def _route(self, host: str, vni: int, address: int) -> rows.RouteRow:
        for length in range(32, -1, -1):
            row = self.tables[host].get((Table.ROUTES, vni, address & addresses.mask(length), length, 0))
            if isinstance(row, rows.RouteRow):
                return row
        raise LostError(f"{host} has no route to {addresses.to_text(address)}")


def scratch(world: state.State) -> dict[str, Tables]:
    """The tables of every host by snapshot."""
    return {
        host: {row.key: row for staged in planner.snapshot(world, host).values() for row in staged}
        for host in world.hosts
    }

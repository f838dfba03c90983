# SPDX-License-Identifier: Apache-2.0
"""Update messages onto the tables, in the order that never refers to what is not there yet.

Upserts: hosts, VPCs, networks, services, gateways, floating addresses, port forwards, routes, shards,
locations, endpoints, checks. Then removals, the other way round.

What holds:
 - An entry that fails is named and the others are applied.
 - Routes, shards and locations are columns from the message to the kernel.
 - While a snapshot runs, rows that the kernel holds as they should be are not written.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from mizar.abi import decode, layout
from mizar.agent import (
    checks,
    endpoints,
    gateways,
    health,
    peers,
    roles,
    rows,
    services,
    snapshot,
    writer,
)
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

Errors = list[node_pb2.EntryError]

Steps = tuple[tuple[str, Callable[[Any], Errors | None]], ...]
"""What takes the entries of each field of a message."""

_COLUMNAR: Final = (layout.Table.LOCATIONS4, layout.Table.SHARDS, layout.Table.ROUTES4)
"""In the order of removal."""


class Tables:
    """All tables of one host. Callers apply one message at a time."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        hosts: peers.Peers,
        vpcs: roles.Roles,
        bounced: services.Services,
        ways_out: gateways.Gateways,
        attached: endpoints.Endpoints,
        checked: checks.Checks,
    ) -> None:
        self._data_plane = data_plane
        self._writer = output
        self._hosts = hosts
        self._vpcs = vpcs
        self._services = bounced
        self._gateways = ways_out
        self._endpoints = attached
        self._checks = checked
        self._shard_counts: collections.defaultdict[int, int] = collections.defaultdict(int)
        """Shards that may be there, by network: removal of a network's shards names no numbers."""
        self.shards_changed = True
        # In the order of the module's text; a message of one row must not cost what empty tables do.
        self._puts: Steps = (
            ("hosts", hosts.put),
            ("vpcs", vpcs.put_vpcs),
            ("networks", vpcs.put_networks),
            ("services", bounced.put),
            ("gateways", ways_out.put),
            ("floating", ways_out.put_floating),
            ("forwards", ways_out.put_forwards),
        )
        self._columns: tuple[tuple[str, Callable[[Any], rows.Batch]], ...] = (
            ("routes", rows.routes),
            ("shards", rows.shards),
            ("locations", lambda entries: rows.locations(entries, slots=vpcs.bouncer_slots())),
        )
        self._drops: Steps = (
            ("checks", self._drop_checks),
            ("endpoints", self._drop_endpoints),
            ("locations", self._drop_locations),
            ("shards", self._remove_shards),
            ("routes", self._drop_routes),
            ("forwards", self._drop_forwards),
            ("floating", ways_out.drop_floating),
            ("gateways", ways_out.drop),
            ("services", self._drop_services),
            ("networks", vpcs.drop_networks),
            ("vpcs", vpcs.drop_vpcs),
            ("hosts", hosts.drop),
        )
        self._adopt_shards(data_plane.dump(layout.Table.SHARDS)[0])

    # ------------------------------------------------------------ a message

    def upsert(self, entries: node_pb2.Tables, running: snapshot.Snapshot | None) -> Errors:
        """`running`: the snapshot of which the entries are a part, or that they come after."""
        failed = _each(self._puts, entries)
        for field, read in self._columns:
            if some := getattr(entries, field):
                failed += self._put(read(some), running)
        if entries.endpoints or entries.endpoint_sets:
            failed += self._put_endpoints(entries, running)
        if entries.checks:
            failed += self._checks.put(entries.checks)
        if running is not None:
            _name_all(running.named, entries)
        return failed

    def _put_endpoints(self, entries: node_pb2.Tables, running: snapshot.Snapshot | None) -> Errors:
        attached, failed = rows.endpoints(entries)
        failed += self._endpoints.create_all(attached)
        if running is not None:
            running.named.endpoints.update(endpoints.key_of(entry.key) for entry in attached)
        return failed

    def remove(self, keys: node_pb2.Keys) -> Errors:
        return _each(self._drops, keys)

    def _drop_checks(self, keys: Iterable[node_pb2.CheckKey]) -> None:
        self._checks.drop(health.key_of(key) for key in keys)

    def _drop_endpoints(self, keys: Iterable[node_pb2.EndpointKey]) -> Errors:
        return self._endpoints.remove_all(endpoints.key_of(key) for key in keys)

    def _drop_locations(self, keys: Sequence[node_pb2.AddressSet]) -> None:
        self._writer.remove(layout.Table.LOCATIONS4, rows.address_keys(keys))

    def _drop_routes(self, keys: Iterable[node_pb2.RouteKey]) -> None:
        self._writer.remove(layout.Table.ROUTES4, rows.route_keys(keys))

    def _drop_forwards(self, keys: Iterable[node_pb2.PortForwardKey]) -> None:
        self._gateways.drop_forwards(gateways.forward_key(key) for key in keys)

    def _drop_services(self, keys: Iterable[node_pb2.ServiceKey]) -> None:
        self._services.drop(services.key_of(key) for key in keys)

    def prune(self, finished: snapshot.Snapshot) -> Errors:
        """Remove all that the snapshot, and what came since, did not name."""
        named = finished.named
        self._checks.drop(self._checks.listed().keys() - named.checks)
        failed = self._endpoints.prune(named.endpoints)
        for table in _COLUMNAR:
            self._writer.remove(table, finished.unnamed_rows(table))
        self.shards_changed = True
        self._prune_services(named)
        failed += self._vpcs.drop_networks(self._vpcs.network_ids() - named.networks)
        failed += self._vpcs.drop_vpcs(self._vpcs.vnis() - named.vpcs)
        self._hosts.drop(self._hosts.addresses() - named.hosts)
        return failed

    def _prune_services(self, named: snapshot.Named) -> None:
        self._gateways.drop_forwards(self._gateways.forwards() - named.forwards)
        self._gateways.drop_floating(self._gateways.floating() - named.floating)
        self._gateways.drop(self._gateways.vnis() - named.gateways)
        self._gateways.prune()
        self._services.drop(self._services.keys() - named.services)

    # ------------------------------------------------------------ columns

    def _put(self, batch: rows.Batch, running: snapshot.Snapshot | None) -> Errors:
        keys, values = batch.keys, batch.values
        if not len(keys):
            return batch.errors
        if running is not None:
            running.name_rows(batch.table, keys)
            keys, values = running.to_write(batch.table, keys, values)
        if batch.table == layout.Table.SHARDS:
            self._adopt_shards(keys)
        refused = self._writer.put(batch.table, keys, values)
        return batch.errors + [_refused(batch, keys, refusal) for refusal in refused]

    def _adopt_shards(self, keys: layout.Rows) -> None:
        """Remember how many shards each network of these rows has at least."""
        for network in np.unique(keys["network"]):
            highest = int(keys["shard"][keys["network"] == network].max())
            count = self._shard_counts[int(network)]
            self._shard_counts[int(network)] = max(count, highest + 1)
        self.shards_changed |= bool(len(keys))

    def _remove_shards(self, networks: Iterable[int]) -> None:
        for network in networks:
            count = self._shard_counts.pop(network, 0)
            self._writer.remove(layout.Table.SHARDS, rows.shard_keys(network, count))
            self.shards_changed = True

    # ------------------------------------------------------------ reading

    def used_bouncers(self) -> set[int]:
        """Addresses of all hosts in the shard tables. Reads the whole table: ask when shards_changed."""
        self.shards_changed = False
        _, held = self._data_plane.dump(layout.Table.SHARDS)
        return set(np.unique(held["hosts"]).tolist()) - {0}


def _each(steps: Steps, message: node_pb2.Tables | node_pb2.Keys) -> Errors:
    """Give every field that has entries to its step."""
    failed: Errors = []
    for field, step in steps:
        if entries := getattr(message, field):
            failed += step(entries) or ()
    return failed


def _refused(batch: rows.Batch, keys: layout.Rows, refusal: writer.Refusal) -> node_pb2.EntryError:
    text = decode.key_text(batch.table, keys[refusal.index])
    more = f" (and {refusal.more} more rows not tried)" if refusal.more else ""
    return rows.error(batch.label, text, refusal.message + more)


def _name_all(named: snapshot.Named, entries: node_pb2.Tables) -> None:
    named.hosts.update(host.address for host in entries.hosts)
    named.vpcs.update(vpc.vni for vpc in entries.vpcs)
    named.networks.update(network.id for network in entries.networks)
    named.services.update(services.key_of(entry.key) for entry in entries.services)
    named.gateways.update(entry.vni for entry in entries.gateways)
    named.floating.update(entry.address for entry in entries.floating)
    named.forwards.update(gateways.forward_key(entry.key) for entry in entries.forwards)
    named.checks.update(health.key_of(entry.key) for entry in entries.checks)

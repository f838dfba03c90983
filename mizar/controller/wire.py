# SPDX-License-Identifier: Apache-2.0
"""Planner rows as messages of the node API, and what an agent refused as rows again. Pure."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, Final

from mizar.controller import wire_services
from mizar.controller.hostqueue import Mode, Outgoing
from mizar.model import addresses
from mizar.plan import rows
from mizar.plan.rows import Key, Row, Table
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_MODES: Final = {
    Mode.DELTA: node_pb2.SyncRequest.DELTA,
    Mode.SNAPSHOT_BEGIN: node_pb2.SyncRequest.SNAPSHOT_BEGIN,
    Mode.SNAPSHOT_PART: node_pb2.SyncRequest.SNAPSHOT_PART,
    Mode.PRUNE: node_pb2.SyncRequest.PRUNE,
}


def request(message: Outgoing) -> node_pb2.SyncRequest:
    """One message of the queue as one message of the stream."""
    return node_pb2.SyncRequest(
        revision=message.revision,
        mode=_MODES[message.mode],
        upsert=tables(message.upserts) if message.upserts else None,
        remove=keys(message.removals) if message.removals else None,
    )


# ------------------------------------------------------------------ upserts


def tables(upserts: Iterable[Row]) -> node_pb2.Tables:
    """Rows by table; within a table they keep their order."""
    by_class: dict[type[Any], list[Any]] = {}
    for kind, run in groupby(upserts, key=type):
        by_class.setdefault(kind, []).extend(run)
    message = node_pb2.Tables()
    for kind, group in by_class.items():
        _ADD[kind](message, group)
    return message


def _add_hosts(message: node_pb2.Tables, group: list[rows.HostRow]) -> None:
    message.hosts.extend([_host(row) for row in group])


@functools.lru_cache(maxsize=1 << 16)
def _host(row: rows.HostRow) -> node_pb2.Host:
    """Cached: a cluster that comes up has every host told of every other."""
    return node_pb2.Host(address=row.address, name=row.name)


def _add_vpcs(message: node_pb2.Tables, group: list[rows.VpcRow]) -> None:
    message.vpcs.extend(
        [
            node_pb2.Vpc(vni=row.vni, name=row.name, dividers=row.dividers, divides=row.divides)
            for row in group
        ]
    )


def _add_networks(message: node_pb2.Tables, group: list[rows.NetworkRow]) -> None:
    message.networks.extend(
        [node_pb2.Network(id=row.id, vni=row.vni, name=row.name, bounces=row.bounces) for row in group]
    )


def _add_routes(message: node_pb2.Tables, group: list[rows.RouteRow]) -> None:
    message.routes.extend(
        [
            node_pb2.Route(
                key=node_pb2.RouteKey(vni=row.vni, prefix=row.prefix, length=row.length, network=row.table),
                kind=_ROUTE_KINDS[row.kind],
                network=row.network,
                shards=row.shards,
                peer_vni=row.peer_vni,
                endpoint=row.endpoint,
            )
            for row in group
        ]
    )


_ROUTE_KINDS: Final = {
    rows.RouteKind.DIVIDER: node_pb2.Route.DIVIDER,
    rows.RouteKind.NETWORK: node_pb2.Route.NETWORK,
    rows.RouteKind.NONE: node_pb2.Route.NONE,
    rows.RouteKind.BLACKHOLE: node_pb2.Route.BLACKHOLE,
    rows.RouteKind.APPLIANCE: node_pb2.Route.APPLIANCE,
    rows.RouteKind.GATEWAY: node_pb2.Route.GATEWAY,
}


def _add_shards(message: node_pb2.Tables, group: list[rows.ShardRow]) -> None:
    """Consecutive shards of a network make one set."""
    ordered = sorted({(row.network, row.shard): row for row in group}.values())
    for _, run in groupby(enumerate(ordered), key=lambda at: (at[1].network, at[1].shard - at[0])):
        shards = [row for _, row in run]
        message.shards.add(
            network=shards[0].network,
            first_shard=shards[0].shard,
            replicas=[node_pb2.Replicas(hosts=row.hosts) for row in shards],
        )


def _add_locations(message: node_pb2.Tables, group: list[rows.LocationRow]) -> None:
    """Columns, one set a network. An address that comes twice keeps its order within the network."""
    by_network: dict[tuple[int, int], list[rows.LocationRow]] = {}
    for of, run in groupby(group, key=_NETWORK):
        by_network.setdefault(of, []).extend(run)
    for (vni, network), located in by_network.items():
        message.locations.add(
            vni=vni,
            network=network,
            addresses=[row.address for row in located],
            hosts=[row.host for row in located],
        )


_NETWORK: Final = operator.attrgetter("vni", "network")


def _add_endpoints(message: node_pb2.Tables, group: list[rows.EndpointRow]) -> None:
    """Those that differ in name, MAC and one address only are a set. One that comes twice is told as it is
    last: sets and single ones have no order among each other."""
    alike: dict[tuple[Any, ...], list[rows.EndpointRow]] = {}
    for row in {(row.vpc, row.name): row for row in group}.values():
        alike.setdefault(_SHARED(row) if len(row.addresses) == 1 else row, []).append(row)
    for some in alike.values():
        if len(some) == 1:
            _fill(message.endpoints.add(), some[0])
        else:
            _add_endpoint_set(message, some)


_SHARED: Final = operator.itemgetter(
    *(
        index
        for index, name in enumerate(rows.EndpointRow._fields)
        if name not in {"name", "mac", "addresses"}
    )
)


def _add_endpoint_set(message: node_pb2.Tables, alike: list[rows.EndpointRow]) -> None:
    common = endpoint(alike[0])
    common.key.ClearField("name")
    common.ClearField("mac")
    common.ClearField("addresses")
    message.endpoint_sets.add(
        common=common,
        names=[row.name for row in alike],
        addresses=[row.addresses[0] for row in alike],
        macs=b"".join([row.mac for row in alike]),
    )


def endpoint(row: rows.EndpointRow) -> node_pb2.Endpoint:
    made = node_pb2.Endpoint()
    _fill(made, row)
    return made


def _fill(made: node_pb2.Endpoint, row: rows.EndpointRow) -> None:
    made.key.vpc, made.key.name = row.vpc, row.name
    made.vni, made.network, made.shards = row.vni, row.network, row.shards
    made.mac = row.mac
    made.addresses.extend(row.addresses)
    for address, length in row.onlink:
        made.onlink.add(address=address, length=length)
    made.mtu = row.mtu
    made.veth.SetInParent()
    if row.netns:
        made.veth.netns = row.netns
    if row.ifname:
        made.veth.ifname = row.ifname
    if row.forwarding:
        made.forwarding = True
    if row.own_routes:
        made.own_routes = True


_ADD: Final[Mapping[type[Any], Callable[[node_pb2.Tables, list[Any]], None]]] = {
    rows.HostRow: _add_hosts,
    rows.VpcRow: _add_vpcs,
    rows.NetworkRow: _add_networks,
    rows.RouteRow: _add_routes,
    rows.ShardRow: _add_shards,
    rows.LocationRow: _add_locations,
    rows.EndpointRow: _add_endpoints,
    rows.ServiceRow: wire_services.add_services,
    rows.GatewayRow: wire_services.add_gateways,
    rows.FloatingRow: wire_services.add_floating,
    rows.ForwardRow: wire_services.add_forwards,
    rows.CheckRow: wire_services.add_checks,
}


# ----------------------------------------------------------------- removals


def keys(removals: Iterable[Key]) -> node_pb2.Keys:
    """Keys by table. A host has all shards of a network or none, so their removal names the network."""
    by_table: dict[Any, list[Any]] = {}
    for table, *rest in removals:
        by_table.setdefault(table, []).append(rest)
    message = node_pb2.Keys(
        hosts=[address for (address,) in by_table.get(Table.HOSTS, ())],
        vpcs=[vni for (vni,) in by_table.get(Table.VPCS, ())],
        networks=[network for (network,) in by_table.get(Table.NETWORKS, ())],
        routes=[
            node_pb2.RouteKey(vni=vni, prefix=prefix, length=length, network=table)
            for vni, prefix, length, table in by_table.get(Table.ROUTES, ())
        ],
        shards=sorted({network for network, _ in by_table.get(Table.SHARDS, ())}),
        locations=_address_sets(by_table.get(Table.LOCATIONS, ())),
        endpoints=[
            node_pb2.EndpointKey(vpc=vpc, name=name) for vpc, name in by_table.get(Table.ENDPOINTS, ())
        ],
    )
    for table, gone in by_table.items():
        wire_services.remove(message, table, gone)
    return message


def _address_sets(locations: Iterable[list[int]]) -> list[node_pb2.AddressSet]:
    by_vni: dict[int, list[int]] = {}
    for vni, address in locations:
        by_vni.setdefault(vni, []).append(address)
    return [node_pb2.AddressSet(vni=vni, addresses=gone) for vni, gone in by_vni.items()]


# ----------------------------------------------------------------- refusals


_COLUMNS: Final = {Table.ROUTES, Table.SHARDS, Table.LOCATIONS}
"""Tables that agents write in batches, where an error may stand for rows after it, too. Entries of the others
are applied one by one."""


def _text(key: Key) -> str:
    """A key as agents print it: 10.0.0.1, 7, blue/web-1."""
    table, *parts = key
    if table is Table.HOSTS:
        return addresses.to_text(parts[0])  # type: ignore[arg-type]  # a host's key is (table, address)
    if table in wire_services.TABLES:
        return wire_services.key_text(key)
    return "/".join(map(str, parts))


def refused(message: Outgoing, ack: node_pb2.SyncAck) -> Mapping[Key, str]:
    """The rows of a message that were refused, with the agent's reason.

    An error that names no one row stands for all rows of its table, and where there are none for the whole
    message: rather tell a row twice than take one for granted. A PRUNE has no rows; its refusal has an empty
    key.
    """
    if not ack.errors:
        return {}
    if message.mode is Mode.PRUNE:
        return {(): ack.errors[0].message}
    sent = [row.key for row in message.upserts] + message.removals
    exact = {(str(key[0]), _text(key)): key for key in sent if key[0] not in _COLUMNS}
    found: dict[Key, str] = {}
    for error in ack.errors:
        key = exact.get((error.table, error.key))
        if key is not None:
            found[key] = error.message
            continue
        text = f"{error.table} {error.key}: {error.message}"
        found.update(dict.fromkeys([one for one in sent if one[0] == error.table] or sent, text))
    return found

# SPDX-License-Identifier: Apache-2.0
"""Update messages -> rows of the kernel's tables, as columns. Pure.

What holds:
 - An entry that breaks a rule is left out and named in `errors`; the others make the batch.
 - A batch's keys and values are arrays of the table's dtypes, in the order of the message.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from mizar import errors
from mizar.abi import decode, layout
from mizar.rpc.gen.mizar.node.v1 import node_pb2

MAX_VNI: Final = layout.MAX_VNI

PROTOCOLS: Final[Mapping[int, str]] = {
    int(number): name for name, number in node_pb2.Protocol.items() if number
}
"""Protocols with ports, by number."""

_ROUTE_KINDS: Final[Mapping[int, str]] = {
    int(number): name for name, number in node_pb2.Route.Kind.items() if number
}
_MAX_PORT: Final = 65535
_FIRST_MULTICAST: Final = 224
_LOOPBACK: Final = 127

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows for one table, and what was wrong with the entries that made none."""

    table: layout.Table
    keys: layout.Rows
    values: layout.Rows
    errors: list[node_pb2.EntryError]

    @property
    def label(self) -> str:
        return layout.TABLES[self.table].label


def error(table: str, key: str, message: str) -> node_pb2.EntryError:
    return node_pb2.EntryError(table=table, key=key, message=message)


# ---------------------------------------------------------------- checks


def check_vni(vni: int) -> None:
    if not 1 <= vni <= MAX_VNI:
        raise errors.InvalidError(f"VNI {vni}: must be 1 to {MAX_VNI}")


def check_prefix(address: int, length: int) -> None:
    if length > 32:
        raise errors.InvalidError(f"prefix length {length}: must be 0 to 32")
    if address & ~layout.mask4(length):
        network = decode.prefix4(address & layout.mask4(length), length)
        raise errors.InvalidError(
            f"prefix {decode.prefix4(address, length)} has host bits set: {network} would be right"
        )


def check_shards(shards: int) -> None:
    if not 1 <= shards <= layout.MAX_SHARDS or shards & (shards - 1):
        raise errors.InvalidError(f"{shards} shards: must be a power of two up to {layout.MAX_SHARDS}")


def check_port(port: int, what: str = "port") -> None:
    if not 1 <= port <= _MAX_PORT:
        raise errors.InvalidError(f"{what} {port}: must be 1 to {_MAX_PORT}")


def check_protocol(protocol: int) -> None:
    if protocol not in PROTOCOLS:
        raise errors.InvalidError(f"protocol {protocol}: must be {', '.join(PROTOCOLS.values())}")


def check_outside(address: int) -> None:
    """An address that a gateway may answer for."""
    if not 1 <= address >> 24 < _FIRST_MULTICAST or address >> 24 == _LOOPBACK:
        raise errors.InvalidError(f"outside address {decode.address4(address)}: must be a unicast address")


def _check_route(route: node_pb2.Route) -> None:
    check_vni(route.key.vni)
    check_prefix(route.key.prefix, route.key.length)
    if route.key.network >= layout.TABLE_NETWORK:
        raise errors.InvalidError(
            f"table of network {route.key.network}: ids must be below {layout.TABLE_NETWORK}"
        )
    if route.kind not in _ROUTE_KINDS:
        raise errors.InvalidError(
            f"route kind {route.kind}: must be one of {', '.join(_ROUTE_KINDS.values())}"
        )
    if route.kind == node_pb2.Route.NETWORK:
        check_shards(route.shards)
        if not route.network:
            raise errors.InvalidError("a route of kind NETWORK needs a network id")
    if route.kind == node_pb2.Route.APPLIANCE and not route.endpoint:
        raise errors.InvalidError("a route of kind APPLIANCE needs the address of an endpoint")
    if route.peer_vni:
        _check_peer(route)


def _check_peer(route: node_pb2.Route) -> None:
    check_vni(route.peer_vni)
    if route.peer_vni == route.key.vni:
        raise errors.InvalidError(f"peer VNI {route.peer_vni}: is the route's own; 0 says so")
    if route.kind not in (node_pb2.Route.DIVIDER, node_pb2.Route.NETWORK, node_pb2.Route.NONE):
        raise errors.InvalidError(
            f"peer VNI {route.peer_vni}: only for routes of kind DIVIDER, NETWORK or NONE"
        )


def _check_shard_set(run: node_pb2.ShardSet) -> None:
    if not run.network:
        raise errors.InvalidError("a shard set needs a network id")
    if run.first_shard + len(run.replicas) > layout.MAX_SHARDS:
        last = run.first_shard + len(run.replicas) - 1
        raise errors.InvalidError(f"shard {last}: must be below {layout.MAX_SHARDS}")
    for offset, replicas in enumerate(run.replicas):
        if not 1 <= len(replicas.hosts) <= layout.MAX_REPLICAS:
            shard = run.first_shard + offset
            raise errors.InvalidError(
                f"shard {shard} has {len(replicas.hosts)} bouncers: must be 1 to {layout.MAX_REPLICAS}"
            )


# ---------------------------------------------------------------- upserts


def routes(entries: Sequence[node_pb2.Route]) -> Batch:
    spec = layout.TABLES[layout.Table.ROUTES4]
    good, bad = _sort_out(entries, _check_route, label=spec.label, name=_route_name)
    keys, rows = spec.keys(len(good)), spec.values(len(good))
    keys["vni"] = [_table_number(route.key) for route in good]
    keys["addr"] = [route.key.prefix for route in good]
    keys["mask"] = [layout.mask4(route.key.length) for route in good]
    rows["kind"] = [route.kind for route in good]
    rows["network"] = [route.network for route in good]
    rows["shards"] = [route.shards for route in good]
    rows["target"] = [_route_target(route) for route in good]
    return Batch(spec.name, keys, rows, bad)


def _table_number(key: node_pb2.RouteKey) -> int:
    """In place of the VNI for a network that has routes of its own."""
    return layout.TABLE_NETWORK | key.network if key.network else key.vni


def _route_target(route: node_pb2.Route) -> int:
    """A VNI, or an address in network byte order in a field of the host's."""
    if route.kind == node_pb2.Route.APPLIANCE:
        return socket.htonl(route.endpoint)
    return route.peer_vni


def shards(entries: Sequence[node_pb2.ShardSet]) -> Batch:
    spec = layout.TABLES[layout.Table.SHARDS]
    good, bad = _sort_out(entries, _check_shard_set, label=spec.label, name=lambda run: str(run.network))
    total = sum(len(run.replicas) for run in good)
    keys, rows = spec.keys(total), spec.values(total)
    at = 0
    for run in good:
        end = at + len(run.replicas)
        keys["network"][at:end] = run.network
        keys["shard"][at:end] = np.arange(run.first_shard, run.first_shard + len(run.replicas))
        _fill_replicas(rows[at:end], run.replicas)
        at = end
    return Batch(spec.name, keys, rows, bad)


def _fill_replicas(rows: layout.Rows, replicas: Iterable[node_pb2.Replicas]) -> None:
    """Shards with equally many replicas, which is most of them, are filled as columns."""
    hosts = [list(entry.hosts) for entry in replicas]
    counts = {len(entry) for entry in hosts}
    if len(counts) == 1:
        width = counts.pop()
        rows["n"] = width
        rows["hosts"][:, :width] = hosts
        return
    for row, entry in zip(rows, hosts, strict=True):
        row["n"] = len(entry)
        row["hosts"][: len(entry)] = entry


def locations(entries: Sequence[node_pb2.LocationSet], *, slots: Mapping[int, int]) -> Batch:
    """`slots`: statistics slot by id of the networks that bounce here."""
    spec = layout.TABLES[layout.Table.LOCATIONS4]
    good, bad = _sort_out(
        entries, lambda part: _check_location_set(part, slots), label=spec.label, name=_location_set_name
    )
    total = sum(len(part.addresses) for part in good)
    keys, rows = spec.keys(total), spec.values(total)
    at = 0
    for part in good:
        end = at + len(part.addresses)
        keys["vni"][at:end] = part.vni
        keys["addr"][at:end] = part.addresses
        rows["host"][at:end] = part.hosts
        rows["slot"][at:end] = slots[part.network]
        at = end
    return Batch(spec.name, keys, rows, bad)


def _check_location_set(part: node_pb2.LocationSet, slots: Mapping[int, int]) -> None:
    check_vni(part.vni)
    if part.network not in slots:
        raise errors.InvalidError(
            f"network {part.network} does not bounce here: send its Network with bounces=true first"
        )
    if len(part.addresses) != len(part.hosts):
        raise errors.InvalidError(
            f"{len(part.addresses)} addresses and {len(part.hosts)} hosts: must be equally many"
        )


def endpoints(entries: node_pb2.Tables) -> tuple[list[node_pb2.Endpoint], list[node_pb2.EntryError]]:
    """All endpoints of a message, those of its sets one by one as the others, and the sets that are none."""
    good, bad = _sort_out(
        entries.endpoint_sets, _check_endpoint_set, label="endpoints", name=_endpoint_set_name
    )
    return [*entries.endpoints, *(one for part in good for one in _members(part))], bad


def _members(part: node_pb2.EndpointSet) -> Iterator[node_pb2.Endpoint]:
    for number, (name, address) in enumerate(zip(part.names, part.addresses, strict=True)):
        made = node_pb2.Endpoint()
        made.CopyFrom(part.common)
        made.key.name = name
        made.mac = part.macs[6 * number : 6 * number + 6]
        made.addresses.append(address)
        yield made


def _check_endpoint_set(part: node_pb2.EndpointSet) -> None:
    names, numbers, macs = len(part.names), len(part.addresses), len(part.macs)
    if names != numbers or macs != 6 * names:
        raise errors.InvalidError(
            f"{names} names, {numbers} addresses and {macs} bytes of MACs: must be as many, with 6 bytes each"
        )


def _endpoint_set_name(part: node_pb2.EndpointSet) -> str:
    return f"{part.common.key.vpc}/{part.names[0] if part.names else '-'}"


def _location_set_name(part: node_pb2.LocationSet) -> str:
    first = decode.address4(part.addresses[0]) if part.addresses else "-"
    return f"{part.vni}/{first}"


def _route_name(route: node_pb2.Route) -> str:
    return f"{_table_text(route.key)}/{decode.prefix4(route.key.prefix, route.key.length)}"


def _table_text(key: node_pb2.RouteKey) -> str:
    return f"network {key.network}" if key.network else str(key.vni)


def _sort_out(
    entries: Iterable[T], check: Callable[[T], None], *, label: str, name: Callable[[T], str]
) -> tuple[list[T], list[node_pb2.EntryError]]:
    good: list[T] = []
    bad: list[node_pb2.EntryError] = []
    for entry in entries:
        try:
            check(entry)
        except errors.InvalidError as failure:
            bad.append(error(label, name(entry), str(failure)))
        else:
            good.append(entry)
    return good, bad


# ---------------------------------------------------------------- removals


def route_keys(entries: Iterable[node_pb2.RouteKey]) -> layout.Rows:
    listed = [
        (_table_number(key), key.prefix, layout.mask4(key.length)) for key in entries if key.length <= 32
    ]
    return np.array(listed, dtype=layout.ROUTE_KEY4)


def shard_keys(network: int, count: int) -> layout.Rows:
    """Keys of the first `count` shards of a network."""
    keys = np.zeros(count, dtype=layout.SHARD_KEY)
    keys["network"] = network
    keys["shard"] = np.arange(count)
    return keys


def address_keys(entries: Sequence[node_pb2.AddressSet]) -> layout.Rows:
    keys = np.zeros(sum(len(part.addresses) for part in entries), dtype=layout.ADDR_KEY4)
    at = 0
    for part in entries:
        end = at + len(part.addresses)
        keys["vni"][at:end] = part.vni
        keys["addr"][at:end] = part.addresses
        at = end
    return keys

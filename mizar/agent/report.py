# SPDX-License-Identifier: Apache-2.0
"""What the node tells about itself: messages built from records, rows and counters. Reads, never changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import decode, layout, verdicts
from mizar.agent import attachment, gateways, journal, peers, roles, services
from mizar.dataplane import protocol
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_UNREADABLE: Final = (layout.Table.STATS, layout.Table.VERDICTS, layout.Table.WATCHED)
"""Counters have a call of their own; mz_watched is a hint of the programs to themselves."""

READABLE: Final = tuple(spec.label for spec in layout.TABLES.values() if spec.name not in _UNREADABLE)
"""Tables that ReadTable shows."""


def entries(plane: protocol.DataPlane) -> dict[str, int]:
    """Rows by table."""
    return {label: plane.count(layout.LABELS[label].name) for label in READABLE}


def peer(address: int, name: str, row: peers.Row, *, probed: bool) -> node_pb2.PeerStatus:
    return node_pb2.PeerStatus(address=address, name=name, self=row.is_self, down=row.down, probed=probed)


def pages(plane: protocol.DataPlane, label: str) -> Iterator[list[str]]:
    """Rows of one table as JSON, some at a time."""
    if label not in READABLE:
        raise errors.NotFoundError(f"table {label!r} does not exist: there are {', '.join(READABLE)}")
    table = layout.LABELS[label].name
    keys, values = plane.dump(table)
    return _pages(table, keys, values)


def _pages(table: str, keys: layout.Rows, values: layout.Rows) -> Iterator[list[str]]:
    now = decode.now_ms(time.monotonic_ns())
    for start in range(0, len(keys), wire.PAGE_ROWS):
        part = slice(start, start + wire.PAGE_ROWS)
        yield [json.dumps(row) for row in decode.rows(table, keys[part], values[part], now_ms=now)]


# ---------------------------------------------------------------- endpoints


def endpoint_status(
    record: journal.EndpointRecord, traffic: node_pb2.Traffic | None = None
) -> node_pb2.EndpointStatus:
    wanted = attachment.of(record.message, record.mtu)
    ready = bool(record.ifindex)
    return node_pb2.EndpointStatus(
        key=record.message.key,
        ready=ready,
        message="" if ready else f"its interface {wanted.host_ifname} has gone: create it again",
        ifindex=record.ifindex,
        ifname=wanted.host_ifname,
        netns=wanted.netns,
        mac=wanted.mac,
        mtu=wanted.mtu,
        addresses=record.message.addresses,
        traffic=traffic,
    )


def endpoint_statuses(
    plane: protocol.DataPlane, records: Sequence[journal.EndpointRecord]
) -> list[node_pb2.EndpointStatus]:
    counted = _stats(plane, [record.slot for record in records])
    return [endpoint_status(record, _traffic(row)) for record, row in zip(records, counted, strict=True)]


# ---------------------------------------------------------------- counters


def counters(
    plane: protocol.DataPlane,
    *,
    bouncers: Sequence[roles.Bouncer],
    dividers: Sequence[roles.Divider],
    ways_out: Sequence[gateways.Counted],
    bounced: Sequence[services.Counted],
    attached: Sequence[journal.EndpointRecord],
) -> node_pb2.Counters:
    """Everything that counts, read together."""
    slots = [
        *(role.slot for role in bouncers),
        *(role.slot for role in dividers),
        *(role.slot for role in ways_out),
        *(role.slot for role in bounced),
        *(record.slot for record in attached),
    ]
    rows = iter(_stats(plane, slots))
    return node_pb2.Counters(
        verdicts=_verdicts(plane.verdicts()),
        roles=[
            *(_role(node_pb2.RoleCount.BOUNCER, role.vni, role.network, next(rows)) for role in bouncers),
            *(_role(node_pb2.RoleCount.DIVIDER, role.vni, 0, next(rows)) for role in dividers),
            *(_gateway(role, next(rows)) for role in ways_out),
            *_services([(role, next(rows)) for role in bounced]),
        ],
        endpoints=[
            node_pb2.EndpointCount(key=record.message.key, traffic=_traffic(next(rows)))
            for record in attached
        ],
    )


def _stats(plane: protocol.DataPlane, slots: list[int]) -> npt.NDArray[Any]:
    return plane.stats(slots) if slots else np.zeros(0, dtype=layout.STATS)


def _role(kind: node_pb2.RoleCount.Role.ValueType, vni: int, network: int, row: Any) -> node_pb2.RoleCount:
    packets, octets = int(row["tx_packets"]), int(row["tx_bytes"])
    return node_pb2.RoleCount(role=kind, vni=vni, network=network, packets=packets, bytes=octets)


def _gateway(role: gateways.Counted, row: Any) -> node_pb2.RoleCount:
    """Out and in together."""
    return node_pb2.RoleCount(
        role=node_pb2.RoleCount.GATEWAY,
        vni=role.vni,
        packets=int(row["tx_packets"]) + int(row["rx_packets"]),
        bytes=int(row["tx_bytes"]) + int(row["rx_bytes"]),
    )


def _services(counted: Iterable[tuple[services.Counted, Any]]) -> Iterator[node_pb2.RoleCount]:
    """One for each scaled endpoint, whatever the number of its ports."""
    found: dict[tuple[int, str], node_pb2.RoleCount] = {}
    for role, row in counted:
        total = found.setdefault(
            (role.vni, role.name),
            node_pb2.RoleCount(role=node_pb2.RoleCount.SERVICE, vni=role.vni, service=role.name),
        )
        total.packets += int(row["tx_packets"])
        total.bytes += int(row["tx_bytes"])
    yield from found.values()


def _traffic(row: Any) -> node_pb2.Traffic:
    return node_pb2.Traffic(**{str(name): int(row[name]) for name in layout.STATS.names or ()})


def _verdicts(counted: npt.NDArray[Any]) -> Iterator[node_pb2.VerdictCount]:
    for number in np.flatnonzero(counted["packets"]):
        known = verdicts.BY_NUMBER.get(int(number))
        yield node_pb2.VerdictCount(
            name=known.label if known is not None else str(number),
            drop=known is not None and known.is_drop,
            packets=int(counted["packets"][number]),
            bytes=int(counted["bytes"][number]),
        )

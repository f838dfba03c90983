# SPDX-License-Identifier: Apache-2.0
"""Endpoints that come as columns are endpoints like the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.unit.agent.conftest import Host, endpoint, tables

PRUNE = node_pb2.SyncRequest.PRUNE
BEGIN = node_pb2.SyncRequest.SNAPSHOT_BEGIN


def set_of(*endpoints: node_pb2.Endpoint) -> node_pb2.EndpointSet:
    common = node_pb2.Endpoint()
    common.CopyFrom(endpoints[0])
    common.key.ClearField("name")
    common.ClearField("mac")
    common.ClearField("addresses")
    return node_pb2.EndpointSet(
        common=common,
        names=[one.key.name for one in endpoints],
        addresses=[one.addresses[0] for one in endpoints],
        macs=b"".join(one.mac for one in endpoints),
    )


def pair() -> list[node_pb2.Endpoint]:
    return [endpoint(), endpoint("web-2", "10.0.1.6", mac=b"\x02\0\0\0\0\x09")]


def test_a_set_makes_the_rows_that_its_endpoints_make(host: Host) -> None:
    message = tables()
    message.endpoint_sets.append(set_of(*pair()))
    assert not host.apply(upsert=message).errors
    as_columns = [_without_numbers(host, table) for table in ("endpoints", "ports")]
    host.apply(remove=node_pb2.Keys(endpoints=[one.key for one in pair()]))
    assert not host.rows("endpoints")
    host.apply(upsert=tables(*pair()))
    assert [_without_numbers(host, table) for table in ("endpoints", "ports")] == as_columns


def _without_numbers(host: Host, table: str) -> list[dict[str, Any]]:
    """Rows but for what is numbered anew each time."""
    decoded = [json.loads(row) for row in host.rows(table)]
    kept = [{name: row[name] for name in row if name not in {"ifindex", "slot"}} for row in decoded]
    return sorted(kept, key=str)


def test_a_snapshot_names_the_endpoints_of_its_sets(host: Host) -> None:
    message = tables()
    message.endpoint_sets.append(set_of(*pair()))
    host.apply(mode=BEGIN, upsert=message)
    host.apply(mode=PRUNE)
    assert len(host.rows("endpoints")) == 2


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"addresses": [1, 2]}, "1 names, 2 addresses and 6 bytes of MACs"),
        ({"macs": b"\x02\0\0\0\0"}, "1 names, 1 addresses and 5 bytes of MACs"),
    ],
)
def test_columns_of_unequal_length_are_refused(host: Host, broken: dict[str, object], says: str) -> None:
    wanted = set_of(endpoint())
    for field, value in broken.items():
        wanted.ClearField(field)  # type: ignore[arg-type]
        wanted.MergeFrom(node_pb2.EndpointSet(**{field: value}))  # type: ignore[arg-type]
    message = tables(endpoint("web-3", "10.0.1.7"))
    message.endpoint_sets.append(wanted)
    (error,) = host.apply(upsert=message).errors
    assert (error.table, error.key) == ("endpoints", "blue/web-1")
    assert says in error.message
    assert len(host.rows("endpoints")) == 1

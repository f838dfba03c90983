# SPDX-License-Identifier: Apache-2.0
"""Rows as people and scripts read them."""

from __future__ import annotations

import json

import pytest

from mizar.abi import decode, layout, verdicts
from mizar.abi.layout import Table

Fields = dict[str, object]


def decoded(table: Table, key: object, fields: Fields, *, now_ms: int = 0) -> decode.Row:
    spec = layout.TABLES[table]
    keys, values = spec.keys(1), spec.values(1)
    keys[0] = key
    for name, value in fields.items():
        values[0][name] = value
    [row] = decode.rows(table, keys, values, now_ms=now_ms)
    return row


MAC = [2, 0, 0, 0, 0, 255]
ROWS: list[tuple[Table, object, Fields, decode.Row]] = [
    (
        Table.HOSTS,
        0xAC100001,
        {"nexthop": 0xAC100001, "mac_until": 9, "mac": MAC, "flags": 3},
        {
            "address": "172.16.0.1",
            "nexthop": "172.16.0.1",
            "mac": "02:00:00:00:00:ff",
            "mac_until": 9,
            "flags": ["self", "down"],
        },
    ),
    (
        Table.HOSTS,
        0xAC100001,
        {},
        {"address": "172.16.0.1", "nexthop": None, "mac": None, "mac_until": 0, "flags": []},
    ),
    (
        Table.VPCS,
        7,
        {"flags": 5, "slot": 2, "n_dividers": 1, "dividers": [0xAC100001] + [0] * 15},
        {"vni": 7, "flags": ["divider", "endpoints"], "slot": 2, "dividers": ["172.16.0.1"]},
    ),
    (
        Table.ROUTES4,
        (7, 0x0A000100, 0xFFFFFF00),
        {"kind": 2, "network": 5, "shards": 128},
        {
            "vni": 7,
            "table": "vpc",
            "prefix": "10.0.1.0/24",
            "kind": "network",
            "network": 5,
            "shards": 128,
            "endpoint": None,
            "peer_vni": None,
        },
    ),
    (
        Table.SHARDS,
        (5, 127),
        {"n": 2, "hosts": [1, 2] + [0] * 13},
        {"network": 5, "shard": 127, "hosts": ["0.0.0.1", "0.0.0.2"]},
    ),
    (
        Table.LOCATIONS4,
        (7, 0x0A000105),
        {"host": 0xAC100001, "slot": 3},
        {"vni": 7, "address": "10.0.1.5", "host": "172.16.0.1", "scaled": False, "slot": 3},
    ),
    (
        Table.ENDPOINTS4,
        (7, 0x0A000105),
        {"ifindex": 12, "slot": 3, "mac": MAC, "flags": 1},
        {
            "vni": 7,
            "address": "10.0.1.5",
            "ifindex": 12,
            "slot": 3,
            "mac": "02:00:00:00:00:ff",
            "flags": ["peer"],
        },
    ),
    (
        Table.DIRECT4,
        (7, 0x0A000105),
        {"host": 0xAC100001, "confirmed": 0xFFFFFFFF, "vni": 7},
        {
            "vni": 7,
            "address": "10.0.1.5",
            "host": "172.16.0.1",
            "scaled": False,
            "age_ms": 101,
            "endpoint_vni": 7,
        },
    ),
    (
        Table.VERDICTS,
        int(verdicts.Verdict.DROP_SPOOFED_IP),
        {"packets": 1, "bytes": 60},
        {"verdict": "spoofed_ip", "drop": True, "packets": 1, "bytes": 60},
    ),
    (Table.VERDICTS, 0, {}, {"verdict": "pass", "drop": False, "packets": 0, "bytes": 0}),
]


@pytest.mark.parametrize(("table", "key", "fields", "row"), ROWS)
def test_row_is_decoded(table: Table, key: object, fields: Fields, row: decode.Row) -> None:
    assert decoded(table, key, fields, now_ms=100) == row


def test_port_shows_its_prefixes() -> None:
    onlink = [(0x0A000100, 0xFFFFFF00)] + [(0, 0)] * 3
    row = decoded(Table.PORTS, 12, {"vni": 7, "n_onlink": 1, "onlink": onlink, "mtu": 1436})
    assert (row["ifindex"], row["onlink"], row["mtu"]) == (12, ["10.0.1.0/24"], 1436)


@pytest.mark.parametrize("table", layout.TABLES)
def test_every_table_is_decoded_to_json(table: str) -> None:
    spec = layout.TABLES[table]
    for row in decode.rows(table, spec.keys(2), spec.values(2), now_ms=0):
        json.dumps(row)
    assert decode.key_text(table, spec.keys(1)[0])


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        (Table.HOSTS, 0xAC100001, "172.16.0.1"),
        (Table.VPCS, 7, "7"),
        (Table.ROUTES4, (7, 0x0A000100, 0xFFFFFF00), "7/10.0.1.0/24"),
        (Table.LOCATIONS4, (7, 0x0A000105), "7/10.0.1.5"),
        (Table.SHARDS, (5, 12), "5/12"),
    ],
)
def test_key_in_a_message(table: Table, key: object, text: str) -> None:
    keys = layout.TABLES[table].keys(1)
    keys[0] = key
    assert decode.key_text(table, keys[0]) == text


def test_age_survives_the_clock_s_wrap() -> None:
    assert decode.age_ms(0xFFFFFFF0, 0x10) == 0x20
    assert decode.age_ms(0x10, 0xFFFFFFF0) == 0, "stamped by a clock that is a tick ahead"
    assert decode.now_ms((1 << 32) * 1_000_000) == 0

# SPDX-License-Identifier: Apache-2.0
"""Ways out of a VPC on its gateway hosts: rows that several entries share, and routes that lead there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mizar.abi import layout
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.unit.agent.conftest import NETWORK, OWN, PEER, VNI, Host, endpoint, tables

BEGIN = node_pb2.SyncRequest.SNAPSHOT_BEGIN
PRUNE = node_pb2.SyncRequest.PRUNE
POOL = values.address("192.0.2.10")
FLOATING = values.address("192.0.2.20")
WEB = values.address("10.0.1.5")


def gateway(*addresses: str, **fields: Any) -> node_pb2.Gateway:
    made = node_pb2.Gateway(vni=VNI, name="blue/out", addresses=[values.address(each) for each in addresses])
    made.MergeFrom(node_pb2.Gateway(**fields))
    return made


def floating(**fields: Any) -> node_pb2.FloatingAddress:
    made = node_pb2.FloatingAddress(address=FLOATING, vni=VNI, endpoint=WEB, answers=True)
    made.MergeFrom(node_pb2.FloatingAddress(**fields))
    return made


def forward(**fields: Any) -> node_pb2.PortForward:
    made = node_pb2.PortForward(
        key=node_pb2.PortForwardKey(address=POOL, port=2222, protocol=node_pb2.TCP),
        vni=VNI,
        endpoint=WEB,
        target_port=22,
        answers=True,
    )
    made.MergeFrom(node_pb2.PortForward(**fields))
    return made


def put(host: Host, **entries: Any) -> list[node_pb2.EntryError]:
    return list(host.apply(upsert=node_pb2.Tables(**entries)).errors)


def shown(host: Host, table: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in host.rows(table)]


def outside(host: Host) -> dict[str, list[str]]:
    return {each["address"]: each["flags"] for each in shown(host, "outside")}


def is_gateway(host: Host) -> tuple[bool, bool]:
    """As the VPC's row has it, and as the machine's."""
    return tuple("gateway" in shown(host, table)[0]["flags"] for table in ("vpcs", "config"))  # type: ignore[return-value]


@pytest.fixture
def out(host: Host) -> Host:
    """A host of a VPC."""
    assert not host.apply(revision=1, upsert=tables()).errors
    return host


# ---------------------------------------------------------------- gateways


def test_gateway_has_its_addresses_ports_and_flags(out: Host) -> None:
    assert is_gateway(out) == (False, False)
    assert put(out, gateways=[gateway("192.0.2.10", "192.0.2.11")]) == []
    (row,) = shown(out, "gateways")
    assert (row["vni"], row["ifindex"], row["ports"], row["flags"]) == (VNI, 2, "1024-65535", [])
    assert row["addresses"] == ["192.0.2.10", "192.0.2.11"]
    assert outside(out) == {"192.0.2.10": [], "192.0.2.11": []}
    assert is_gateway(out) == (True, True)
    assert out.node.answered() == {POOL, POOL + 1}


def test_gateway_without_addresses_uses_the_host_s_with_high_ports(out: Host) -> None:
    put(out, gateways=[gateway()])
    (row,) = shown(out, "gateways")
    assert (row["addresses"], row["ports"], row["flags"]) == (["172.30.0.11"], "61000-65535", ["host"])
    assert outside(out) == {"172.30.0.11": ["host"]}
    assert out.node.answered() == set()


def test_changed_gateway_keeps_its_slot_and_leaves_no_address(out: Host) -> None:
    put(out, gateways=[gateway("192.0.2.10", "192.0.2.11")])
    slot = shown(out, "gateways")[0]["slot"]
    put(out, gateways=[gateway("192.0.2.11", "192.0.2.12", first_port=2000, last_port=2999)])
    (row,) = shown(out, "gateways")
    assert (row["slot"], row["ports"]) == (slot, "2000-2999")
    assert set(outside(out)) == {"192.0.2.11", "192.0.2.12"}


def test_removed_gateway_leaves_nothing(out: Host) -> None:
    for _ in range(100):  # more than there are slots
        assert put(out, gateways=[gateway("192.0.2.10")]) == []
        out.apply(remove=node_pb2.Keys(gateways=[VNI]))
    assert shown(out, "gateways") == shown(out, "outside") == []
    assert is_gateway(out) == (False, False)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (gateway(vni=99), "VPC with VNI 99 is not known here: send its Vpc first"),
        (gateway(*(f"192.0.2.{number}" for number in range(1, 10))), "9 outside addresses: at most 8"),
        (gateway("224.0.0.1"), "outside address 224.0.0.1: must be a unicast address"),
        (gateway("172.30.0.11"), "outside address 172.30.0.11 is the host's own: leave addresses empty"),
        (gateway("192.0.2.1", "192.0.2.1"), "an outside address is listed twice"),
        (gateway("192.0.2.1", first_port=9, last_port=8), "ports 9 to 8: must be 1 to 65535"),
        (gateway("192.0.2.1", last_port=70000), "ports 1024 to 70000: must be"),
    ],
)
def test_wrong_gateway_is_refused(out: Host, broken: node_pb2.Gateway, says: str) -> None:
    (error,) = put(out, gateways=[broken])
    assert error.table == "gateways"
    assert says in error.message
    assert shown(out, "gateways") == shown(out, "outside") == []
    assert is_gateway(out) == (False, False)


# ---------------------------------------------------------------- floating addresses and port forwards


def test_floating_address_is_outside_only_where_it_is_answered(out: Host) -> None:
    put(out, floating=[floating(answers=True)])
    assert shown(out, "floating") == [{"vni": VNI, "address": "10.0.1.5", "outside": "192.0.2.20"}]
    assert shown(out, "outside") == [
        {"address": "192.0.2.20", "vni": VNI, "endpoint": "10.0.1.5", "flags": []}
    ]
    silent = floating()
    silent.answers = False
    put(out, floating=[silent])
    assert len(shown(out, "floating")) == 1
    assert shown(out, "outside") == []
    assert is_gateway(out)[1] is False


def test_floating_address_that_moves_leaves_its_former_endpoint(out: Host) -> None:
    put(out, floating=[floating()])
    put(out, floating=[floating(endpoint=WEB + 1)])
    assert [each["address"] for each in shown(out, "floating")] == ["10.0.1.6"]


def test_endpoint_of_two_floating_addresses_keeps_the_other(out: Host) -> None:
    put(out, floating=[floating(address=FLOATING + 1), floating()])
    assert [each["outside"] for each in shown(out, "floating")] == ["192.0.2.20"]
    out.apply(remove=node_pb2.Keys(floating=[FLOATING]))
    assert [each["outside"] for each in shown(out, "floating")] == ["192.0.2.21"]


def test_forward_has_a_row_each_way(out: Host) -> None:
    put(out, forwards=[forward()])
    rows = {(each["vni"], each["address"], each["port"]): each for each in shown(out, "forwards")}
    way_in, way_out = rows[0, "192.0.2.10", 2222], rows[VNI, "10.0.1.5", 22]
    assert (way_in["to_vni"], way_in["to_address"], way_in["to_port"]) == (VNI, "10.0.1.5", 22)
    assert (way_out["to_vni"], way_out["to_address"], way_out["to_port"]) == (0, "192.0.2.10", 2222)
    out.apply(remove=node_pb2.Keys(forwards=[forward().key]))
    assert shown(out, "forwards") == shown(out, "outside") == []


def test_shared_address_is_outside_until_its_last_entry_goes(out: Host) -> None:
    other = forward(key=node_pb2.PortForwardKey(port=80), target_port=80)
    put(out, gateways=[gateway("192.0.2.10")], forwards=[forward(), other])
    out.apply(remove=node_pb2.Keys(gateways=[VNI], forwards=[other.key]))
    assert set(outside(out)) == {"192.0.2.10"}
    out.apply(remove=node_pb2.Keys(forwards=[forward().key]))
    assert outside(out) == {}


def test_forward_at_the_host_s_own_address_leaves_it_the_host_s(out: Host) -> None:
    own = forward(key=node_pb2.PortForwardKey(address=OWN))
    put(out, forwards=[own])
    assert outside(out) == {"172.30.0.11": ["host"]}
    assert out.node.answered() == set()


@pytest.mark.parametrize(
    ("table", "broken", "says"),
    [
        ("floating", floating(vni=99), "VPC with VNI 99 is not known here"),
        ("floating", floating(address=OWN), "a host's own address cannot be a floating one"),
        ("floating", floating(address=1), "outside address 0.0.0.1: must be a unicast address"),
        ("forwards", forward(vni=99), "VPC with VNI 99 is not known here"),
        ("forwards", forward(target_port=70000), "target port 70000: must be 1 to 65535"),
        ("forwards", forward(key=node_pb2.PortForwardKey(port=70000)), "port 70000: must be 1 to 65535"),
    ],
)
def test_wrong_entry_is_refused_by_name(out: Host, table: str, broken: Any, says: str) -> None:
    (error,) = put(out, **{table: [broken]})
    assert error.table == table
    assert says in error.message
    assert shown(out, table) == shown(out, "outside") == []


def test_entry_that_finds_no_room_leaves_nothing_of_it(out: Host) -> None:
    spec = layout.TABLES[layout.Table.OUTSIDE4]
    filler = np.arange(1, spec.max_entries + 1, dtype=spec.key)
    out.plane.update("mz_outside4", filler, spec.values(len(filler)))
    refused = put(out, **EVERYTHING)
    assert [each.table for each in refused] == ["gateways", "floating", "forwards"]
    assert all("to map mz_outside4" in each.message for each in refused)
    for table in EVERYTHING:
        assert shown(out, table) == []
    assert is_gateway(out) == (False, False)
    out.plane.delete("mz_outside4", filler)
    assert put(out, **EVERYTHING) == []


# ---------------------------------------------------------------- restart, snapshots, counters


EVERYTHING = {"gateways": [gateway("192.0.2.10")], "floating": [floating()], "forwards": [forward()]}


def test_restart_adopts_without_a_write(out: Host) -> None:
    put(out, **EVERYTHING)
    before = {table: out.rows(table) for table in ("config", "vpcs", "outside", *EVERYTHING)}
    restarted = out.reopen()
    out.apply(mode=BEGIN, upsert=tables())
    put(out, **EVERYTHING)
    out.apply(mode=PRUNE)
    assert (restarted.output.rows_written, restarted.output.rows_removed) == (0, 0)
    assert {table: out.rows(table) for table in before} == before
    assert restarted.answered() == {POOL, FLOATING}


def test_restart_repairs_what_a_crash_left_out(out: Host) -> None:
    put(out, **EVERYTHING)
    before = {table: out.rows(table) for table in ("outside", "forwards")}
    for table in ("mz_outside4", "mz_forwards4"):
        out.plane.delete(table, out.plane.dump(table)[0][:1])
    out.reopen()
    assert {table: out.rows(table) for table in before} == before


def test_prune_leaves_only_what_was_named(out: Host) -> None:
    put(out, **EVERYTHING)
    out.apply(mode=BEGIN, upsert=tables())
    put(out, floating=[floating()])
    out.apply(mode=PRUNE)
    assert shown(out, "gateways") == shown(out, "forwards") == []
    assert set(outside(out)) == {"192.0.2.20"}
    assert is_gateway(out) == (False, True)


def test_restart_without_its_journal_keeps_rows_until_they_are_pruned(out: Host) -> None:
    put(out, **EVERYTHING)
    out.node.close()
    (out.state / "agent.db").unlink()
    out.reopen()
    assert len(outside(out)) == 2
    out.apply(mode=BEGIN, upsert=tables())
    out.apply(mode=PRUNE)
    for table in ("outside", *EVERYTHING):
        assert shown(out, table) == []
    assert is_gateway(out) == (False, False)


def test_restart_does_not_give_the_slot_of_a_gateway_twice(out: Host) -> None:
    put(out, gateways=[gateway("192.0.2.10")])
    out.reopen()
    put(out, endpoints=[endpoint()])
    assert shown(out, "gateways")[0]["slot"] != shown(out, "endpoints")[0]["slot"]


def test_packets_out_and_in_are_counted_together(out: Host) -> None:
    put(out, gateways=[gateway("192.0.2.10")])
    counted = [each for each in out.node.counters().roles if each.role == node_pb2.RoleCount.GATEWAY]
    assert [(each.vni, each.packets) for each in counted] == [(VNI, 0)]


# ---------------------------------------------------------------- routes


def user_route(kind: node_pb2.Route.Kind.ValueType, **fields: Any) -> node_pb2.Route:
    made = node_pb2.Route(key=node_pb2.RouteKey(vni=VNI, prefix=0, length=0), kind=kind)
    made.MergeFrom(node_pb2.Route(**fields))
    return made


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (user_route(node_pb2.Route.BLACKHOLE), {"kind": "blackhole"}),
        (user_route(node_pb2.Route.GATEWAY, network=9), {"kind": "gateway", "network": 9}),
        (user_route(node_pb2.Route.APPLIANCE, endpoint=WEB), {"kind": "appliance", "endpoint": "10.0.1.5"}),
        (user_route(node_pb2.Route.DIVIDER, peer_vni=6), {"kind": "divider", "peer_vni": 6}),
        (user_route(node_pb2.Route.NONE, peer_vni=6), {"kind": "none", "peer_vni": 6}),
        (
            user_route(node_pb2.Route.NETWORK, network=9, shards=4, peer_vni=6),
            {"kind": "network", "network": 9, "peer_vni": 6, "endpoint": None},
        ),
    ],
)
def test_route_of_each_kind_is_a_row(out: Host, route: node_pb2.Route, expected: dict[str, Any]) -> None:
    assert put(out, routes=[route]) == []
    (row,) = [each for each in shown(out, "routes") if each["prefix"] == "0.0.0.0/0"]
    assert {name: row[name] for name in expected} == expected
    assert (row["vni"], row["table"]) == (VNI, "vpc")


def test_network_has_a_table_of_its_own(out: Host) -> None:
    key = node_pb2.RouteKey(vni=VNI, prefix=0, length=0, network=NETWORK)
    assert put(out, routes=[user_route(node_pb2.Route.BLACKHOLE, key=key)]) == []
    (row,) = [each for each in shown(out, "routes") if each["prefix"] == "0.0.0.0/0"]
    assert (row["vni"], row["table"]) == (None, f"network {NETWORK}")
    out.apply(remove=node_pb2.Keys(routes=[key]))
    assert [each["prefix"] for each in shown(out, "routes")] == ["10.0.1.0/24"]


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (user_route(node_pb2.Route.APPLIANCE), "a route of kind APPLIANCE needs the address of an endpoint"),
        (user_route(node_pb2.Route.UNSPECIFIED), "route kind 0: must be one of DIVIDER, NETWORK, NONE"),
        (user_route(node_pb2.Route.NONE, peer_vni=VNI), "peer VNI 5: is the route's own; 0 says so"),
        (
            user_route(node_pb2.Route.GATEWAY, peer_vni=6),
            "peer VNI 6: only for routes of kind DIVIDER, NETWORK or NONE",
        ),
    ],
)
def test_wrong_route_is_refused(out: Host, route: node_pb2.Route, says: str) -> None:
    (error,) = put(out, routes=[route])
    assert says in error.message


def test_forwarding_and_own_routes_are_flags_of_the_port(out: Host) -> None:
    put(out, endpoints=[endpoint()])
    assert shown(out, "ports")[0]["flags"] == []
    put(out, endpoints=[endpoint(forwarding=True, own_routes=True)])
    assert shown(out, "ports")[0]["flags"] == ["routes", "forwards"]


def test_hosts_of_a_gateway_are_probed(out: Host) -> None:
    other = PEER + 1
    put(
        out,
        hosts=[node_pb2.Host(address=other, name="h3")],
        shards=[node_pb2.ShardSet(network=9, replicas=[node_pb2.Replicas(hosts=[other])])],
    )
    assert out.node.probed() == {PEER, other}

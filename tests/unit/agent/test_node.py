# SPDX-License-Identifier: Apache-2.0
"""Updates, endpoints and restarts of a host in memory."""

from __future__ import annotations

import json

import pytest

from mizar import errors
from mizar.agent import node
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.unit.agent.conftest import NETWORK, OWN, PEER, SHARDS, VNI, Host, endpoint, route, tables

BEGIN = node_pb2.SyncRequest.SNAPSHOT_BEGIN
PART = node_pb2.SyncRequest.SNAPSHOT_PART
PRUNE = node_pb2.SyncRequest.PRUNE


def written(of: node.Node) -> tuple[int, int]:
    return of.output.rows_written, of.output.rows_removed


def flags(host: Host) -> list[str]:
    found: list[str] = json.loads(host.rows("vpcs")[0])["flags"]
    return found


# ---------------------------------------------------------------- updates


def test_message_is_applied_in_full_and_its_revision_kept(host: Host) -> None:
    ack = host.apply(revision=9, upsert=tables(endpoint()))
    assert (ack.revision, list(ack.errors)) == (9, [])
    assert host.node.revision == 9
    entries = host.node.status().entries
    counted = {
        name: entries[name] for name in ("hosts", "vpcs", "routes", "shards", "locations", "endpoints")
    }
    assert counted == {"hosts": 2, "vpcs": 1, "routes": 1, "shards": 16, "locations": 20, "endpoints": 1}


def test_same_message_again_writes_no_row_that_is_known_row_by_row(host: Host) -> None:
    message = tables(endpoint())
    del message.routes[:], message.shards[:], message.locations[:]
    host.apply(upsert=message)
    before = written(host.node)
    host.apply(upsert=message)
    assert written(host.node) == before


def test_entry_that_fails_is_named_and_the_rest_applied(host: Host) -> None:
    message = tables()
    message.routes.append(route("10.0.2.1", 24))
    message.networks.add(id=8, vni=99)
    message.locations.add(vni=VNI, network=8, addresses=[1], hosts=[OWN])
    ack = host.apply(revision=4, upsert=message)
    assert [(each.table, each.key) for each in ack.errors] == [
        ("networks", "8"),
        ("routes", "5/10.0.2.1/24"),
        ("locations", "5/0.0.0.1"),
    ]
    assert "10.0.2.0/24 would be right" in ack.errors[1].message
    assert len(host.rows("locations")) == 20
    assert host.node.revision == 0


def test_full_table_refuses_what_does_not_fit_and_says_how_much(host: Host) -> None:
    host.apply(upsert=tables())
    addresses = list(range(0x0A010000, 0x0A010000 + 2000))
    located = node_pb2.LocationSet(vni=VNI, network=NETWORK, addresses=addresses, hosts=[PEER] * 2000)
    ack = host.apply(upsert=node_pb2.Tables(locations=[located]))
    assert len(host.rows("locations")) == 1000
    assert len(ack.errors) == 100
    assert "more rows not tried" in ack.errors[-1].message


def test_removals_run_the_other_way_round_and_leave_nothing(host: Host) -> None:
    message = tables(endpoint())
    host.apply(upsert=message)
    keys = node_pb2.Keys(
        hosts=[OWN, PEER],
        vpcs=[VNI],
        networks=[NETWORK],
        routes=[each.key for each in message.routes],
        shards=[NETWORK],
        locations=[node_pb2.AddressSet(vni=VNI, addresses=message.locations[0].addresses)],
        endpoints=[message.endpoints[0].key],
    )
    assert not host.apply(remove=keys).errors
    assert not host.apply(remove=keys).errors
    entries = host.node.status().entries
    assert {name: count for name, count in entries.items() if count and name != "config"} == {}
    assert host.links.links == {}


def test_vpc_with_endpoints_is_not_removed(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    ack = host.apply(remove=node_pb2.Keys(vpcs=[VNI]))
    assert [each.message for each in ack.errors] == ["1 endpoint(s) of it are on this host"]
    assert len(host.rows("vpcs")) == 1


def test_flags_of_a_vpc_follow_its_roles_and_endpoints(host: Host) -> None:
    host.apply(upsert=node_pb2.Tables(vpcs=[node_pb2.Vpc(vni=VNI)]))
    assert flags(host) == []
    host.apply(upsert=tables(endpoint()))
    assert flags(host) == ["divider", "bouncer", "endpoints"]
    host.node.remove_endpoint(endpoint().key)
    host.apply(upsert=node_pb2.Tables(networks=[node_pb2.Network(id=NETWORK, vni=VNI, bounces=False)]))
    assert flags(host) == ["divider"]


# ---------------------------------------------------------------- snapshots


def test_snapshot_of_what_is_there_writes_nothing(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    before = written(host.node)
    host.apply(mode=BEGIN, upsert=tables(endpoint()))
    host.apply(mode=PRUNE)
    assert written(host.node) == before


def test_snapshot_after_a_restart_writes_only_what_differs(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    host.reopen()
    wanted = tables(endpoint())
    wanted.shards[0].replicas[3].hosts[:] = [PEER]
    wanted.locations[0].hosts[5] = OWN
    host.apply(mode=BEGIN, upsert=wanted)
    host.apply(mode=PRUNE)
    assert written(host.node) == (2, 0)


def test_prune_removes_what_neither_snapshot_nor_later_deltas_named(host: Host) -> None:
    host.apply(upsert=tables(endpoint(), endpoint("old", "10.0.1.6"), endpoint("by-hand", "10.0.1.7")))
    host.apply(upsert=node_pb2.Tables(routes=[route("10.0.2.0", 24), route("10.0.3.0", 24)]))
    host.apply(mode=BEGIN, upsert=tables())
    host.apply(mode=PART, upsert=node_pb2.Tables(endpoints=[endpoint()]))
    host.apply(upsert=node_pb2.Tables(routes=[route("10.0.3.0", 24)]))
    host.node.create_endpoint(endpoint("by-hand", "10.0.1.7"))
    host.apply(mode=PRUNE)
    assert [json.loads(row)["prefix"] for row in host.rows("routes")] == ["10.0.1.0/24", "10.0.3.0/24"]
    assert [each.key.name for each in host.node.list_endpoints()] == ["web-1", "by-hand"]


def test_delta_between_parts_is_not_undone_by_the_comparison(host: Host) -> None:
    host.apply(upsert=tables())
    host.apply(mode=BEGIN, upsert=tables())
    changed = route("10.0.1.0", 24, shards=8)
    host.apply(upsert=node_pb2.Tables(routes=[changed]))
    host.apply(mode=PART, upsert=node_pb2.Tables(routes=[route("10.0.1.0", 24)]))
    assert json.loads(host.rows("routes")[0])["shards"] == SHARDS


@pytest.mark.parametrize("mode", [PART, PRUNE])
def test_snapshot_must_begin_first(host: Host, mode: node_pb2.SyncRequest.Mode.ValueType) -> None:
    with pytest.raises(errors.ConflictError, match="send SNAPSHOT_BEGIN first"):
        host.apply(mode=mode)


# ---------------------------------------------------------------- endpoints


def test_endpoint_needs_its_vpc(host: Host) -> None:
    with pytest.raises(errors.ConflictError, match="VPC with VNI 5 is not known here"):
        host.node.create_endpoint(endpoint())
    assert host.links.links == {}


def test_address_has_one_endpoint(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    with pytest.raises(errors.ConflictError, match=r"10\.0\.1\.5 of VPC blue is endpoint blue/web-1's"):
        host.node.create_endpoint(endpoint("other"))


def test_failed_interface_leaves_no_row_and_no_slot(host: Host) -> None:
    host.apply(upsert=tables())
    host.links.broken.add("blue/web-1")
    for _ in range(100):  # more than there are slots
        with pytest.raises(errors.KernelError):
            host.node.create_endpoint(endpoint())
    assert host.rows("endpoints") == host.rows("ports") == []
    assert flags(host) == ["divider", "bouncer"]
    host.links.broken.clear()
    assert host.node.create_endpoint(endpoint()).ready


def test_endpoint_is_attached_before_its_interface_comes_up(host: Host) -> None:
    host.apply(upsert=tables())
    status = host.node.create_endpoint(endpoint())
    assert host.plane.attached_endpoints() == {status.ifindex} == host.links.up
    assert status.mtu == 1500 - 64


def test_new_address_gets_a_new_interface_and_no_old_row(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    host.node.create_endpoint(endpoint(address="10.0.1.9"))
    assert [json.loads(row)["address"] for row in host.rows("endpoints")] == ["10.0.1.9"]
    assert len(host.links.links) == 1
    assert host.node.create_endpoint(endpoint("other", "10.0.1.5")).ready


def test_group_network_endpoint_has_a_host_address(host: Host) -> None:
    host.apply(upsert=tables())
    wanted = endpoint()
    del wanted.onlink[:]
    made = host.node.create_endpoint(wanted)
    assert host.links.links[made.ifindex].addresses == ((values.address("10.0.1.5"), 32),)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (node_pb2.Endpoint(vni=1 << 24), "VNI 16777216: must be 1 to 16777215"),
        (node_pb2.Endpoint(mac=b"\x01\x00\x00\x00\x00\x01"), "must be 6 bytes, unicast"),
        (node_pb2.Endpoint(mac=b"\x06\x4f\x00\x00\x07\x00"), "06:4d to 06:50"),
        (node_pb2.Endpoint(mtu=1500), "MTU 1500: must be 576 to 1436"),
        (node_pb2.Endpoint(shards=3), "3 shards: must be a power of two"),
        (node_pb2.Endpoint(onlink=[values.prefix("10.0.0.0/8")] * 4), "5 on-link prefixes: at most 4"),
        (node_pb2.Endpoint(veth=node_pb2.Veth(ifname="a" * 16)), "at most 15 letters"),
    ],
)
def test_malformed_endpoint_is_refused(host: Host, broken: node_pb2.Endpoint, says: str) -> None:
    host.apply(upsert=tables())
    wanted = endpoint()
    wanted.MergeFrom(broken)
    with pytest.raises(errors.InvalidError, match=says):
        host.node.create_endpoint(wanted)


# ---------------------------------------------------------------- restart


def test_restart_adopts_without_a_write(host: Host) -> None:
    host.apply(revision=3, upsert=tables(endpoint()))
    before = {
        table: host.rows(table) for table in ("hosts", "vpcs", "endpoints", "ports", "shards", "locations")
    }
    listed = host.node.list_endpoints()
    adopted = host.reopen()
    assert written(adopted) == (0, 0)
    assert {table: host.rows(table) for table in before} == before
    assert adopted.list_endpoints() == listed


def test_revision_is_known_after_a_restart(host: Host) -> None:
    host.apply(revision=3, upsert=tables())
    host.node.close()
    assert host.reopen().revision == 3


def test_after_a_kill_the_revision_is_none_that_was_not_applied(host: Host) -> None:
    host.apply(revision=3, upsert=tables())
    host.apply(revision=4, upsert=tables(endpoint()))
    killed = host.node
    assert host.reopen().revision <= killed.revision == 4


def test_restart_repairs_rows_that_are_missing(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    before = host.rows("ports")
    keys, _ = host.plane.dump("mz_ports")
    host.plane.delete("mz_ports", keys)
    host.reopen()
    assert host.rows("ports") == before


def test_restart_takes_away_what_was_half_made(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    record = host.parts.journal.endpoints()[0]
    half = node_pb2.Endpoint.FromString(record.message.SerializeToString())
    host.parts.journal.put_endpoint(type(record)(message=half, slot=record.slot, mtu=record.mtu))
    host.reopen()
    assert host.rows("endpoints") == host.rows("ports") == []
    assert flags(host) == ["divider", "bouncer"]
    assert host.parts.journal.endpoints() == []


def test_restart_without_the_interface_says_so(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    host.links.links.clear()
    host.reopen()
    assert [each.ready for each in host.node.list_endpoints()] == [False]
    assert host.rows("ports") == []
    assert host.node.create_endpoint(endpoint()).ready


def test_restart_without_its_journal_keeps_endpoints_until_they_are_pruned(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    host.node.close()
    (host.state / "agent.db").unlink()
    host.reopen()
    assert len(host.rows("ports")) == 1
    host.apply(mode=BEGIN, upsert=tables())
    host.apply(mode=PRUNE)
    assert host.rows("ports") == host.rows("endpoints") == []
    assert host.links.links == {}


def test_restart_does_not_give_a_slot_twice(host: Host) -> None:
    host.apply(upsert=tables(endpoint()))
    host.reopen()
    host.apply(upsert=node_pb2.Tables(endpoints=[endpoint("other", "10.0.1.6")]))
    slots = [json.loads(row)["slot"] for table in ("vpcs", "endpoints") for row in host.rows(table)]
    slots.append(json.loads(host.rows("locations")[0])["slot"])
    assert len(set(slots)) == 4


# ---------------------------------------------------------------- health


def test_only_bouncers_and_dividers_of_others_are_probed(host: Host) -> None:
    assert host.node.probed() == set()
    host.apply(upsert=tables())
    assert host.node.probed() == {PEER}
    host.apply(remove=node_pb2.Keys(hosts=[PEER]))
    assert host.node.probed() == set()


def test_down_is_a_flag_of_the_host(host: Host) -> None:
    host.apply(upsert=tables())
    host.node.set_down({PEER: True})
    assert [json.loads(row)["flags"] for row in host.rows("hosts")] == [["self"], ["down"]]
    assert [(peer.name, peer.down, peer.probed) for peer in host.node.status().peers] == [
        ("h1", False, False),
        ("h2", True, True),
    ]
    host.node.set_down({PEER: False})
    assert [json.loads(row)["flags"] for row in host.rows("hosts")] == [["self"], []]


def test_unknown_table_is_named(host: Host) -> None:
    with pytest.raises(errors.NotFoundError, match="table 'arp' does not exist: there are config, hosts"):
        host.node.read_table("arp")

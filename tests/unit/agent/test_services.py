# SPDX-License-Identifier: Apache-2.0
"""Services of scaled endpoints on a bouncer, and checks of their backends."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from mizar.abi import layout, maglev
from mizar.agent import health
from mizar.dataplane import protocol
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.unit.agent.conftest import NETWORK, VNI, Host, endpoint, tables

BEGIN = node_pb2.SyncRequest.SNAPSHOT_BEGIN
PRUNE = node_pb2.SyncRequest.PRUNE
SHOP = values.address("10.0.1.100")


def service(*backends: str, weight: int = 1, **fields: Any) -> node_pb2.Service:
    made = node_pb2.Service(
        key=node_pb2.ServiceKey(vni=VNI, address=SHOP, port=80, protocol=node_pb2.TCP),
        name="blue/shop",
        target_port=8080,
        backends=[node_pb2.Backend(address=values.address(each), weight=weight) for each in backends],
    )
    made.MergeFrom(node_pb2.Service(**fields))
    return made


def many(count: int) -> list[str]:
    return [f"10.0.2.{number}" for number in range(1, count + 1)]


def put(host: Host, *entries: node_pb2.Service) -> list[node_pb2.EntryError]:
    return list(host.apply(upsert=node_pb2.Tables(services=entries)).errors)


def row(host: Host) -> dict[str, Any]:
    (only,) = host.rows("services")
    found: dict[str, Any] = json.loads(only)
    return found


def places(host: Host) -> list[int]:
    """The table that a program would see, in order."""
    keys, held = host.plane.dump("mz_maglev4")
    mine = keys["service"] == row(host)["id"]
    assert mine.all(), "rows of another table are left"
    ordered = held["backends"][np.argsort(keys["row"])]
    found: list[int] = ordered.ravel()[: row(host)["places"]].tolist()
    return found


def expected(entry: node_pb2.Service) -> list[int]:
    key = entry.key
    seed = maglev.seed_of(key.vni, key.address, key.port, key.protocol)
    made: list[int] = maglev.table([(each.address, each.weight) for each in entry.backends], seed).tolist()
    return made


@pytest.fixture
def bouncer(host: Host) -> Host:
    assert not host.apply(revision=1, upsert=tables()).errors
    return host


def test_service_has_its_table_and_its_backends(bouncer: Host) -> None:
    entry = service("10.0.1.5", "10.0.2.7", affinity_seconds=10800)
    assert put(bouncer, entry) == []
    found = row(bouncer)
    assert (found["address"], found["port"], found["protocol"]) == ("10.0.1.100", 80, "tcp")
    assert (found["places"], found["target_port"], found["affinity_s"]) == (251, 8080, 10800)
    assert places(bouncer) == expected(entry)
    backends = [json.loads(each) for each in bouncer.rows("backends")]
    assert {each["address"]: each["weight"] for each in backends} == {"10.0.1.5": 1, "10.0.2.7": 1}
    assert {each["service"] for each in backends} == {found["id"]}


def test_who_drains_is_a_backend_without_a_place(bouncer: Host) -> None:
    entry = service("10.0.1.5", "10.0.2.7")
    entry.backends[1].weight = 0
    assert put(bouncer, entry) == []
    assert set(places(bouncer)) == {entry.backends[0].address}
    backends = [json.loads(each) for each in bouncer.rows("backends")]
    assert {each["address"]: each["weight"] for each in backends} == {"10.0.1.5": 1, "10.0.2.7": 0}


def test_scaled_endpoint_is_a_location_without_a_host(bouncer: Host) -> None:
    located = node_pb2.LocationSet(vni=VNI, network=NETWORK, addresses=[SHOP], hosts=[0])
    assert not bouncer.apply(upsert=node_pb2.Tables(locations=[located])).errors
    (scaled,) = [json.loads(each) for each in bouncer.rows("locations") if json.loads(each)["scaled"]]
    assert (scaled["address"], scaled["host"]) == ("10.0.1.100", None)


def test_same_service_again_writes_nothing(bouncer: Host) -> None:
    put(bouncer, service(*many(5)))
    before = bouncer.node.output.rows_written, bouncer.node.output.rows_removed
    put(bouncer, service(*reversed(many(5))))
    assert (bouncer.node.output.rows_written, bouncer.node.output.rows_removed) == before


def test_changed_backends_keep_the_id_and_rewrite_only_what_differs(bouncer: Host) -> None:
    put(bouncer, service(*many(30)))
    was = row(bouncer)
    before = bouncer.node.output.rows_written
    entry = service(*many(31)[1:])
    assert put(bouncer, entry) == []
    assert row(bouncer) == was
    assert places(bouncer) == expected(entry)
    assert len(bouncer.rows("backends")) == 30
    assert bouncer.node.output.rows_written - before < 4093 // layout.MAGLEV_ROW


def test_table_of_another_size_gets_another_id_and_nothing_of_the_old_stays(bouncer: Host) -> None:
    put(bouncer, service(*many(2)))
    was = row(bouncer)
    entry = service(*many(3))
    put(bouncer, entry)
    assert row(bouncer)["id"] != was["id"]
    assert row(bouncer)["slot"] == was["slot"]
    assert (row(bouncer)["places"], places(bouncer)) == (1021, expected(entry))
    assert len(bouncer.rows("backends")) == 3


class Spy:
    """Records which tables are written and deleted from, in order."""

    def __init__(self, plane: protocol.DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        update, delete = plane.update, plane.delete

        def note_update(table: str, keys: layout.Rows, rows: layout.Rows) -> None:
            self.calls.append(("put", str(table)))
            update(table, keys, rows)

        def note_delete(table: str, keys: layout.Rows) -> int:
            self.calls.append(("del", str(table)))
            return delete(table, keys)

        monkeypatch.setattr(plane, "update", note_update)
        monkeypatch.setattr(plane, "delete", note_delete)


def test_nothing_leads_to_rows_that_are_not_there(bouncer: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bouncer, service(*many(2)))
    spy = Spy(bouncer.plane, monkeypatch)
    put(bouncer, service(*many(3)))
    made, gone = ["mz_backends4", "mz_maglev4", "mz_services4"], ["mz_maglev4", "mz_backends4"]
    assert spy.calls == [("put", name) for name in made] + [("del", name) for name in gone]
    spy.calls.clear()
    bouncer.apply(remove=node_pb2.Keys(services=[service().key]))
    assert spy.calls == [("del", name) for name in ("mz_services4", "mz_maglev4", "mz_backends4")]


def test_no_backend_is_a_service_that_refuses(bouncer: Host) -> None:
    put(bouncer, service(*many(2)))
    put(bouncer, service())
    assert row(bouncer)["places"] == 0
    assert bouncer.rows("maglev") == bouncer.rows("backends") == []


def test_removed_service_leaves_nothing_and_gives_its_slot_back(bouncer: Host) -> None:
    for _ in range(100):  # more than there are slots
        assert put(bouncer, service(*many(3))) == []
        bouncer.apply(remove=node_pb2.Keys(services=[service().key]))
    assert bouncer.rows("services") == bouncer.rows("maglev") == bouncer.rows("backends") == []
    assert bouncer.parts.journal.services() == {}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"key": node_pb2.ServiceKey(vni=99)}, "VPC with VNI 99 is not known here: send its Vpc first"),
        ({"key": node_pb2.ServiceKey(port=70000)}, "port 70000: must be 1 to 65535"),
        ({"target_port": 70000}, "target port 70000: must be 1 to 65535"),
        ({"affinity_seconds": 2_000_000}, "affinity of 2000000 s: at most 1966020"),
        ({"backends": [node_pb2.Backend(address=1, weight=101)]}, "weight 101 of backend 0.0.0.1: must be 0"),
        ({"backends": [node_pb2.Backend(address=1, weight=1)] * 2}, "backend 0.0.0.1 is listed twice"),
    ],
)
def test_wrong_service_is_refused_and_the_others_are_taken(
    bouncer: Host, broken: dict[str, Any], says: str
) -> None:
    good = service("10.0.1.5", key=node_pb2.ServiceKey(port=443))
    (error,) = put(bouncer, service(**broken), good)
    assert error.table == "services"
    assert says in error.message
    assert row(bouncer)["port"] == 443


def test_protocol_without_ports_is_refused(bouncer: Host) -> None:
    entry = service()
    entry.key.protocol = node_pb2.PROTOCOL_UNSPECIFIED
    assert put(bouncer, entry)[0].message == "protocol 0: must be TCP, UDP, SCTP"
    assert put(bouncer, entry)[0].key == "5/10.0.1.100:80/0"


# ---------------------------------------------------------------- restart and snapshots


def test_restart_keeps_ids_and_writes_nothing(bouncer: Host) -> None:
    entry = service(*many(5))
    put(bouncer, entry)
    was = row(bouncer)
    restarted = bouncer.reopen()
    bouncer.apply(mode=BEGIN, upsert=tables())
    bouncer.apply(mode=node_pb2.SyncRequest.SNAPSHOT_PART, upsert=node_pb2.Tables(services=[entry]))
    bouncer.apply(mode=PRUNE)
    assert (restarted.output.rows_written, restarted.output.rows_removed) == (0, 0)
    assert row(bouncer) == was
    put(bouncer, service("10.0.1.5", key=node_pb2.ServiceKey(port=443)))
    found = [json.loads(each) for each in bouncer.rows("services")]
    assert len({each["id"] for each in found}) == len({each["slot"] for each in found}) == 2


def test_restart_finds_what_a_crash_left_half_written(bouncer: Host) -> None:
    entry = service(*many(5))
    put(bouncer, entry)
    keys, _ = bouncer.plane.dump("mz_maglev4")
    bouncer.plane.update("mz_maglev4", keys[:3], np.zeros(3, dtype=layout.MAGLEV4))
    orphan = np.array([(77, 0)], dtype=layout.MAGLEV_KEY4)
    bouncer.plane.update("mz_maglev4", orphan, np.zeros(1, dtype=layout.MAGLEV4))
    bouncer.reopen()
    put(bouncer, entry)
    assert places(bouncer) == expected(entry)


def test_restart_remembers_names(bouncer: Host) -> None:
    put(bouncer, service(*many(2)))
    bouncer.reopen()
    assert [each.service for each in bouncer.node.counters().roles if each.service] == ["blue/shop"]


def test_prune_takes_services_that_were_not_named(bouncer: Host) -> None:
    other = service(*many(2), key=node_pb2.ServiceKey(port=443))
    put(bouncer, service(*many(2)), other)
    bouncer.apply(mode=BEGIN, upsert=tables())
    put(bouncer, other)
    bouncer.apply(mode=PRUNE)
    assert row(bouncer)["port"] == 443


def test_full_table_refuses_the_service_and_keeps_the_old(host: Host) -> None:
    host.apply(upsert=tables())
    small = service(*many(2))
    put(host, small)
    before = {table: host.rows(table) for table in ("services", "maglev", "backends")}
    room = layout.TABLES[layout.Table.BACKENDS4].max_entries - 2
    filler = np.zeros(room, dtype=layout.BACKEND_KEY4)
    filler["service"], filler["addr"] = 99, np.arange(room)
    host.plane.update("mz_backends4", filler, np.zeros(room, dtype=layout.BACKEND4))
    (error,) = put(host, service(*many(3)))
    assert "row 0 of 3 to map mz_backends4" in error.message
    host.plane.delete("mz_backends4", filler)
    assert {table: host.rows(table) for table in before} == before
    assert put(host, service(*many(3))) == []


@pytest.mark.parametrize("seed", range(4))
def test_any_history_leaves_the_tables_of_what_is_wanted(bouncer: Host, seed: int) -> None:
    chance = random.Random(seed)
    wanted: dict[int, node_pb2.Service] = {}
    for _ in range(30):
        port = chance.choice((80, 443, 8080))
        entry = service(
            *chance.sample(many(12), chance.randrange(13)),
            weight=chance.choice((1, 3)),
            key=node_pb2.ServiceKey(port=port),
        )
        match chance.randrange(8):
            case 0:
                bouncer.apply(remove=node_pb2.Keys(services=[entry.key]))
                wanted.pop(port, None)
            case 1:
                bouncer.reopen()
            case _:
                assert put(bouncer, entry) == []
                wanted[port] = entry
        assert tables_by_port(bouncer) == {at: expected(each) for at, each in wanted.items()}
        assert weights_by_port(bouncer) == {
            at: {each.address: each.weight for each in of.backends} for at, of in wanted.items()
        }


def tables_by_port(host: Host) -> dict[int, list[int]]:
    """Maglev tables as programs see them; none is left that no service leads to."""
    keys, held = host.plane.dump("mz_maglev4")
    services = {each["id"]: each for each in map(json.loads, host.rows("services"))}
    assert set(keys["service"].tolist()) <= services.keys()
    found: dict[int, list[int]] = {}
    for number, each in services.items():
        mine = keys["service"] == number
        places = held["backends"][mine][np.argsort(keys["row"][mine])].ravel()
        assert len(places) == -(-each["places"] // layout.MAGLEV_ROW) * layout.MAGLEV_ROW
        found[each["port"]] = places[: each["places"]].tolist()
    return found


def weights_by_port(host: Host) -> dict[int, dict[int, int]]:
    keys, held = host.plane.dump("mz_backends4")
    ports = {each["id"]: each["port"] for each in map(json.loads, host.rows("services"))}
    found: dict[int, dict[int, int]] = {port: {} for port in ports.values()}
    for (number, address), (weight,) in zip(keys.tolist(), held.tolist(), strict=True):
        found[ports[number]][address] = weight
    return found


# ---------------------------------------------------------------- counters


def test_flows_are_counted_by_scaled_endpoint(bouncer: Host) -> None:
    put(bouncer, service(*many(2)), service(*many(2), key=node_pb2.ServiceKey(port=443)))
    counted = [each for each in bouncer.node.counters().roles if each.role == node_pb2.RoleCount.SERVICE]
    assert [(each.vni, each.service, each.packets) for each in counted] == [(VNI, "blue/shop", 0)]


# ---------------------------------------------------------------- checks


def check(name: str = "web-1", **fields: Any) -> node_pb2.Check:
    made = node_pb2.Check(
        key=node_pb2.CheckKey(endpoint=node_pb2.EndpointKey(vpc="blue", name=name), service="blue/shop"),
        kind=node_pb2.Check.HTTP_GET,
        port=8080,
        path="/health",
        interval_ms=2000,
        timeout_ms=1000,
        failures=2,
        successes=1,
    )
    made.MergeFrom(node_pb2.Check(**fields))
    return made


def test_checks_are_kept_over_a_restart_and_pruned(bouncer: Host) -> None:
    assert not bouncer.apply(upsert=node_pb2.Tables(checks=[check(), check("web-2")])).errors
    assert list(bouncer.reopen().checks().values()) == [check(), check("web-2")]
    bouncer.apply(mode=BEGIN, upsert=node_pb2.Tables(checks=[check("web-2")]))
    bouncer.apply(mode=PRUNE)
    assert list(bouncer.reopen().checks().values()) == [check("web-2")]


def test_removed_check_is_forgotten(bouncer: Host) -> None:
    bouncer.apply(upsert=node_pb2.Tables(checks=[check()]))
    bouncer.node.health.report(health.key_of(check().key), health.Result(True))
    bouncer.apply(remove=node_pb2.Keys(checks=[check().key]))
    assert bouncer.node.checks() == bouncer.node.health.results() == {}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"port": 70000}, "port 70000: must be 1 to 65535"),
        ({"path": "health"}, "path 'health': must begin with / and have no spaces"),
        ({"path": "/a b"}, "path '/a b': must begin with /"),
        ({"interval_ms": 50}, "interval 50 ms: must be 100 to 3600000"),
        ({"failures": 1001}, "failures 1001: must be 1 to 1000"),
        ({"kind": 9}, "kind 9: must be one of UP, TCP_CONNECT, HTTP_GET"),
    ],
)
def test_wrong_check_is_refused(bouncer: Host, broken: dict[str, Any], says: str) -> None:
    (error,) = bouncer.apply(upsert=node_pb2.Tables(checks=[check(**broken)])).errors
    assert (error.table, error.key) == ("checks", "blue/web-1 for blue/shop")
    assert says in error.message


def test_endpoint_of_a_check_is_where_it_was_attached(bouncer: Host) -> None:
    bouncer.apply(upsert=node_pb2.Tables(endpoints=[endpoint()]))
    found = bouncer.node.attached("blue", "web-1")
    assert found is not None
    assert (found.netns, found.ifname, found.address) == ("mizar.blue.web-1", "eth0", endpoint().addresses[0])
    assert bouncer.node.attached("blue", "web-2") is None

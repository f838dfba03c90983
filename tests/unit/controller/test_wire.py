# SPDX-License-Identifier: Apache-2.0
"""Rows to messages of the node API, and refusals back to rows."""

from __future__ import annotations

from mizar.controller import wire
from mizar.controller.hostqueue import Item, Mode, Outgoing
from mizar.plan import rows
from mizar.plan.delta import Batch
from mizar.plan.rows import Row, Table
from mizar.rpc.gen.mizar.node.v1 import node_pb2

EVERY: list[Row] = [
    rows.HostRow(0x0A000001, "h1"),
    rows.VpcRow(7, "blue", (0x0A000001, 0x0A000002), divides=True),
    rows.NetworkRow(3, 7, "web", bounces=True),
    rows.RouteRow(7, 0x0A000100, 24, rows.RouteKind.NETWORK, 3, 8),
    rows.ShardRow(3, 0, (0x0A000001,)),
    rows.LocationRow(7, 3, 0x0A000105, 0x0A000002),
    rows.EndpointRow(
        "blue", "web-1", 7, 3, 8, b"\x02\0\0\0\0\x01", (0x0A000105,), ((0x0A000100, 24),), 1400, "ns", "eth0"
    ),
]
SERVICES: list[Row] = [
    rows.ServiceRow(7, 0x0A000164, 80, 6, "blue/shop", 8080, 60, ((0x0A000105, 3),), 99),
    rows.GatewayRow(7, "blue/out", (0xC0000201,), 2000, 3000),
    rows.FloatingRow(0xC0000214, 7, 0x0A000105, answers=True),
    rows.ForwardRow(0xC0000201, 2222, 6, 7, 0x0A000105, 22, answers=False),
    rows.CheckRow("blue", "web-1", "blue/shop", rows.CheckKind.HTTP, 8080, "/", 2000, 1000, 2, 1, 99, 1),
]


def outgoing(upserts: list[Row], removals: list[rows.Key] | None = None, mode: Mode = Mode.DELTA) -> Outgoing:
    message = Outgoing(mode)
    batch = Batch(upserts, removals or [])
    message.add(Item(batch, revision=5, mode=mode), 1000)
    return message


def test_every_kind_of_row_arrives_whole() -> None:
    made = wire.request(outgoing(EVERY))
    assert made.revision == 5
    assert made.upsert == node_pb2.Tables(
        hosts=[node_pb2.Host(address=0x0A000001, name="h1")],
        vpcs=[node_pb2.Vpc(vni=7, name="blue", dividers=[0x0A000001, 0x0A000002], divides=True)],
        networks=[node_pb2.Network(id=3, vni=7, name="web", bounces=True)],
        routes=[
            node_pb2.Route(
                key=node_pb2.RouteKey(vni=7, prefix=0x0A000100, length=24),
                kind=node_pb2.Route.NETWORK,
                network=3,
                shards=8,
            )
        ],
        shards=[node_pb2.ShardSet(network=3, replicas=[node_pb2.Replicas(hosts=[0x0A000001])])],
        locations=[node_pb2.LocationSet(vni=7, network=3, addresses=[0x0A000105], hosts=[0x0A000002])],
        endpoints=[
            node_pb2.Endpoint(
                key=node_pb2.EndpointKey(vpc="blue", name="web-1"),
                vni=7,
                network=3,
                shards=8,
                mac=b"\x02\0\0\0\0\x01",
                addresses=[0x0A000105],
                onlink=[node_pb2.Prefix(address=0x0A000100, length=24)],
                mtu=1400,
                veth=node_pb2.Veth(netns="ns", ifname="eth0"),
            )
        ],
    )


def test_every_kind_of_key_arrives() -> None:
    made = wire.request(outgoing([], [row.key for row in EVERY]))
    assert made.remove == node_pb2.Keys(
        hosts=[0x0A000001],
        vpcs=[7],
        networks=[3],
        routes=[node_pb2.RouteKey(vni=7, prefix=0x0A000100, length=24)],
        shards=[3],
        locations=[node_pb2.AddressSet(vni=7, addresses=[0x0A000105])],
        endpoints=[node_pb2.EndpointKey(vpc="blue", name="web-1")],
    )


def test_rows_of_services_and_gateways_arrive_whole() -> None:
    made = wire.tables(SERVICES)
    service, backend = (
        node_pb2.ServiceKey(vni=7, address=0x0A000164, port=80, protocol=node_pb2.TCP),
        0x0A000105,
    )
    forward = node_pb2.PortForwardKey(address=0xC0000201, port=2222, protocol=node_pb2.TCP)
    assert made == node_pb2.Tables(
        services=[
            node_pb2.Service(
                key=service,
                name="blue/shop",
                target_port=8080,
                affinity_seconds=60,
                backends=[node_pb2.Backend(address=backend, weight=3)],
            )
        ],
        gateways=[
            node_pb2.Gateway(vni=7, name="blue/out", addresses=[0xC0000201], first_port=2000, last_port=3000)
        ],
        floating=[node_pb2.FloatingAddress(address=0xC0000214, vni=7, endpoint=backend, answers=True)],
        forwards=[node_pb2.PortForward(key=forward, vni=7, endpoint=backend, target_port=22)],
        checks=[
            node_pb2.Check(
                key=CHECK,
                kind=node_pb2.Check.HTTP_GET,
                port=8080,
                path="/",
                interval_ms=2000,
                timeout_ms=1000,
                failures=2,
                successes=1,
            )
        ],
    )
    assert wire.keys([row.key for row in SERVICES]) == node_pb2.Keys(
        services=[service], gateways=[7], floating=[0xC0000214], forwards=[forward], checks=[CHECK]
    )


CHECK = node_pb2.CheckKey(endpoint=node_pb2.EndpointKey(vpc="blue", name="web-1"), service="blue/shop")


def test_declared_routes_say_their_target_and_table() -> None:
    appliance = rows.RouteRow(7, 0, 0, rows.RouteKind.APPLIANCE, endpoint=0x0A000105, table=3)
    peer = rows.RouteRow(7, 0x0B000000, 8, rows.RouteKind.NETWORK, 12, 8, peer_vni=9)
    table = node_pb2.RouteKey(vni=7, prefix=0, length=0, network=3)
    assert list(wire.tables([appliance, peer]).routes) == [
        node_pb2.Route(key=table, kind=node_pb2.Route.APPLIANCE, endpoint=0x0A000105),
        node_pb2.Route(
            key=node_pb2.RouteKey(vni=7, prefix=0x0B000000, length=8),
            kind=node_pb2.Route.NETWORK,
            network=12,
            shards=8,
            peer_vni=9,
        ),
    ]
    assert list(wire.keys([appliance.key]).routes) == [table]


def test_endpoints_say_what_they_may() -> None:
    plain = EVERY[-1]
    assert isinstance(plain, rows.EndpointRow)
    made = wire.endpoint(plain._replace(forwarding=True, own_routes=True))
    assert (made.forwarding, made.own_routes) == (True, True)


def test_consecutive_shards_of_a_network_are_one_set() -> None:
    shards: list[Row] = [rows.ShardRow(net, i, (i,)) for net in (4, 3) for i in (5, 1, 2, 0)]
    made = wire.tables(shards)
    assert [(one.network, one.first_shard, len(one.replicas)) for one in made.shards] == [
        (3, 0, 3),
        (3, 5, 1),
        (4, 0, 3),
        (4, 5, 1),
    ]
    assert [list(one.hosts) for one in made.shards[0].replicas] == [[0], [1], [2]]


def test_of_two_rows_of_one_shard_the_later_counts() -> None:
    made = wire.tables([rows.ShardRow(3, 0, (1,)), rows.ShardRow(3, 0, (2,))])
    assert [list(one.hosts) for one in made.shards[0].replicas] == [[2]]


def attached(name: str, address: int, **changed: object) -> rows.EndpointRow:
    row = rows.EndpointRow("blue", name, 7, 3, 8, b"\x02\0\0\0\0\x01", (address,), (), 0, "", "")
    return row._replace(**changed)  # type: ignore[arg-type]


def test_endpoints_that_are_alike_are_one_set() -> None:
    alike = [attached(f"web-{number}", number, mac=bytes([2, 0, 0, 0, 0, number])) for number in (1, 2, 3)]
    odd = [attached("web-4", 4, netns="ns"), attached("web-5", 5, addresses=(5, 6))]
    made = wire.request(outgoing([*alike, *odd])).upsert
    (together,) = made.endpoint_sets
    assert together.common == wire.endpoint(attached("", 0, mac=b"", addresses=()))
    assert list(together.names) == ["web-1", "web-2", "web-3"]
    assert list(together.addresses) == [1, 2, 3]
    assert together.macs == b"".join(row.mac for row in alike)
    assert list(made.endpoints) == [wire.endpoint(row) for row in odd]


def test_of_two_rows_of_one_endpoint_the_later_counts() -> None:
    first, second = attached("web-1", 1), attached("web-1", 1, netns="ns")
    made = wire.request(outgoing([first, attached("web-2", 2), second])).upsert
    told = {one.key.name: one.veth.netns for one in made.endpoints}
    assert told == {"web-1": "ns", "web-2": ""}
    assert not made.endpoint_sets


def test_removing_all_shards_names_the_network_once() -> None:
    assert list(wire.keys([(Table.SHARDS, 3, i) for i in range(8)]).shards) == [3]


def test_modes_are_those_of_the_node_api() -> None:
    for mode in Mode:
        assert wire.request(outgoing([], mode=mode)).mode == node_pb2.SyncRequest.Mode.Value(mode.name)


def ack(*errors: tuple[str, str, str]) -> node_pb2.SyncAck:
    return node_pb2.SyncAck(
        revision=5,
        errors=[node_pb2.EntryError(table=table, key=key, message=text) for table, key, text in errors],
    )


def test_a_refused_endpoint_is_found_by_its_name() -> None:
    found = wire.refused(outgoing(EVERY), ack(("endpoints", "blue/web-1", "no namespace")))
    assert found == {(Table.ENDPOINTS, "blue", "web-1"): "no namespace"}


def test_a_refused_host_is_found_by_its_address() -> None:
    found = wire.refused(outgoing(EVERY), ack(("hosts", "10.0.0.1", "no")))
    assert found == {(Table.HOSTS, 0x0A000001): "no"}


def test_refused_rows_of_services_are_found_by_their_names() -> None:
    texts = {
        "services": "7/10.0.1.100:80/tcp",
        "gateways": "7",
        "floating": "192.0.2.20",
        "forwards": "192.0.2.1:2222/tcp",
        "checks": "blue/web-1 for blue/shop",
    }
    for row, (table, text) in zip(SERVICES, texts.items(), strict=True):
        assert wire.refused(outgoing([*EVERY, *SERVICES]), ack((table, text, "no"))) == {row.key: "no"}


def test_an_error_in_a_batch_stands_for_all_rows_of_its_table() -> None:
    located: list[Row] = [rows.LocationRow(7, 3, address, 1) for address in range(3)]
    found = wire.refused(outgoing([*EVERY[:3], *located]), ack(("locations", "7/0.0.0.1", "table full")))
    assert found == {row.key: "locations 7/0.0.0.1: table full" for row in located}


def test_an_error_that_names_nothing_stands_for_the_message() -> None:
    found = wire.refused(outgoing(EVERY), ack(("config", "", "odd")))
    assert found.keys() == {row.key for row in EVERY}


def test_an_ack_without_errors_refuses_nothing() -> None:
    assert wire.refused(outgoing(EVERY), ack()) == {}

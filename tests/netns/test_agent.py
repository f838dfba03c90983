# SPDX-License-Identifier: Apache-2.0
"""The agent on the real kernel: two of them, driven by hand over the node API.

h1  172.31.7.1  eth0 ------------------ eth0  172.31.7.2  h2
agent                                               agent
divides and bounces VPC "blue"
endpoint a  10.0.1.5                                endpoint b  10.0.1.6
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import re
import threading
import time
from collections.abc import Iterator
from typing import Final

import grpc
import pytest

from mizar.agent import namespaces, tunnel_port
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc
from tests.support import agents, netns

VPC: Final = f"blue{os.getpid()}"
VNI: Final = 0x0B1E
NETWORK: Final = 7
SHARDS: Final = 16
H1, H2 = "172.31.7.1", "172.31.7.2"
A, B = "10.0.1.5", "10.0.1.6"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two hosts with an agent each."""

    a1: agents.Agent
    a2: agents.Agent

    @property
    def both(self) -> tuple[agents.Agent, agents.Agent]:
        return self.a1, self.a2


def endpoint(name: str, address: str, *, netns: str = "", mtu: int = 0) -> node_pb2.Endpoint:
    number = values.address(address)
    return node_pb2.Endpoint(
        key=node_pb2.EndpointKey(vpc=VPC, name=name),
        vni=VNI,
        network=NETWORK,
        shards=SHARDS,
        mac=b"\x02\x00" + number.to_bytes(4, "big"),
        addresses=[number],
        onlink=[values.prefix("10.0.1.0/24")],
        mtu=mtu,
        veth=node_pb2.Veth(netns=netns),
    )


def tables(of: agents.Agent, *attached: node_pb2.Endpoint) -> node_pb2.Tables:
    """All that a host needs: h1 is divider and bouncer of everything."""
    h1, h2 = values.address(H1), values.address(H2)
    is_h1 = of.name == "h1"
    located = [values.address(A), values.address(B)]
    return node_pb2.Tables(
        hosts=[node_pb2.Host(address=h1, name="h1"), node_pb2.Host(address=h2, name="h2")],
        vpcs=[node_pb2.Vpc(vni=VNI, name=VPC, dividers=[h1], divides=is_h1)],
        networks=[node_pb2.Network(id=NETWORK, vni=VNI, name=f"{VPC}/web", bounces=is_h1)],
        routes=[
            node_pb2.Route(
                key=node_pb2.RouteKey(vni=VNI, prefix=values.address("10.0.1.0"), length=24),
                kind=node_pb2.Route.NETWORK,
                network=NETWORK,
                shards=SHARDS,
            )
        ],
        shards=[node_pb2.ShardSet(network=NETWORK, replicas=[node_pb2.Replicas(hosts=[h1])] * SHARDS)],
        locations=[node_pb2.LocationSet(vni=VNI, network=NETWORK, addresses=located, hosts=[h1, h2])]
        if is_h1
        else [],
        endpoints=attached,
    )


def apply(to: agents.Agent, **fields: object) -> None:
    """One message that must be taken in full."""
    ack = to.node.Apply(node_pb2.SyncRequest(**fields))  # type: ignore[arg-type]
    assert not ack.errors, ack.errors


def inside(status: node_pb2.EndpointStatus) -> netns.Namespace:
    return netns.Namespace(status.netns)


@contextlib.contextmanager
def two_hosts(state: pathlib.Path, transit: str) -> Iterator[Pair]:
    with netns.namespace("h1") as h1, netns.namespace("h2") as h2:
        netns.wire(h1, f"{H1}/24", h2, f"{H2}/24")
        with (
            agents.agent(h1, "h1", state, transit=transit) as a1,
            agents.agent(h2, "h2", state, transit=transit) as a2,
        ):
            for each in (a1, a2):
                apply(each, revision=1, upsert=tables(each))
            yield Pair(a1, a2)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_hosts(tmp_path_factory.mktemp("agents"), "auto") as made:
        yield made


@pytest.fixture
def attached(pair: Pair) -> Iterator[tuple[node_pb2.EndpointStatus, node_pb2.EndpointStatus]]:
    """Endpoint a on h1, endpoint b on h2."""
    a, b = endpoint("a", A), endpoint("b", B)
    yield pair.a1.node.CreateEndpoint(a), pair.a2.node.CreateEndpoint(b)
    pair.a1.node.RemoveEndpoint(a.key)
    pair.a2.node.RemoveEndpoint(b.key)


Attached = tuple[node_pb2.EndpointStatus, node_pb2.EndpointStatus]


def test_ping_flows_both_ways_through_two_agents_driven_by_hand(pair: Pair, attached: Attached) -> None:
    a, b = attached
    assert "3 received" in inside(a).run("ping", "-c3", "-i0.1", "-W2", B).stdout
    assert "3 received" in inside(b).run("ping", "-c3", "-i0.1", "-W2", A).stdout
    learnt = [json.loads(row) for row in pair.a2.rows("direct")]
    assert {"vni": VNI, "address": A, "host": H1} in [
        {k: row[k] for k in ("vni", "address", "host")} for row in learnt
    ]


def test_bulk_tcp_keeps_segmentation_offload(pair: Pair, attached: Attached) -> None:
    a, b = attached
    server = inside(b).start("iperf3", "-s", "-1")
    netns.until(lambda: "5201" in inside(b).run("ss", "-lnt").stdout, "iperf3 listens")
    inside(a).run("iperf3", "-c", B, "-n", "256M", timeout=60)
    server.wait(timeout=10)
    (sent,) = (each.traffic for each in pair.a1.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints)
    assert sent.tx_bytes > 4 * 1500 * sent.tx_packets, "packets of many segments are counted once"


def test_endpoint_has_what_plain_tools_expect(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    assert (a.ready, a.mtu, a.netns) == (True, 1500 - 64, f"mizar.{VPC}.a")
    with inside(a).netlink() as ip:
        link = ip.get_links(ifname="eth0")[0]
        assert link.get("mtu") == a.mtu
        assert link.get("address") == a.mac.hex(":")
        assert [(e.get("local"), e["prefixlen"]) for e in ip.get_addr(index=link["index"])] == [(A, 24)]
        gateways = [route.get("gateway") for route in ip.get_default_routes(family=2)]
    assert gateways == ["169.254.1.1"]
    with pair.a1.where.netlink() as ip:
        assert ip.get_links(a.ifindex)[0].get("ifalias") == f"mizar:{VPC}/a"


def test_creating_again_changes_nothing(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    assert pair.a1.node.CreateEndpoint(endpoint("a", A)).ifindex == a.ifindex


def test_mtu_and_mac_change_in_place(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    wanted = endpoint("a", A, mtu=1300)
    wanted.mac = b"\x02\x00\x00\x00\x00\x99"
    changed = pair.a1.node.CreateEndpoint(wanted)
    assert (changed.ifindex, changed.mtu, changed.mac) == (a.ifindex, 1300, wanted.mac)
    assert "2 received" in inside(a).run("ping", "-c2", "-i0.1", "-W2", B).stdout


def test_killed_agent_loses_no_packet(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    running = inside(a).start("ping", "-i0.02", "-c250", "-W2", B)
    netns.until(lambda: "direct" in _verdicts(pair.a1), "the flow is direct")
    pair.a1.kill()
    pair.a1.start()
    output, _ = running.communicate(timeout=30)
    assert "250 packets transmitted, 250 received" in output


def _verdicts(of: agents.Agent) -> set[str]:
    return {count.name for count in of.node.GetCounters(node_pb2.GetCountersRequest()).verdicts}


def test_restart_adopts_everything_and_writes_nothing(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    before = {
        table: sorted(pair.a1.rows(table)) for table in ("vpcs", "routes", "shards", "locations", "ports")
    }
    pair.a1.kill()
    pair.a1.start()
    assert pair.a1.node.GetStatus(node_pb2.GetStatusRequest()).revision == 1
    listed = pair.a1.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints
    assert [(each.key.name, each.ifindex, each.ready) for each in listed] == [("a", a.ifindex, True)]
    wanted = tables(pair.a1, endpoint("a", A))
    apply(pair.a1, revision=2, mode=node_pb2.SyncRequest.SNAPSHOT_BEGIN, upsert=wanted)
    apply(pair.a1, revision=2, mode=node_pb2.SyncRequest.PRUNE)
    assert {table: sorted(pair.a1.rows(table)) for table in before} == before
    reconciled = re.findall(r"reconciled .*: (\d+) rows written, (\d+) removed", pair.a1.log.read_text())
    assert reconciled[-1] == ("0", "0")
    apply(pair.a1, revision=1)


def test_prune_removes_what_the_snapshot_did_not_name(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    apply(pair.a1, mode=node_pb2.SyncRequest.SNAPSHOT_BEGIN, upsert=tables(pair.a1))
    apply(pair.a1, mode=node_pb2.SyncRequest.PRUNE)
    assert not pair.a1.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints
    assert a.ifname not in pair.a1.where.interfaces()
    assert len(pair.a1.rows("shards")) == SHARDS


def test_removing_leaves_nothing_behind(pair: Pair) -> None:
    before = pair.a1.where.interfaces()
    made = pair.a1.node.CreateEndpoint(endpoint("a", A))
    assert pair.a1.node.RemoveEndpoint(made.key).existed
    assert not pair.a1.node.RemoveEndpoint(made.key).existed
    assert pair.a1.where.interfaces() == before
    assert not inside(made).path.exists()
    assert pair.a1.rows("endpoints") == pair.a1.rows("ports") == []
    assert not [pin for pin in pair.a1.pins.glob("v*/links/*") if "endpoint" in pin.name]


def test_namespace_of_others_is_used_and_left(pair: Pair) -> None:
    with netns.namespace("pod") as pod:
        made = pair.a1.node.CreateEndpoint(endpoint("c", "10.0.1.7", netns=pod.name))
        assert made.netns == pod.name
        assert pod.interfaces() == {"lo", "eth0"}
        pair.a1.node.RemoveEndpoint(made.key)
        assert pod.interfaces() == {"lo"}


def test_failure_leaves_nothing_half_made(pair: Pair) -> None:
    before = pair.a1.where.interfaces()
    with pytest.raises(grpc.RpcError) as missing:
        pair.a1.node.CreateEndpoint(endpoint("c", "10.0.1.7", netns="no-such-namespace"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    with netns.namespace("pod") as pod:
        with pod.netlink() as ip:
            ip.link("add", ifname="eth0", kind="veth", peer={"ifname": "other"})
        with pytest.raises(grpc.RpcError) as taken:
            pair.a1.node.CreateEndpoint(endpoint("c", "10.0.1.7", netns=pod.name))
    assert "already has an interface eth0" in str(taken.value)
    assert pair.a1.where.interfaces() == before
    assert pair.a1.rows("endpoints") == pair.a1.rows("ports") == []


def test_interface_that_goes_takes_its_rows_along_and_comes_back_on_request(pair: Pair) -> None:
    with netns.namespace("pod") as pod:
        wanted = endpoint("c", "10.0.1.7", netns=pod.name)
        pair.a1.node.CreateEndpoint(wanted)
        with pod.netlink() as ip:
            ip.link("del", ifname="eth0")
        netns.until(lambda: not pair.a1.rows("ports"), "rows of the interface are gone")
        listed = pair.a1.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints
        assert [each.ready for each in listed] == [False]
        assert pair.a1.node.CreateEndpoint(wanted).ready
        pair.a1.node.RemoveEndpoint(wanted.key)


def test_endpoint_that_moves_to_another_agent_of_the_machine_keeps_its_name(pair: Pair) -> None:
    wanted = endpoint("m", "10.0.1.8")
    pair.a1.node.CreateEndpoint(wanted)
    moved = pair.a2.node.CreateEndpoint(wanted)
    pair.a1.node.RemoveEndpoint(wanted.key)
    assert inside(moved).interfaces() == {"lo", "eth0"}
    pair.a2.node.RemoveEndpoint(wanted.key)
    assert not inside(moved).path.exists()


def test_agent_killed_while_it_makes_and_removes_endpoints_comes_back_whole(pair: Pair) -> None:
    generator = random.Random(20)
    for _ in range(3):
        churn = threading.Thread(target=_churn, args=(pair.a1.node,))
        churn.start()
        time.sleep(generator.uniform(0.1, 0.4))  # the moment of the crash, not a wait for anything
        pair.a1.kill()
        churn.join()
        pair.a1.start()
        listed = pair.a1.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints
        assert all(each.ready for each in listed)
        assert pair.a1.where.interfaces() == {"lo", "eth0", tunnel_port.DEVICE} | {
            each.ifname for each in listed
        }
        assert len(pair.a1.rows("ports")) == len(pair.a1.rows("endpoints")) == len(listed)
        named = {path.name for path in namespaces.RUN_DIR.glob(f"mizar.{VPC}.*")}
        assert named == {each.netns for each in listed}
    for each in listed:
        pair.a1.node.RemoveEndpoint(each.key)


def _churn(node: node_pb2_grpc.NodeStub) -> None:
    """Make and remove until the agent is gone."""
    with contextlib.suppress(grpc.RpcError, ValueError):
        for number in itertools.cycle(range(4)):
            wanted = endpoint(f"c{number}", f"10.0.1.{50 + number}")
            node.CreateEndpoint(wanted)
            if number % 2:
                node.RemoveEndpoint(wanted.key)


def test_endpoints_follow_the_underlay_mtu(pair: Pair, attached: Attached) -> None:
    a, _ = attached
    try:
        _set_mtu(pair, 1400)
        netns.until(lambda: _mtu(inside(a)) == 1400 - 64, "endpoint has the new MTU")
    finally:
        _set_mtu(pair, 1500)
    netns.until(lambda: _mtu(inside(a)) == 1500 - 64, "endpoint has the old MTU")


def _set_mtu(pair: Pair, mtu: int) -> None:
    for each in pair.both:
        with each.where.netlink() as ip:
            ip.link("set", index=ip.link_lookup(ifname="eth0")[0], mtu=mtu)


def _mtu(where: netns.Namespace) -> int:
    with where.netlink() as ip:
        return int(ip.get_links(ifname="eth0")[0].get("mtu"))


def test_peer_has_its_mac_and_a_silent_bouncer_is_down(pair: Pair) -> None:
    def peer() -> dict[str, object]:
        rows = [json.loads(row) for row in pair.a2.rows("hosts")]
        return next(row for row in rows if row["address"] == H1)

    netns.until(lambda: peer()["mac"] is not None, "MAC of h1 is known")
    _set_link(pair.a1, "down")
    try:
        netns.until(lambda: peer()["flags"] == ["down"], "h1 is down")
    finally:
        _set_link(pair.a1, "up")
    netns.until(lambda: peer()["flags"] == [], "h1 is up again")


def _set_link(of: agents.Agent, state: str) -> None:
    with of.where.netlink() as ip:
        ip.link("set", index=ip.link_lookup(ifname="eth0")[0], state=state)


def test_ping_flows_with_the_transit_program_in_xdp(tmp_path: pathlib.Path) -> None:
    with two_hosts(tmp_path, "xdp") as pair:
        a = pair.a1.node.CreateEndpoint(endpoint("a", A))
        b = pair.a2.node.CreateEndpoint(endpoint("b", B))
        status = pair.a1.node.GetStatus(node_pb2.GetStatusRequest())
        assert status.transit == "xdp"
        assert "checksum offload is off" in status.transit_reason
        assert "3 received" in inside(a).run("ping", "-c3", "-i0.1", "-W2", B).stdout
        assert "3 received" in inside(b).run("ping", "-c3", "-i0.1", "-W2", A).stdout

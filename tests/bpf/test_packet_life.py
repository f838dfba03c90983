# SPDX-License-Identifier: Apache-2.0
"""The life of a packet over four hosts, program by program.

A 10.0.1.2 on H1     H2 divides     H3 bounces for B's network     B 10.0.2.3 on H4
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mizar.abi.layout import HostFlags, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import clones, world
from tests.bpf.cluster import Cluster, Step, is_lost
from tests.support import machine as machines
from tests.support import netns, packets
from tests.support.machine import Hook, Machine

H1, H2, H3, H4 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
HOSTS = (H1, H2, H3, H4)
A, B = "10.0.1.2", "10.0.2.3"
MACS = {A: "02:00:00:00:00:0a", B: "02:00:00:00:00:0b"}
VNI, PEER_VNI, SHARDS = 5, 7, 4
PREFIXES = {11: "10.0.1.0/24", 12: "10.0.2.0/24"}
NETWORKS = {A: 11, B: 12}


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def cluster(
    request: pytest.FixtureRequest, four: dict[str, Machine], loopback: netns.Namespace
) -> Iterator[Cluster]:
    """Peers, no roles."""
    with loopback.entered(), clones.Tap() as tap:
        for machine in four.values():
            machine.clear()
        for host in HOSTS:
            join(four, host)
        yield Cluster(four, request.param, tap)


def join(machines: dict[str, Machine], host: str, *, macs: bool = True) -> None:
    """The host is configured and knows the others."""
    found = machines[host]
    found.config(host, mac=world.NIC_MAC)
    for other in HOSTS:
        flags = HostFlags.SELF if other == host else 0
        found.host(other, nexthop=other, mac="02:aa:00:00:00:09" if macs else None, flags=flags)


def attach(cluster: Cluster, addr: str, host: str, *, dividers: list[str], bouncers: list[str]) -> None:
    """An endpoint is created on a host, with the tables that its host then has."""
    machine, network = cluster.machines[host], NETWORKS[addr]
    machine.vpc(VNI, dividers=dividers, flags=VpcFlags.ENDPOINTS)
    machine.route(VNI, "10.0.0.0/16", RouteKind.DIVIDER)
    machine.route(VNI, PREFIXES[network], RouteKind.NETWORK, network=network, shards=SHARDS)
    machine.shards(network, SHARDS, bouncers)
    machine.port(
        world.PORT,
        vni=VNI,
        addr=addr,
        mac=MACS[addr],
        network=network,
        shards=SHARDS,
        onlink=[PREFIXES[network]],
    )
    machine.endpoint(VNI, addr, ifindex=world.PORT, mac=MACS[addr])


def divide(cluster: Cluster, host: str, bouncers: dict[int, list[str]]) -> None:
    machine = cluster.machines[host]
    machine.vpc(VNI, dividers=[host], flags=VpcFlags.DIVIDER, slot=1)
    machine.route(VNI, "10.0.0.0/16", RouteKind.NONE)
    for network, hosts in bouncers.items():
        machine.route(VNI, PREFIXES[network], RouteKind.NETWORK, network=network, shards=SHARDS)
        machine.shards(network, SHARDS, hosts)


def bounce(cluster: Cluster, host: str, locations: dict[str, str]) -> None:
    machine = cluster.machines[host]
    if machine.get(Table.VPCS, VNI) is None:
        machine.vpc(VNI, flags=VpcFlags.BOUNCER)
    for addr, where in locations.items():
        machine.location(VNI, addr, where, slot=2)


def packet(src: str, dst: str) -> bytes:
    return packets.frame(packets.ipv4(packets.udp(), src=src, dst=dst), src=MACS[src])


def trace(steps: list[Step]) -> list[tuple[str, Verdict]]:
    return [(step.host, step.verdict) for step in steps]


@pytest.fixture
def spread(cluster: Cluster) -> Cluster:
    """Every role on a host of its own."""
    attach(cluster, A, H1, dividers=[H2], bouncers=[H3])
    attach(cluster, B, H4, dividers=[H2], bouncers=[H3])
    divide(cluster, H2, {11: [H3], 12: [H3]})
    bounce(cluster, H3, {A: H1, B: H4})
    return cluster


def test_first_packet_visits_divider_and_bouncer_and_the_next_is_direct(spread: Cluster) -> None:
    assert trace(spread.send(H1, packet(A, B))) == [
        (H1, Verdict.TO_DIVIDER),
        (H2, Verdict.DIVIDED),
        (H3, Verdict.BOUNCED),
        (H4, Verdict.DELIVERED_HERE),
        (H1, Verdict.LEARNT),
    ]
    assert trace(spread.send(H1, packet(A, B))) == [(H1, Verdict.DIRECT), (H4, Verdict.DELIVERED)]


def test_answer_is_direct_at_once(spread: Cluster) -> None:
    spread.send(H1, packet(A, B))
    assert trace(spread.send(H4, packet(B, A))) == [(H4, Verdict.DIRECT), (H1, Verdict.DELIVERED)]


def test_answer_teaches_although_here_was_lost(spread: Cluster) -> None:
    spread.send(H1, packet(A, B))
    spread.machines[H1].tables[Table.DIRECT4].delete(spread.machines[H1].tables[Table.DIRECT4].dump()[0])
    spread.send(H4, packet(B, A))
    assert spread.machines[H1].direct_host(VNI, B) == H4


def test_packet_arrives_as_it_was_sent(spread: Cluster) -> None:
    spread.send(H1, packet(A, B))
    arrived = packets.dissect(spread.send(H1, packet(A, B))[-1].frame)
    assert (arrived.src, arrived.dst) == (packets.ROUTER_MAC, MACS[B])
    assert bytes(arrived.payload.payload) == bytes(packets.dissect(packet(A, B)).payload.payload)
    assert arrived.payload.ttl == 63


def test_aged_path_is_confirmed_without_leaving_it(spread: Cluster) -> None:
    h1 = spread.machines[H1]
    h1.direct(VNI, B, H4, age_ms=machines.SOFT_MS + 100)
    steps = [(H1, Verdict.DIRECT_PROBE), (H4, Verdict.DELIVERED_HERE), (H1, Verdict.LEARNT)]
    assert trace(spread.send(H1, packet(A, B))) == steps
    assert trace(spread.send(H1, packet(A, B)))[0] == (H1, Verdict.DIRECT)


def move(cluster: Cluster, addr: str, old: str, new: str) -> None:
    """The endpoint leaves one host and is created on another; the bouncer knows."""
    cluster.machines[old].tables[Table.ENDPOINTS4].delete(
        cluster.machines[old].tables[Table.ENDPOINTS4].dump()[0]
    )
    cluster.machines[new].endpoint(VNI, addr, ifindex=world.PORT, mac=MACS[addr])
    bounce(cluster, H3, {addr: new})


@pytest.mark.parametrize("age_ms", [0, machines.SOFT_MS + 100], ids=["direct", "probe"])
def test_packet_for_a_moved_endpoint_finds_it_and_its_sender_learns(spread: Cluster, age_ms: int) -> None:
    spread.machines[H1].direct(VNI, B, H4, age_ms=age_ms)
    move(spread, B, H4, H2)
    steps = trace(spread.send(H1, packet(A, B)))
    assert set(steps[1:]) == {
        (H4, Verdict.STALE),
        (H3, Verdict.BOUNCED),
        (H2, Verdict.DELIVERED_HERE),
        (H1, Verdict.FORGOT),
        (H1, Verdict.LEARNT),
    }
    assert spread.machines[H1].direct_host(VNI, B) == H2


def test_packet_for_a_deleted_endpoint_ends_and_its_sender_forgets(spread: Cluster) -> None:
    spread.machines[H1].direct(VNI, B, H4)
    h4, h3 = spread.machines[H4], spread.machines[H3]
    h4.tables[Table.ENDPOINTS4].delete(h4.tables[Table.ENDPOINTS4].dump()[0])
    h3.tables[Table.LOCATIONS4].delete([(VNI, machines.number(B))])
    steps = trace(spread.send(H1, packet(A, B)))
    assert steps[:2] == [(H1, Verdict.DIRECT), (H4, Verdict.STALE)]
    assert set(steps[2:]) == {(H3, Verdict.DROP_NO_ENDPOINT), (H1, Verdict.FORGOT)}
    assert spread.machines[H1].direct_host(VNI, B) is None


def test_everything_on_the_senders_host(cluster: Cluster) -> None:
    """The client's host divides and bounces itself: the packet goes straight to B's."""
    attach(cluster, A, H1, dividers=[H1], bouncers=[H1])
    attach(cluster, B, H4, dividers=[H1], bouncers=[H1])
    divide(cluster, H1, {11: [H1], 12: [H1]})
    bounce(cluster, H1, {B: H4})
    assert trace(cluster.send(H1, packet(A, B))) == [
        (H1, Verdict.TO_ENDPOINT_HOST),
        (H4, Verdict.DELIVERED_HERE),
        (H1, Verdict.LEARNT),
    ]


def test_everything_on_the_receivers_host(cluster: Cluster) -> None:
    attach(cluster, A, H1, dividers=[H4], bouncers=[H4])
    divide(cluster, H4, {11: [H4], 12: [H4]})
    bounce(cluster, H4, {B: H4, A: H1})
    cluster.machines[H4].endpoint(VNI, B, ifindex=world.PORT, mac=MACS[B])
    assert trace(cluster.send(H1, packet(A, B))) == [
        (H1, Verdict.TO_DIVIDER),
        (H4, Verdict.DELIVERED_HERE),
        (H1, Verdict.LEARNT),
    ]


def test_divider_bounces_too(cluster: Cluster) -> None:
    attach(cluster, A, H1, dividers=[H2], bouncers=[H2])
    attach(cluster, B, H4, dividers=[H2], bouncers=[H2])
    divide(cluster, H2, {11: [H2], 12: [H2]})
    bounce(cluster, H2, {B: H4})
    assert trace(cluster.send(H1, packet(A, B)))[1] == (H2, Verdict.BOUNCED)
    assert cluster.machines[H2].stats(1)[0] == cluster.machines[H2].stats(2)[0] == 1


def test_stale_entry_with_the_bouncer_on_the_senders_host_does_not_circle(cluster: Cluster) -> None:
    """The bouncer has not heard that B is gone, and it forwards with the sender's address."""
    attach(cluster, A, H1, dividers=[H1], bouncers=[H1])
    attach(cluster, B, H4, dividers=[H1], bouncers=[H1])
    divide(cluster, H1, {11: [H1], 12: [H1]})
    bounce(cluster, H1, {B: H4})
    h4 = cluster.machines[H4]
    h4.tables[Table.ENDPOINTS4].delete(h4.tables[Table.ENDPOINTS4].dump()[0])
    cluster.machines[H1].direct(VNI, B, H4)
    steps = cluster.send(H1, packet(A, B))
    assert is_lost(steps)
    assert (H4, Verdict.DROP_NOT_HERE) in trace(steps)
    assert len(steps) == 5


# ---------------------------------------------------------------- any tables


def _some_hosts(source: random.Random) -> list[str]:
    return source.choices(HOSTS, k=source.randrange(4))


def _scramble_endpoints(machine: Machine, source: random.Random, vni: int) -> None:
    for addr in (A, B):
        if source.random() < 0.7:
            machine.location(vni, addr, source.choice(HOSTS), slot=2)
        if source.random() < 0.6:
            age_ms = source.choice([0, 6000, 16000])
            machine.direct(VNI, addr, source.choice(HOSTS), age_ms=age_ms, endpoint_vni=vni)
        if source.random() < 0.2:
            machine.endpoint(vni, addr, ifindex=world.PORT, mac=MACS[addr])


def scramble(cluster: Cluster, source: random.Random) -> None:
    """Tables that no planner would write: every host believes something else, sometimes of a peer too."""
    vnis = source.choice([[VNI], [VNI, PEER_VNI]])
    for host, machine in cluster.machines.items():
        machine.clear()
        join(dict(cluster.machines), host, macs=source.random() < 0.7)
        flags = VpcFlags.DIVIDER if source.random() < 0.5 else 0
        for vni in vnis:
            if source.random() < 0.9:
                machine.vpc(vni, dividers=_some_hosts(source), flags=flags, slot=1)
            _scramble_routes(machine, source, vni, vnis)
        for network in PREFIXES:
            machine.shards(network, SHARDS, _some_hosts(source))
        _scramble_endpoints(machine, source, source.choice(vnis))
    onlink = source.choice([[], [], ["10.0.0.0/16"]])
    cluster.machines[H1].port(
        world.PORT, vni=VNI, addr=A, mac=MACS[A], network=12, shards=SHARDS, onlink=onlink
    )


def _scramble_routes(machine: Machine, source: random.Random, vni: int, vnis: list[int]) -> None:
    kinds = [*RouteKind, RouteKind.NETWORK, RouteKind.NETWORK]
    for prefix in ("10.0.0.0/16", *PREFIXES.values()):
        network, peer = source.choice(list(PREFIXES)), source.choice([0, *vnis])
        target = 0 if peer == vni else peer
        machine.route(vni, prefix, source.choice(kinds), network=network, shards=SHARDS, target=target)


def test_no_tables_make_a_loop(cluster: Cluster) -> None:
    """Whatever hosts believe, a packet ends: at most a stale host, a divider, a bouncer and an endpoint's."""
    source = random.Random(4711)
    verdicts = set[Verdict]()
    for _ in range(300):
        scramble(cluster, source)
        steps = cluster.send(H1, packet(A, B))
        data = [step for step in steps[1:] if not step.control]
        assert len(data) <= 4, trace(steps)
        assert len([step for step in steps if step.control]) <= 2, trace(steps)
        for once in (Verdict.STALE, Verdict.DIVIDED, Verdict.BOUNCED):
            assert [step.verdict for step in steps].count(once) <= 1, trace(steps)
        verdicts.update(step.verdict for step in steps)
    assert {Verdict.STALE, Verdict.DIVIDED, Verdict.BOUNCED, Verdict.DELIVERED_HERE} <= verdicts

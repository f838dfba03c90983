# SPDX-License-Identifier: Apache-2.0
"""The life of packets that cross into a peer VPC, or go through an appliance, over four hosts.

    blue 10.0.0.0/16: A 10.0.1.2 in web, B 10.0.2.3 in db, F 10.0.3.9 in walls, which forwards
    green 10.8.0.0/16: P 10.8.1.5 in api; peer of blue

`settle` gives every host the tables that it would have from a controller.
"""

from __future__ import annotations

import dataclasses
import itertools
import socket
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from mizar.abi import layout
from mizar.abi.layout import HostFlags, PortFlags, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import clones, world
from tests.bpf.cluster import Cluster, Step
from tests.support import machine as machines
from tests.support import netns, packets
from tests.support.machine import Hook, Machine, number

H1, H2, H3, H4 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
HOSTS: Final = (H1, H2, H3, H4)
A, B, F, P = "10.0.1.2", "10.0.2.3", "10.0.3.9", "10.8.1.5"
BLUE, GREEN = 5, 7
CIDRS: Final = {BLUE: "10.0.0.0/16", GREEN: "10.8.0.0/16"}
PEERS: Final = {BLUE: GREEN, GREEN: BLUE}
WEB, DB, WALLS, API = 11, 12, 13, 31
PREFIXES: Final = {WEB: "10.0.1.0/24", DB: "10.0.2.0/24", WALLS: "10.0.3.0/24", API: "10.8.1.0/24"}
SHARDS: Final = 4

ARRIVED: Final = (Verdict.DELIVERED, Verdict.DELIVERED_HERE, Verdict.LOCAL)


@dataclasses.dataclass(frozen=True)
class Member:
    """An endpoint."""

    vni: int
    network: int
    mac: str
    forwards: bool = False


MEMBERS: Final = {
    A: Member(BLUE, WEB, "02:00:00:00:00:0a"),
    B: Member(BLUE, DB, "02:00:00:00:00:0b"),
    F: Member(BLUE, WALLS, "02:00:00:00:00:0f", forwards=True),
    P: Member(GREEN, API, "02:00:00:00:00:0e"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who is where. `through`: networks that reach a prefix through F."""

    places: Mapping[str, str]
    dividers: Mapping[int, str]
    bouncer: str
    through: Mapping[int, str] = dataclasses.field(default_factory=dict)


INTO: Final = "into"
"""Interface of all endpoints: one that copies can be sent to, and not that of who sends."""

SPREAD: Final = Plan({A: H1, B: H4, F: H2, P: H4}, {BLUE: H2, GREEN: H2}, H3)


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def cluster(
    request: pytest.FixtureRequest, four: dict[str, Machine], loopback: netns.Namespace
) -> Iterator[Cluster]:
    with loopback.entered(), clones.Tap() as tap:
        yield Cluster(four, request.param, tap)


@pytest.fixture(scope="module", autouse=True)
def into(loopback: netns.Namespace) -> Iterator[None]:
    loopback.run("ip", "link", "add", INTO, "type", "veth", "peer", "name", f"{INTO}-peer")
    for end in (INTO, f"{INTO}-peer"):
        loopback.run("ip", "link", "set", end, "up")
    yield
    loopback.run("ip", "link", "del", INTO)


# ---------------------------------------------------------------- the tables


def settle(cluster: Cluster, plan: Plan) -> None:
    for host, machine in cluster.machines.items():
        machine.clear()
        machine.config(host, mac=world.NIC_MAC)
        for other in HOSTS:
            flags = HostFlags.SELF if other == host else 0
            machine.host(other, nexthop=other, mac="02:aa:00:00:00:09", flags=flags)
        for vni in CIDRS:
            join(machine, host, plan, vni)
    for addr, host in plan.places.items():
        attach(cluster.machines[host], addr, plan)
        cluster.machines[plan.bouncer].location(MEMBERS[addr].vni, addr, host)


def join(machine: Machine, host: str, plan: Plan, vni: int) -> None:
    """What the host is for the VPC, and where that is."""
    divides = plan.dividers[vni] == host
    used = any(MEMBERS[addr].vni == vni for addr, at in plan.places.items() if at == host)
    if not (divides or used or plan.bouncer == host):
        return
    flags = VpcFlags.DIVIDER if divides else VpcFlags.BOUNCER
    machine.vpc(vni, dividers=[plan.dividers[vni]], flags=flags)
    if not (divides or used):
        return
    for prefix, peer in ((CIDRS[vni], 0), (CIDRS[PEERS[vni]], PEERS[vni])):
        machine.route(vni, prefix, RouteKind.NONE if divides else RouteKind.DIVIDER, target=peer)
    for network, prefix in PREFIXES.items() if divides else ():
        peer = 0 if prefix in _within(vni) else PEERS[vni]
        machine.route(vni, prefix, RouteKind.NETWORK, network=network, shards=SHARDS, target=peer)
        machine.shards(network, SHARDS, [plan.bouncer])


def _within(vni: int) -> set[str]:
    return {PREFIXES[member.network] for member in MEMBERS.values() if member.vni == vni}


def attach(machine: Machine, addr: str, plan: Plan) -> None:
    member = MEMBERS[addr]
    machine.endpoint(member.vni, addr, ifindex=socket.if_nametoindex(INTO), mac=member.mac)
    machine.route(
        member.vni, PREFIXES[member.network], RouteKind.NETWORK, network=member.network, shards=SHARDS
    )
    machine.shards(member.network, SHARDS, [plan.bouncer])
    if member.network in plan.through:
        own = layout.TABLE_NETWORK | member.network
        machine.route(own, CIDRS[member.vni], RouteKind.DIVIDER)
        machine.appliance(own, plan.through[member.network], F)


def move(cluster: Cluster, plan: Plan, addr: str, host: str) -> None:
    """The endpoint leaves its host and is created on another; the bouncer knows."""
    member = MEMBERS[addr]
    key = (member.vni, number(addr))
    cluster.machines[plan.places[addr]].tables[Table.ENDPOINTS4].delete([key])
    attach(cluster.machines[host], addr, plan)
    join(cluster.machines[host], host, dataclasses.replace(plan, places={addr: host}), member.vni)
    cluster.machines[plan.bouncer].location(member.vni, addr, host)


# ---------------------------------------------------------------- packets


def send(
    cluster: Cluster, plan: Plan, src: str, dst: str, *, by: str = "", content: bytes = b"", ttl: int = 64
) -> list[Step]:
    """`by`: who forwards it. Test runs are on loopback, which becomes the interface of who sends."""
    sender = by or src
    host, member = plan.places[sender], MEMBERS[sender]
    flags = PortFlags.ROUTES if member.network in plan.through else PortFlags(0)
    cluster.machines[host].port(
        machines.LOOPBACK,
        vni=member.vni,
        addr=sender,
        mac=member.mac,
        network=member.network,
        shards=SHARDS,
        onlink=[PREFIXES[member.network]],
        flags=flags | PortFlags.FORWARDS if member.forwards else flags,
    )
    sent = content or packets.ipv4(packets.udp(), src=src, dst=dst, ttl=ttl)
    return cluster.send(host, packets.frame(sent, src=member.mac))


def trace(steps: list[Step]) -> list[tuple[str, Verdict]]:
    return [(step.host, step.verdict) for step in steps]


def arrived_at(steps: list[Step]) -> str | None:
    """The host at which the packet has been delivered."""
    found = [step.host for step in steps if step.verdict in ARRIVED and not step.control]
    assert len(found) <= 1
    return found[0] if found else None


def is_short(steps: list[Step], src: str, dst: str) -> bool:
    """From host to host, or within one."""
    return [step.host for step in steps] == ([src] if src == dst else [src, dst])


# ---------------------------------------------------------------- peers


def test_first_packet_to_a_peer_visits_divider_and_bouncer_and_the_next_is_direct(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    assert trace(send(cluster, SPREAD, A, P)) == [
        (H1, Verdict.TO_DIVIDER),
        (H2, Verdict.DIVIDED),
        (H3, Verdict.BOUNCED),
        (H4, Verdict.DELIVERED_HERE),
        (H1, Verdict.LEARNT),
    ]
    assert trace(send(cluster, SPREAD, A, P)) == [(H1, Verdict.DIRECT), (H4, Verdict.DELIVERED)]
    h1, h4 = cluster.machines[H1], cluster.machines[H4]
    assert (h1.direct_host(BLUE, P), h1.direct_vni(BLUE, P)) == (H4, GREEN)
    assert (h4.direct_host(GREEN, A), h4.direct_vni(GREEN, A)) == (H1, BLUE)


def test_answer_from_a_peer_is_direct_at_once(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    send(cluster, SPREAD, A, P)
    assert trace(send(cluster, SPREAD, P, A)) == [(H4, Verdict.DIRECT), (H1, Verdict.DELIVERED)]


def test_answer_from_a_peer_teaches_although_here_was_lost(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    send(cluster, SPREAD, A, P)
    h1 = cluster.machines[H1]
    h1.tables[Table.DIRECT4].delete(h1.tables[Table.DIRECT4].dump()[0])
    send(cluster, SPREAD, P, A)
    assert trace(send(cluster, SPREAD, A, P)) == [(H1, Verdict.DIRECT), (H4, Verdict.DELIVERED)]


def test_packet_to_a_peer_arrives_as_it_was_sent(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    send(cluster, SPREAD, A, P)
    found = packets.dissect(send(cluster, SPREAD, A, P)[-1].frame)
    assert (found.src, found.dst) == (packets.ROUTER_MAC, MEMBERS[P].mac)
    assert (found.payload.src, found.payload.dst, found.payload.ttl) == (A, P, 63)


def test_aged_path_to_a_peer_is_confirmed_without_leaving_it(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    cluster.machines[H1].direct(BLUE, P, H4, endpoint_vni=GREEN, age_ms=machines.SOFT_MS + 100)
    steps = [(H1, Verdict.DIRECT_PROBE), (H4, Verdict.DELIVERED_HERE), (H1, Verdict.LEARNT)]
    assert trace(send(cluster, SPREAD, A, P)) == steps
    assert trace(send(cluster, SPREAD, A, P))[0] == (H1, Verdict.DIRECT)


@pytest.mark.parametrize("age_ms", [0, machines.SOFT_MS + 100], ids=["direct", "probe"])
def test_packet_for_a_moved_peer_finds_it_and_its_sender_learns(cluster: Cluster, age_ms: int) -> None:
    settle(cluster, SPREAD)
    cluster.machines[H1].direct(BLUE, P, H4, endpoint_vni=GREEN, age_ms=age_ms)
    move(cluster, SPREAD, P, H2)
    cluster.machines[H4].vpc(GREEN, dividers=[H2], flags=VpcFlags.ENDPOINTS)
    steps = trace(send(cluster, SPREAD, A, P))
    assert set(steps[1:]) == {
        (H4, Verdict.STALE),
        (H3, Verdict.BOUNCED),
        (H2, Verdict.DELIVERED_HERE),
        (H1, Verdict.FORGOT),
        (H1, Verdict.LEARNT),
    }
    h1 = cluster.machines[H1]
    assert (h1.direct_host(BLUE, P), h1.direct_vni(BLUE, P)) == (H2, GREEN)


def test_packet_for_a_deleted_peer_ends_and_its_sender_forgets(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    send(cluster, SPREAD, A, P)
    key = (GREEN, number(P))
    cluster.machines[H4].tables[Table.ENDPOINTS4].delete([key])
    cluster.machines[H3].tables[Table.LOCATIONS4].delete([key])
    steps = trace(send(cluster, SPREAD, A, P))
    assert {(H3, Verdict.DROP_NO_ENDPOINT), (H1, Verdict.FORGOT)} <= set(steps)
    assert cluster.machines[H1].direct_host(BLUE, P) is None


def test_peering_that_has_ended_is_closed_to_flows_that_go_on(cluster: Cluster) -> None:
    settle(cluster, SPREAD)
    send(cluster, SPREAD, A, P)
    send(cluster, SPREAD, P, A)
    for machine in cluster.machines.values():
        for vni, peer in PEERS.items():
            machine.unroute(vni, CIDRS[peer])
    assert trace(send(cluster, SPREAD, A, P)) == [(H1, Verdict.DROP_NO_ROUTE)]
    assert trace(send(cluster, SPREAD, P, A)) == [(H4, Verdict.DROP_NO_ROUTE)]


_THREE: Final = (H1, H2, H3)
_COMBINATIONS: Final = list(itertools.product((H1,), _THREE, _THREE, _THREE))


def test_peers_dividers_and_bouncers_in_all_places(cluster: Cluster) -> None:
    """The second packet goes from host to host, and so does each answer."""
    for here, there, divider, bouncer in _COMBINATIONS:
        plan = Plan({A: here, P: there}, {BLUE: divider, GREEN: divider}, bouncer)
        settle(cluster, plan)
        first = send(cluster, plan, A, P)
        assert arrived_at(first) == there, (plan, trace(first))
        second, answer = send(cluster, plan, A, P), send(cluster, plan, P, A)
        assert is_short(second, here, there), (plan, trace(second))
        assert is_short(answer, there, here), (plan, trace(answer))
        assert (arrived_at(second), arrived_at(answer)) == (there, here)


def test_peers_of_one_host_find_each_other_again_when_one_has_moved(cluster: Cluster) -> None:
    plan = Plan({A: H1, P: H1}, {BLUE: H2, GREEN: H2}, H3)
    settle(cluster, plan)
    assert trace(send(cluster, plan, A, P)) == [
        (H1, Verdict.TO_DIVIDER),
        (H2, Verdict.DIVIDED),
        (H3, Verdict.BOUNCED),
        (H1, Verdict.DELIVERED),
    ]
    assert trace(send(cluster, plan, A, P)) == [(H1, Verdict.LOCAL)]
    move(cluster, plan, P, H4)
    assert arrived_at(send(cluster, plan, A, P)) == H4
    assert trace(send(cluster, plan, A, P)) == [(H1, Verdict.DIRECT), (H4, Verdict.DELIVERED)]


def test_peers_of_one_host_are_confirmed_by_the_network_now_and_then(cluster: Cluster) -> None:
    plan = Plan({A: H1, P: H1}, {BLUE: H2, GREEN: H2}, H3)
    settle(cluster, plan)
    cluster.machines[H1].direct(BLUE, P, H1, endpoint_vni=GREEN, age_ms=machines.HARD_MS + 100)
    assert trace(send(cluster, plan, A, P))[0] == (H1, Verdict.TO_DIVIDER)
    assert trace(send(cluster, plan, A, P)) == [(H1, Verdict.LOCAL)]


# ---------------------------------------------------------------- appliances

THROUGH: Final = dataclasses.replace(SPREAD, through={WEB: PREFIXES[DB], DB: PREFIXES[WEB]})


def chain(cluster: Cluster, plan: Plan, src: str, dst: str) -> tuple[list[Step], list[Step]]:
    """To the firewall, and on from there: it is a router, so the TTL is less by one."""
    return send(cluster, plan, src, dst), send(cluster, plan, src, dst, by=F, ttl=62)


def test_packet_goes_through_the_appliance_there_and_back(cluster: Cluster) -> None:
    settle(cluster, THROUGH)
    for src, dst, hosts in ((A, B, (H1, H4)), (B, A, (H4, H1))):
        to_wall, onward = chain(cluster, THROUGH, src, dst)
        assert arrived_at(to_wall) == H2
        assert arrived_at(onward) == hosts[1]
        to_wall, onward = chain(cluster, THROUGH, src, dst)
        assert trace(to_wall) == [(hosts[0], Verdict.DIRECT), (H2, Verdict.DELIVERED)]
        assert trace(onward) == [(H2, Verdict.DIRECT), (hosts[1], Verdict.DELIVERED)]


def test_appliance_sees_the_packet_that_was_sent(cluster: Cluster) -> None:
    settle(cluster, THROUGH)
    send(cluster, THROUGH, A, B)
    found = packets.dissect(send(cluster, THROUGH, A, B)[-1].frame)
    assert (found.src, found.dst) == (packets.ROUTER_MAC, MEMBERS[F].mac)
    assert (found.payload.src, found.payload.dst, found.payload.ttl) == (A, B, 63)


def test_only_what_is_true_is_learnt_of_what_was_forwarded(cluster: Cluster) -> None:
    settle(cluster, THROUGH)
    chain(cluster, THROUGH, A, B)
    h1, h2, h4 = (cluster.machines[host] for host in (H1, H2, H4))
    assert (h1.direct_host(BLUE, F), h1.direct_host(BLUE, B)) == (H2, None)
    assert (h2.direct_host(BLUE, A), h2.direct_host(BLUE, B)) == (H1, H4)
    assert (h4.direct_host(BLUE, F), h4.direct_host(BLUE, A)) == (H2, None)


def test_appliance_that_has_moved_is_found(cluster: Cluster) -> None:
    settle(cluster, THROUGH)
    send(cluster, THROUGH, A, B)
    move(cluster, THROUGH, F, H3)
    assert arrived_at(send(cluster, THROUGH, A, B)) == H3
    assert trace(send(cluster, THROUGH, A, B)) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]


def test_clients_appliances_and_servers_in_all_places(cluster: Cluster) -> None:
    for client, wall, server, divider, bouncer in itertools.product(
        (H1,), (H1, H2), _THREE, (H1, H3), _THREE
    ):
        plan = Plan(
            {A: client, F: wall, B: server},
            {BLUE: divider, GREEN: divider},
            bouncer,
            through={WEB: PREFIXES[DB], DB: PREFIXES[WEB]},
        )
        settle(cluster, plan)
        chain(cluster, plan, A, B)
        to_wall, onward = chain(cluster, plan, A, B)
        assert (arrived_at(to_wall), arrived_at(onward)) == (wall, server), (plan, trace(onward))
        assert is_short(to_wall, client, wall), (plan, trace(to_wall))
        assert is_short(onward, wall, server), (plan, trace(onward))


def test_forwarded_into_a_peer_teaches_it_nothing(cluster: Cluster) -> None:
    """A's packet to P, by the firewall: P's host does not take the firewall's for A's."""
    settle(cluster, SPREAD)
    for _ in range(2):
        assert arrived_at(send(cluster, SPREAD, A, P, by=F)) == H4
    h2, h4 = cluster.machines[H2], cluster.machines[H4]
    assert h2.direct_vni(BLUE, P) == GREEN
    assert (h4.direct_host(GREEN, A), h4.direct_host(GREEN, F)) == (None, None)
    assert arrived_at(send(cluster, SPREAD, P, A)) == H1


# ---------------------------------------------------------------- scaled endpoints of a peer

V: Final = "10.8.1.100"
"""Scaled endpoint of green; P is its backend."""


@pytest.mark.parametrize("divider", [H1, H2])
@pytest.mark.parametrize("bouncer", [H1, H2, H3])
def test_scaled_endpoint_of_a_peer_is_served_by_its_backends(
    cluster: Cluster, divider: str, bouncer: str
) -> None:
    plan = Plan({A: H1, P: H4}, {BLUE: divider, GREEN: divider}, bouncer)
    settle(cluster, plan)
    found = cluster.machines[bouncer]
    found.location(GREEN, V, "0.0.0.0")
    # Ports of packets.udp().
    found.service(GREEN, V, [P], port=2000, target=2000, protocol=17, slot=0, service_id=1)
    for _ in range(2):
        steps = send(cluster, plan, A, V)
        assert arrived_at(steps) == H4, trace(steps)
    assert is_short(steps, H1, H4), trace(steps)
    content = packets.ipv4(packets.udp(2000, 1000), src=P, dst=A)
    answer = send(cluster, plan, P, A, content=content)
    assert arrived_at(answer) == H1, trace(answer)
    assert packets.dissect(answer[-1].frame).payload.src == V

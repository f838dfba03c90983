# SPDX-License-Identifier: Apache-2.0
"""A packet's life over fake data planes: divider and bouncer first, the direct path after.

endpoint A 10.0.1.1 on h1        h2 divides        h3 bounces        endpoint B 10.0.2.1 on h4
"""

from __future__ import annotations

import dataclasses

import pytest

from mizar.abi import layout
from mizar.abi.layout import Table
from mizar.abi.verdicts import Verdict
from mizar.dataplane import fake
from mizar.dataplane.evaluation import packet
from mizar.dataplane.evaluation.outcome import Action, Outcome, Program, To

VNI = 7
A, B = 0x0A000101, 0x0A000201
H1, H2, H3, H4 = (0xAC100000 + n for n in range(1, 5))
HOSTS = (H1, H2, H3, H4)
UPLINK, PORT = 2, 10
MAC = {A: bytes.fromhex("020000000001"), B: bytes.fromhex("020000000002")}
NETWORK_A, NETWORK_B, SHARDS = 1, 2, 8
NOW = 1_000_000


class Host:
    """One host's data plane, with the rows that a controller would give it."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.plane = fake.FakeDataPlane()
        config = {"underlay_addr": address, "underlay_ifindex": UPLINK, "soft_ms": 5000, "hard_ms": 15000}
        self.put(Table.CONFIG, 0, flags=layout.ConfigFlags.READY, **config)
        for host in HOSTS:
            self.put(Table.HOSTS, host, flags=layout.HostFlags.SELF if host == address else 0)

    def put(self, table: Table, key: object, **fields: object) -> None:
        keys, values = layout.TABLES[table].keys(1), layout.TABLES[table].values(1)
        keys[0] = key
        for name, value in fields.items():
            values[0][name] = value
        self.plane.update(table, keys, values)

    def add_endpoint(self, address: int, network: int) -> None:
        mac = list(MAC[address])
        self.put(Table.VPCS, VNI, flags=layout.VpcFlags.ENDPOINTS, n_dividers=1, dividers=[H2] + [0] * 15)
        self.put(Table.ROUTES4, (VNI, 0x0A000000, 0xFF000000), kind=layout.RouteKind.DIVIDER)
        self.put(Table.ENDPOINTS4, (VNI, address), ifindex=PORT, slot=1, mac=mac)
        fields = {"addr": address, "mac": mac, "mtu": 1436, "network": network, "shards": SHARDS, "slot": 1}
        self.put(Table.PORTS, PORT, vni=VNI, **fields)

    def run(self, program: Program, frame: bytes, now: int = NOW) -> Outcome:
        return self.plane.process(program, PORT if program is Program.ENDPOINT else UPLINK, frame, now)


@pytest.fixture
def hosts() -> dict[int, Host]:
    made = {address: Host(address) for address in HOSTS}
    made[H1].add_endpoint(A, NETWORK_A)
    made[H4].add_endpoint(B, NETWORK_B)
    made[H2].put(Table.VPCS, VNI, flags=layout.VpcFlags.DIVIDER, slot=5)
    for network, prefix in ((NETWORK_A, 0x0A000100), (NETWORK_B, 0x0A000200)):
        route = {"kind": layout.RouteKind.NETWORK, "network": network, "shards": SHARDS}
        made[H2].put(Table.ROUTES4, (VNI, prefix, 0xFFFFFF00), **route)
        for shard in range(SHARDS):
            made[H2].put(Table.SHARDS, (network, shard), n=1, hosts=[H3] + [0] * 14)
    made[H3].put(Table.VPCS, VNI, flags=layout.VpcFlags.BOUNCER)
    for address, host in ((A, H1), (B, H4)):
        made[H3].put(Table.LOCATIONS4, (VNI, address), host=host, slot=6)
    return made


def from_endpoint(src: int, dst: int) -> bytes:
    payload = bytes(40)
    ip = packet.write_ip(tos=0, total=60, protocol=99, src=src, dst=dst)
    return layout.ROUTER_MAC + MAC[src] + b"\x08\x00" + ip + payload


@dataclasses.dataclass
class Journey:
    verdicts: list[Verdict]
    path: list[int]
    delivered: list[bytes]


def travel(hosts: dict[int, Host], start: int, frame: bytes, now: int = NOW) -> Journey:
    """Follow a packet, and the messages it causes, over all hosts; each is at tc."""
    journey = Journey([], [], [])
    waiting = [(start, Program.ENDPOINT, frame)]
    while waiting:
        at, program, data = waiting.pop(0)
        outcome = hosts[at].run(program, data, now)
        journey.verdicts.append(outcome.verdict)
        journey.path.append(at)
        for sent in outcome.frames:
            if sent.to is To.HOST:
                waiting.append((sent.host, Program.TRANSIT_TC, sent.frame))
            elif sent.to is To.ENDPOINT:
                journey.delivered.append(sent.frame)
    return journey


def test_first_packet_goes_through_divider_and_bouncer(hosts: dict[int, Host]) -> None:
    journey = travel(hosts, H1, from_endpoint(A, B))
    assert journey.path == [H1, H2, H3, H4, H1]
    assert journey.verdicts == [
        Verdict.TO_DIVIDER,
        Verdict.DIVIDED,
        Verdict.BOUNCED,
        Verdict.DELIVERED_HERE,
        Verdict.LEARNT,
    ]
    [frame] = journey.delivered
    assert frame[:12] == MAC[B] + layout.ROUTER_MAC
    assert frame[packet.ETH_LEN + 8] == packet.TTL - 1


def test_second_packet_and_the_answer_are_direct(hosts: dict[int, Host]) -> None:
    travel(hosts, H1, from_endpoint(A, B))
    for start, src, dst in ((H1, A, B), (H4, B, A)):
        journey = travel(hosts, start, from_endpoint(src, dst))
        assert journey.verdicts == [Verdict.DIRECT, Verdict.DELIVERED]


def test_old_path_is_confirmed_and_very_old_one_forgotten(hosts: dict[int, Host]) -> None:
    travel(hosts, H1, from_endpoint(A, B))
    probe = travel(hosts, H1, from_endpoint(A, B), NOW + 6_000)
    assert probe.verdicts == [Verdict.DIRECT_PROBE, Verdict.DELIVERED_HERE, Verdict.LEARNT]
    assert travel(hosts, H1, from_endpoint(A, B), NOW + 7_000).verdicts[0] is Verdict.DIRECT
    assert travel(hosts, H1, from_endpoint(A, B), NOW + 30_000).verdicts[0] is Verdict.TO_DIVIDER


def test_stale_packet_starts_over_and_the_sender_forgets(hosts: dict[int, Host]) -> None:
    travel(hosts, H1, from_endpoint(A, B))
    _move_b(hosts, H4, H2)
    hosts[H4].put(Table.HOSTS, H2, mac_until=NOW)  # a copy needs a MAC
    journey = travel(hosts, H1, from_endpoint(A, B))
    assert journey.verdicts[:2] == [Verdict.DIRECT, Verdict.STALE]
    assert Verdict.FORGOT in journey.verdicts
    assert len(journey.delivered) == 1
    # The HERE of the new host comes after the FORGET of the old one: the path is direct again.
    assert travel(hosts, H1, from_endpoint(A, B)).verdicts == [Verdict.DIRECT, Verdict.DELIVERED]


def _move_b(hosts: dict[int, Host], old: int, new: int) -> None:
    key = layout.TABLES[Table.ENDPOINTS4].keys(1)
    key[0] = (VNI, B)
    hosts[old].plane.delete(Table.ENDPOINTS4, key)
    hosts[new].put(Table.ENDPOINTS4, (VNI, B), ifindex=PORT, slot=1, mac=list(MAC[B]))
    hosts[H3].put(Table.LOCATIONS4, (VNI, B), host=new, slot=6)


def test_counters_tell_what_happened(hosts: dict[int, Host]) -> None:
    travel(hosts, H1, from_endpoint(A, B))
    travel(hosts, H1, from_endpoint(A, B))
    size = len(from_endpoint(A, B))
    assert hosts[H1].plane.stats([1]).tolist() == [(2, 2 * size, 0, 0)]
    assert hosts[H2].plane.stats([5]).tolist() == [(1, size, 0, 0)]
    assert hosts[H3].plane.stats([6]).tolist() == [(1, size, 0, 0)]
    assert hosts[H4].plane.stats([1]).tolist() == [(0, 0, 2, 2 * size)]
    assert hosts[H1].plane.verdicts()[Verdict.DIRECT]["packets"] == 1
    hosts[H1].plane.clear_stats([1])
    assert hosts[H1].plane.stats([1]).tolist() == [(0, 0, 0, 0)]


def test_another_tenant_s_tunnel_packet_is_not_delivered(hosts: dict[int, Host]) -> None:
    [sent] = hosts[H1].run(Program.ENDPOINT, from_endpoint(A, B)).frames
    other = packet.replaced(sent.frame, packet.OFF_GENEVE + 4, (VNI + 1).to_bytes(3, "big"))
    outcome = hosts[H2].run(Program.TRANSIT_TC, other)
    assert (outcome.verdict, outcome.action) == (Verdict.DROP_UNKNOWN_VNI, Action.DROP)


def test_spoofed_source_is_dropped(hosts: dict[int, Host]) -> None:
    frame = packet.replaced(from_endpoint(A, B), packet.ETH_LEN + 12, B.to_bytes(4, "big"))
    assert hosts[H1].run(Program.ENDPOINT, frame).verdict is Verdict.DROP_SPOOFED_IP
    assert hosts[H1].run(Program.ENDPOINT, bytes(60)).verdict is Verdict.DROP_SPOOFED_MAC


def test_unconfigured_host_leaves_the_wire_alone() -> None:
    plane = fake.FakeDataPlane()
    assert plane.process(Program.TRANSIT_TC, UPLINK, bytes(60), NOW).action is Action.PASS
    assert plane.process(Program.ENDPOINT, PORT, bytes(60), NOW).verdict is Verdict.DROP_UNKNOWN_PORT

# SPDX-License-Identifier: Apache-2.0
"""The life of flows to a scaled endpoint: the bouncer chooses once, the client's host does the rest.

Client A 10.0.1.2. V 10.0.1.100: 80 TCP, 53 UDP, 38 SCTP. Backends B 10.0.1.3 and C 10.0.1.4: 8080, 53, 38.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from scapy.layers import inet

from mizar.abi.layout import HostFlags, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import clones, world
from tests.bpf.cluster import Cluster, Step
from tests.support import machine as machines
from tests.support import netns, packets
from tests.support.machine import Hook, Machine, number

H1, H2, H3 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
HOSTS = (H1, H2, H3)
A, B, C, V, W = "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.100", "10.0.1.101"
MACS = {A: "02:00:00:00:00:0a", B: "02:00:00:00:00:0b", C: "02:00:00:00:00:0c"}
SLOTS = {A: 11, B: 12, C: 13}
PORTS = {A: 1001, B: 1002, C: 1003}
"""Interfaces; a test run always is on loopback, which becomes that of who sends."""
VNI, NETWORK, SHARDS = 5, 11, 4
PREFIX = "10.0.1.0/24"
TCP, UDP, SCTP, ICMP = 6, 17, 132, 1
BOUNCER_SLOT, SERVICE_SLOT = 2, 3


@pytest.fixture(scope="module")
def three() -> Iterator[dict[str, Machine]]:
    with contextlib.ExitStack() as stack:
        yield {host: stack.enter_context(Machine()) for host in HOSTS}


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def cluster(
    request: pytest.FixtureRequest, three: dict[str, Machine], loopback: netns.Namespace
) -> Iterator[Cluster]:
    """Peers, no roles."""
    with loopback.entered(), clones.Tap() as tap:
        for host, machine in three.items():
            machine.clear()
            machine.config(host, mac=world.NIC_MAC)
            for other in HOSTS:
                flags = HostFlags.SELF if other == host else 0
                machine.host(other, nexthop=other, mac="02:aa:00:00:00:09", flags=flags)
        yield Cluster(three, request.param, tap)


def attach(cluster: Cluster, addr: str, host: str, *, bouncers: Iterable[str] = (H2,)) -> None:
    machine = cluster.machines[host]
    machine.vpc(VNI, dividers=[H2], flags=VpcFlags.ENDPOINTS)
    machine.route(VNI, PREFIX, RouteKind.NETWORK, network=NETWORK, shards=SHARDS)
    machine.shards(NETWORK, SHARDS, bouncers)
    machine.endpoint(VNI, addr, ifindex=machines.LOOPBACK, mac=MACS[addr], slot=SLOTS[addr])
    machine.port(
        PORTS[addr],
        vni=VNI,
        addr=addr,
        mac=MACS[addr],
        network=NETWORK,
        shards=SHARDS,
        slot=SLOTS[addr],
        onlink=[PREFIX],
    )


def bounce(
    cluster: Cluster, host: str, where: dict[str, str], *, backends: Iterable[str], affinity: int = 0
) -> None:
    machine = cluster.machines[host]
    if machine.get(Table.VPCS, VNI) is None:
        machine.vpc(VNI, flags=VpcFlags.BOUNCER)
    for addr, at in where.items():
        machine.location(VNI, addr, at, slot=BOUNCER_SLOT)
    for addr in (V, W):
        machine.location(VNI, addr, "0.0.0.0", slot=BOUNCER_SLOT)
    serve(cluster, host, backends, affinity=affinity)


def serve(cluster: Cluster, host: str, backends: Iterable[str], *, affinity: int = 0) -> None:
    found, rows = (
        list(backends),
        [(V, 80, 8080, TCP), (V, 53, 53, UDP), (V, 38, 38, SCTP), (W, 80, 8080, TCP)],
    )
    for service_id, (addr, port, target, protocol) in enumerate(rows, start=1):
        cluster.machines[host].service(
            VNI,
            addr,
            found,
            port=port,
            target=target,
            protocol=protocol,
            affinity=affinity,
            slot=SERVICE_SLOT,
            service_id=service_id,
        )


def spread(
    cluster: Cluster,
    *,
    client: str,
    bouncer: str,
    backend: str,
    backends: Iterable[str] = (B,),
    affinity: int = 0,
) -> None:
    """A, V's bouncer and B on these hosts."""
    attach(cluster, A, client, bouncers=[bouncer])
    attach(cluster, B, backend, bouncers=[bouncer])
    attach(cluster, C, backend, bouncers=[bouncer])
    bounce(cluster, bouncer, {A: client, B: backend, C: backend}, backends=backends, affinity=affinity)


def frame(payload: Any, src: str, dst: str, **fields: Any) -> bytes:
    return packets.frame(packets.ipv4(payload, src=src, dst=dst, **fields), src=MACS[src])


def tcp(
    src: str = A, dst: str = V, sport: int = 4000, dport: int = 80, flags: str = "S", **fields: Any
) -> bytes:
    return frame(
        inet.TCP(sport=sport, dport=dport, flags=flags, seq=1000, ack=77) / fields.pop("data", b""),
        src,
        dst,
        **fields,
    )


def udp(src: str = A, dst: str = V, sport: int = 4000, dport: int = 53, **fields: Any) -> bytes:
    return frame(packets.udp(sport, dport), src, dst, **fields)


def send(cluster: Cluster, host: str, content: bytes, src: str = A) -> list[Step]:
    """As the endpoint with this address: the test's interface is its for once."""
    machine = cluster.machines[host]
    row = machine.get(Table.PORTS, PORTS[src])
    assert row is not None
    machine.put(Table.PORTS, machines.LOOPBACK, row.item())
    return cluster.send(host, content)


def trace(steps: list[Step]) -> list[tuple[str, Verdict]]:
    return [(step.host, step.verdict) for step in steps if not step.control]


def delivered(steps: list[Step]) -> Any:
    """The IP packet that the last step has put into an endpoint; checksums are right."""
    return checked(steps[-1].frame)


def checked(content: bytes) -> Any:
    found = packets.dissect(content)[inet.IP]
    packets.check_ipv4(found)
    fresh = found.copy()
    for layer in (inet.TCP, inet.UDP, inet.ICMP):
        if layer in fresh and (layer is not inet.UDP or fresh[layer].chksum):
            if fresh.frag or fresh.flags.MF:
                continue
            claimed = fresh[layer].chksum
            del fresh[layer].chksum
            assert inet.IP(bytes(fresh))[layer].chksum == claimed, f"{layer.__name__} checksum"
            break
    return found


def ends(packet: Any) -> tuple[str, int, str, int]:
    return packet.src, packet.payload.sport, packet.dst, packet.payload.dport


def state(machine: Machine, src: str, sport: int, dst: str, dport: int, protocol: int = TCP) -> int | None:
    row = machine.get(Table.FLOWS4, (VNI, number(src), number(dst), sport, dport, protocol, (0, 0, 0)))
    return None if row is None else int(row["state"])


PLACES = list(itertools.product(HOSTS, repeat=3))


@pytest.mark.parametrize(("client", "bouncer", "backend"), PLACES)
def test_connection_wherever_client_bouncer_and_backend_are(
    cluster: Cluster, client: str, bouncer: str, backend: str
) -> None:
    spread(cluster, client=client, bouncer=bouncer, backend=backend)
    steps = send(cluster, client, tcp())
    assert all(step.verdict < Verdict.DROP_MALFORMED_ETH for step in steps), trace(steps)
    if bouncer != client:
        assert trace(steps)[:3] == [
            (client, Verdict.TO_BOUNCER),
            (bouncer, Verdict.REDIRECTED),
            (client, Verdict.REDIRECT_TAKEN),
        ]
    assert state(cluster.machines[client], A, 4000, V, 80) == 0
    answer = send(cluster, backend, tcp(B, A, 8080, 4000, "SA"), B)
    assert ends(delivered(answer)) == (V, 80, A, 4000)
    again = send(cluster, client, tcp(flags="A"))
    assert len(trace(again)) == (1 if client == backend else 2), trace(again)
    assert ends(delivered(again)) == (A, 4000, B, 8080)
    for flags, src in (("FA", A), ("FA", B), ("A", A)):
        host, args = (client, (A, V, 4000, 80)) if src == A else (backend, (B, A, 8080, 4000))
        send(cluster, host, tcp(*args, flags), src)
    assert state(cluster.machines[client], A, 4000, V, 80) == 0x7
    assert state(cluster.machines[client], B, 8080, A, 4000) == 0x87
    assert cluster.machines[bouncer].stats(SERVICE_SLOT)[0] == 1

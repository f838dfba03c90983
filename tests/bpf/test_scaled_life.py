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
from scapy import utils
from scapy.layers import inet, sctp

from mizar.abi import hashes
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


# ---------------------------------------------------------------- what else there is to a flow


@pytest.fixture
def apart(cluster: Cluster) -> Cluster:
    """A on H1, V's bouncer H2, B on H3, where C waits."""
    spread(cluster, client=H1, bouncer=H2, backend=H3)
    return cluster


TO_BOUNCER = [(H1, Verdict.TO_BOUNCER), (H2, Verdict.REDIRECTED), (H1, Verdict.REDIRECT_TAKEN)]
"""How a flow begins, as far as V is concerned."""


def flow_row(machine: Machine, src: str, sport: int, dst: str, dport: int, protocol: int = TCP) -> Any:
    found = machine.get(Table.FLOWS4, (VNI, number(src), number(dst), sport, dport, protocol, (0, 0, 0)))
    assert found is not None
    return found


def age(machine: Machine, seconds: int, *, asked: int | None = None) -> None:
    """All flows were used, and asked about, so long ago."""
    keys, values = machine.tables[Table.FLOWS4].dump()
    values["seen"] -= seconds
    values["asked"] -= seconds if asked is None else asked
    machine.tables[Table.FLOWS4].update(keys, values)


def backend_of(steps: list[Step]) -> str:
    """Where a packet to V has ended."""
    return str(packets.dissect(steps[-1].frame)[inet.IP].dst)


def test_datagrams_and_their_answers(apart: Cluster) -> None:
    assert trace(send(apart, H1, udp()))[:3] == TO_BOUNCER
    answer = delivered(send(apart, H3, udp(B, A, 53, 4000), B))
    assert ends(answer) == (V, 53, A, 4000)
    assert ends(delivered(send(apart, H1, udp()))) == (A, 4000, B, 53)
    assert state(apart.machines[H1], A, 4000, V, 53, UDP) == 0x1


def test_datagram_without_checksum_stays_without(apart: Cluster) -> None:
    send(apart, H1, udp())
    bare = frame(inet.UDP(sport=4000, dport=53, chksum=0) / b"x", A, V)
    assert delivered(send(apart, H1, bare))[inet.UDP].chksum == 0


def chunk(src: str, dst: str, sport: int, dport: int, kind: int) -> bytes:
    return frame(sctp.SCTP(sport=sport, dport=dport, tag=9) / bytes((kind, 0, 0, 4)), src, dst)


def test_association_from_init_to_shutdown_complete(apart: Cluster) -> None:
    h1 = apart.machines[H1]
    assert trace(send(apart, H1, chunk(A, V, 4000, 38, 1)))[:3] == TO_BOUNCER
    sent = chunk(A, V, 4000, 38, 10)
    arrived = delivered(send(apart, H1, sent))
    assert (arrived.dst, bytes(arrived.payload)) == (B, bytes(packets.dissect(sent)[inet.IP].payload))
    assert delivered(send(apart, H3, chunk(B, A, 38, 4000, 2), B)).src == V
    assert state(h1, A, 4000, V, 38, SCTP) == 0x1
    for kind, host, ends_, found in (
        (7, H1, (A, V, 4000, 38), 0x3),
        (8, H3, (B, A, 38, 4000), 0x7),
        (14, H1, (A, V, 4000, 38), 0xF),
    ):
        send(apart, host, chunk(*ends_, kind), ends_[0])
        assert state(h1, A, 4000, V, 38, SCTP) == found


def test_association_whose_port_would_change_is_refused(apart: Cluster) -> None:
    apart.machines[H2].service(VNI, V, [B], port=39, target=390, protocol=SCTP, service_id=9)
    steps = send(apart, H1, chunk(A, V, 4000, 39, 1))
    assert trace(steps)[-1] == (H1, Verdict.DROP_UNTRANSLATABLE)
    assert apart.machines[H1].tables[Table.FLOWS4].count() == 0


def quoting(original: bytes, src: str, dst: str, kind: int = 3, code: int = 3, keep: int = 8) -> bytes:
    """An ICMP error about a packet, with so many bytes behind its header."""
    packet = bytes(packets.dissect(original)[inet.IP])
    return frame(inet.ICMP(type=kind, code=code) / packet[: 20 + keep], src, dst)


def check_quoted(packet: Any, src: str, sport: int, dst: str, dport: int) -> None:
    """The quoted packet is as the receiver has sent it; its header's checksum too."""
    quoted = packet[inet.ICMP].payload
    header = inet.IP(bytes(quoted))
    assert (header.src, header.dst) == (src, dst)
    assert int.from_bytes(bytes(quoted)[20:22], "big") == sport
    assert int.from_bytes(bytes(quoted)[22:24], "big") == dport
    assert utils.checksum(bytes(quoted)[:20]) == 0


@pytest.mark.parametrize("keep", [8, 40], ids=["eight bytes", "all"])
def test_error_of_the_backend_is_the_service_s(apart: Cluster, keep: int) -> None:
    """RFC 5508 REQ-4: both headers are translated, so that A finds its socket."""
    for payload, port in ((udp(), 53), (tcp(flags="A"), 80)):
        send(apart, H1, tcp() if port == 80 else udp())
        reached = send(apart, H1, payload)[-1].frame
        error = delivered(send(apart, H3, quoting(reached, B, A, keep=keep), B))
        assert (error.src, error.dst) == (V, A)
        check_quoted(error, A, 4000, V, port)
        if keep == 40:
            original = bytes(packets.dissect(payload)[inet.IP].payload)
            assert bytes(error[inet.ICMP].payload.payload)[: len(original)] == original
        row = flow_row(apart.machines[H1], A, 4000, V, port, UDP if port == 53 else TCP)
        assert row["state"] == 0, "an error is no answer"


def test_error_of_the_client_reaches_the_backend(apart: Cluster) -> None:
    send(apart, H1, udp())
    answer = send(apart, H3, udp(B, A, 53, 4000), B)[-1].frame
    error = delivered(send(apart, H1, quoting(answer, A, V)))
    assert (error.src, error.dst) == (A, B)
    check_quoted(error, B, 53, A, 4000)


def test_error_about_no_flow_begins_none(apart: Cluster) -> None:
    quoted = bytes(packets.ipv4(packets.udp(53, 4000), src=V, dst=A))
    error = frame(inet.ICMP(type=3, code=3) / quoted, A, V)
    assert trace(send(apart, H1, error))[-1] == (H1, Verdict.DROP_UNTRANSLATABLE)
    assert apart.machines[H1].tables[Table.FLOWS4].count() == 0


def fragments(src: str = A, dst: str = V, sport: int = 4000, dport: int = 53, ident: int = 77) -> list[bytes]:
    whole = packets.ipv4(packets.udp(sport, dport, b"x" * 400), src=src, dst=dst, flags=0, id=ident)
    return [packets.frame(part, src=MACS[src]) for part in packets.fragments(whole, 200)]


def test_fragments_follow_their_first(apart: Cluster) -> None:
    send(apart, H1, udp())
    parts = [delivered(send(apart, H1, part)) for part in fragments()]
    assert len(parts) == 3
    assert {(part.src, part.dst) for part in parts} == {(A, B)}
    whole = packets.whole(parts)
    assert ends(whole) == (A, 4000, B, 53)
    checked(packets.frame(whole, src=MACS[A]))
    back = [delivered(send(apart, H3, part, B)) for part in fragments(B, A, 53, 4000)]
    assert {(part.src, part.dst) for part in back} == {(V, A)}


def test_fragment_before_its_first_is_dropped(apart: Cluster) -> None:
    send(apart, H1, udp())
    assert trace(send(apart, H1, fragments(ident=78)[1])) == [(H1, Verdict.DROP_FRAGMENT)]


def test_fragment_at_the_bouncer_is_dropped(apart: Cluster) -> None:
    """Of a flow that is not known yet: the bouncer has not seen the first, or not only it."""
    assert trace(send(apart, H1, fragments()[1]))[-1] == (H2, Verdict.DROP_FRAGMENT)


def test_connection_that_begins_with_a_fragment(apart: Cluster) -> None:
    first, second, _ = fragments()
    assert trace(send(apart, H1, first))[:3] == TO_BOUNCER
    assert delivered(send(apart, H1, second)).dst == B


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("bouncer", [H1, H2])
def test_connection_without_backend_is_reset(cluster: Cluster, bouncer: str) -> None:
    """RFC 9293 s3.10.7.1."""
    spread(cluster, client=H1, bouncer=bouncer, backend=H3, backends=[])
    for sent, expected in (("S", ("RA", 0, 1001)), ("A", ("R", 77, 0)), ("FA", ("R", 77, 0))):
        steps = send(cluster, H1, tcp(flags=sent))
        assert trace(steps)[-1] == (H1, Verdict.REFUSED)
        answer = delivered(steps)
        assert ends(answer) == (V, 80, A, 4000)
        found = answer[inet.TCP]
        assert (str(found.flags), found.seq, found.ack) == expected
        assert packets.dissect(steps[-1].frame).dst == MACS[A]
    assert cluster.machines[H1].tables[Table.FLOWS4].count() == 0


def test_length_of_the_segment_counts(cluster: Cluster) -> None:
    spread(cluster, client=H1, bouncer=H2, backend=H3, backends=[])
    opening = frame(
        inet.TCP(sport=4000, dport=80, flags="S", seq=1000, options=[("MSS", 1460)]) / b"hello", A, V
    )
    assert delivered(send(cluster, H1, opening))[inet.TCP].ack == 1006


@pytest.mark.parametrize("bouncer", [H1, H2])
@pytest.mark.parametrize("options", [[], [inet.IPOption_RR()]], ids=["plain", "options"])
def test_datagram_without_backend_is_unreachable(cluster: Cluster, bouncer: str, options: list[Any]) -> None:
    spread(cluster, client=H1, bouncer=bouncer, backend=H3, backends=[])
    steps = send(cluster, H1, udp(options=options))
    assert trace(steps)[-1] == (H1, Verdict.REFUSED)
    answer = delivered(steps)
    assert (answer.src, answer.dst, answer[inet.ICMP].type, answer[inet.ICMP].code) == (V, A, 3, 3)
    check_quoted(answer, A, 4000, V, 53)


def test_port_that_is_not_served_is_refused(apart: Cluster) -> None:
    assert trace(send(apart, H1, tcp(dport=81)))[-1] == (H1, Verdict.REFUSED)
    assert trace(send(apart, H1, udp(dport=80)))[-1] == (H1, Verdict.REFUSED)
    ping = frame(packets.icmp(), A, V)
    assert delivered(send(apart, H1, ping))[inet.ICMP].type == 3


def test_what_must_not_be_answered_is_dropped(cluster: Cluster) -> None:
    spread(cluster, client=H1, bouncer=H2, backend=H3, backends=[])
    assert trace(send(cluster, H1, tcp(flags="R")))[-1] == (H1, Verdict.DROP_NO_BACKEND)
    assert trace(send(cluster, H1, chunk(A, V, 4000, 38, 6)))[-1] == (H1, Verdict.DROP_NO_BACKEND)


def test_established_flow_outlives_its_service(apart: Cluster) -> None:
    send(apart, H1, tcp())
    serve(apart, H2, [])
    assert backend_of(send(apart, H1, tcp(flags="A"))) == B
    forget(apart.machines[H1])
    assert trace(send(apart, H1, tcp(flags="A")))[2] == (H1, Verdict.REDIRECT_TAKEN)
    assert trace(send(apart, H1, tcp(sport=4001)))[-1] == (H1, Verdict.REFUSED)


# ---------------------------------------------------------------- choices


def forget(machine: Machine) -> None:
    """The direct path table is evicted."""
    machine.tables[Table.DIRECT4].delete(machine.tables[Table.DIRECT4].dump()[0])


def test_evicted_entry_is_learnt_again_and_the_flow_stays(apart: Cluster) -> None:
    send(apart, H1, tcp())
    serve(apart, H2, [C])
    forget(apart.machines[H1])
    assert trace(send(apart, H1, tcp(flags="A")))[:3] == TO_BOUNCER
    assert backend_of(send(apart, H1, tcp(flags="A"))) == B


def test_lost_flow_gets_the_same_backend_again(apart: Cluster) -> None:
    serve(apart, H2, [B, C])
    for port in range(4000, 4010):
        send(apart, H1, tcp(sport=port))
        first = backend_of(send(apart, H1, tcp(sport=port, flags="A")))
        h1 = apart.machines[H1]
        h1.tables[Table.FLOWS4].delete(h1.tables[Table.FLOWS4].dump()[0])
        assert trace(send(apart, H1, tcp(sport=port, flags="A")))[:3] == TO_BOUNCER
        assert backend_of(send(apart, H1, tcp(sport=port, flags="A"))) == first


def test_flow_needs_no_bouncer_after_its_first_packet(apart: Cluster) -> None:
    send(apart, H1, tcp())
    apart.machines[H1].host(H2, flags=HostFlags.DOWN)
    assert trace(send(apart, H1, tcp(flags="A"))) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]


def test_one_half_of_a_flow_makes_the_other_again(apart: Cluster) -> None:
    send(apart, H1, tcp())
    h1 = apart.machines[H1]
    keys, _ = h1.tables[Table.FLOWS4].dump()
    h1.tables[Table.FLOWS4].delete(keys[keys["dst"] == number(A)])
    age(h1, 2)
    send(apart, H1, tcp(flags="A"))
    assert state(h1, B, 8080, A, 4000) == 0x80
    assert ends(delivered(send(apart, H3, tcp(B, A, 8080, 4000, "A"), B))) == (V, 80, A, 4000)


def test_dead_flow_is_a_new_one(apart: Cluster) -> None:
    send(apart, H1, tcp())
    serve(apart, H2, [C])
    age(apart.machines[H1], hashes.flow_timeout(TCP, 0) + 2)
    assert trace(send(apart, H1, tcp()))[:3] == TO_BOUNCER
    assert backend_of(send(apart, H1, tcp(flags="A"))) == C


def test_new_connection_on_old_ports_asks_again(apart: Cluster) -> None:
    """A SYN that is only sent again does not."""
    send(apart, H1, tcp())
    assert trace(send(apart, H1, tcp())) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]
    age(apart.machines[H1], 4)
    steps = send(apart, H1, tcp())
    assert trace(steps)[:3] == TO_BOUNCER
    assert trace(send(apart, H1, tcp()))[0] == (H1, Verdict.DIRECT)
    age(apart.machines[H1], 4)
    serve(apart, H2, [C])
    send(apart, H1, tcp())
    assert backend_of(send(apart, H1, tcp(flags="A"))) == C


def test_reset_flow_begins_again(apart: Cluster) -> None:
    h1 = apart.machines[H1]
    send(apart, H1, tcp())
    send(apart, H3, tcp(B, A, 8080, 4000, "R"), B)
    assert state(h1, A, 4000, V, 80) == 0x9
    send(apart, H1, tcp())
    assert state(h1, A, 4000, V, 80) == 0
    assert state(h1, B, 8080, A, 4000) == 0x80


def test_datagrams_ask_now_and_then_and_leave_a_backend_that_is_gone(apart: Cluster) -> None:
    serve(apart, H2, [B, C])
    send(apart, H1, udp())
    first = backend_of(send(apart, H1, udp()))
    other = C if first == B else B
    h1 = apart.machines[H1]
    age(h1, 0, asked=machines.SOFT_MS // 1000 + 2)
    assert trace(send(apart, H1, udp()))[:3] == TO_BOUNCER
    assert backend_of(send(apart, H1, udp())) == first
    serve(apart, H2, [other])
    assert backend_of(send(apart, H1, udp())) == first
    age(h1, 0, asked=machines.SOFT_MS // 1000 + 2)
    send(apart, H1, udp())
    assert backend_of(send(apart, H1, udp())) == other
    assert h1.get(Table.FLOWS4, (VNI, number(first), number(A), 53, 4000, UDP, (0, 0, 0))) is None


def test_flow_stays_with_its_backend_whatever_the_table_says_now(apart: Cluster) -> None:
    """Asking again prefers the backend that the flow has."""
    serve(apart, H2, [B])
    send(apart, H1, udp())
    for backends in ([B, C], [C, B], [B, C]):
        serve(apart, H2, backends)
        age(apart.machines[H1], 0, asked=machines.SOFT_MS // 1000 + 2)
        send(apart, H1, udp())
        assert backend_of(send(apart, H1, udp())) == B


def test_connections_spread_as_the_table_says(apart: Cluster) -> None:
    serve(apart, H2, [B, C])
    found = []
    for port in range(4000, 4060):
        send(apart, H1, tcp(sport=port))
        found.append(backend_of(send(apart, H1, tcp(sport=port, flags="A"))))
    assert 15 < found.count(B) < 45


# ---------------------------------------------------------------- affinity


def test_client_keeps_its_backend(apart: Cluster) -> None:
    serve(apart, H2, [B, C], affinity=600)
    found = set()
    for port in range(4000, 4010):
        send(apart, H1, tcp(sport=port))
        found.add(backend_of(send(apart, H1, tcp(sport=port, flags="A"))))
    assert len(found) == 1


def test_client_keeps_its_backend_when_others_come(apart: Cluster) -> None:
    serve(apart, H2, [B], affinity=600)
    send(apart, H1, tcp())
    serve(apart, H2, [C, B, "10.0.1.5", "10.0.1.6", "10.0.1.7", "10.0.1.8"], affinity=600)
    send(apart, H1, tcp(sport=4001))
    assert backend_of(send(apart, H1, tcp(sport=4001, flags="A"))) == B


def test_affinity_ends_with_its_time_and_with_its_backend(apart: Cluster) -> None:
    serve(apart, H2, [B], affinity=600)
    send(apart, H1, tcp())
    serve(apart, H2, [C], affinity=600)
    send(apart, H1, tcp(sport=4001))
    assert backend_of(send(apart, H1, tcp(sport=4001, flags="A"))) == C
    h1 = apart.machines[H1]
    row = h1.get(Table.FLOWS4, (VNI, number(A), number(V), 0, 80, TCP, (0, 0, 0)))
    assert row is not None
    assert (int(row["dst"]), int(row["asked"]), int(row["kind"])) == (number(C), 600, 4)
    keys, values = h1.tables[Table.FLOWS4].dump()
    values["seen"] -= 602
    h1.tables[Table.FLOWS4].update(keys, values)
    steps = send(apart, H1, tcp(sport=4002))
    assert packets.open_tunnel(steps[0].frame).inner[:6] == bytes.fromhex("024d5a000001")


# ---------------------------------------------------------------- corners


@pytest.mark.parametrize("bouncer", [H1, H2])
def test_backend_that_talks_to_its_own_service(cluster: Cluster, bouncer: str) -> None:
    attach(cluster, B, H1, bouncers=[bouncer])
    bounce(cluster, bouncer, {B: H1}, backends=[B])
    first = send(cluster, H1, tcp(B, V), B)
    again = send(cluster, H1, tcp(B, V, flags="A"), B)
    for steps in (first, again):
        assert ends(delivered(steps)) == (V, 4000, B, 8080)
    answer = send(cluster, H1, tcp(B, V, 8080, 4000, "SA"), B)
    assert trace(answer) == [(H1, Verdict.LOCAL)]
    assert ends(delivered(answer)) == (V, 80, B, 4000)
    assert state(cluster.machines[H1], B, 4000, V, 80) == 0x1


def test_two_services_with_a_backend_in_common_are_told_apart(apart: Cluster) -> None:
    send(apart, H1, tcp())
    send(apart, H1, tcp(dst=W))
    first = delivered(send(apart, H1, tcp(flags="A")))
    second = delivered(send(apart, H1, tcp(dst=W, flags="A")))
    assert first.dst == second.dst == B
    assert first[inet.TCP].sport == 4000
    moved = second[inet.TCP].sport
    assert moved >= 1024
    assert moved != 4000
    assert ends(delivered(send(apart, H3, tcp(B, A, 8080, 4000, "SA"), B))) == (V, 80, A, 4000)
    assert ends(delivered(send(apart, H3, tcp(B, A, 8080, moved, "SA"), B))) == (W, 80, A, 4000)


def test_packets_of_a_backend_that_are_no_answers_stay_as_they_are(apart: Cluster) -> None:
    send(apart, H1, tcp())
    assert ends(delivered(send(apart, H3, tcp(B, A, 9000, 4000, "S"), B))) == (B, 9000, A, 4000)
    assert delivered(send(apart, H3, frame(b"x" * 40, B, A, proto=47), B)).src == B


def test_full_table_refuses_new_flows_and_keeps_the_old(apart: Cluster) -> None:
    h1 = apart.machines[H1]
    send(apart, H1, tcp())
    refused = 0
    for port in range(5000, 5000 + machines.SIZES[Table.FLOWS4]):
        refused += trace(send(apart, H1, tcp(sport=port)))[-1] == (H1, Verdict.DROP_FLOWS_FULL)
        if refused > 3:
            break
    assert refused > 3
    keys, values = h1.tables[Table.FLOWS4].dump()
    forward = keys[values["state"] & 0x80 == 0]
    assert len(keys) == 2 * len(forward), "never one entry alone"
    assert trace(send(apart, H1, tcp(flags="A"))) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]


def test_lesson_for_nobody_here_is_dropped(apart: Cluster) -> None:
    steps = send(apart, H1, tcp())
    lesson = steps[1].frame
    h1 = apart.machines[H1]
    h1.tables[Table.ENDPOINTS4].delete(h1.tables[Table.ENDPOINTS4].dump()[0])
    assert trace(apart.inject(lesson)) == [(H1, Verdict.DROP_NOT_CLIENT)]


def test_service_that_became_a_simple_endpoint_is_reached(apart: Cluster) -> None:
    send(apart, H1, tcp())
    age(apart.machines[H1], 10000)
    apart.machines[H2].location(VNI, V, H3)
    apart.machines[H3].endpoint(VNI, V, ifindex=machines.LOOPBACK, mac=MACS[C])
    assert (H3, Verdict.DELIVERED_HERE) in trace(send(apart, H1, tcp()))
    assert trace(send(apart, H1, tcp(flags="A"))) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]


def test_simple_endpoint_that_became_a_service_is_reached(apart: Cluster) -> None:
    apart.machines[H1].direct(VNI, V, H3)
    apart.machines[H3].vpc(VNI, dividers=[H2], flags=VpcFlags.ENDPOINTS)
    assert trace(send(apart, H1, tcp()))[0] == (H1, Verdict.DIRECT)
    steps = send(apart, H1, tcp())
    assert backend_of(send(apart, H1, tcp(flags="A"))) == B, trace(steps)


PEER_VNI = 7


@pytest.mark.parametrize("divider", [H1, H2], ids=["divider is the client's host", "divider is another host"])
def test_service_of_a_peer_vpc(cluster: Cluster, divider: str) -> None:
    """V and B are in VPC 7; H2 bounces for them there, the divider sends the packets of VPC 5 across."""
    attach(cluster, A, H1)
    attach(cluster, B, H3)
    h1, h3 = cluster.machines[H1], cluster.machines[H3]
    service, backend = "10.8.0.100", "10.8.0.3"
    h1.vpc(VNI, dividers=[divider], flags=VpcFlags.ENDPOINTS | (VpcFlags.DIVIDER if divider == H1 else 0))
    h3.vpc(PEER_VNI, dividers=[divider], flags=VpcFlags.ENDPOINTS)
    h1.route(VNI, "10.8.0.0/16", RouteKind.DIVIDER, target=PEER_VNI)
    crossing = cluster.machines[divider]
    flags = VpcFlags.DIVIDER | (VpcFlags.ENDPOINTS if divider == H1 else 0)
    crossing.vpc(VNI, dividers=[divider], flags=flags)
    crossing.route(VNI, "10.8.0.0/16", RouteKind.NETWORK, network=12, shards=SHARDS, target=PEER_VNI)
    crossing.shards(12, SHARDS, [H2])
    h2 = cluster.machines[H2]
    h2.location(PEER_VNI, service, "0.0.0.0")
    h2.location(PEER_VNI, backend, H3)
    h2.service(PEER_VNI, service, [backend])
    h3.endpoint(PEER_VNI, backend, ifindex=machines.LOOPBACK, mac=MACS[B])
    steps = send(cluster, H1, tcp(dst=service))
    assert (H2, Verdict.REDIRECTED) in trace(steps)
    assert (H1, Verdict.REDIRECT_TAKEN) in trace(steps)
    assert trace(steps)[-1] == (H3, Verdict.DELIVERED_HERE)
    assert h1.direct_host(VNI, service) == "0.0.0.0"
    again = send(cluster, H1, tcp(dst=service, flags="A"))
    assert trace(again) == [(H1, Verdict.DIRECT), (H3, Verdict.DELIVERED)]
    assert ends(delivered(again)) == (A, 4000, backend, 8080)
    h3.port(PORTS[B], vni=PEER_VNI, addr=backend, mac=MACS[B], network=12, shards=SHARDS)
    h3.route(PEER_VNI, PREFIX, RouteKind.DIVIDER, target=VNI)
    content = packets.ipv4(packets.tcp(8080, 4000, flags="SA"), src=backend, dst=A)
    answer = send(cluster, H3, packets.frame(content, src=MACS[B]), B)
    assert trace(answer) == [(H3, Verdict.DIRECT), (H1, Verdict.DELIVERED)]
    assert ends(delivered(answer)) == (service, 80, A, 4000)

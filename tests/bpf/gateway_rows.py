# SPDX-License-Identifier: Apache-2.0
"""The packet table of gateways: docs/design/services.md, "Gateways and NAT".

A 10.0.1.2 (on H2)                                    X 203.0.113.5
     |              +-----------------------+               |
     +--------------| US, a gateway of VPC 5|---------------+
B 10.0.1.3 (H4)     +-----------------------+
                     O 198.51.100.10  shared by all that have nothing of their own
                     F 198.51.100.20  floating, B's
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scapy import utils
from scapy.layers import inet, l2, sctp

from mizar.abi import geneve, hashes, layout, macs
from mizar.abi.geneve import Rts
from mizar.abi.layout import ConfigFlags, FlowKind, GatewayFlags, Hop, PortFlags, RouteKind, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.endpoint_rows import down, on_wire
from tests.bpf.rows import ENDPOINT, REDIRECT, TC_ONLY, Row, Sent, Setup, all_of, stats_are
from tests.bpf.world import A_SLOT, H2, H3, H4, US, VNI, A, B, arrived, local_endpoint, sent
from tests.support import packets
from tests.support.machine import Machine, number

O, O2, F, X, X2 = "198.51.100.10", "198.51.100.11", "198.51.100.20", "203.0.113.5", "203.0.113.6"  # noqa: E741
GATEWAYS: Final = 99
"""Whose shard 0 names the gateway hosts."""
GATEWAY_SLOT: Final = 7
NEIGHBOUR: Final = packets.WIRE.src
"""The router outside."""
GATEWAY_MAC: Final = macs.GATEWAY.hex(":")
LIMIT: Final = world.MTU
SESSION: Final = 5000
"""Port outside of the session that known_session() makes."""


# ---------------------------------------------------------------- tables


def gateway_host(machine: Machine) -> None:
    """H3 divides the VPC."""
    world.hosts(machine)
    machine.config(US, mac=world.NIC_MAC, flags=ConfigFlags.GATEWAY)
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS | VpcFlags.GATEWAY)
    machine.route(VNI, "10.0.0.0/16", RouteKind.DIVIDER)
    machine.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY, network=GATEWAYS)
    machine.gateway(VNI, [O], slot=GATEWAY_SLOT)
    machine.floating(VNI, B, F)


def no_gateway_flag(machine: Machine) -> None:
    machine.config(US, mac=world.NIC_MAC)


def no_gateway_row(machine: Machine) -> None:
    machine.tables[layout.Table.GATEWAYS4].delete([VNI])


def on_own_address(machine: Machine) -> None:
    """The host's address is the gateway's."""
    machine.gateway(VNI, [US], flags=GatewayFlags.HOST, ports=(61000, 65535))


def ports(first: int, last: int) -> Setup:
    return lambda machine: machine.gateway(VNI, [O], ports=(first, last), slot=GATEWAY_SLOT)


def forwarded(*, outside: str = O, port: int = 2222, to: str = A, target: int = 22, proto: int = 6) -> Setup:
    return lambda machine: machine.forward((outside, port), VNI, (to, target), proto=proto)


def session(
    *,
    vni: int = VNI,
    inside: tuple[str, int] = (A, 1000),
    peer: tuple[str, int] = (X, 2000),
    outside: tuple[str, int] = (O, SESSION),
    proto: int = 6,
    age_s: int = 0,
) -> Setup:
    """A flow that has been given an address and port outside."""

    def setup(machine: Machine) -> None:
        machine.session(vni, inside, peer, outside, proto=proto, age_s=age_s)

    return setup


def full(machine: Machine) -> None:
    """The connection table takes no more."""
    machine.fill_flows()


# ---------------------------------------------------------------- packets


def from_outside(payload: Any = None, *, src: str = X, dst: str = O, **fields: Any) -> bytes:
    """A frame as the router outside hands it to us."""
    content = packets.tcp(2000, SESSION) if payload is None else payload
    return packets.frame(packets.ipv4(content, src=src, dst=dst, **fields), src=NEIGHBOUR, dst=world.NIC_MAC)


def leaving(payload: Any = None, *, src: str = A, dst: str = X, **fields: Any) -> bytes:
    """A packet of A's as its host has sent it to us, its gateway."""
    content = packets.tcp(1000, 2000) if payload is None else payload
    return arrived(content=sent(content, src=src, dst=dst, to=GATEWAY_MAC, **fields))


def asks(target: str, *, sender: str = "198.51.100.1", **fields: Any) -> bytes:
    return packets.arp(sender_mac=NEIGHBOUR, sender=sender, target=target, **fields)


def icmp_about(quoted: bytes, *, kind: int = 3, code: int = 4, mtu: int = 1300) -> Any:
    """An error about a frame, with all of it that must be there and a little more."""
    return inet.ICMP(type=kind, code=code, nexthopmtu=mtu) / inet.IP(quoted[14:])


def echo(kind: int = 8, ident: int = 77) -> Any:
    return inet.ICMP(type=kind, id=ident, seq=3) / b"payload"


# ---------------------------------------------------------------- what comes out


def become(frame: bytes, *, ttl: int | None = None, **fields: Any) -> bytes:
    """The frame's IP packet with other fields (src, dst, sport, dport, id), checksums made anew."""
    packet = packets.dissect(frame)[inet.IP]
    for name, value in fields.items():
        layer = packet if name in ("src", "dst") else packet.payload
        setattr(layer, name, value)
    if ttl is not None:
        packet.ttl = ttl
    for layer in (packet, packet.payload):
        if hasattr(layer, "chksum"):
            del layer.chksum
    return bytes(packet)


def _padding_off(frame: bytes) -> bytes:
    total = int.from_bytes(frame[16:18], "big")
    return frame[14 : 14 + total]


def entered(
    frame: bytes, *, to: str = H3, options: tuple[geneve.Option, ...] | None = None, **fields: Any
) -> Sent:
    """Into the VPC, from a gateway, one router further; a divider is asked if not said otherwise."""
    ask = (Rts(number(US), Hop.DIVIDER),) if options is None else options
    ttl = packets.dissect(frame)[inet.IP].ttl - 1
    inner = bytes(l2.Ether(src=GATEWAY_MAC, dst=packets.ROUTER_MAC, type=0x0800)) + become(
        frame, ttl=ttl, **fields
    )
    return Sent(to, ask, inner)


def gone_out(frame: bytes, **fields: Any) -> Callable[[bytes], None]:
    """The inner packet of a tunnel's frame, plain and with other fields; MACs are the kernel's matter."""
    expected = become(packets.open_tunnel(frame).inner, **fields)

    def check(found: bytes) -> None:
        assert found[14:] == expected

    return check


def given_port(frame: bytes, *, first: int, last: int, addr: str = O) -> Callable[[bytes], None]:
    """Source NAT: a port of the range, the rest as it was."""

    def check(found: bytes) -> None:
        packet = packets.dissect(found)[inet.IP]
        port = packet.payload.id if inet.ICMP in packet else packet.payload.sport
        assert first <= port <= last
        name = "id" if inet.ICMP in packet else "sport"
        assert found[14:] == become(packets.open_tunnel(frame).inner, src=addr, **{name: port})

    return check


def told_outside(about: bytes, kind: int, code: int, *, mtu: int = 0) -> Callable[[bytes], None]:
    """An ICMP error from the address that the packet was for."""

    def check(found: bytes) -> None:
        packet, original = packets.dissect(found)[inet.IP], packets.dissect(about)[inet.IP]
        packets.check_ipv4(packet)
        assert (packet.src, packet.dst) == (original.dst, original.src)
        body = bytes(packet[inet.ICMP])
        assert (body[0], body[1]) == (kind, code)
        assert int.from_bytes(body[6:8], "big") == mtu
        assert utils.checksum(body) == 0
        assert bytes(original).startswith(body[8:])

    return check


def answered_arp(found: bytes) -> None:
    answer = packets.dissect(found)
    reply = answer[l2.ARP]
    assert (answer.dst, answer.src) == (NEIGHBOUR, world.NIC_MAC)
    assert (reply.op, reply.hwsrc, reply.hwdst) == (2, world.NIC_MAC, NEIGHBOUR)
    assert (reply.psrc, reply.pdst) == (O, "198.51.100.1")


def flow_is(
    vni: int,
    src: tuple[str, int],
    dst: tuple[str, int],
    kind: FlowKind | None,
    *,
    proto: int = 6,
    via: str = "",
) -> Setup:
    def check(machine: Machine) -> None:
        found = machine.flow(vni, src, dst, proto=proto)
        assert (None if found is None else FlowKind(int(found["kind"]))) == kind
        if via:
            assert found is not None
            assert int(found["via"]) == number(via)

    return check


def flows_are(n: int) -> Setup:
    def check(machine: Machine) -> None:
        assert machine.tables[layout.Table.FLOWS4].count() == n

    return check


# ---------------------------------------------------------------- rows


def row(name: str, frame: bytes, verdict: Verdict, *setup: Setup, **fields: Any) -> Row:
    return Row(f"gateway: {name}", (gateway_host, *setup), frame, verdict, TC_ONLY, **fields)


ARP: Final = (
    row("ARP for an outside address", asks(O), Verdict.OUTSIDE_ARP, out=answered_arp),
    row("ARP probe for an outside address", asks(O, sender="0.0.0.0"), Verdict.OUTSIDE_ARP),
    row("ARP for a floating address", asks(F), Verdict.OUTSIDE_ARP),
    row("ARP for another address", asks(X), Verdict.PASS),
    row("ARP for the host's own address", asks(US), Verdict.PASS, on_own_address),
    row("ARP announcement of an outside address", asks(O, sender=O), Verdict.PASS),
    row("ARP reply", asks(O, op=2), Verdict.PASS),
    row("ARP of another kind", asks(O, plen=6), Verdict.PASS),
    row("ARP cut short", asks(O)[:41], Verdict.PASS),
    row("ARP without outside addresses", asks(O), Verdict.PASS, no_gateway_flag),
)

_TO_F: Final = from_outside(dst=F)
_UDP: Final = from_outside(packets.udp(2000, SESSION))
_SHORT: Final = from_outside(packets.tcp(2000, SESSION, payload=b""))
_FORWARDED: Final = from_outside(packets.tcp(2000, 2222, flags="S"))
_LATER: Final = from_outside(packets.udp(), dst=F, flags="", frag=100)

IN: Final = (
    row(
        "in: floating address",
        _TO_F,
        Verdict.NAT_IN,
        out=entered(_TO_F, dst=B),
        after=all_of(stats_are(GATEWAY_SLOT, rx=1), flows_are(0)),
    ),
    row(
        "in: the direct path",
        _TO_F,
        Verdict.NAT_IN,
        lambda machine: machine.direct(VNI, B, H4),
        out=entered(_TO_F, to=H4, options=(), dst=B),
    ),
    row(
        "in: an endpoint of this host",
        _TO_F,
        Verdict.NAT_IN,
        local_endpoint,
        out=lambda found: _is_delivered(found, become(_TO_F, ttl=63, dst=B)),
        after=all_of(
            stats_are(world.LOCAL_SLOT, rx=1),
            flow_is(VNI, (B, SESSION), (X, 2000), FlowKind.VIA, via=US),
        ),
    ),
    row(
        "in: later fragment for a floating address",
        _LATER,
        Verdict.NAT_IN,
        out=lambda found: _inner_is(found, src=X, dst=B),
    ),
    row(
        "in: GRE for a floating address",
        from_outside(b"\0\0\x08\0" + bytes(20), dst=F, proto=47),
        Verdict.NAT_IN,
        out=lambda found: _inner_is(found, src=X, dst=B),
    ),
    row("in: protocol without flows", from_outside(bytes(24), proto=47), Verdict.DROP_UNTRANSLATABLE),
    row(
        "in: port forward",
        _FORWARDED,
        Verdict.NAT_IN,
        forwarded(),
        out=entered(_FORWARDED, dst=A, dport=22),
        after=flows_are(0),
    ),
    row("in: port of another protocol", _UDP, Verdict.DROP_NAT_UNKNOWN, forwarded(port=SESSION)),
    row(
        "in: session",
        from_outside(),
        Verdict.NAT_IN,
        session(),
        out=entered(from_outside(), dst=A, dport=1000),
    ),
    row(
        "in: session before port forward",
        from_outside(),
        Verdict.NAT_IN,
        session(),
        forwarded(port=SESSION, to=B),
        out=entered(from_outside(), dst=A, dport=1000),
    ),
    row(
        "in: padding is cut off",
        _SHORT + bytes(6),
        Verdict.NAT_IN,
        session(),
        out=entered(_SHORT, dst=A, dport=1000),
    ),
    row("in: session of another peer", from_outside(src=X2), Verdict.DROP_NAT_UNKNOWN, session()),
    row("in: session that is over", from_outside(), Verdict.DROP_NAT_UNKNOWN, session(age_s=100)),
    row("in: no session", from_outside(), Verdict.DROP_NAT_UNKNOWN),
    row("in: echo request", from_outside(echo()), Verdict.DROP_NAT_UNKNOWN),
    row(
        "in: echo reply",
        from_outside(echo(0, SESSION)),
        Verdict.NAT_IN,
        session(inside=(A, 77), peer=(X, 0), proto=1),
        out=entered(from_outside(echo(0, SESSION)), dst=A, id=77),
    ),
    row("in: fragment before its first one", from_outside(flags="", frag=9), Verdict.DROP_FRAGMENT),
    row("in: another address", from_outside(dst=X2), Verdict.PASS),
    row("in: no outside addresses", from_outside(dst=F), Verdict.PASS, no_gateway_flag),
    row("in: host's own, no session", from_outside(dst=US), Verdict.PASS, on_own_address),
    row("in: host's own, fragment", from_outside(dst=US, flags="", frag=9), Verdict.PASS, on_own_address),
    row(
        "in: host's own, session",
        from_outside(dst=US),
        Verdict.NAT_IN,
        on_own_address,
        session(outside=(US, SESSION)),
        out=entered(from_outside(dst=US), dst=A, dport=1000),
    ),
    row("in: IP longer than the frame", _TO_F[:-1], Verdict.DROP_MALFORMED_IP),
    row("in: source inside", from_outside(src=A, dst=F), Verdict.DROP_SPOOFED_IP),
    row(
        "in: VPC without a way on",
        _TO_F,
        Verdict.DROP_NO_DIVIDER,
        lambda machine: machine.vpc(VNI, flags=VpcFlags.GATEWAY),
    ),
    row("in: IPv6", packets.frame(bytes(40), src=NEIGHBOUR, type=0x86DD), Verdict.PASS),
)


def _is_delivered(found: bytes, packet: bytes) -> None:
    frame = packets.dissect(found)
    assert (frame.src, frame.dst) == (packets.ROUTER_MAC, world.LOCAL_MAC)
    assert found[14:] == packet


def _inner_is(found: bytes, *, src: str, dst: str) -> None:
    packet = packets.dissect(packets.open_tunnel(found).inner)[inet.IP]
    packets.check_ipv4(packet)
    assert (packet.src, packet.dst) == (src, dst)


def _sized(total: int, **fields: Any) -> bytes:
    return from_outside(packets.udp(payload=b"x" * (total - 28)), dst=F, **fields)


_QUOTED: Final = become(from_outside(packets.tcp(SESSION, 2000), src=O, dst=X))
_FRAG_NEEDED: Final = from_outside(inet.ICMP(type=3, code=4, nexthopmtu=1300) / _QUOTED, src=X2)

ERRORS: Final = (
    row("in: as large as the tunnel carries", _sized(LIMIT), Verdict.NAT_IN),
    row(
        "in: too big",
        _sized(LIMIT + 1),
        Verdict.ICMP_OUTSIDE,
        out=told_outside(_sized(LIMIT + 1), 3, 4, mtu=LIMIT),
    ),
    row("in: too big, may be fragmented", _sized(LIMIT + 1, flags=""), Verdict.DROP_OUTSIDE_TOO_BIG),
    row("in: merged from small ones", _sized(3000), Verdict.NAT_IN, local_endpoint, gso_size=1000),
    row("in: merged from large ones", _sized(3000), Verdict.ICMP_OUTSIDE, gso_size=LIMIT),
    row(
        "in: TTL 1",
        from_outside(dst=F, ttl=1),
        Verdict.ICMP_OUTSIDE,
        out=told_outside(from_outside(dst=F, ttl=1), 11, 0),
    ),
    row(
        "in: error with TTL 1",
        from_outside(packets.icmp(3) / bytes(28), dst=F, ttl=1),
        Verdict.DROP_UNTRANSLATABLE,
    ),
    row("in: later fragment with TTL 1", from_outside(dst=F, flags="", frag=9, ttl=1), Verdict.DROP_TTL),
    row(
        "in: error about a session, from a router",
        _FRAG_NEEDED,
        Verdict.NAT_IN,
        session(),
        out=lambda found: _error_is(found, src=X2, dst=A, quoted=((A, 1000), (X, 2000))),
    ),
    row("in: error about nothing", _FRAG_NEEDED, Verdict.DROP_NAT_UNKNOWN),
    row(
        "out: error about a session",
        leaving(inet.ICMP(type=3, code=3) / become(sent(packets.tcp(2000, 1000), src=X, dst=A))),
        Verdict.NAT_OUT,
        session(),
        out=lambda found: _plain_error_is(found, src=O, dst=X, quoted=((X, 2000), (O, SESSION))),
    ),
    row(
        "out: error about a session, from a router inside",
        leaving(inet.ICMP(type=11) / become(sent(packets.tcp(2000, 1000), src=X, dst=A)), src="10.0.1.77"),
        Verdict.NAT_OUT,
        session(),
        out=lambda found: _plain_error_is(found, src=O, dst=X, quoted=((X, 2000), (O, SESSION))),
    ),
    row(
        "out: error about nothing",
        leaving(inet.ICMP(type=3, code=3) / become(sent(packets.tcp(2000, 1000), src=X, dst=A))),
        Verdict.DROP_UNTRANSLATABLE,
        after=flows_are(0),
    ),
)


def _error_is(found: bytes, **expected: Any) -> None:
    _plain_error_is(packets.open_tunnel(found).inner, **expected)


def _plain_error_is(
    found: bytes, *, src: str, dst: str, quoted: tuple[tuple[str, int], tuple[str, int]]
) -> None:
    packet = packets.dissect(found)[inet.IP]
    packets.check_ipv4(packet)
    assert (packet.src, packet.dst) == (src, dst)
    body = bytes(packet.payload)
    assert utils.checksum(body) == 0
    inner = inet.IP(body[8:])
    packets.check_ipv4(inner)
    assert ((inner.src, inner.payload.sport), (inner.dst, inner.payload.dport)) == quoted
    whole = inner.payload.chksum
    del inner.payload.chksum
    assert inet.IP(bytes(inner)).payload.chksum == whole


_TCP: Final = leaving(packets.tcp(1000, 2000, flags="S"))
_SCTP: Final = leaving(sctp.SCTP(sport=1000, dport=2000) / sctp.SCTPChunkInit())
_FROM_B: Final = leaving(src=B)
_REPLY: Final = leaving(packets.tcp(22, 2000))

OUT: Final = (
    row(
        "out: source NAT",
        _TCP,
        Verdict.NAT_OUT,
        out=given_port(_TCP, first=1024, last=65535),
        after=all_of(
            stats_are(GATEWAY_SLOT, tx=1), flow_is(VNI, (A, 1000), (X, 2000), FlowKind.NAT), flows_are(2)
        ),
    ),
    row("out: one port", _TCP, Verdict.NAT_OUT, ports(4000, 4000), out=gone_out(_TCP, src=O, sport=4000)),
    row(
        "out: UDP",
        leaving(packets.udp(1000, 53)),
        Verdict.NAT_OUT,
        ports(4000, 4000),
        out=gone_out(leaving(packets.udp(1000, 53)), src=O, sport=4000),
    ),
    row(
        "out: echo",
        leaving(echo()),
        Verdict.NAT_OUT,
        ports(4000, 4000),
        out=gone_out(leaving(echo()), src=O, id=4000),
        after=flow_is(VNI, (A, 77), (X, 0), FlowKind.NAT, proto=1),
    ),
    row("out: echo reply that nobody asked for", leaving(echo(0)), Verdict.DROP_UNTRANSLATABLE),
    row("out: session", leaving(), Verdict.NAT_OUT, session(), out=gone_out(leaving(), src=O, sport=SESSION)),
    row("out: floating address", _FROM_B, Verdict.NAT_OUT, out=gone_out(_FROM_B, src=F), after=flows_are(0)),
    row(
        "out: floating address that another host answers for",
        leaving(),
        Verdict.NAT_OUT,
        lambda machine: machine.floating(VNI, A, O2, answers=False),
        out=gone_out(leaving(), src=O2),
    ),
    row(
        "out: answer of a port forward",
        _REPLY,
        Verdict.NAT_OUT,
        forwarded(),
        out=gone_out(_REPLY, src=O, sport=2222),
        after=flows_are(0),
    ),
    row(
        "out: forwarded port is not given",
        _TCP,
        Verdict.NAT_OUT,
        ports(4000, 4001),
        forwarded(port=4001, to=B),
        out=gone_out(_TCP, src=O, sport=4000),
    ),
    row(
        "out: port that is taken is not given",
        _TCP,
        Verdict.NAT_OUT,
        ports(4000, 4001),
        session(vni=6, outside=(O, 4001)),
        out=gone_out(_TCP, src=O, sport=4000),
    ),
    row(
        "out: port of a dead session is not given",
        _TCP,
        Verdict.DROP_NAT_EXHAUSTED,
        ports(4000, 4000),
        session(vni=6, outside=(O, 4000), age_s=8000),
    ),
    row(
        "out: all ports taken",
        _TCP,
        Verdict.DROP_NAT_EXHAUSTED,
        ports(4000, 4000),
        session(vni=6, outside=(O, 4000)),
    ),
    row(
        "out: all ports taken, but to another peer",
        _TCP,
        Verdict.NAT_OUT,
        ports(4000, 4000),
        session(vni=6, outside=(O, 4000), peer=(X2, 2000)),
        out=gone_out(_TCP, src=O, sport=4000),
    ),
    row("out: no ports", _TCP, Verdict.DROP_NAT_EXHAUSTED, ports(4001, 4000)),
    row(
        "out: the tunnel's port is not given",
        leaving(packets.udp()),
        Verdict.DROP_NAT_EXHAUSTED,
        ports(6081, 6081),
    ),
    row("out: SCTP keeps its port", _SCTP, Verdict.NAT_OUT, out=gone_out(_SCTP, src=O)),
    row(
        "out: SCTP, port taken",
        _SCTP,
        Verdict.DROP_NAT_EXHAUSTED,
        session(vni=6, outside=(O, 1000), proto=132),
    ),
    row("out: table full", _TCP, Verdict.DROP_FLOWS_FULL, full),
    row("out: protocol without flows", leaving(bytes(24), proto=47), Verdict.DROP_UNTRANSLATABLE),
    row(
        "out: GRE from a floating address",
        leaving(bytes(24), src=B, proto=47),
        Verdict.NAT_OUT,
        out=gone_out(leaving(bytes(24), src=B, proto=47), src=F),
    ),
    row(
        "out: no row of the gateway",
        _TCP,
        Verdict.DROP_NO_GATEWAY,
        no_gateway_row,
    ),
    row("out: to an address of ours outside", leaving(dst=F), Verdict.NAT_OUT),
    row(
        "out: to an address of the VPC, as its sender's routes say", leaving(dst="10.0.1.9"), Verdict.NAT_OUT
    ),
    row(
        "out: an address outside is not enough",
        arrived(content=sent(dst=X)),
        Verdict.DROP_NO_GATEWAY,
        action=REDIRECT,  # FORGET
    ),
    row(
        "out: unknown VPC",
        arrived(content=sent(dst=X, to=GATEWAY_MAC), vni=world.OTHER_VNI),
        Verdict.DROP_UNKNOWN_VNI,
    ),
    row(
        "out: asks for a gateway's host",
        arrived(world.rts(Hop.ENDPOINT), content=sent(dst=X, to=GATEWAY_MAC)),
        Verdict.DROP_NOT_HERE,
    ),
    row(
        "out: not a gateway of the VPC",
        _TCP,
        Verdict.DROP_NO_GATEWAY,
        lambda machine: machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS),
    ),
    row("out: congestion mark", arrived(content=sent(dst=X, to=GATEWAY_MAC), tos=3), Verdict.DROP_ECN),
)


def _with_mac(frame: bytes, mac: str) -> bytes:
    return frame[:6] + bytes.fromhex(mac.replace(":", "")) + frame[12:]


_CAME_IN: Final = arrived(content=_with_mac(sent(packets.tcp(2000, 22), src=X, dst=B), GATEWAY_MAC), src=H4)

DELIVERY: Final = (
    Row(
        "gateway: answers go through the gateway host",
        (world.receiving_host,),
        _CAME_IN,
        Verdict.DELIVERED,
        TC_ONLY,
        after=flow_is(VNI, (B, 22), (X, 2000), FlowKind.VIA, via=H4),
    ),
    Row(
        "gateway: a direct packet teaches no other way",
        (world.receiving_host,),
        arrived(content=sent(packets.tcp(2000, 22), src=X, dst=B)),
        Verdict.DELIVERED,
        TC_ONLY,
        after=flows_are(0),
    ),
)

# ---------------------------------------------------------------- the endpoint's host

UPSTREAM: Final = (H2, H4)
"""Gateway hosts of the VPC."""


def client_host(machine: Machine) -> None:
    """A's host; the VPC's gateway is on two others."""
    world.endpoint_host(machine)
    machine.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY, network=GATEWAYS)
    machine.shard(GATEWAYS, 0, UPSTREAM)


def heaviest(*hosts: str, src: tuple[str, int] = (A, 1000), dst: tuple[str, int] = (X, 2000)) -> str:
    """The gateway host that a new TCP flow is given."""
    flow = hashes.flow_hash(number(src[0]), number(dst[0]), 6, src[1] << 16 | dst[1])
    return max(hosts, key=lambda host: hashes.mix32(flow ^ number(host)))


PICKED: Final = heaviest(*UPSTREAM)
OTHER: Final = next(host for host in UPSTREAM if host != PICKED)


def via(host: str, *, age_s: int = 0, came_in: bool = False, src: str = A) -> Setup:
    """The flow to X goes through this gateway host."""

    def setup(machine: Machine) -> None:
        machine.via(VNI, (src, 1000), (X, 2000), host, age_s=age_s, came_in=came_in)

    return setup


def gateway_here(machine: Machine) -> None:
    """This host is one of the gateway's."""
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS | VpcFlags.GATEWAY)
    machine.gateway(VNI, [O], ports=(4000, 4000), slot=GATEWAY_SLOT)


def _ours(machine: Machine) -> None:
    machine.shard(GATEWAYS, 0, [US])


def _masquerade(machine: Machine) -> None:
    machine.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY)


_SENT: Final = sent(packets.tcp(1000, 2000, flags="S"), dst=X)


def for_gateway(frame: bytes) -> bytes:
    """The inner frame as a gateway host gets it."""
    found = packets.dissect(on_wire(frame, ttl=63))
    found.dst = GATEWAY_MAC
    return bytes(found)


def first(name: str, verdict: Verdict, *setup: Setup, frame: bytes = _SENT, **fields: Any) -> Row:
    return Row(f"gateway: first hop: {name}", (client_host, *setup), frame, verdict, ENDPOINT, **fields)


def _noted(host: str, frame: bytes = _SENT) -> dict[str, Any]:
    """Straight to this gateway host, without option; so the rest of the flow."""
    flow = flow_is(VNI, (A, 1000), (X, 2000), FlowKind.VIA, via=host)
    return {"out": Sent(host, (), for_gateway(frame)), "after": all_of(flow, stats_are(A_SLOT, tx=1))}


FIRST_HOP: Final = (
    first("new flow", Verdict.TO_GATEWAY, **_noted(PICKED)),
    first("picked host is down", Verdict.TO_GATEWAY, down(PICKED), **_noted(OTHER)),
    first("flow stays", Verdict.TO_GATEWAY, via(OTHER), **_noted(OTHER)),
    first("flow's host is down", Verdict.TO_GATEWAY, via(OTHER), down(OTHER), **_noted(PICKED)),
    first("flow's host is no gateway any more", Verdict.TO_GATEWAY, via(H3), **_noted(PICKED)),
    first("flow that came in elsewhere", Verdict.TO_GATEWAY, via(H3, came_in=True), **_noted(H3)),
    first(
        "flow that came in, host down", Verdict.TO_GATEWAY, via(H3, came_in=True), down(H3), **_noted(PICKED)
    ),
    first("flow that is over", Verdict.TO_GATEWAY, via(OTHER, age_s=100), **_noted(PICKED)),
    first("none is up", Verdict.TO_GATEWAY, down(*UPSTREAM), **_noted(PICKED)),
    first("none is known", Verdict.DROP_NO_GATEWAY, lambda machine: machine.shard(GATEWAYS, 0, [])),
    first(
        "no shard",
        Verdict.DROP_NO_GATEWAY,
        lambda machine: machine.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY, network=98),
    ),
    first("table full", Verdict.TO_GATEWAY, full, out=Sent(PICKED, (), for_gateway(_SENT))),
    first("later fragment", Verdict.TO_GATEWAY, frame=sent(dst=X, flags="", frag=9), after=flows_are(0)),
    first("GRE", Verdict.TO_GATEWAY, frame=sent(bytes(24), dst=X, proto=47), after=flows_are(0)),
    first(
        "this host is the gateway",
        Verdict.NAT_OUT,
        gateway_here,
        _ours,
        out=lambda found: _is_packet(found, become(_SENT, ttl=63, src=O, sport=4000)),
        after=all_of(
            stats_are(GATEWAY_SLOT, tx=1),
            stats_are(A_SLOT, tx=1),
            flow_is(VNI, (A, 1000), (X, 2000), FlowKind.NAT),
        ),
    ),
    first(
        "masquerade",
        Verdict.NAT_OUT,
        gateway_here,
        _masquerade,
        out=lambda found: _is_packet(found, become(_SENT, ttl=63, src=O, sport=4000)),
        after=flows_are(2),
    ),
    first("session here stays here", Verdict.NAT_OUT, gateway_here, session()),
    first("session of a gateway that was here", Verdict.TO_GATEWAY, session(), **_noted(PICKED)),
    first("masquerade without a gateway", Verdict.DROP_NO_GATEWAY, _masquerade),
    first("TTL 1", Verdict.ICMP_TTL, frame=sent(dst=X, ttl=1)),
)


def own_routes(machine: Machine) -> None:
    """A's network sends a part of the VPC's own addresses out."""
    table = layout.TABLE_NETWORK | world.NETWORK
    machine.route(table, "10.0.0.0/16", RouteKind.DIVIDER)
    machine.route(table, "10.0.77.0/24", RouteKind.GATEWAY, network=GATEWAYS)
    _with_port_flags(machine, PortFlags.ROUTES)


def forwards(machine: Machine) -> None:
    """A passes on what others send."""
    _with_port_flags(machine, PortFlags.FORWARDS)


def _with_port_flags(machine: Machine, flags: PortFlags) -> None:
    fields: dict[str, Any] = {"network": world.NETWORK, "shards": world.SHARDS, "onlink": ["10.0.1.0/24"]}
    machine.port(world.PORT, vni=VNI, addr=A, mac=world.A_MAC, slot=A_SLOT, flags=flags, **fields)


def _leaves_as(found: bytes, *, source: bytes) -> None:
    frame = packets.dissect(packets.open_tunnel(found).inner)
    assert (frame.dst, frame.src) == (GATEWAY_MAC, source.hex(":"))


_INSIDE_OUT: Final = sent(packets.tcp(1000, 2000), dst="10.0.77.5")

FIRST_HOP_ROUTES: Final = (
    first("VPC's routes keep it inside", Verdict.TO_DIVIDER, frame=_INSIDE_OUT),
    first(
        "network's own routes send it out",
        Verdict.TO_GATEWAY,
        own_routes,
        lambda machine: machine.direct(VNI, "10.0.77.5", H3),
        frame=_INSIDE_OUT,
        out=lambda found: _leaves_as(found, source=bytes.fromhex(world.A_MAC.replace(":", ""))),
    ),
    first("network's own routes have none", Verdict.DROP_NO_ROUTE, own_routes),
    first(
        "what is passed on for another",
        Verdict.TO_GATEWAY,
        forwards,
        frame=sent(packets.tcp(1000, 2000), src="10.0.5.5", dst=X),
        out=lambda found: _leaves_as(found, source=macs.via(number(A))),
        after=flow_is(VNI, ("10.0.5.5", 1000), (X, 2000), FlowKind.VIA),
    ),
)


def _is_packet(found: bytes, packet: bytes) -> None:
    assert found[14:] == packet


ROWS: Final = (*ARP, *IN, *ERRORS, *OUT, *DELIVERY, *FIRST_HOP, *FIRST_HOP_ROUTES)

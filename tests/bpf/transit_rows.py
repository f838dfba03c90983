# SPDX-License-Identifier: Apache-2.0
"""The packet table of the transit programs: docs/design/data-plane.md, "From the wire", in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scapy.layers import inet

from mizar.abi import geneve, layout
from mizar.abi.geneve import Echo, Forget, Here
from mizar.abi.layout import Hop, RouteKind, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.endpoint_rows import bouncers, delivered, down, gone, is_frame
from tests.bpf.rows import (
    BOTH,
    REDIRECT,
    TC_ONLY,
    Row,
    Sent,
    Setup,
    all_of,
    direct_is,
    stats_are,
)
from tests.bpf.world import H2, H3, H4, US, VNI, A, B, C, arrived, control, raw, rts, sent
from tests.support import machine as machines
from tests.support import packets
from tests.support.machine import Machine, number


def at(*setup: Setup) -> Callable[..., Row]:
    """Rows of a host with these tables."""

    def row(name: str, frame: bytes, verdict: Verdict, *more: Setup, **fields: Any) -> Row:
        hooks = fields.pop("hooks", BOTH)
        return Row(name, (*setup, *more), frame, verdict, hooks, **fields)

    return row


bare = at(world.hosts)
dividing = at(world.divider_host)
bouncing = at(world.bouncer_host)
receiving = at(world.receiving_host)
left = at(world.left_host)

LEFT_TO_TC: Final = Verdict.TO_TC
ANY: Final = rts(Hop.BOUNCER)


def other_udp(**fields: Any) -> bytes:
    return packets.raw_tunnel(b"payload", src=H2, dst=US, **fields)


# ---------------------------------------------------------------- not ours, or wrong outside

PASS = (
    Row("not configured", (), arrived(ANY), Verdict.PASS, BOTH),
    bare("ARP", packets.arp(sender_mac=packets.WIRE.src, sender=H2, target=US), Verdict.PASS),
    bare(
        "TCP", packets.frame(packets.ipv4(packets.tcp(), src=H2, dst=US), src=packets.WIRE.src), Verdict.PASS
    ),
    bare("another UDP port", other_udp(dport=6080), Verdict.PASS),
    bare("to another address", packets.raw_tunnel(b"payload", src=H2, dst=H3), Verdict.PASS),
    bare("later fragment", other_udp(flags="", frag=100), Verdict.PASS),
    bare("IP header of 16 bytes", arrived(ANY, ihl=4), Verdict.PASS),
    bare("cut before the UDP header is whole", arrived(ANY)[:41], Verdict.PASS),
)

OUTER = (
    bare("IP version 5", arrived(ANY, version=5), Verdict.DROP_OUTER_MALFORMED),
    bare("IP options", other_udp(options=[inet.IPOption_NOP()] * 4), Verdict.DROP_OUTER_MALFORMED),
    bare("IP checksum wrong", arrived(ANY, chksum=0x1234), Verdict.DROP_OUTER_MALFORMED),
    bare("IP longer than the frame", arrived(ANY)[:-1], Verdict.DROP_OUTER_MALFORMED),
    bare("IP shorter than UDP", arrived(ANY, len=27), Verdict.DROP_OUTER_MALFORMED),
    bare("UDP length too big", other_udp(udp_fields={"len": 16}), Verdict.DROP_OUTER_MALFORMED),
    bare("UDP length too small", other_udp(udp_fields={"len": 14}), Verdict.DROP_OUTER_MALFORMED),
    bare("first fragment", arrived(ANY, flags="MF"), Verdict.DROP_OUTER_FRAGMENT),
    bare("stranger", arrived(ANY, src=world.STRANGER), Verdict.DROP_FOREIGN_PEER),
    bare("our own address", arrived(ANY, src=US), Verdict.DROP_FOREIGN_PEER),
)

# ---------------------------------------------------------------- Geneve

_RTS_BYTES: Final = packets.option(
    layout.OPT_CLASS, layout.OptType.RTS, number(H2).to_bytes(4, "big") + bytes((Hop.BOUNCER, 0, 0, 0))
)
_UNKNOWN: Final = packets.option(0x0102, 0x11, bytes(8))
_EMPTY: Final = packets.option(0x0102, 0x11)
_OVERRUN: Final = bytes((1, 2, 0x11, 1))


def _bouncer_sends(name: str, options: bytes) -> Row:
    return bouncing(name, raw(options), Verdict.BOUNCED)


GENEVE = (
    bare("no Geneve header", packets.raw_tunnel(b"", src=H2, dst=US), Verdict.DROP_GENEVE_TRUNCATED),
    bare("Geneve header of 7 bytes", other_udp(), Verdict.DROP_GENEVE_TRUNCATED),
    bare(
        "Geneve version 1",
        packets.raw_tunnel(b"\x40" + bytes(60), src=H2, dst=US),
        Verdict.DROP_GENEVE_VERSION,
    ),
    bare(
        "Geneve options beyond the packet",
        packets.raw_tunnel(bytes((3, 0, 0x65, 0x58)) + bytes(15), src=H2, dst=US),
        Verdict.DROP_GENEVE_TRUNCATED,
    ),
    bare("Geneve carries IPv4", raw(b"", protocol=0x0800), Verdict.DROP_GENEVE_PROTOCOL),
    bare("option overruns the options", raw(_OVERRUN), Verdict.DROP_GENEVE_OPTION),
    bare("option overruns after another", raw(_UNKNOWN + _OVERRUN), Verdict.DROP_GENEVE_OPTION),
    bare("longest option overruns", raw(packets.option(1, 1, bytes(124))[:64]), Verdict.DROP_GENEVE_OPTION),
    bare("RTS too short", raw(packets.option(layout.OPT_CLASS, 1, bytes(4))), Verdict.DROP_GENEVE_OPTION),
    bare("RTS too long", raw(packets.option(layout.OPT_CLASS, 1, bytes(12))), Verdict.DROP_GENEVE_OPTION),
    bare("RTS empty", raw(packets.option(layout.OPT_CLASS, 1)), Verdict.DROP_GENEVE_OPTION),
    bare("RTS with unknown hop", raw(_RTS_BYTES[:8] + b"\x04\0\0\0"), Verdict.DROP_GENEVE_OPTION),
    bare(
        "HERE too short",
        raw(packets.option(layout.OPT_CLASS, 2, bytes(4)), flags=0x80),
        Verdict.DROP_GENEVE_OPTION,
    ),
    bare("unknown critical option", raw(packets.option(0x0102, 0x91)), Verdict.DROP_GENEVE_CRITICAL),
    bare(
        "unknown critical option of our class",
        raw(packets.option(layout.OPT_CLASS, 0x85, bytes(8))),
        Verdict.DROP_GENEVE_CRITICAL,
    ),
    bare("critical after RTS", raw(_RTS_BYTES + packets.option(1, 0x80)), Verdict.DROP_GENEVE_CRITICAL),
    _bouncer_sends("RTS alone", _RTS_BYTES),
    _bouncer_sends("unknown option first", _UNKNOWN + _RTS_BYTES),
    _bouncer_sends("unknown option last", _RTS_BYTES + _UNKNOWN),
    _bouncer_sends("empty options around", _EMPTY * 2 + _RTS_BYTES + _EMPTY),
    _bouncer_sends(
        "unknown option of our class", packets.option(layout.OPT_CLASS, 0x7F, bytes(4)) + _RTS_BYTES
    ),
    _bouncer_sends("63 words of options", _EMPTY * 60 + _RTS_BYTES),
    _bouncer_sends("longest option", packets.option(1, 1, bytes(124)) + _RTS_BYTES),
    _bouncer_sends("reserved bits of the option length", _RTS_BYTES[:3] + b"\xe2" + _RTS_BYTES[4:]),
    bare(
        "63 options, the last critical",
        raw(_EMPTY * 62 + packets.option(1, 0x80)),
        Verdict.DROP_GENEVE_CRITICAL,
    ),
    bouncing(
        "reserved bits of the header",
        packets.raw_tunnel(
            packets.with_options(_RTS_BYTES, world.inner(), vni=VNI, flags=0x3F), src=H2, dst=US
        ),
        Verdict.BOUNCED,
    ),
    bouncing("C bit without a critical option", raw(_RTS_BYTES, flags=0x40), Verdict.BOUNCED),
)

# ---------------------------------------------------------------- control

_HERE: Final = Here(number(B))
_FORGET: Final = Forget(number(B))


def known(host: str, *, age_ms: int = 0) -> Setup:
    return lambda machine: machine.direct(VNI, B, host, age_ms=age_ms)


def echo_answer(asked: bytes) -> Callable[[bytes], None]:
    def check(found: bytes) -> None:
        question, answer = packets.dissect(asked), packets.dissect(found)
        packets.check_ipv4(answer[inet.IP])
        assert (answer.src, answer.dst) == (question.dst, question.src)
        assert (answer[inet.IP].src, answer[inet.IP].dst) == (US, H2)
        header, _ = geneve.parse(bytes(answer[inet.UDP].payload))
        assert header == geneve.Header(0, control=True, options=(Echo(77, reply=True),))
        if answer[inet.UDP].chksum:
            claimed = answer[inet.UDP].chksum
            del answer[inet.UDP].chksum
            assert packets.dissect(bytes(answer))[inet.UDP].chksum == claimed

    return check


_ASK: Final = control(Echo(77), vni=0)
_ASK_SUMMED: Final = control(Echo(77), vni=0, udp_fields={"chksum": None})
_QUOTED: Final = packets.tunnel(world.inner(), src=H2, dst=US, vni=VNI, options=(_HERE,), control=True)

CONTROL = (
    bare("HERE", control(_HERE), Verdict.LEARNT, after=direct_is(VNI, B, H2)),
    bare("HERE with a quote", _QUOTED, Verdict.LEARNT, after=direct_is(VNI, B, H2)),
    bare("HERE instead of another", control(_HERE), Verdict.LEARNT, known(H3), after=direct_is(VNI, B, H2)),
    bare(
        "HERE confirms", control(_HERE), Verdict.LEARNT, known(H2, age_ms=9000), after=direct_is(VNI, B, H2)
    ),
    receiving("HERE for one of ours", control(_HERE), Verdict.LEARNT, after=direct_is(VNI, B, None)),
    bare(
        "HERE in another VPC", control(_HERE, vni=6), Verdict.LEARNT, known(H3), after=direct_is(VNI, B, H3)
    ),
    bare(
        "HERE from a stranger",
        control(_HERE, src=world.STRANGER),
        Verdict.DROP_FOREIGN_PEER,
        after=direct_is(VNI, B, None),
    ),
    bare("FORGET", control(_FORGET), Verdict.FORGOT, known(H2), after=direct_is(VNI, B, None)),
    bare(
        "FORGET what is elsewhere", control(_FORGET), Verdict.FORGOT, known(H3), after=direct_is(VNI, B, H3)
    ),
    bare("FORGET what is unknown", control(_FORGET), Verdict.FORGOT),
    bare("ECHO", _ASK, Verdict.ECHO, out=echo_answer(_ASK)),
    bare("ECHO with a UDP checksum", _ASK_SUMMED, Verdict.ECHO, out=echo_answer(_ASK_SUMMED)),
    bare("ECHO from afar", control(Echo(77), vni=0, ttl=3), Verdict.ECHO, out=echo_answer(_ASK)),
    bare(
        "ECHO answer",
        control(Echo(77, reply=True)),
        Verdict.PASS,
        out=is_frame(control(Echo(77, reply=True))),
    ),
    bare("control without options", raw(b"", flags=0x80), Verdict.DROP_GENEVE_CONTROL),
    bare("control with RTS only", raw(_RTS_BYTES, flags=0x80), Verdict.DROP_GENEVE_CONTROL),
    receiving("control is never delivered", raw(_EMPTY, flags=0x80), Verdict.DROP_GENEVE_CONTROL),
    bouncing(
        "HERE without the control bit is data",
        raw(packets.option(layout.OPT_CLASS, 2, bytes(8)) + _RTS_BYTES),
        Verdict.BOUNCED,
    ),
)

# ---------------------------------------------------------------- inner frame


def _holding(content: bytes) -> bytes:
    return arrived(ANY, content=content)


_INNER: Final = world.inner()

INNER = (
    bare("inner nothing", _holding(b""), Verdict.DROP_INNER_MALFORMED),
    bare("inner Ethernet cut", _holding(_INNER[:13]), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP missing", _holding(_INNER[:14]), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP cut", _holding(_INNER[:33]), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP packet cut", _holding(_INNER[:-1]), Verdict.DROP_INNER_MALFORMED),
    bare(
        "inner IPv6",
        _holding(packets.frame(bytes(40), src=world.A_MAC, type=0x86DD)),
        Verdict.DROP_INNER_NOT_IPV4,
    ),
    bare(
        "inner ARP",
        _holding(packets.arp(sender_mac=world.A_MAC, sender=A, target=B)),
        Verdict.DROP_INNER_NOT_IPV4,
    ),
    bare("inner IP version 6", _holding(sent(version=6)), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP header of 16 bytes", _holding(sent(ihl=4)), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP header beyond the packet", _holding(sent(ihl=15)), Verdict.DROP_INNER_MALFORMED),
    bare("inner IP length 0", _holding(sent(len=0)), Verdict.DROP_INNER_MALFORMED),
)

# ---------------------------------------------------------------- for an endpoint of ours


def _ecn(name: str, outer: int, inner: int, becomes: int | None) -> Row:
    """RFC 6040 figure 4; None: drop."""
    frame = arrived((), content=sent(tos=0xB8 | inner), tos=0x10 | outer)
    if becomes is None:
        return receiving(
            f"ECN {name}", frame, Verdict.DROP_ECN, hooks=TC_ONLY, after=stats_are(world.LOCAL_SLOT)
        )
    out = delivered(sent(tos=0xB8 | becomes))
    return receiving(f"ECN {name}", frame, Verdict.DELIVERED, hooks=TC_ONLY, out=out)


NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
_ECN_NAMES: Final = ("not-ECT", "ECT(1)", "ECT(0)", "CE")
_ECN_TABLE: Final[dict[int, dict[int, int | None]]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}
ECN = tuple(
    _ecn(f"{_ECN_NAMES[outer]} over {_ECN_NAMES[inner]}", outer, inner, becomes)
    for inner, line in _ECN_TABLE.items()
    for outer, becomes in line.items()
)

_HERE_OUT: Final = Sent(H2, (_HERE,), control=True)
_RX: Final = stats_are(world.LOCAL_SLOT, rx=1)


def knows_sender(host: str | None) -> Setup:
    return direct_is(VNI, A, host)


DELIVERED = (
    receiving(
        "direct",
        arrived(),
        Verdict.DELIVERED,
        at_xdp=LEFT_TO_TC,
        out=delivered(sent()),
        after=all_of(knows_sender(H2), _RX),
    ),
    receiving(
        "direct, not a veth",
        arrived(),
        Verdict.DELIVERED,
        lambda m: world.local_endpoint(m, peer=False),
        hooks=TC_ONLY,
        out=delivered(sent()),
    ),
    receiving(
        "direct, moved sender",
        arrived(),
        Verdict.DELIVERED,
        lambda m: m.direct(VNI, A, H3),
        hooks=TC_ONLY,
        after=knows_sender(H2),
    ),
    receiving(
        "direct, aged sender",
        arrived(),
        Verdict.DELIVERED,
        lambda m: m.direct(VNI, A, H2, age_ms=9000),
        hooks=TC_ONLY,
        after=knows_sender(H2),
    ),
    receiving(
        "direct, unknown options",
        raw(_UNKNOWN + _EMPTY),
        Verdict.DELIVERED,
        at_xdp=LEFT_TO_TC,
        out=delivered(sent()),
    ),
    receiving(
        "direct, 63 options", raw(_EMPTY * 63), Verdict.DELIVERED, at_xdp=LEFT_TO_TC, out=delivered(sent())
    ),
    receiving(
        "inner IP options",
        arrived(content=sent(options=[inet.IPOption_NOP()] * 4)),
        Verdict.DELIVERED,
        hooks=TC_ONLY,
    ),
    receiving(
        "from a bouncer",
        arrived(rts(Hop.ENDPOINT, H3)),
        Verdict.DELIVERED_HERE,
        at_xdp=LEFT_TO_TC,
        out=Sent(H3, (_HERE,), control=True),
        after=all_of(knows_sender(H3), _RX),
    ),
    receiving(
        "from a divider, but it is here",
        arrived(rts(Hop.BOUNCER)),
        Verdict.DELIVERED_HERE,
        at_xdp=LEFT_TO_TC,
        out=_HERE_OUT,
    ),
    receiving(
        "from afar, but it is here",
        arrived(rts(Hop.DIVIDER)),
        Verdict.DELIVERED_HERE,
        at_xdp=LEFT_TO_TC,
        out=_HERE_OUT,
    ),
    receiving("probe", arrived(rts(Hop.PROBE)), Verdict.DELIVERED_HERE, at_xdp=LEFT_TO_TC, out=_HERE_OUT),
    receiving(
        "RTS with other options",
        raw(_UNKNOWN + _RTS_BYTES + _EMPTY),
        Verdict.DELIVERED_HERE,
        at_xdp=LEFT_TO_TC,
        out=_HERE_OUT,
    ),
    receiving(
        "RTS names a stranger",
        arrived(rts(Hop.ENDPOINT, world.STRANGER)),
        Verdict.DELIVERED,
        hooks=TC_ONLY,
        out=delivered(sent()),
        after=knows_sender(None),
    ),
    receiving(
        "RTS names ourselves",
        arrived(rts(Hop.ENDPOINT, US)),
        Verdict.DELIVERED,
        hooks=TC_ONLY,
        out=delivered(sent()),
        after=knows_sender(None),
    ),
)

# ---------------------------------------------------------------- divide

_ASKS_DIVIDER: Final = arrived(rts(Hop.DIVIDER))


def _to(host: str, hop: Hop) -> Sent:
    return Sent(host, rts(hop), inner=sent())


def is_sent_by_nic(host: str) -> Callable[[bytes], None]:
    """XDP writes the MACs itself."""

    def check(found: bytes) -> None:
        tunnel = packets.open_tunnel(found)
        assert (tunnel.src_mac, tunnel.dst_mac) == (world.NIC_MAC, world.HOST_MACS[host])

    return check


def no_macs(machine: Machine) -> None:
    for host in (H2, H3, H4):
        machine.host(host, nexthop=host)


DIVIDED = (
    dividing(
        "divide",
        _ASKS_DIVIDER,
        Verdict.DIVIDED,
        out=_to(H2, Hop.BOUNCER),
        after=stats_are(world.DIVIDER_SLOT, tx=1),
    ),
    dividing(
        "divide to the other network",
        arrived(rts(Hop.DIVIDER), content=sent(dst=C)),
        Verdict.DIVIDED,
        out=Sent(H4, rts(Hop.BOUNCER), inner=sent(dst=C)),
    ),
    dividing(
        "divide by XDP writes MACs",
        _ASKS_DIVIDER,
        Verdict.DIVIDED,
        hooks=(machines.Hook.XDP,),
        out=is_sent_by_nic(H2),
    ),
    dividing(
        "divide, MACs not known",
        _ASKS_DIVIDER,
        Verdict.DIVIDED,
        no_macs,
        at_xdp=LEFT_TO_TC,
        out=_to(H2, Hop.BOUNCER),
    ),
    dividing(
        "divide keeps other options",
        raw(_UNKNOWN + _RTS_BYTES[:8] + bytes((Hop.DIVIDER, 0, 0, 0))),
        Verdict.DIVIDED,
        out=_to(H2, Hop.BOUNCER),
    ),
    dividing(
        "divide after an underlay router",
        arrived(rts(Hop.DIVIDER), ttl=9),
        Verdict.DIVIDED,
        out=_to(H2, Hop.BOUNCER),
    ),
    dividing(
        "divide keeps the outer TOS",
        arrived(rts(Hop.DIVIDER), tos=0xB9),
        Verdict.DIVIDED,
        out=Sent(H2, rts(Hop.BOUNCER), tos=0xB9),
    ),
    dividing(
        "divide clears a UDP checksum",
        arrived(rts(Hop.DIVIDER), udp_fields={"chksum": None}),
        Verdict.DIVIDED,
        out=_to(H2, Hop.BOUNCER),
    ),
    dividing(
        "divide, a bouncer down",
        _ASKS_DIVIDER,
        Verdict.DIVIDED,
        bouncers(H3, H2),
        down(H3),
        out=_to(H2, Hop.BOUNCER),
    ),
    dividing(
        "divide, bouncer unknown",
        _ASKS_DIVIDER,
        Verdict.DROP_UNKNOWN_HOST,
        bouncers(H3),
        gone(H3),
        after=stats_are(world.DIVIDER_SLOT),
    ),
    dividing(
        "divide, no network",
        arrived(rts(Hop.DIVIDER), content=sent(dst=world.NOWHERE)),
        Verdict.DROP_NO_NETWORK,
    ),
    dividing(
        "divide, outside", arrived(rts(Hop.DIVIDER), content=sent(dst=world.OUTSIDE)), Verdict.DROP_NO_ROUTE
    ),
    dividing("divide, no bouncer", _ASKS_DIVIDER, Verdict.DROP_NO_BOUNCER, bouncers()),
    dividing(
        "divide, network not known yet: not to a second divider",
        _ASKS_DIVIDER,
        Verdict.DROP_NO_DIVIDER,
        lambda m: m.vpc(VNI, dividers=[US, H3], flags=VpcFlags.DIVIDER),
        lambda m: m.route(VNI, "10.0.1.0/24", RouteKind.DIVIDER),
    ),
    dividing(
        "divide and bounce",
        _ASKS_DIVIDER,
        Verdict.BOUNCED,
        bouncers(US),
        lambda m: m.location(VNI, B, H4, slot=world.BOUNCER_SLOT),
        out=_to(H4, Hop.ENDPOINT),
        after=all_of(stats_are(world.DIVIDER_SLOT, tx=1), stats_are(world.BOUNCER_SLOT, tx=1)),
    ),
    dividing("divide and bounce, nobody there", _ASKS_DIVIDER, Verdict.DROP_NO_ENDPOINT, bouncers(US)),
)

# ---------------------------------------------------------------- bounce

_ASKS_BOUNCER: Final = arrived(rts(Hop.BOUNCER))

BOUNCED = (
    bouncing(
        "bounce",
        _ASKS_BOUNCER,
        Verdict.BOUNCED,
        out=_to(H4, Hop.ENDPOINT),
        after=stats_are(world.BOUNCER_SLOT, tx=1),
    ),
    bouncing(
        "bounce by XDP writes MACs",
        _ASKS_BOUNCER,
        Verdict.BOUNCED,
        hooks=(machines.Hook.XDP,),
        out=is_sent_by_nic(H4),
    ),
    bouncing("bounce what asks a divider", _ASKS_DIVIDER, Verdict.BOUNCED, out=_to(H4, Hop.ENDPOINT)),
    bouncing(
        "bounce, host down",
        _ASKS_BOUNCER,
        Verdict.BOUNCED,
        down(H4),
        at_xdp=LEFT_TO_TC,
        out=_to(H4, Hop.ENDPOINT),
    ),
    bouncing(
        "bounce, host unknown",
        _ASKS_BOUNCER,
        Verdict.DROP_UNKNOWN_HOST,
        gone(H4),
        after=stats_are(world.BOUNCER_SLOT),
    ),
    bouncing(
        "bounce, nobody there",
        arrived(rts(Hop.BOUNCER), content=sent(dst="10.0.1.77")),
        Verdict.DROP_NO_ENDPOINT,
    ),
    bouncing(
        "bounce, in another VPC", arrived(rts(Hop.BOUNCER), vni=world.OTHER_VNI), Verdict.DROP_UNKNOWN_VNI
    ),
    bouncing(
        "divide, in another VPC", arrived(rts(Hop.DIVIDER), vni=world.OTHER_VNI), Verdict.DROP_UNKNOWN_VNI
    ),
    bouncing(
        "bounce to ourselves, not here",
        _ASKS_BOUNCER,
        Verdict.DROP_NOT_HERE,
        lambda m: m.location(VNI, B, US),
    ),
    bouncing("bounced twice", arrived(rts(Hop.ENDPOINT)), Verdict.DROP_NOT_HERE, at_xdp=LEFT_TO_TC),
    bouncing(
        "bounced twice, in another VPC",
        arrived(rts(Hop.ENDPOINT), vni=world.OTHER_VNI),
        Verdict.DROP_UNKNOWN_VNI,
        at_xdp=LEFT_TO_TC,
    ),
    # What another host's bouncer sent with the sender's address is no probe.
    left(
        "bounced by the sender's own host",
        arrived(rts(Hop.ENDPOINT, H2)),
        Verdict.DROP_NOT_HERE,
        at_xdp=LEFT_TO_TC,
    ),
)

# ---------------------------------------------------------------- stale

_FORGET_OUT: Final = Sent(H2, (_FORGET,), control=True)


def own_network(*hosts: str) -> Setup:
    def setup(machine: Machine) -> None:
        machine.route(VNI, "10.0.1.0/24", RouteKind.NETWORK, network=world.NETWORK, shards=world.SHARDS)
        machine.shards(world.NETWORK, world.SHARDS, hosts)

    return setup


def without_vpc(machine: Machine) -> None:
    machine.tables[layout.Table.VPCS].delete([VNI])


def _forgets(name: str, verdict: Verdict, *setup: Setup, frame: bytes = b"") -> Row:
    """No way on: the sender is told to forget all the same."""
    return left(name, frame or arrived(), verdict, *setup, hooks=TC_ONLY, out=_FORGET_OUT, action=REDIRECT)


STALE = (
    left("stale", arrived(), Verdict.STALE, at_xdp=LEFT_TO_TC, out=_FORGET_OUT),
    left("stale probe", arrived(rts(Hop.PROBE)), Verdict.STALE, at_xdp=LEFT_TO_TC, out=_FORGET_OUT),
    left("stale, other options", raw(_UNKNOWN + _EMPTY), Verdict.STALE, hooks=TC_ONLY, out=_FORGET_OUT),
    # Test runs have no neighbours: the packet itself goes on, nobody is told.
    left("stale, MACs not known", arrived(), Verdict.STALE, no_macs, hooks=TC_ONLY, out=_to(H3, Hop.DIVIDER)),
    left(
        "stale probe, MACs not known",
        arrived(rts(Hop.PROBE)),
        Verdict.STALE,
        no_macs,
        hooks=TC_ONLY,
        out=_to(H3, Hop.DIVIDER),
    ),
    left(
        "stale, to our network's bouncer",
        arrived(),
        Verdict.STALE,
        no_macs,
        own_network(H4),
        hooks=TC_ONLY,
        out=_to(H4, Hop.BOUNCER),
    ),
    left(
        "stale, shard unknown",
        arrived(),
        Verdict.STALE,
        no_macs,
        own_network(),
        hooks=TC_ONLY,
        out=_to(H3, Hop.DIVIDER),
    ),
    left(
        "stale, we bounce",
        arrived(),
        Verdict.STALE,
        no_macs,
        own_network(US),
        lambda m: m.location(VNI, B, H4, slot=world.BOUNCER_SLOT),
        hooks=TC_ONLY,
        out=_to(H4, Hop.ENDPOINT),
        after=stats_are(world.BOUNCER_SLOT, tx=1),
    ),
    left(
        "stale, we divide",
        arrived(),
        Verdict.STALE,
        no_macs,
        world.divider,
        bouncers(H4),
        hooks=TC_ONLY,
        out=_to(H4, Hop.BOUNCER),
        after=stats_are(world.DIVIDER_SLOT, tx=1),
    ),
    _forgets("stale, unknown VPC", Verdict.DROP_UNKNOWN_VNI, without_vpc),
    _forgets("stale, no divider", Verdict.DROP_NO_DIVIDER, lambda m: m.vpc(VNI)),
    _forgets("stale, nobody there", Verdict.DROP_NO_ENDPOINT, own_network(US)),
    _forgets(
        "stale, bouncer says here", Verdict.DROP_NOT_HERE, own_network(US), lambda m: m.location(VNI, B, US)
    ),
    left("stale, no room for an option", raw(_EMPTY * 61), Verdict.DROP_HELPER, hooks=TC_ONLY),
)

ROWS: Final = (*PASS, *OUTER, *GENEVE, *CONTROL, *INNER, *ECN, *DELIVERED, *DIVIDED, *BOUNCED, *STALE)

# SPDX-License-Identifier: Apache-2.0
"""The transit program: a packet on the wire, at tc (all of it) and at XDP (what keeps its size)."""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from mizar.abi import decode, geneve, layout, macs
from mizar.abi.verdicts import Verdict
from mizar.dataplane.evaluation import choose, inside, outcome, packet, tables
from mizar.dataplane.evaluation.inside import Inner
from mizar.dataplane.evaluation.outcome import CountRx, Effect, Outcome, Sent, To

_QUIET_MS: Final = 1000
"""A confirmed entry is written again once a second at most."""

_QUOTE: Final = 96
"""Bytes of the inner frame that a control packet quotes at most."""

_OPTIONS_MAX: Final = layout.MAX_GENEVE_OPTIONS * 4


@dataclasses.dataclass(frozen=True)
class _Wire:
    """A tunnel packet that has been read, and the host it came to."""

    view: tables.Tables
    config: tables.Config
    now: int
    at_xdp: bool
    frame: bytes
    src: int
    sport: int
    tos: int
    header: geneve.Header
    inner_at: int
    """Where the inner frame begins."""
    inner: bytes
    """The inner frame within the outer packet; the frame may have more bytes behind it."""

    @property
    def rts(self) -> geneve.Rts | None:
        return self.header.last(geneve.Rts)

    @property
    def inner_size(self) -> int:
        return len(self.frame) - self.inner_at


def evaluate(view: tables.Tables, frame: bytes, now: int, *, at_xdp: bool) -> Outcome:
    """`now`: milliseconds of the monotonic clock."""
    config = view.config()
    if config is None:
        return outcome.passed()
    wire = _read(view, config, frame, now, at_xdp=at_xdp)
    if isinstance(wire, Verdict):
        return outcome.drop(wire) if wire.is_drop else outcome.passed(wire)
    if wire.header.control:
        return _control(wire)
    hop = wire.rts.hop if wire.rts else None
    in_transit = hop in (layout.Hop.DIVIDER, layout.Hop.BOUNCER)
    if at_xdp and not in_transit:
        return outcome.passed(Verdict.TO_TC)
    inner = inside.read(wire.inner, wire.header.vni)
    if isinstance(inner, Verdict):
        return outcome.drop(inner)
    refusal: Verdict | None = None
    if in_transit:
        onward = _divide_or_bounce(wire, inner)
        if isinstance(onward, choose.Next):
            return _pass_on(wire, inner, onward)
        if isinstance(onward, choose.Lost):
            inner = inner.crossed(onward.vni)
        refusal = onward.verdict if isinstance(onward, choose.Lost) else onward
    endpoint = view.endpoint(inner.vni, inner.dst)
    if endpoint is not None:
        return outcome.passed(Verdict.TO_TC) if at_xdp else _arrive(wire, inner, endpoint)
    if refusal is not None:
        return outcome.drop(refusal)
    if inner.to_gateway and hop is None:  # gateways are not part of this model
        here = view.vpc(inner.vni)
        return outcome.drop(Verdict.DROP_UNKNOWN_VNI if here is None else Verdict.DROP_NO_GATEWAY)
    if hop == layout.Hop.ENDPOINT:
        here = view.vpc(wire.header.vni)
        return outcome.drop(Verdict.DROP_UNKNOWN_VNI if here is None else Verdict.DROP_NOT_HERE)
    return _stale(wire, inner)


# ---------------------------------------------------------------- reading


def _read(
    view: tables.Tables, config: tables.Config, frame: bytes, now: int, *, at_xdp: bool
) -> _Wire | Verdict:
    """The packet from the outside in, or the verdict on it."""
    ip = packet.read_ip(frame[packet.ETH_LEN :])
    if ip is None or packet.ethertype(frame) != packet.ETH_P_IP or ip.dst != config.address:
        return Verdict.PASS
    udp_at = packet.ETH_LEN + ip.head
    if ip.protocol != packet.UDP or ip.frag & packet.OFFSET or len(frame) < udp_at + packet.UDP_LEN:
        return Verdict.PASS
    sport, dport, udp_len, _ = struct.unpack_from(">HHHH", frame, udp_at)
    if dport != layout.GENEVE_PORT:
        return Verdict.PASS
    refusal = _refusal(view, ip, frame, udp_len)
    if refusal is not None:
        return refusal
    try:
        header, inner = geneve.parse(frame[packet.OFF_GENEVE : packet.ETH_LEN + ip.total])
    except geneve.GeneveError as fault:
        return fault.verdict
    inner_at = packet.ETH_LEN + ip.total - len(inner)
    return _Wire(view, config, now, at_xdp, frame, ip.src, sport, ip.tos, header, inner_at, inner)


def _refusal(view: tables.Tables, ip: packet.Ip, frame: bytes, udp_len: int) -> Verdict | None:
    """What is wrong with the outer headers of a packet to our port."""
    head = frame[packet.ETH_LEN : packet.OFF_UDP]
    shape = (ip.version, ip.head) == (4, packet.IP_LEN) and packet.checksum(head) == 0
    if not shape or not packet.IP_LEN + packet.UDP_LEN <= ip.total <= len(frame) - packet.ETH_LEN:
        return Verdict.DROP_OUTER_MALFORMED
    if ip.frag & packet.MF:
        return Verdict.DROP_OUTER_FRAGMENT
    if udp_len != ip.total - packet.IP_LEN:
        return Verdict.DROP_OUTER_MALFORMED
    return None if view.is_peer(ip.src) else Verdict.DROP_FOREIGN_PEER


# ---------------------------------------------------------------- control


def _control(wire: _Wire) -> Outcome:
    """What hosts tell each other; it ends here."""
    header = wire.header
    echo, here, forget = header.last(geneve.Echo), header.last(geneve.Here), header.last(geneve.Forget)
    if echo is not None:
        return outcome.passed() if echo.reply else _echo(wire)
    if here is not None:
        own_vni = here.vni or header.vni
        local = wire.view.endpoint(own_vni, here.addr) is not None
        effects = () if local else _learn(wire, outcome.Learn(header.vni, here.addr, wire.src, own_vni))
        return Outcome(Verdict.LEARNT, outcome.Action.DROP, effects=effects)
    if forget is not None:
        known = wire.view.direct(header.vni, forget.addr)
        is_his = known is not None and known.host == wire.src
        gone: tuple[Effect, ...] = (outcome.Forget(header.vni, forget.addr),) if is_his else ()
        return Outcome(Verdict.FORGOT, outcome.Action.DROP, effects=gone)
    return outcome.drop(Verdict.DROP_GENEVE_CONTROL)


def _echo(wire: _Wire) -> Outcome:
    """The question as its answer: ends and ports exchanged."""
    at = _option_at(wire, layout.OptType.ECHO) + 8
    frame = packet.with_macs(wire.frame, dst=wire.frame[6:12], src=wire.frame[:6])
    frame = _readdressed(frame, src=wire.config.address, dst=wire.src)
    ports = frame[packet.OFF_UDP : packet.OFF_UDP + 4]
    frame = packet.replaced(frame, packet.OFF_UDP, ports[2:] + ports[:2])
    answer = b"\x01" + frame[at + 1 : at + 4]
    check_at = packet.OFF_UDP + 6
    if frame[check_at : check_at + 2] == b"\0\0":
        frame = packet.replaced(frame, at, answer)
    else:
        frame = packet.replaced_in_header(frame, at, answer, check=check_at)
        if not wire.at_xdp and frame[check_at : check_at + 2] == b"\0\0":  # 0 would mean none, RFC 768
            frame = packet.replaced(frame, check_at, b"\xff\xff")
    return outcome.send(Verdict.ECHO, Sent(frame, To.BACK))


def _learn(wire: _Wire, lesson: outcome.Learn) -> tuple[Effect, ...]:
    """The lesson, unless it has been learnt just now, or is no news or nonsense."""
    known = wire.view.direct(lesson.vni, lesson.address)
    if known is not None and (known.host, known.vni) == (lesson.host, lesson.own_vni):
        is_old = decode.age_ms(known.confirmed, wire.now) > _QUIET_MS
        return (lesson,) if is_old else ()
    host = wire.view.host(lesson.host)
    # Endpoints of this host are found without; those of a peer VPC are not.
    may_be = host is not None and (not host.is_self or lesson.own_vni != lesson.vni)
    return (lesson,) if may_be else ()


# ---------------------------------------------------------------- arriving


def _arrive(wire: _Wire, inner: Inner, endpoint: tables.Endpoint) -> Outcome:
    """For an endpoint of this host."""
    rts = wire.rts
    host = rts.host if rts else wire.src
    lesson = outcome.Learn(inner.vni, inner.src, host, inner.sender_vni)
    learnt = _learn(wire, lesson) if inner.src else ()
    ecn = packet.ecn_out(wire.tos, inner.tos)
    if ecn is None:
        return outcome.drop(Verdict.DROP_ECN, *learnt)
    frame = _decapsulated(wire)
    if ecn != inner.tos & 3:
        old = frame[packet.ETH_LEN : packet.ETH_LEN + 2]
        fresh = bytes((old[0], old[1] & 0xFC | ecn))
        frame = packet.replaced_in_header(frame, packet.ETH_LEN, fresh)
    frame = packet.with_macs(frame, dst=endpoint.mac, src=layout.ROUTER_MAC)
    effects = (*learnt, CountRx(endpoint.slot, wire.inner_size))
    delivered = Sent(frame, To.ENDPOINT, ifindex=endpoint.ifindex)
    if rts is None or not wire.view.is_peer(rts.host):
        if rts is not None and inner.peer_vni:  # the sender's host is this one
            effects += _learn(wire, outcome.Learn(inner.peer_vni, inner.dst, rts.host, inner.vni))
        return outcome.send(Verdict.DELIVERED, delivered, effects=effects)
    message = _message(wire, inner, frame, geneve.Here(inner.dst, _told_vni(inner)), rts.host)
    return outcome.send(Verdict.DELIVERED_HERE, delivered, message, effects=effects)


def _decapsulated(wire: _Wire) -> bytes:
    """The inner packet behind the outer Ethernet header; MACs are still to be written."""
    return wire.frame[: packet.ETH_LEN] + wire.frame[wire.inner_at + packet.ETH_LEN :]


def _told_vni(inner: Inner) -> int:
    """In HERE and FORGET: the endpoint's own VPC, if the sender knows it in another."""
    return inner.vni if inner.peer_vni else 0


def _message(wire: _Wire, inner: Inner, frame: bytes, option: geneve.Option, host: int) -> Sent:
    """`option` told to `host`, quoting the start of the bare inner `frame`."""
    ethertype = packet.ETH_P_IP if len(frame) <= _QUOTE else packet.ETH_P_QUOTE
    quote = ethertype.to_bytes(2, "big") + frame[packet.ETH_LEN : _QUOTE]
    tunnel = packet.envelope(
        geneve.Header(inner.sender_vni, control=True, options=(option,)),
        layout.ROUTER_MAC * 2 + quote,
        src=wire.config.address,
        dst=host,
        sport=layout.GENEVE_PORT,
        tos=0,
        macs=frame[:12],
    )
    return Sent(tunnel, To.HOST, host=host, has_macs=False)


# ---------------------------------------------------------------- passing on


def _question(wire: _Wire, inner: Inner) -> choose.Question:
    return choose.Question(inner.vni, inner.dst, wire.sport, wire.config.address, bool(inner.peer_vni))


def _pass_on(wire: _Wire, inner: Inner, onward: choose.Next) -> Outcome:
    """Divide, bounce."""
    ends = _macs(wire, onward.host) if wire.at_xdp else None
    if wire.at_xdp and ends is None:
        return outcome.passed(Verdict.TO_TC)
    frame = _forwarded(wire, inner, wire.frame, onward)
    if ends is not None:
        frame = ends + frame[12:]
    verdict = Verdict.DIVIDED if onward.verdict is Verdict.TO_BOUNCER else Verdict.BOUNCED
    sent = Sent(frame, To.HOST, host=onward.host.address, has_macs=ends is not None)
    return outcome.send(verdict, sent, effects=onward.counted(wire.inner_size))


def _divide_or_bounce(wire: _Wire, inner: Inner) -> choose.Crossing:
    question = _question(wire, inner)
    vpc = wire.view.vpc(wire.header.vni)
    if wire.rts and wire.rts.hop == layout.Hop.DIVIDER and vpc is not None and vpc.divides:
        return choose.as_divider(wire.view, question, vpc)
    answer = choose.endpoint_host(wire.view, question)
    if answer is Verdict.DROP_NO_ENDPOINT and vpc is None:
        return Verdict.DROP_UNKNOWN_VNI
    return answer


def _stale(wire: _Wire, inner: Inner) -> Outcome:
    """A direct packet for an endpoint that is not here: it starts over, and its sender is told."""
    onward: choose.Crossing = Verdict.DROP_UNKNOWN_VNI
    if wire.view.vpc(wire.header.vni) is not None:
        onward = choose.in_vpc(wire.view, _question(wire, inner), own_networks=True)
    option = geneve.Forget(inner.dst, _told_vni(inner))
    forget = _message(wire, inner, _decapsulated(wire), option, wire.src)
    if not isinstance(onward, choose.Next):
        return outcome.send(onward.verdict if isinstance(onward, choose.Lost) else onward, forget)
    counted = onward.counted(wire.inner_size)
    if wire.rts is None and wire.inner_at - packet.OFF_OPTIONS > _OPTIONS_MAX - packet.OPT_LEN:
        return outcome.drop(Verdict.DROP_HELPER, *counted)
    frame = _forwarded(wire, inner, wire.frame if wire.rts else _with_rts(wire), onward)
    ends = _macs(wire, onward.host)
    if ends is None:  # no copy can be sent: the packet itself goes, the sender hears the next time
        sent = Sent(frame, To.HOST, host=onward.host.address, has_macs=False)
        return outcome.send(Verdict.STALE, sent, effects=counted)
    copy = Sent(ends + frame[12:], To.HOST, host=onward.host.address)
    message = dataclasses.replace(forget, frame=ends + forget.frame[12:])
    return outcome.send(Verdict.STALE, copy, message, effects=counted)


def _with_rts(wire: _Wire) -> bytes:
    """RTS of the sender, in front of all other options."""
    frame, total = wire.frame, len(wire.inner) + wire.inner_at - packet.ETH_LEN + packet.OPT_LEN
    frame = packet.replaced_in_header(frame, packet.ETH_LEN + 2, total.to_bytes(2, "big"))
    frame = packet.replaced(frame, packet.OFF_UDP + 4, (total - packet.IP_LEN).to_bytes(2, "big"))
    words = (wire.inner_at - packet.OFF_OPTIONS + packet.OPT_LEN) // 4
    frame = packet.replaced(frame, packet.OFF_GENEVE, bytes((words,)))
    rts = geneve.pack_option(geneve.Rts(wire.src, layout.Hop.DIVIDER))
    return frame[: packet.OFF_OPTIONS] + rts + frame[packet.OFF_OPTIONS :]


def _forwarded(wire: _Wire, inner: Inner, frame: bytes, onward: choose.Next) -> bytes:
    """The packet, which has an RTS option, to the next host."""
    frame = _readdressed(frame, src=wire.config.address, dst=onward.host.address)
    frame = packet.replaced(frame, packet.OFF_UDP + 6, b"\0\0")
    rts_at = packet.OFF_OPTIONS if wire.rts is None else _option_at(wire, layout.OptType.RTS)
    frame = packet.replaced(frame, rts_at + 8, bytes((onward.hop,)))
    if not onward.vni:
        return frame
    frame = packet.replaced(frame, packet.OFF_GENEVE + 4, (onward.vni << 8).to_bytes(4, "big"))
    inner_at = wire.inner_at + len(frame) - len(wire.frame)
    source = macs.peer(inner.vni, forwarded=inner.src != inner.ip_src)
    return packet.replaced(frame, inner_at + 6, source)


def _readdressed(frame: bytes, *, src: int, dst: int) -> bytes:
    """New outer addresses and TTL."""
    frame = packet.replaced_in_header(frame, packet.ETH_LEN + 8, bytes((packet.TTL, packet.UDP)))
    return packet.replaced_in_header(frame, packet.ETH_LEN + 12, struct.pack(">II", src, dst))


def _option_at(wire: _Wire, kind: layout.OptType) -> int:
    """Offset of the last option of ours of this type; there is one."""
    found, at = 0, packet.OFF_OPTIONS
    while at < wire.inner_at:
        opt_class, opt_type, length = struct.unpack_from(">HBB", wire.frame, at)
        if (opt_class, opt_type) == (layout.OPT_CLASS, kind):
            found = at
        at += 4 + (length & 0x1F) * 4
    return found


def _macs(wire: _Wire, host: tables.Host) -> bytes | None:
    """Destination and source MAC, while the agent vouches for them. No FIB is asked, as the kernel would."""
    return host.mac + wire.config.mac if host.mac_until * 1000 > wire.now else None

# SPDX-License-Identifier: Apache-2.0
"""The endpoint program: a packet of an endpoint. Is it allowed, where to, and off."""

from __future__ import annotations

import dataclasses
from typing import Final

from mizar.abi import decode, geneve, layout, macs
from mizar.abi.verdicts import Verdict
from mizar.dataplane.evaluation import answers, choose, outcome, packet, tables
from mizar.dataplane.evaluation.outcome import CountRx, CountTx, Outcome, Sent, To

_LONGEST: Final = 0xFFFF
"""Bytes of an IP packet."""


@dataclasses.dataclass(frozen=True)
class _Sender:
    view: tables.Tables
    config: tables.Config
    port: tables.Port
    size: int
    """Of the frame as it came."""
    now: int


@dataclasses.dataclass(frozen=True)
class _Packet:
    """What is sent: sound, and allowed."""

    ip: packet.Ip
    frame: bytes
    sport: int
    """Outer source port."""
    source: bytes
    """Inner source MAC."""


@dataclasses.dataclass(frozen=True)
class _Target:
    """The endpoint meant, by address, and the inner destination MAC that says so."""

    address: int
    on_link: bool
    mac: bytes


def evaluate(view: tables.Tables, ifindex: int, frame: bytes, now: int) -> Outcome:
    """`now`: milliseconds of the monotonic clock."""
    port, config = view.port(ifindex), view.config()
    if port is None:
        return outcome.drop(Verdict.DROP_UNKNOWN_PORT)
    if config is None:
        return outcome.drop(Verdict.DROP_NO_CONFIG)
    if len(frame) < packet.ETH_LEN:
        return outcome.drop(Verdict.DROP_MALFORMED_ETH)
    if frame[6:12] != port.mac:
        return outcome.drop(Verdict.DROP_SPOOFED_MAC)
    if packet.ethertype(frame) == packet.ETH_P_ARP:
        return answers.arp(view, port, frame)
    if frame[0] & 1:
        return outcome.drop(Verdict.DROP_MULTICAST)
    if packet.ethertype(frame) != packet.ETH_P_IP:
        return outcome.drop(Verdict.DROP_NOT_IPV4)
    ip = packet.read_ip(frame[packet.ETH_LEN :])
    if ip is None or not ip.is_sound(len(frame) - packet.ETH_LEN):
        return outcome.drop(Verdict.DROP_MALFORMED_IP)
    return _ipv4(_Sender(view, config, port, len(frame), now), ip, frame)


def _ipv4(sender: _Sender, ip: packet.Ip, frame: bytes) -> Outcome:
    # Read before what is behind the packet is cut off, as the program does.
    sport = packet.source_port(ip, frame)
    frame = frame[: packet.ETH_LEN + ip.total]
    if _is_nobody(ip.dst):
        return outcome.drop(Verdict.DROP_MULTICAST)
    source = _source(sender, ip.src)
    if source is None:
        return outcome.drop(Verdict.DROP_SPOOFED_IP)
    if ip.dst == layout.GATEWAY4:
        return answers.gateway(sender.port, ip, frame)
    if ip.total > sender.port.mtu:
        return answers.too_big(sender.port, ip, frame)
    on_link = sender.port.on_link(ip.dst)
    if not on_link:
        if ip.ttl <= 1:
            return answers.ttl_expired(sender.port, ip, frame)
        fresh = bytes((ip.ttl - 1, ip.protocol))
        frame = packet.replaced_in_header(frame, packet.ETH_LEN + 8, fresh)
    target = _Target(ip.dst, on_link, layout.ROUTER_MAC)
    return _route(sender, _Packet(ip, frame, sport, source), target)


def _source(sender: _Sender, address: int) -> bytes | None:
    """Inner source MAC of packets from this address; None: the port may not send any."""
    if sender.view.port_has(sender.port, address):
        return sender.port.mac
    forwards = layout.PortFlags.FORWARDS in sender.port.flags
    if not forwards or _is_nobody(address):
        return None
    return macs.via(sender.port.address)


def _is_nobody(address: int) -> bool:
    """Multicast, broadcast, "this network", loopback (RFC 1122 s3.2.1.3)."""
    return address >> 28 == 0xE or address == 0xFFFFFFFF or address >> 24 in (0, 127)


def _route(sender: _Sender, sent: _Packet, target: _Target) -> Outcome:
    if not target.on_link and layout.PortFlags.ROUTES in sender.port.flags:
        followed = _followed(sender, target)
        if isinstance(followed, Verdict):
            return outcome.drop(followed)
        target = followed
    endpoint = sender.view.endpoint(sender.port.vni, target.address)
    if endpoint is not None:
        return _deliver(sender, endpoint, sent.frame)
    found: choose.Crossing | None = _direct(sender, target.address)
    if found is None:
        question = choose.Question(sender.port.vni, target.address, sent.sport, sender.config.address)
        if target.on_link:
            found = choose.bouncer(sender.view, question, sender.port.network, sender.port.shards)
        else:
            found = choose.in_vpc(sender.view, question, own_networks=False)
    if isinstance(found, Verdict):
        return outcome.drop(found)
    if isinstance(found, choose.Lost):
        return _deliver_peer(sender, sent, target, found)
    return _encapsulate(sender, sent, target, found)


def _followed(sender: _Sender, target: _Target) -> _Target | Verdict:
    """What a table of the network's own says, before anything that is known of the destination."""
    route = sender.view.route(sender.port.table, target.address)
    if route is None or route.kind != layout.RouteKind.APPLIANCE:
        checked = choose.checked(route)
        return checked if isinstance(checked, Verdict) else target
    if sender.view.port_has(sender.port, route.target):
        return Verdict.DROP_ROUTE_LOOP
    return _Target(route.target, sender.port.on_link(route.target), macs.via(route.target))


def _deliver(sender: _Sender, endpoint: tables.Endpoint, frame: bytes) -> Outcome:
    frame = packet.with_macs(frame, dst=endpoint.mac, src=layout.ROUTER_MAC)
    counted = (CountTx(sender.port.slot, sender.size), CountRx(endpoint.slot, sender.size))
    return outcome.send(Verdict.LOCAL, Sent(frame, To.ENDPOINT, ifindex=endpoint.ifindex), effects=counted)


def _deliver_peer(sender: _Sender, sent: _Packet, target: _Target, lost: choose.Lost) -> Outcome:
    """Into an endpoint of this host, of a peer VPC, if it is here."""
    endpoint = sender.view.endpoint(lost.vni, target.address)
    if endpoint is None:
        return outcome.drop(lost.verdict)
    return _deliver(sender, endpoint, sent.frame)


def _direct(sender: _Sender, address: int) -> choose.Next | choose.Lost | None:
    """The direct path, if it is known, not too old, and its host is not down."""
    vni = sender.port.vni
    direct = sender.view.direct(vni, address)
    if direct is None:
        return None
    age = decode.age_ms(direct.confirmed, sender.now)
    host = sender.view.host(direct.host)
    if age >= sender.config.hard_ms or host is None or not host.is_up:
        return None
    verdict = Verdict.DIRECT if age < sender.config.soft_ms else Verdict.DIRECT_PROBE
    if direct.vni == vni:
        return choose.Next(verdict, host, layout.Hop.PROBE)
    if not _is_in_peer(sender, address, direct.vni):
        return None
    if not host.is_self:
        return choose.Next(verdict, host, layout.Hop.PROBE, vni=direct.vni)
    is_here = sender.view.endpoint(direct.vni, address) is not None
    return choose.Lost(Verdict.DROP_NOT_HERE, direct.vni) if is_here else None


def _is_in_peer(sender: _Sender, address: int, vni: int) -> bool:
    """Whether the route still leads where was learnt: not if the peering has ended."""
    route = sender.view.route(sender.port.table, address)
    return route is not None and route.kind <= layout.RouteKind.NONE and route.target == vni


def _encapsulate(sender: _Sender, sent: _Packet, target: _Target, onward: choose.Next) -> Outcome:
    own, vni = sender.config.address, sender.port.vni
    rts = () if onward.verdict is Verdict.DIRECT else (geneve.Rts(own, onward.hop),)
    source = sent.source
    if onward.vni:
        source = macs.peer(vni, forwarded=macs.argument(source, layout.InnerMac.VIA) is not None)
    tunnel = packet.envelope(
        geneve.Header(onward.vni or vni, options=rts),
        packet.with_macs(sent.frame, dst=target.mac, src=source),
        src=own,
        dst=onward.host.address,
        sport=sent.sport,
        tos=sent.ip.tos,
        macs=sent.frame[:12],
    )
    if len(tunnel) - packet.ETH_LEN > _LONGEST:
        return outcome.drop(Verdict.DROP_HELPER)
    counted = (CountTx(sender.port.slot, sender.size), *onward.counted(sender.size))
    leaving = Sent(tunnel, To.HOST, host=onward.host.address, has_macs=False)
    return outcome.send(onward.verdict, leaving, effects=counted)

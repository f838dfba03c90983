# SPDX-License-Identifier: Apache-2.0
"""The endpoint program: a packet of an endpoint. Is it allowed, where to, and off."""

from __future__ import annotations

import dataclasses
from typing import Final

from mizar.abi import decode, geneve, layout
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
    if not sender.view.port_has(sender.port, ip.src):
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
    return _route(sender, ip, frame, sport, on_link=on_link)


def _is_nobody(address: int) -> bool:
    """Multicast, broadcast, "this network", loopback (RFC 1122 s3.2.1.3)."""
    return address >> 28 == 0xE or address == 0xFFFFFFFF or address >> 24 in (0, 127)


def _route(sender: _Sender, ip: packet.Ip, frame: bytes, sport: int, *, on_link: bool) -> Outcome:
    endpoint = sender.view.endpoint(sender.port.vni, ip.dst)
    if endpoint is not None:
        return _deliver(sender, endpoint, frame)
    found: choose.Answer | None = _direct(sender, ip.dst)
    if found is None:
        question = choose.Question(sender.port.vni, ip.dst, sport, sender.config.address)
        if on_link:
            found = choose.bouncer(sender.view, question, sender.port.network, sender.port.shards)
        else:
            found = choose.in_vpc(sender.view, question, own_networks=False)
    if isinstance(found, Verdict):
        return outcome.drop(found)
    return _encapsulate(sender, ip, frame, sport, found)


def _deliver(sender: _Sender, endpoint: tables.Endpoint, frame: bytes) -> Outcome:
    frame = packet.with_macs(frame, dst=endpoint.mac, src=layout.ROUTER_MAC)
    counted = (CountTx(sender.port.slot, sender.size), CountRx(endpoint.slot, sender.size))
    return outcome.send(Verdict.LOCAL, Sent(frame, To.ENDPOINT, ifindex=endpoint.ifindex), effects=counted)


def _direct(sender: _Sender, address: int) -> choose.Next | None:
    """The direct path, if it is known, not too old, and its host is not down."""
    direct = sender.view.direct(sender.port.vni, address)
    if direct is None:
        return None
    age = decode.age_ms(direct.confirmed, sender.now)
    host = sender.view.host(direct.host)
    if age >= sender.config.hard_ms or host is None or not host.is_up:
        return None
    verdict = Verdict.DIRECT if age < sender.config.soft_ms else Verdict.DIRECT_PROBE
    return choose.Next(verdict, host, layout.Hop.PROBE)


def _encapsulate(sender: _Sender, ip: packet.Ip, frame: bytes, sport: int, onward: choose.Next) -> Outcome:
    own = sender.config.address
    rts = () if onward.verdict is Verdict.DIRECT else (geneve.Rts(own, onward.hop),)
    tunnel = packet.envelope(
        geneve.Header(sender.port.vni, options=rts),
        packet.with_macs(frame, dst=layout.ROUTER_MAC, src=sender.port.mac),
        src=own,
        dst=onward.host.address,
        sport=sport,
        tos=ip.tos,
        macs=frame[:12],
    )
    if len(tunnel) - packet.ETH_LEN > _LONGEST:
        return outcome.drop(Verdict.DROP_HELPER)
    counted = (CountTx(sender.port.slot, sender.size), *onward.counted(sender.size))
    sent = Sent(tunnel, To.HOST, host=onward.host.address, has_macs=False)
    return outcome.send(onward.verdict, sent, effects=counted)

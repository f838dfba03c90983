# SPDX-License-Identifier: Apache-2.0
"""What the network itself says to an endpoint: ARP replies, echo replies, ICMP errors."""

from __future__ import annotations

import struct
from typing import Final

from mizar.abi import layout
from mizar.abi.verdicts import Verdict
from mizar.dataplane.evaluation import outcome, packet, tables
from mizar.dataplane.evaluation.outcome import Outcome, Sent, To

_ARP: Final = struct.Struct(">HHBBH6sI6sI")
_ARP_HEAD: Final = (1, packet.ETH_P_IP, 6, 4)
_REQUEST, _REPLY = 1, 2

_ICMP_LEN: Final = 8
_ECHO_REPLY, _UNREACHABLE, _ECHO_REQUEST, _TIME_EXCEEDED = 0, 3, 8, 11
_FRAG_NEEDED: Final = 4
_ERRORS: Final = (_UNREACHABLE, 4, 5, _TIME_EXCEEDED, 12)
"""Messages about which no error is sent, RFC 1122 s3.2.2."""

_QUOTE: Final = 576 - packet.IP_LEN - _ICMP_LEN
"""An error is at most 576 bytes long, RFC 1812 s4.3.2.3."""

_TOS: Final = 0xC0


def arp(view: tables.Tables, port: tables.Port, frame: bytes) -> Outcome:
    """RFC 826, for everything that the port can reach."""
    if len(frame) < packet.ETH_LEN + _ARP.size:
        return outcome.drop(Verdict.DROP_MALFORMED_ARP)
    *head, op, sender_mac, sender, _, target = _ARP.unpack_from(frame, packet.ETH_LEN)
    if tuple(head) != _ARP_HEAD:
        return outcome.drop(Verdict.DROP_MALFORMED_ARP)
    if sender_mac != port.mac:
        return outcome.drop(Verdict.DROP_SPOOFED_ARP)
    if not sender:
        return outcome.drop(Verdict.DROP_ARP_UNANSWERED)
    # Who forwards asks with the source of what is forwarded.
    if layout.PortFlags.FORWARDS not in port.flags and not view.port_has(port, sender):
        return outcome.drop(Verdict.DROP_SPOOFED_ARP)
    if op != _REQUEST or not _is_reachable(view, port, target):
        return outcome.drop(Verdict.DROP_ARP_UNANSWERED)
    reply = _ARP.pack(*_ARP_HEAD, _REPLY, layout.ROUTER_MAC, target, sender_mac, sender)
    return _back(Verdict.ARP_REPLY, packet.replaced(frame, packet.ETH_LEN, reply), to=sender_mac)


def _is_reachable(view: tables.Tables, port: tables.Port, target: int) -> bool:
    if target == layout.GATEWAY4:
        return True
    return not view.port_has(port, target) and view.route(port.table, target) is not None


def gateway(port: tables.Port, ip: packet.Ip, frame: bytes) -> Outcome:
    """A packet to the gateway address: an echo request is answered, the rest is dropped."""
    at = packet.ETH_LEN + ip.head
    is_echo = ip.protocol == packet.ICMP and frame[at : at + 2] == bytes((_ECHO_REQUEST, 0))
    if not is_echo or ip.frag & (packet.OFFSET | packet.MF) or ip.total < ip.head + _ICMP_LEN:
        return outcome.drop(Verdict.DROP_GATEWAY)
    fresh = bytes((packet.TTL, packet.ICMP))
    frame = packet.replaced_in_header(frame, packet.ETH_LEN + 8, fresh)
    frame = packet.replaced(frame, packet.ETH_LEN + 12, struct.pack(">II", ip.dst, ip.src))
    frame = packet.replaced_in_header(frame, at, bytes((_ECHO_REPLY, 0)), check=at + 2)
    return _back(Verdict.ICMP_REPLY, frame, to=port.mac)


def too_big(port: tables.Port, ip: packet.Ip, frame: bytes) -> Outcome:
    """Fragmentation needed, with the MTU (RFC 1191), if that may be said."""
    if not ip.frag & packet.DF or not _error_is_due(ip, frame):
        return outcome.drop(Verdict.DROP_TOO_BIG)
    return _error(Verdict.ICMP_TOO_BIG, port, ip, frame, _UNREACHABLE, _FRAG_NEEDED, port.mtu)


def ttl_expired(port: tables.Port, ip: packet.Ip, frame: bytes) -> Outcome:
    if not _error_is_due(ip, frame):
        return outcome.drop(Verdict.DROP_TTL)
    return _error(Verdict.ICMP_TTL, port, ip, frame, _TIME_EXCEEDED, 0, 0)


def _error_is_due(ip: packet.Ip, frame: bytes) -> bool:
    """Never about an error, or about what is not the start of a packet."""
    if ip.frag & packet.OFFSET:
        return False
    if ip.protocol != packet.ICMP:
        return True
    at = packet.ETH_LEN + ip.head
    return ip.total >= ip.head + _ICMP_LEN and frame[at] not in _ERRORS


def _error(
    verdict: Verdict, port: tables.Port, ip: packet.Ip, frame: bytes, kind: int, code: int, rest: int
) -> Outcome:
    quote = frame[packet.ETH_LEN : packet.ETH_LEN + (min(ip.total, _QUOTE) & ~1)]
    icmp = struct.pack(">BBHI", kind, code, 0, rest) + quote
    icmp = packet.replaced(icmp, 2, packet.checksum(icmp).to_bytes(2, "big"))
    total = packet.IP_LEN + len(icmp)
    head = packet.write_ip(tos=_TOS, total=total, protocol=packet.ICMP, src=layout.GATEWAY4, dst=ip.src)
    return _back(verdict, frame[: packet.ETH_LEN] + head + icmp, to=port.mac)


def _back(verdict: Verdict, frame: bytes, *, to: bytes) -> Outcome:
    frame = packet.with_macs(frame, dst=to, src=layout.ROUTER_MAC)
    return outcome.send(verdict, Sent(frame, To.BACK))

# SPDX-License-Identifier: Apache-2.0
"""Packets for tests: what endpoints send, and what is on the wire.

Made and taken apart with Scapy, so that checksums and lengths are an independent opinion.
open_tunnel() fails on any length or checksum that is wrong, so every test that looks at a
tunnel packet checks them.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Final

from mizar.abi import geneve, layout
from mizar.abi.geneve import Header, Option

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers import inet, l2  # noqa: E402  (its start-up warnings are silenced first)

ROUTER_MAC: Final = layout.ROUTER_MAC.hex(":")
BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
GATEWAY: Final = "169.254.1.1"
ETHER: Final = 14
OPTIONS: Final = 50
"""Offset of the Geneve options, or of the inner frame without any."""


@dataclasses.dataclass(frozen=True)
class Wire:
    """MACs of a tunnel packet's outer frame."""

    src: str = "02:aa:00:00:00:02"
    dst: str = "02:aa:00:00:00:01"


WIRE: Final = Wire()


def frame(payload: Any, *, src: str, dst: str = ROUTER_MAC, type: int = 0x0800) -> bytes:  # noqa: A002
    return bytes(l2.Ether(src=src, dst=dst, type=type) / payload)


def ipv4(payload: Any, *, src: str, dst: str, **fields: Any) -> Any:
    """An IPv4 packet; fields are Scapy's (ttl, tos, flags, frag, id, options, len, ...)."""
    usual: dict[str, Any] = {"src": src, "dst": dst, "flags": "DF", "id": 7}
    return inet.IP(**(usual | fields)) / payload


def udp(sport: int = 1000, dport: int = 2000, payload: bytes = b"payload") -> Any:
    return inet.UDP(sport=sport, dport=dport) / payload


def tcp(sport: int = 1000, dport: int = 2000, payload: bytes = b"payload", flags: str = "A") -> Any:
    return inet.TCP(sport=sport, dport=dport, flags=flags) / payload


def icmp(type: int = 8, code: int = 0, payload: bytes = b"payload") -> Any:  # noqa: A002
    return inet.ICMP(type=type, code=code, id=1, seq=1) / payload


def fragments(packet: Any, size: int) -> list[Any]:
    """An IPv4 packet in parts with so many bytes behind their headers."""
    cut: Any = inet.fragment
    return list(cut(packet, fragsize=size))


def whole(parts: list[Any]) -> Any:
    """The IPv4 packet that these fragments were."""
    join: Any = inet.defragment
    found = join([part.copy() for part in parts])
    assert len(found) == 1, "fragments are missing"
    return inet.IP(bytes(found[0]))


def arp(
    *, sender_mac: str, sender: str, target: str, op: int = 1, dst: str = BROADCAST, **fields: Any
) -> bytes:
    """An ARP packet in a frame from `sender_mac`."""
    packet = l2.ARP(op=op, hwsrc=sender_mac, psrc=sender, hwdst="00:00:00:00:00:00", pdst=target)
    for name, value in fields.items():
        setattr(packet, name, value)
    return bytes(l2.Ether(src=sender_mac, dst=dst, type=0x0806) / packet)


def dissect(data: bytes) -> Any:
    """As Scapy sees a frame."""
    return l2.Ether(data)


# ---------------------------------------------------------------- tunnel


def tunnel(
    inner: bytes,
    *,
    src: str,
    dst: str,
    vni: int,
    options: tuple[Option, ...] = (),
    control: bool = False,
    sport: int = 40000,
    **fields: Any,
) -> bytes:
    """A tunnel packet; fields are those of the outer IPv4 header."""
    payload = geneve.pack(Header(vni, control, options), inner)
    return raw_tunnel(payload, src=src, dst=dst, sport=sport, **fields)


def raw_tunnel(
    payload: bytes,
    *,
    src: str,
    dst: str,
    sport: int = 40000,
    dport: int = layout.GENEVE_PORT,
    udp_fields: dict[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    """The same with the Geneve header given as bytes."""
    usual_udp: dict[str, Any] = {"sport": sport, "dport": dport, "chksum": 0}
    usual_ip: dict[str, Any] = {"src": src, "dst": dst, "flags": "DF", "id": 0, "ttl": 64}
    packet = inet.IP(**(usual_ip | fields)) / inet.UDP(**(usual_udp | (udp_fields or {}))) / payload
    return bytes(l2.Ether(src=WIRE.src, dst=WIRE.dst, type=0x0800) / packet)


def option(opt_class: int, kind: int, data: bytes = b"") -> bytes:
    """Any Geneve option."""
    return opt_class.to_bytes(2, "big") + bytes((kind, len(data) // 4)) + data


def with_options(options: bytes, inner: bytes, *, vni: int, flags: int = 0, protocol: int = 0x6558) -> bytes:
    """A UDP payload with the options as they are given."""
    assert len(options) % 4 == 0
    head = bytes((len(options) // 4, flags)) + protocol.to_bytes(2, "big") + (vni << 8).to_bytes(4, "big")
    return head + options + inner


@dataclasses.dataclass(frozen=True)
class Tunnel:
    """A tunnel packet, taken apart."""

    src: str
    dst: str
    sport: int
    tos: int
    header: Header
    inner: bytes
    src_mac: str
    dst_mac: str


def check_ipv4(packet: Any) -> None:
    """Checksum and length of the header are right."""
    claimed, found = packet.chksum, packet.copy()
    del found.chksum
    assert inet.IP(bytes(found)).chksum == claimed, f"IPv4 checksum {claimed:#x}"
    assert packet.len <= len(packet), f"IPv4 length {packet.len} of {len(packet)}"


def open_tunnel(data: bytes) -> Tunnel:
    """Take a tunnel packet of ours apart."""
    found = dissect(data)
    packet = found[inet.IP]
    check_ipv4(packet)
    datagram = packet[inet.UDP]
    assert found.type == 0x0800
    assert packet.len == len(data) - ETHER
    assert (packet.ihl, packet.ttl, str(packet.flags), packet.frag) == (5, 64, "DF", 0)
    assert (datagram.dport, datagram.chksum) == (layout.GENEVE_PORT, 0)
    assert datagram.len == packet.len - 20
    header, inner = geneve.parse(data[OPTIONS - 8 :])
    return Tunnel(
        packet.src,
        packet.dst,
        datagram.sport,
        packet.tos,
        header,
        inner,
        src_mac=found.src,
        dst_mac=found.dst,
    )

# SPDX-License-Identifier: Apache-2.0
"""Bytes of packets: Ethernet and IPv4 headers, Internet checksums, envelopes.

Sizes are bytes, addresses numbers, frames begin with the Ethernet header.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from mizar.abi import geneve, hashes, layout

ETH_LEN: Final = 14
IP_LEN: Final = 20
UDP_LEN: Final = 8
GENEVE_LEN: Final = 8
OPT_LEN: Final = 12
OFF_UDP: Final = ETH_LEN + IP_LEN
OFF_GENEVE: Final = OFF_UDP + UDP_LEN
OFF_OPTIONS: Final = OFF_GENEVE + GENEVE_LEN

ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806
ETH_P_QUOTE: Final = 0x88B5
"""Local experimental (IEEE 802): a frame that was cut to be quoted in a control packet."""

ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
DF, MF, OFFSET = 0x4000, 0x2000, 0x1FFF
TTL: Final = 64

_IP: Final = struct.Struct(">BBHHHBBHII")


def fold(total: int) -> int:
    """The Internet checksum (RFC 1071) of a sum of 16-bit words."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def checksum(data: bytes) -> int:
    """Of an even number of bytes."""
    return fold(sum(struct.unpack(f">{len(data) // 2}H", data)))


def updated_checksum(check: int, old: bytes, new: bytes) -> int:
    """`check` after `old` has become `new` (RFC 1624); both of the same even length."""
    words = f">{len(old) // 2}H"
    minus, plus = struct.unpack(words, old), struct.unpack(words, new)
    return fold((~check & 0xFFFF) + sum(~word & 0xFFFF for word in minus) + sum(plus))


def replaced(frame: bytes, offset: int, data: bytes) -> bytes:
    """`frame` with `data` written over it at `offset`."""
    return frame[:offset] + data + frame[offset + len(data) :]


def replaced_in_header(frame: bytes, offset: int, data: bytes, *, check: int = ETH_LEN + 10) -> bytes:
    """The same, and the checksum at offset `check` updated; by default that of the IPv4 header."""
    old = frame[offset : offset + len(data)]
    fresh = updated_checksum(int.from_bytes(frame[check : check + 2], "big"), old, data)
    return replaced(replaced(frame, offset, data), check, fresh.to_bytes(2, "big"))


def with_macs(frame: bytes, *, dst: bytes, src: bytes) -> bytes:
    return dst + src + frame[12:]


def ethertype(frame: bytes) -> int:
    return int.from_bytes(frame[12:14], "big")


@dataclasses.dataclass(frozen=True)
class Ip:
    """An IPv4 header as it stands, sound or not."""

    version: int
    head: int
    """Bytes of the header."""
    tos: int
    total: int
    """Bytes of the packet."""
    frag: int
    ttl: int
    protocol: int
    src: int
    dst: int

    def is_sound(self, room: int) -> bool:
        """It makes sense within `room` bytes."""
        return self.version == 4 and IP_LEN <= self.head <= self.total <= room


def read_ip(data: bytes) -> Ip | None:
    """The header that `data` begins with; None if there are not 20 bytes."""
    if len(data) < IP_LEN:
        return None
    first, tos, total, _, frag, ttl, protocol, _, src, dst = _IP.unpack_from(data)
    return Ip(first >> 4, (first & 0xF) * 4, tos, total, frag, ttl, protocol, src, dst)


def write_ip(*, tos: int, total: int, protocol: int, src: int, dst: int) -> bytes:
    """A header without options, as we send it: DF, id 0, TTL 64."""
    head = _IP.pack(0x45, tos, total, 0, DF, TTL, protocol, 0, src, dst)
    return replaced(head, 10, checksum(head).to_bytes(2, "big"))


def envelope(
    header: geneve.Header, inner: bytes, *, src: int, dst: int, sport: int, tos: int, macs: bytes
) -> bytes:
    """A tunnel packet around the frame `inner`; `macs` are its first 12 bytes."""
    payload = geneve.pack(header, inner)
    total = IP_LEN + UDP_LEN + len(payload)
    udp = struct.pack(">HHHH", sport, layout.GENEVE_PORT, total - IP_LEN, 0)
    outer = write_ip(tos=tos, total=total, protocol=UDP, src=src, dst=dst)
    return macs + ETH_P_IP.to_bytes(2, "big") + outer + udp + payload


def source_port(ip: Ip, frame: bytes) -> int:
    """Outer source port for an endpoint's packet: all fragments of a datagram have the same."""
    ports, at = 0, ETH_LEN + ip.head
    if ip.protocol in (TCP, UDP, SCTP) and not ip.frag & (OFFSET | MF) and len(frame) >= at + UDP_LEN:
        ports = int.from_bytes(frame[at : at + 4], "big")
    return hashes.source_port_of(hashes.flow_hash(ip.src, ip.dst, ip.protocol, ports))


def ecn_out(outer: int, inner: int) -> int | None:
    """The inner ECN field after decapsulation, RFC 6040 figure 4; None: drop."""
    outer, inner = outer & 3, inner & 3
    if outer == 3:
        return 3 if inner else None
    return 1 if (outer, inner) == (1, 2) else inner

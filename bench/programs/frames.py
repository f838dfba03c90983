# SPDX-License-Identifier: Apache-2.0
"""Frames for the programs under test. Pure.

Built by hand, for the bench needs few kinds and must be able to break each of them.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from mizar.abi import geneve, layout

ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
ETH_BYTES: Final = 14
IP_BYTES: Final = 20
UDP_BYTES: Final = 8
IP_UDP: Final = 17
IP_ICMP: Final = 1

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000

# Where addresses stand: in a plain frame, and in a frame inside Geneve with one option.
DESTINATION: Final = ETH_BYTES + 16
INNER_DESTINATION: Final = ETH_BYTES + IP_BYTES + UDP_BYTES + 8 + 12 + DESTINATION
INNER_DESTINATION_BARE: Final = INNER_DESTINATION - 12


def number(address: str) -> int:
    """10.0.0.1 as 0x0a000001."""
    return int.from_bytes(bytes(int(part) for part in address.split(".")), "big")


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclasses.dataclass(frozen=True, slots=True)
class Ip:
    """An IPv4 header, right unless told otherwise."""

    source: int
    destination: int
    protocol: int = IP_UDP
    ttl: int = 64
    tos: int = 0
    fragment: int = DONT_FRAGMENT
    version_length: int = 0x45
    length: int | None = None  # None: what it should be

    def pack(self, payload: bytes) -> bytes:
        length = IP_BYTES + len(payload) if self.length is None else self.length
        head = struct.pack(
            ">BBHHHBBHII",
            *(self.version_length, self.tos, length, 0, self.fragment, self.ttl, self.protocol, 0),
            *(self.source, self.destination),
        )
        return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ethernet(*, destination: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return destination + source + struct.pack(">H", kind) + payload


def udp(*, source: int, destination: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", source, destination, UDP_BYTES + len(payload), 0) + payload


def echo_request(payload: bytes) -> bytes:
    """ICMP echo request, RFC 792."""
    head = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
    return head[:2] + struct.pack(">H", checksum(head + payload)) + head[4:] + payload


def arp_request(*, mac: bytes, sender: int, target: int, hardware: int = 1) -> bytes:
    """RFC 826."""
    return struct.pack(">HHBBH6sI6sI", hardware, ETH_IPV4, 6, 4, 1, mac, sender, bytes(6), target)


def tunnel(
    *,
    source: int,
    destination: int,
    header: geneve.Header,
    inner: bytes = b"",
    port: int = layout.GENEVE_PORT,
) -> bytes:
    """An underlay IPv4 packet with Geneve inside."""
    payload = geneve.pack(header, inner)
    return Ip(source=source, destination=destination).pack(
        udp(source=40000, destination=port, payload=payload)
    )


def patched(frame: bytes, offset: int, new: bytes) -> bytes:
    """The frame with some bytes replaced, to break it."""
    return frame[:offset] + new + frame[offset + len(new) :]

# SPDX-License-Identifier: Apache-2.0
"""MACs of inner Ethernet headers that say which endpoint is meant: enum mz_inner_mac of bpf/include/abi.h.

What holds:
 - A destination names an endpoint (via) or a gateway, or prefers a backend; a source names who forwarded, the
   VPC of the IP source, or a gateway. Any other MAC, and one in the wrong place, says nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from mizar.abi import layout

_MAC: Final = struct.Struct(">HI")

GATEWAY: Final = _MAC.pack(layout.InnerMac.GATEWAY, 0)
"""Destination: out of the VPC. Source: came in through a gateway, and its IP source is no endpoint."""


def via(address: int) -> bytes:
    """Destination: for the endpoint with this address. Source: forwarded by it."""
    return _MAC.pack(layout.InnerMac.VIA, address)


def prefer(address: int) -> bytes:
    """Destination: of all backends rather the one with this address."""
    return _MAC.pack(layout.InnerMac.PREFER, address)


def peer(vni: int, *, forwarded: bool = False) -> bytes:
    """Source: in VPC `vni`. `forwarded`: by an endpoint there that has not the IP source."""
    return _MAC.pack(layout.InnerMac.PEER, vni << 8 | forwarded)


def argument(mac: bytes, kind: layout.InnerMac) -> int | None:
    """What a MAC of this kind says; None if it is of another."""
    found, number = _MAC.unpack(mac)
    return int(number) if found == kind else None


def is_reserved(mac: bytes) -> bool:
    """No endpoint may have it: its packets would name somebody else."""
    return int.from_bytes(mac[:2], "big") in frozenset(layout.InnerMac)

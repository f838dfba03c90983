# SPDX-License-Identifier: Apache-2.0
"""Addresses between messages (numbers) and text. Pure."""

from __future__ import annotations

import ipaddress


def address_text(address: int) -> str:
    """0x0a000001 -> '10.0.0.1'."""
    return str(ipaddress.IPv4Address(address))


def address_number(text: str) -> int:
    """'10.0.0.1' -> 0x0a000001; ValueError as ipaddress says it."""
    return int(ipaddress.IPv4Address(text))


def mac_text(mac: bytes) -> str:
    """b'\\x02...' -> '02:...'."""
    return mac.hex(":")

# SPDX-License-Identifier: Apache-2.0
"""IPv4 addresses and prefixes as numbers, and which of them a tenant may use.

An address is an int (10.0.0.1 = 0x0a000001), a prefix a `Prefix`. Text is parsed by inet_pton, which takes
the canonical dotted quad only (no `10.1`, no octal), at a tenth of the cost of the ipaddress module: a bulk
request parses a hundred thousand of them. Functions raise ValueError with the text that a user should read.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_WORD = struct.Struct("!I")
_ALL = 0xFFFFFFFF
_IPV4_ONLY = "endpoints and hosts have IPv4 addresses only so far"


class Prefix(NamedTuple):
    """One CIDR: the network address and its length, 0..32. Host bits are zero."""

    address: int
    length: int

    @property
    def first(self) -> int:
        return self.address

    @property
    def last(self) -> int:
        return self.address | (_ALL >> self.length)

    def __str__(self) -> str:
        return f"{to_text(self.address)}/{self.length}"

    def holds(self, address: int) -> bool:
        return self.address <= address <= self.last

    def covers(self, other: Prefix) -> bool:
        return self.length <= other.length and self.holds(other.address)

    def overlaps(self, other: Prefix) -> bool:
        return self.covers(other) or other.covers(self)

    def usable(self) -> tuple[int, int]:
        """First and last address that an endpoint may have: all but the network and broadcast
        addresses, and all of a /31 (RFC 3021) or /32."""
        return (self.address, self.last) if self.length >= 31 else (self.address + 1, self.last - 1)


def parse(text: str) -> int:
    """The number of a dotted quad."""
    try:
        number: int = _WORD.unpack(socket.inet_pton(socket.AF_INET, text))[0]
    except (OSError, ValueError):
        raise ValueError(_not_an_address(text)) from None
    return number


def packed(texts: Iterable[str]) -> list[bytes]:
    """The four bytes of each of many addresses that are known to be such."""
    return list(map(socket.inet_aton, texts))


def numbers(packed: Sequence[bytes]) -> tuple[int, ...]:
    """The numbers of packed addresses."""
    return struct.unpack(f"!{len(packed)}I", b"".join(packed))


def to_text(address: int) -> str:
    return socket.inet_ntop(socket.AF_INET, _WORD.pack(address))


def mask(length: int) -> int:
    return _ALL ^ (_ALL >> length)


def parse_prefix(text: str) -> Prefix:
    """`10.0.0.0/16` to a Prefix; host bits must be zero."""
    head, slash, tail = text.partition("/")
    if ":" in head:
        raise ValueError(f"{text!r} is an IPv6 prefix; {_IPV4_ONLY}")
    address = parse(head)
    if not slash or not tail.isascii() or not tail.isdecimal() or len(tail) > 2 or int(tail) > 32:
        raise ValueError(f"{text!r} is not a CIDR, such as {to_text(address)}/24")
    prefix = Prefix(address & mask(int(tail)), int(tail))
    if prefix.address != address:
        raise ValueError(f"{text!r} has host bits set; the network is {prefix}")
    return prefix


# Nobody's unicast addresses; 169.254.0.0/16 holds the gateway of every endpoint.
_RESERVED: tuple[tuple[Prefix, str], ...] = (
    (Prefix(0x00000000, 8), "0.0.0.0/8 (this network)"),
    (Prefix(0x7F000000, 8), "127.0.0.0/8 (loopback)"),
    (Prefix(0xA9FE0000, 16), "169.254.0.0/16 (link-local, has the gateway 169.254.1.1)"),
    (Prefix(0xE0000000, 4), "224.0.0.0/4 (multicast)"),
    (Prefix(0xF0000000, 4), "240.0.0.0/4 (reserved)"),
)


_SUSPECT = frozenset(
    octet
    for octet in range(256)
    if any(reserved.overlaps(Prefix(octet << 24, 8)) for reserved, _ in _RESERVED)
)
"""First octets of which something is reserved."""


def check_address(text: str) -> str:
    """Return `text` when it is an IPv4 unicast address."""
    address = parse(text)
    if address >> 24 in _SUSPECT:
        for reserved, name in _RESERVED:
            if reserved.holds(address):
                raise ValueError(f"{text!r} is in {name}; unicast addresses only")
    return text


def check_cidr(text: str) -> str:
    """Return `text` when it is a CIDR of IPv4 unicast addresses without host bits."""
    prefix = parse_prefix(text)
    for reserved, name in _RESERVED:
        if prefix.overlaps(reserved):
            raise ValueError(f"{text!r} overlaps {name}; unicast addresses only")
    return text


def check_destination(text: str) -> str:
    """Return `text` when it is a CIDR that packets may be for: 0.0.0.0/0 is, what is all reserved is not."""
    prefix = parse_prefix(text)
    for reserved, name in _RESERVED:
        if reserved.covers(prefix):
            raise ValueError(f"{text!r} is in {name}; unicast addresses only")
    return text


def check_disjoint(cidrs: Sequence[str]) -> None:
    """Refuse a list of CIDRs in which one overlaps another."""
    prefixes = sorted(parse_prefix(cidr) for cidr in cidrs)
    for before, after in itertools.pairwise(prefixes):
        if before.overlaps(after):
            raise ValueError(f"cidrs {before} and {after} overlap; each address may be in one only")


def holder(prefixes: Iterable[Prefix], address: int) -> Prefix | None:
    """The prefix of `prefixes`, which are disjoint, that holds `address`."""
    return next((prefix for prefix in prefixes if prefix.holds(address)), None)


def _not_an_address(text: str) -> str:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return f"{text!r} is not an IPv4 address, such as 10.0.0.5"
    return f"{text!r} is an IPv6 address; {_IPV4_ONLY}"

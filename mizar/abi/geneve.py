# SPDX-License-Identifier: Apache-2.0
"""Our Geneve packets (RFC 8926) in user space: health probes, tests, the fake data plane.

    payload = geneve.pack(geneve.Header(vni=0, control=True, options=(geneve.Echo(nonce=7),)))
    header, inner = geneve.parse(payload)

What holds:
 - parse() finds the same faults, in the same order, as the programs do; a fault carries the verdict.
 - Unknown options that are not critical are skipped: a parsed header has only ours.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final, TypeAlias, TypeVar

from mizar import errors
from mizar.abi import layout
from mizar.abi.verdicts import Verdict

TRANSPARENT_ETHERNET: Final = 0x6558

_FIXED: Final = struct.Struct(">BBHI")
_OPTION: Final = struct.Struct(">HBB")
_CRITICAL_TYPE: Final = 0x80
_OUR_TYPES: Final = frozenset(int(kind) for kind in layout.OptType)


class GeneveError(errors.InvalidError):
    """The packet breaks RFC 8926 or our options' rules; `verdict` is how a program drops it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"parse Geneve: {verdict.description}")
        self.verdict = verdict


@dataclasses.dataclass(frozen=True)
class Rts:
    """Return to sender: the underlay address of the sender's host, and who may still handle the packet."""

    host: int
    hop: layout.Hop | int


@dataclasses.dataclass(frozen=True)
class Here:
    """The endpoint with this address is on the sending host. `vni`: of its VPC, if not the packet's."""

    addr: int
    vni: int = 0


@dataclasses.dataclass(frozen=True)
class Forget:
    """The endpoint with this address is not on the sending host."""

    addr: int
    vni: int = 0


@dataclasses.dataclass(frozen=True)
class Echo:
    """Is the data plane of the receiving host alive?"""

    nonce: int
    reply: bool = False


@dataclasses.dataclass(frozen=True)
class Redirect:
    """Send this flow to a backend; backend 0: refuse it. `affinity` as hashes.affinity_code."""

    backend: int
    port: int
    affinity: int = 0


Option: TypeAlias = Rts | Here | Forget | Echo | Redirect
_Kind = TypeVar("_Kind", Rts, Here, Forget, Echo, Redirect)


@dataclasses.dataclass(frozen=True)
class Header:
    """A Geneve header with our options, in their order."""

    vni: int
    control: bool = False
    options: tuple[Option, ...] = ()

    def first(self, kind: type[_Kind]) -> _Kind | None:
        """The first option of a kind."""
        return next((option for option in self.options if isinstance(option, kind)), None)

    def last(self, kind: type[_Kind]) -> _Kind | None:
        """The option of a kind; of several the last, as the programs take it."""
        return next((option for option in reversed(self.options) if isinstance(option, kind)), None)


def pack_option(option: Option) -> bytes:
    match option:
        case Rts(host, hop):
            return _head(layout.OptType.RTS) + struct.pack(">IB3x", host, hop)
        case Here(addr, vni):
            return _head(layout.OptType.HERE) + struct.pack(">II", addr, vni)
        case Forget(addr, vni):
            return _head(layout.OptType.FORGET) + struct.pack(">II", addr, vni)
        case Echo(nonce, reply):
            return _head(layout.OptType.ECHO) + struct.pack(">IB3x", nonce, reply)
        case Redirect(backend, port, affinity):
            return _head(layout.OptType.REDIRECT) + struct.pack(">IHH", backend, port, affinity)


def _head(kind: layout.OptType) -> bytes:
    return _OPTION.pack(layout.OPT_CLASS, kind, 2)


def pack(header: Header, inner: bytes = b"") -> bytes:
    """The UDP payload: Geneve header, options, inner frame."""
    options = b"".join(pack_option(option) for option in header.options)
    flags = layout.GeneveFlags.CONTROL if header.control else 0
    fixed = _FIXED.pack(len(options) // 4, flags, TRANSPARENT_ETHERNET, header.vni << 8)
    return fixed + options + inner


def parse(payload: bytes) -> tuple[Header, bytes]:
    """Header and inner frame of a UDP payload. GeneveError names the fault."""
    if len(payload) < _FIXED.size:
        raise GeneveError(Verdict.DROP_GENEVE_TRUNCATED)
    ver_optlen, flags, protocol, vni_rsvd = _FIXED.unpack_from(payload)
    if ver_optlen >> 6:
        raise GeneveError(Verdict.DROP_GENEVE_VERSION)
    end = _FIXED.size + (ver_optlen & 0x3F) * 4
    if end > len(payload):
        raise GeneveError(Verdict.DROP_GENEVE_TRUNCATED)
    header = Header(vni_rsvd >> 8, bool(flags & layout.GeneveFlags.CONTROL))
    header = dataclasses.replace(header, options=_parse_options(payload[_FIXED.size : end]))
    rts = header.last(Rts)
    if rts is not None and rts.hop > max(layout.Hop):
        raise GeneveError(Verdict.DROP_GENEVE_OPTION)
    if protocol != TRANSPARENT_ETHERNET:
        raise GeneveError(Verdict.DROP_GENEVE_PROTOCOL)
    return header, payload[end:]


def _parse_options(data: bytes) -> tuple[Option, ...]:
    found: list[Option] = []
    at = 0
    while at < len(data):
        opt_class, kind, length = _OPTION.unpack_from(data, at)
        body = data[at + _OPTION.size : at + _OPTION.size + (length & 0x1F) * 4]
        if len(body) != (length & 0x1F) * 4:
            raise GeneveError(Verdict.DROP_GENEVE_OPTION)
        at += _OPTION.size + len(body)
        option = _parse_option(kind, body) if opt_class == layout.OPT_CLASS else None
        if option is not None:
            found.append(option)
        elif kind & _CRITICAL_TYPE:
            raise GeneveError(Verdict.DROP_GENEVE_CRITICAL)
    return tuple(found)


def _parse_option(kind: int, body: bytes) -> Option | None:
    """One option of our class; None if we do not know its type."""
    if kind not in _OUR_TYPES:
        return None
    if len(body) != 8:
        raise GeneveError(Verdict.DROP_GENEVE_OPTION)
    number, extra = struct.unpack_from(">IB", body)
    word = int.from_bytes(body[4:], "big")
    match layout.OptType(kind):
        case layout.OptType.RTS:
            return Rts(number, extra)
        case layout.OptType.HERE:
            return Here(number, word)
        case layout.OptType.FORGET:
            return Forget(number, word)
        case layout.OptType.ECHO:
            return Echo(number, bool(extra))
        case layout.OptType.REDIRECT:
            return Redirect(number, word >> 16, word & 0xFFFF)

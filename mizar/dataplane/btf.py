# SPDX-License-Identifier: Apache-2.0
"""BPF Type Format: struct layouts and enum values of a compiled object.

Only what the ABI test asks: sizes, member offsets, enum values. The format is that of the
kernel's Documentation/bpf/btf.rst; libbpf finds the section and its byte order for us.

    types = btf.from_elf(path)
    types.structs["mz_host"].members["mac"]   # Member(offset=8, size=6, type="__u8")
    types.enums["mz_hop"]["MZ_HOP_BOUNCER"]   # 2
"""

from __future__ import annotations

import dataclasses
import functools
import os
import struct
from collections.abc import Mapping
from typing import Final

from mizar.dataplane import capi

_HEADER: Final = struct.Struct("=HBBIIIII")
_TYPE: Final = struct.Struct("=III")
_MEMBER: Final = struct.Struct("=III")
_ARRAY: Final = struct.Struct("=III")
_ENUM: Final = struct.Struct("=Ii")

_INT, _PTR, _ARR, _STRUCT, _UNION, _ENUM_KIND, _FWD, _TYPEDEF = range(1, 9)
_VOLATILE, _CONST, _RESTRICT, _FUNC, _PROTO, _VAR, _DATASEC, _FLOAT = range(9, 17)
_DECL_TAG, _TYPE_TAG, _ENUM64 = 17, 18, 19

_ALIASES: Final = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
_SIZED: Final = (_INT, _STRUCT, _UNION, _ENUM_KIND, _FLOAT, _ENUM64)
_POINTER_SIZE: Final = 8

# Bytes that follow a type, by kind: once, and per member.
_TRAILERS: Final[Mapping[int, tuple[int, int]]] = {
    _INT: (4, 0),
    _ARR: (_ARRAY.size, 0),
    _STRUCT: (0, _MEMBER.size),
    _UNION: (0, _MEMBER.size),
    _ENUM_KIND: (0, _ENUM.size),
    _PROTO: (0, 8),
    _VAR: (4, 0),
    _DATASEC: (0, 12),
    _DECL_TAG: (4, 0),
    _ENUM64: (0, 12),
}


@dataclasses.dataclass(frozen=True)
class Member:
    """Bytes, from the start of the struct."""

    offset: int
    size: int
    type: str
    """Name of the type as written; of an array, of its elements."""


@dataclasses.dataclass(frozen=True)
class Struct:
    size: int
    members: Mapping[str, Member]


@dataclasses.dataclass(frozen=True)
class Btf:
    structs: Mapping[str, Struct]
    enums: Mapping[str, Mapping[str, int]]


@dataclasses.dataclass(frozen=True)
class _Type:
    name: str
    kind: int
    count: int
    size_or_type: int
    trailer: bytes


class _Types:
    """The type section, by type id; id 0 is void."""

    def __init__(self, raw: bytes) -> None:
        _, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
        self._strings = raw[header + str_off : header + str_off + str_len]
        self.all = [_Type("void", 0, 0, 0, b"")]
        section, at = raw[header + type_off : header + type_off + type_len], 0
        while at < len(section):
            name, info, size = _TYPE.unpack_from(section, at)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            once, each = _TRAILERS.get(kind, (0, 0))
            at += _TYPE.size
            trailer = section[at : at + once + each * count]
            at += len(trailer)
            self.all.append(_Type(self.string(name), kind, count, size, trailer))

    def string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def size(self, type_id: int) -> int:
        """Bytes of a value of the type."""
        found = self.all[type_id]
        if found.kind in _ALIASES:
            return self.size(found.size_or_type)
        if found.kind == _ARR:
            element, _, length = _ARRAY.unpack(found.trailer)
            return self.size(element) * int(length)
        if found.kind == _PTR:
            return _POINTER_SIZE
        return found.size_or_type if found.kind in _SIZED else 0

    def element_name(self, type_id: int) -> str:
        found = self.all[type_id]
        if found.kind == _ARR:
            return self.element_name(_ARRAY.unpack(found.trailer)[0])
        return found.name

    def struct(self, found: _Type) -> Struct:
        members = {}
        for name, type_id, bits in _MEMBER.iter_unpack(found.trailer):
            offset = (bits & 0xFFFFFF) // 8
            members[self.string(name)] = Member(offset, self.size(type_id), self.element_name(type_id))
        return Struct(found.size_or_type, members)

    def enum(self, found: _Type) -> dict[str, int]:
        return {self.string(name): value for name, value in _ENUM.iter_unpack(found.trailer)}


def parse(raw: bytes) -> Btf:
    """A .BTF section in this machine's byte order."""
    types = _Types(raw)
    return Btf(
        structs={t.name: types.struct(t) for t in types.all if t.kind == _STRUCT and t.name},
        enums={t.name: types.enum(t) for t in types.all if t.kind == _ENUM_KIND and t.name},
    )


@functools.lru_cache(maxsize=16)
def from_elf(path: os.PathLike[str]) -> Btf:
    """Types of an object file."""
    handle = capi.lib.btf__parse_elf(capi.text(path), capi.ffi.NULL)
    if not handle:
        raise capi.failure(f"read BTF of {os.fspath(path)}", capi.ffi.errno, hint="compiled without -g?")
    try:
        size = capi.ffi.new("__u32 *")
        return parse(bytes(capi.ffi.buffer(capi.lib.btf__raw_data(handle, size), size[0])))
    finally:
        capi.lib.btf__free(handle)

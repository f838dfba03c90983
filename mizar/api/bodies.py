# SPDX-License-Identifier: Apache-2.0
"""Request bodies as objects: bounded in size, validated in one go, errors in the house form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import fastapi

from mizar import errors
from mizar.api import problems
from mizar.model import kinds, names, objects, reading

_SMALL: Final = 256 << 10
"""Bodies up to here are read on the event loop; larger ones in a thread, so that others are still
answered."""


async def read(request: fastapi.Request) -> bytes:
    """The body, if it is not above the server's limit."""
    limit: int = request.app.state.max_body_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(int(announced), limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(len(body), limit)
    _check_text(body)
    return bytes(body)


def _check_text(body: bytearray) -> None:
    """JSON may escape half of a surrogate pair, which is no text (RFC 8259 s8.2) and could never be served
    again."""
    if b"\\ud" not in body.lower():
        return
    try:
        json.dumps(reading.load_json(bytes(body)), ensure_ascii=False).encode()
    except UnicodeEncodeError as failure:
        raise errors.InvalidError(
            "not text: the body has half of a surrogate pair, such as \\ud800"
        ) from failure


def _too_large(size: int, limit: int) -> problems.TooLargeError:
    return problems.TooLargeError(
        f"the body has {size} bytes or more, this server takes {limit}: send it in several requests"
    )


async def many(request: fastapi.Request) -> list[objects.Declared]:
    """An array of objects, or one object alone."""
    body = await read(request)
    if len(body) <= _SMALL:
        return reading.read_json(body)
    return await asyncio.to_thread(reading.read_json, body)


async def one(request: fastapi.Request, ref: kinds.Ref) -> objects.Declared:
    """The object of a PUT. What the path says already may be left out; it must not say otherwise."""
    raw = reading.load_json(await read(request))
    if not isinstance(raw, Mapping):
        raise errors.InvalidError(f"{ref}: the body is not an object with kind, metadata and spec")
    filled = {"kind": ref.kind.name, **raw}
    metadata = filled.get("metadata", {})
    if isinstance(metadata, Mapping):
        scope = {"vpc": ref.vpc} if ref.vpc else {}
        filled["metadata"] = {"name": ref.name, **scope, **metadata}
    obj = reading.read(filled)
    if obj.ref != ref:
        raise errors.InvalidError(f"the body is {obj.ref}, the path {ref}; they must be the same")
    return obj


async def refs(request: fastapi.Request) -> list[kinds.Ref]:
    """Objects to delete: whole objects, or kind and name (`blue/web-1`, or metadata)."""
    raw = reading.load_json(await read(request))
    entries = raw if isinstance(raw, list) else [raw]
    return [_ref(entry, number) for number, entry in enumerate(entries)]


def _ref(entry: Any, number: int) -> kinds.Ref:
    if not isinstance(entry, Mapping):
        raise errors.InvalidError(f"entry {number}: wanted an object with kind and name")
    kind = entry.get("kind")
    if not isinstance(kind, str):
        raise errors.InvalidError(f"entry {number}: kind is missing; kinds: {', '.join(objects.CLASSES)}")
    metadata = entry.get("metadata")
    told = metadata if isinstance(metadata, Mapping) else entry
    name, vpc = told.get("name"), told.get("vpc")
    if not isinstance(name, str) or not isinstance(vpc, str | None):
        raise errors.InvalidError(f"entry {number}: name is missing, such as blue/web-1")
    return ref(kinds.find(kind), f"{vpc}/{name}" if vpc else name)


def ref(kind: kinds.Kind, full_name: str) -> kinds.Ref:
    """The reference to a full name; refuses kinds that nobody can create."""
    if kind.read_only:
        raise errors.InvalidError(f"{kind.plural} are read-only; they follow from other objects")
    vpc, slash, name = full_name.partition("/")
    if not slash:
        vpc, name = "", full_name
    if kind.in_vpc != bool(vpc):
        wanted = "its VPC and name, such as blue/web-1" if kind.in_vpc else "a name without a slash"
        raise errors.InvalidError(f"{kind} {full_name!r}: wanted {wanted}")
    try:
        return kinds.Ref(kind, names.check_label(vpc) if vpc else None, names.check_label(name))
    except ValueError as failure:
        raise errors.InvalidError(f"{kind}: {failure}") from failure

# SPDX-License-Identifier: Apache-2.0
"""What hosts really hold, asked of their agents: decoded tables, drops, counters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pydantic
from fastapi import responses

from mizar.api import openapi, routes
from mizar.controller import counters


def router() -> fastapi.APIRouter:
    """All routes of this module."""
    made = fastapi.APIRouter(prefix="/v1")
    refused = openapi.refusals(404, 503)
    made.get(
        "/hosts/{name}/tables/{table}",
        summary="Rows of one of a host's tables, as the kernel has them",
        response_model=list[dict[str, Any]],
        responses=refused,
    )(_table)
    made.get(
        "/hosts/{name}/drops",
        summary="What a host dropped, by reason",
        response_model=list[counters.Drop],
        responses=refused,
    )(_drops)
    made.get(
        "/hosts/{name}/counters",
        summary="What a host's programs counted: verdicts, roles, endpoints",
        response_model=counters.HostCounters,
        responses=refused,
    )(_counters)
    made.get(
        "/drops",
        summary="What all hosts dropped, by host and reason; hosts that are away are left out",
        response_model=list[counters.Drop],
    )(_all_drops)
    return made


async def _table(request: fastapi.Request, name: str, table: str) -> fastapi.Response:
    """Tables: hosts, vpcs, routes, shards, locations, endpoints, ports, direct, config."""
    pages = routes.controller(request).table(name, table)
    first: list[str] = await anext(pages, [])  # so that a refusal is one, and not a broken answer
    return responses.StreamingResponse(_array(first, pages), media_type=routes.JSON)


async def _array(first: list[str], pages: AsyncIterator[list[str]]) -> AsyncIterator[str]:
    """Rows that are JSON already, as one array."""
    yield "[" + ",".join(first)
    some = bool(first)
    async for page in pages:
        if page:
            yield ("," if some else "") + ",".join(page)
            some = True
    yield "]"


async def _drops(request: fastapi.Request, name: str) -> fastapi.Response:
    found = await routes.controller(request).counted(name)
    return _json(_DROPS, counters.drops(name, found))


async def _all_drops(request: fastapi.Request) -> fastapi.Response:
    everywhere = await routes.controller(request).counted_everywhere()
    return _json(_DROPS, [drop for name, found in everywhere.items() for drop in counters.drops(name, found)])


async def _counters(request: fastapi.Request, name: str) -> fastapi.Response:
    return _json(_COUNTERS, await routes.controller(request).counted(name))


_DROPS = pydantic.TypeAdapter(list[counters.Drop])
_COUNTERS = pydantic.TypeAdapter(counters.HostCounters)


def _json(adapter: pydantic.TypeAdapter[Any], value: Any) -> fastapi.Response:
    return fastapi.Response(adapter.dump_json(value, by_alias=True), media_type=routes.JSON)

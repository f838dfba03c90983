# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints, gateways, addresses, routes and peerings over HTTP, from PUT to gone."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mizar.api import openapi
from mizar.model import kinds
from tests.unit.api import support
from tests.unit.api.support import Api

Run = Callable[[Callable[[Api], Awaitable[None]]], None]

DECLARED: list[dict[str, Any]] = json.loads(json.dumps(openapi.ALL))
"""Every kind once, and what it refers to."""

FIXTURES = [kind.name for kind in kinds.FIXTURES]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Run a story against an API that has every kind of object."""

    def run_story(story: Callable[[Api], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with support.running(tmp_path) as api:
                status, body = await api.apply(*DECLARED)
                assert status == 200, body
                await story(api)

        asyncio.run(whole())

    return run_story


def declared(kind: str) -> dict[str, Any]:
    return next(obj for obj in DECLARED if obj["kind"] == kind)


def path(kind: str, name: str | None = None) -> str:
    obj = declared(kind)
    return f"/v1/vpcs/blue/{kinds.find(kind).plural}/{name or obj['metadata']['name']}"


@pytest.mark.parametrize("kind", FIXTURES)
def test_one_is_got_listed_and_put_back(run: Run, kind: str) -> None:
    async def story(api: Api) -> None:
        status, one = await api.ask("GET", path(kind))
        assert status == 200
        assert declared(kind)["spec"].items() <= one["spec"].items()
        assert {"ready", "conditions"} <= one["status"].keys()
        _, some = await api.ask("GET", f"/v1/{kinds.find(kind).plural}?vpc=blue")
        assert some == [one]
        revision = api.revision
        status, again = await api.ask("PUT", path(kind), one)
        assert (status, again) == (200, one)
        assert api.revision == revision

    run(story)


@pytest.mark.parametrize("kind", FIXTURES)
def test_one_that_nothing_needs_is_deleted_and_goes(run: Run, kind: str) -> None:
    async def story(api: Api) -> None:
        if kind == "Gateway":
            for user in ("FloatingAddress", "PortForward"):
                await gone(api, path(user))
        await gone(api, path(kind))

    run(story)


async def gone(api: Api, where: str) -> None:
    status, body = await api.ask("DELETE", where)
    assert status == 202, body
    assert body["metadata"]["deletionTimestamp"]
    for _ in range(1000):
        if (await api.ask("GET", where))[0] == 404:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{where} is still there")


def test_scaled_endpoint_is_an_endpoint_among_others(run: Run) -> None:
    async def story(api: Api) -> None:
        _, listed = await api.ask("GET", "/v1/endpoints?vpc=blue")
        assert [one["metadata"]["name"] for one in listed] == ["shop", "web-1"]
        shop = listed[0]
        assert shop == (await api.ask("GET", path("Endpoint", "shop")))[1]
        assert shop["spec"]["type"] == "scaled"
        assert shop["status"]["addresses"] == ["10.0.1.100"]
        status, body = await api.ask("PUT", path("Endpoint", "shop"), shop)
        assert (status, body["metadata"]["resourceVersion"]) == (200, shop["metadata"]["resourceVersion"])
        await gone(api, path("PortForward"))
        await gone(api, path("Endpoint", "shop"))

    run(story)


def test_everything_is_deleted_in_one_request_and_goes(run: Run) -> None:
    async def story(api: Api) -> None:
        status, body = await api.ask("POST", "/v1/delete", DECLARED)
        assert status == 202, body
        assert len(body) == len(DECLARED)
        for _ in range(1000):
            left = [
                one
                for kind in kinds.KINDS
                if not kind.read_only
                for one in (await api.ask("GET", f"/v1/{kind.plural}"))[1]
            ]
            if not left:
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"still there: {[(one['kind'], one['metadata']['name']) for one in left]}")

    run(story)


@pytest.mark.parametrize(
    ("method", "where", "status", "message"),
    [
        (
            "DELETE",
            path("Gateway"),
            409,
            "gateway 'blue/out' is used by floatingaddress 'blue/web-outside', por",
        ),
        ("DELETE", "/v1/vpcs/blue/endpoints/web-1", 409, "endpoint 'blue/web-1' is used by floatingaddress"),
        ("DELETE", "/v1/vpcs/blue/networks/web", 409, "network 'blue/web' has 2 endpoints"),
        ("DELETE", "/v1/vpcs/green", 409, "vpc 'green' is used by peering 'blue/to-green'"),
        ("DELETE", "/v1/hosts/h1", 409, "host 'h1' has 1 endpoint"),
        ("GET", "/v1/vpcs/blue/gateways/nobody", 404, "gateway 'blue/nobody' does not exist"),
        ("GET", "/v1/gateways?vpc=nobody", 404, "vpc 'nobody' does not exist"),
    ],
)
def test_refusals(run: Run, method: str, where: str, status: int, message: str) -> None:
    async def story(api: Api) -> None:
        got, body = await api.ask(method, where)
        assert got == status
        assert message in body["error"]["message"]

    run(story)


def test_fixture_is_watched(run: Run) -> None:
    async def story(api: Api) -> None:
        since = api.revision
        await api.ask("PUT", path("RouteTable"), {"spec": {"routes": []}})
        events = api.controller.watch(kinds.ROUTE_TABLE, since=since)
        event = await anext(events)
        assert (event.type, event.object.full_name) == ("MODIFIED", "blue/main")
        await events.aclose()  # type: ignore[attr-defined]  # an async generator

    run(story)

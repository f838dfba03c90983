# SPDX-License-Identifier: Apache-2.0
"""The API over a real store and a controller whose agents are all away: what needs no host answers in
full."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from mizar import errors
from mizar.api import app
from mizar.controller import service
from mizar.model import reading
from mizar.store import sqlite

LIMIT = 1 << 20


@contextlib.asynccontextmanager
async def _refused() -> AsyncIterator[Any]:
    raise errors.UnavailableError("connection refused")
    yield


class Api:
    """A client of the API."""

    def __init__(self, client: httpx.AsyncClient, controller: service.Controller) -> None:
        self.client = client
        self.controller = controller

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        answer = await self.client.request(method, path, json=body, **more)
        return answer.status_code, answer.json()

    async def apply(self, *objects: Any) -> tuple[int, Any]:
        return await self.ask("POST", "/v1/apply", list(objects))

    @property
    def revision(self) -> int:
        return self.controller.health().revision


@contextlib.asynccontextmanager
async def running(directory: pathlib.Path) -> AsyncIterator[Api]:
    """Serve the API in this process, without sockets."""
    with contextlib.closing(sqlite.SqliteStore(directory / "mizar.db", clock=lambda: 1e9)) as store:
        async with service.Controller(store, connector=lambda target: _refused) as controller:
            transport = httpx.ASGITransport(
                app.build(controller, max_body_bytes=LIMIT), raise_app_exceptions=False
            )
            async with httpx.AsyncClient(transport=transport, base_url="http://mizar") as client:
                yield Api(client, controller)


def joined(directory: pathlib.Path, *hosts: dict[str, Any]) -> None:
    """Hosts that have been part of the cluster before the controller starts."""
    with contextlib.closing(sqlite.SqliteStore(directory / "mizar.db", clock=lambda: 1e9)) as store:
        store.apply(reading.read_many(hosts))
        store.join([one["metadata"]["name"] for one in hosts])


def host(name: str = "h1", number: int = 1) -> dict[str, Any]:
    return {
        "kind": "Host",
        "metadata": {"name": name},
        "spec": {"addresses": [f"192.0.2.{number}"], "agent": f"192.0.2.{number}:6480"},
    }


def vpc(name: str = "blue") -> dict[str, Any]:
    return {"kind": "VPC", "metadata": {"name": name}, "spec": {"cidrs": ["10.0.0.0/16"]}}


def network(name: str = "web") -> dict[str, Any]:
    return {"kind": "Network", "metadata": {"name": name, "vpc": "blue"}, "spec": {"cidrs": ["10.0.1.0/24"]}}


def endpoint(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Endpoint",
        "metadata": {"name": name, "vpc": "blue"},
        "spec": {"network": "web", "host": "h1", **spec},
    }


BASE = (host(), vpc(), network())

# SPDX-License-Identifier: Apache-2.0
"""Objects in one line each, for tests."""

from __future__ import annotations

from typing import Any

from mizar.model import kinds, objects, reading


def host(name: str = "h1", **spec: Any) -> objects.Declared:
    number = int(name.removeprefix("h"))
    return _object("Host", name, {"addresses": [f"192.0.2.{number}"], "agent": f"unix:///{name}", **spec})


def vpc(name: str = "blue", **spec: Any) -> objects.Declared:
    return _object("VPC", name, {"cidrs": ["10.0.0.0/16"], **spec})


def network(name: str = "blue/web", *cidrs: str, **spec: Any) -> objects.Declared:
    return _object("Network", name, {"cidrs": list(cidrs), **spec})


def endpoint(
    name: str = "blue/web-1", *addresses: str, network: str = "web", host: str = "h1", **spec: Any
) -> objects.Declared:
    return _object("Endpoint", name, {"network": network, "host": host, "addresses": list(addresses), **spec})


def basics() -> list[objects.Declared]:
    """Two hosts, a VPC with a subnet of 14 addresses and a group network."""
    return [
        host("h1"),
        host("h2"),
        vpc(),
        network("blue/web", "10.0.1.0/28"),
        network("blue/any"),
    ]


def ref(kind: kinds.Kind, name: str) -> kinds.Ref:
    vpc_name, slash, rest = name.partition("/")
    return kinds.Ref(kind, vpc_name if slash else None, rest if slash else vpc_name)


def _object(kind: str, name: str, spec: dict[str, Any]) -> objects.Declared:
    vpc_name, slash, rest = name.partition("/")
    metadata = {"name": rest, "vpc": vpc_name} if slash else {"name": name}
    return reading.read({"kind": kind, "metadata": metadata, "spec": spec})

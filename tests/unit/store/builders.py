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


def scaled(name: str = "blue/shop", *addresses: str, network: str = "web", **spec: Any) -> objects.Declared:
    given = {"ports": [{"port": 80}], "type": "scaled", "network": network, "addresses": list(addresses)}
    return _object("Endpoint", name, {**given, **spec})


def labelled(name: str, *, host: str = "h1", **labels: str) -> objects.Declared:
    """A simple endpoint with labels."""
    return _object("Endpoint", name, {"network": "web", "host": host}, labels=labels)


def gateway(name: str = "blue/out", *hosts: str, **spec: Any) -> objects.Declared:
    given = {} if "hostMasquerade" in spec else {"hosts": list(hosts) or ["h1"]}
    return _object("Gateway", name, {**given, **spec})


def floating(
    name: str = "blue/web-outside", address: str = "198.51.100.20", endpoint: str = "web-1", **spec: Any
) -> objects.Declared:
    return _object(
        "FloatingAddress", name, {"gateway": "out", "address": address, "endpoint": endpoint, **spec}
    )


def forward(
    name: str = "blue/ssh",
    address: str = "198.51.100.30",
    port: int = 2222,
    endpoint: str = "web-2",
    **spec: Any,
) -> objects.Declared:
    given = {"gateway": "out", "address": address, "port": port, "endpoint": endpoint}
    return _object("PortForward", name, {**given, **spec})


def routes(name: str, *rows: dict[str, Any], networks: tuple[str, ...] = ()) -> objects.Declared:
    return _object("RouteTable", name, {"networks": list(networks), "routes": list(rows)})


def peering(name: str, peer: str) -> objects.Declared:
    return _object("Peering", name, {"peer": peer})


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


def _object(
    kind: str, name: str, spec: dict[str, Any], *, labels: dict[str, str] | None = None
) -> objects.Declared:
    vpc_name, slash, rest = name.partition("/")
    metadata: dict[str, Any] = {"name": rest, "vpc": vpc_name} if slash else {"name": name}
    metadata["labels"] = labels or {}
    return reading.read({"kind": kind, "metadata": metadata, "spec": spec})

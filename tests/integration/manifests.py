# SPDX-License-Identifier: Apache-2.0
"""Objects for tests, as plain data."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]


def vpc(name: str = "blue", *, cidrs: tuple[str, ...] = ("10.0.0.0/16",), **spec: Any) -> Manifest:
    return {"kind": "VPC", "metadata": {"name": name}, "spec": {"cidrs": list(cidrs), **spec}}


def network(
    name: str = "web", *, vpc: str = "blue", cidrs: tuple[str, ...] = ("10.0.1.0/24",), **spec: Any
) -> Manifest:
    return {"kind": "Network", "metadata": {"name": name, "vpc": vpc}, "spec": {"cidrs": list(cidrs), **spec}}


def endpoint(
    name: str, *addresses: str, host: str = "h1", network: str = "web", vpc: str = "blue", **spec: Any
) -> Manifest:
    return {
        "kind": "Endpoint",
        "metadata": {"name": name, "vpc": vpc},
        "spec": {"network": network, "host": host, "addresses": list(addresses), **spec},
    }


def scaled(
    name: str, *addresses: str, backends: tuple[str, ...] = (), network: str = "web", **spec: Any
) -> Manifest:
    wanted: dict[str, Any] = {
        "type": "scaled",
        "network": network,
        "addresses": list(addresses),
        "ports": [{"port": 80, "targetPort": 8080}],
    }
    if "backendSelector" not in spec:
        wanted["backends"] = [{"name": backend} for backend in backends]
    return inside("Endpoint", name, **wanted, **spec)


def inside(kind: str, name: str, *, vpc: str = "blue", **spec: Any) -> Manifest:
    """Anything in a VPC."""
    return {"kind": kind, "metadata": {"name": name, "vpc": vpc}, "spec": spec}

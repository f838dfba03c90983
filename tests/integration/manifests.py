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

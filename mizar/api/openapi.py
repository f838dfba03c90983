# SPDX-License-Identifier: Apache-2.0
"""What the OpenAPI document says that the code of the routes cannot: bodies that are read by hand, examples,
refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mizar.api import problems
from mizar.model import kinds, objects

DESCRIPTION: Final = """\
Declare hosts, VPCs, networks, endpoints, and what serves them in the network (scaled endpoints, gateways,
routes, peerings); the controller makes the network so.

Objects have `apiVersion`, `kind`, `metadata`, `spec` and `status`. Every change is all or nothing.
`status.ready` says that every host that must know has acknowledged. A refusal is `{"error": {"code",
"message"}}`, one line that names what is wrong, the value, and what would be right.
"""

CLASSES: Final[Mapping[str, type[objects.AnyObject]]] = {
    **objects.CLASSES,
    "Bouncer": objects.Bouncer,
    "Divider": objects.Divider,
}

EXAMPLES: Final[Mapping[str, dict[str, Any]]] = {
    "Host": {
        "apiVersion": kinds.API_VERSION,
        "kind": "Host",
        "metadata": {"name": "h1"},
        "spec": {"addresses": ["192.0.2.11"], "agent": "192.0.2.11:6480"},
    },
    "VPC": {
        "apiVersion": kinds.API_VERSION,
        "kind": "VPC",
        "metadata": {"name": "blue"},
        "spec": {"cidrs": ["10.0.0.0/16"], "dividers": 1},
    },
    "Network": {
        "apiVersion": kinds.API_VERSION,
        "kind": "Network",
        "metadata": {"name": "web", "vpc": "blue"},
        "spec": {"cidrs": ["10.0.1.0/24"], "bouncers": 2, "replicas": 1},
    },
    "Endpoint": {
        "apiVersion": kinds.API_VERSION,
        "kind": "Endpoint",
        "metadata": {"name": "web-1", "vpc": "blue"},
        "spec": {"network": "web", "host": "h1", "addresses": ["10.0.1.5"]},
    },
    "Gateway": {
        "apiVersion": kinds.API_VERSION,
        "kind": "Gateway",
        "metadata": {"name": "out", "vpc": "blue"},
        "spec": {"hosts": ["h1"], "addresses": ["198.51.100.10"]},
    },
    "FloatingAddress": {
        "apiVersion": kinds.API_VERSION,
        "kind": "FloatingAddress",
        "metadata": {"name": "web-outside", "vpc": "blue"},
        "spec": {"gateway": "out", "address": "198.51.100.20", "endpoint": "web-1"},
    },
    "PortForward": {
        "apiVersion": kinds.API_VERSION,
        "kind": "PortForward",
        "metadata": {"name": "shop", "vpc": "blue"},
        "spec": {
            "gateway": "out",
            "address": "198.51.100.10",
            "port": 8080,
            "endpoint": "shop",
            "targetPort": 80,
        },
    },
    "RouteTable": {
        "apiVersion": kinds.API_VERSION,
        "kind": "RouteTable",
        "metadata": {"name": "main", "vpc": "blue"},
        "spec": {"networks": ["web"], "routes": [{"to": "10.7.0.0/16", "blackhole": True}]},
    },
    "Peering": {
        "apiVersion": kinds.API_VERSION,
        "kind": "Peering",
        "metadata": {"name": "to-green", "vpc": "blue"},
        "spec": {"peer": "green"},
    },
}

SCALED: Final[Mapping[str, Any]] = {
    "apiVersion": kinds.API_VERSION,
    "kind": "Endpoint",
    "metadata": {"name": "shop", "vpc": "blue"},
    "spec": {
        "type": "scaled",
        "network": "web",
        "addresses": ["10.0.1.100"],
        "ports": [{"port": 80, "targetPort": 8080}],
        "backends": [{"name": "web-1"}],
    },
}
"""The other kind of endpoint."""

_PEER: Final[Mapping[str, Any]] = {
    "apiVersion": kinds.API_VERSION,
    "kind": "VPC",
    "metadata": {"name": "green"},
    "spec": {"cidrs": ["10.8.0.0/16"]},
}
"""That the example of a peering names."""

ALL: Final[Sequence[Mapping[str, Any]]] = [*EXAMPLES.values(), SCALED, _PEER]
"""What may be applied together: every kind once, and what it refers to."""

_REASONS: Final = {
    404: "it does not exist",
    409: "right in itself, but not in the present state; nothing was changed",
    410: "the version is too old to watch from; list, then watch from there",
    413: "the body is too large",
    422: "the request is wrong; nothing was changed",
    503: "the host's agent does not answer",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may be refused so; 422 always may."""
    return {
        status: {"model": problems.Answer, "description": _REASONS[status]} for status in (*statuses, 422)
    }


def body_of(kind: kinds.Kind) -> dict[str, Any]:
    """The request body is one object of the kind."""
    return _body({"$ref": f"#/components/schemas/{_schema(kind.name)}"}, EXAMPLES[kind.name])


def body_of_many() -> dict[str, Any]:
    """The request body is an array of objects of any kind."""
    some = [{"$ref": f"#/components/schemas/{_schema(name)}"} for name in objects.CLASSES]
    return _body({"type": "array", "items": {"oneOf": some}}, ALL)


def body_of_refs() -> dict[str, Any]:
    """The request body is an array of kind and name; whole objects will do."""
    entry = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"type": "string", "enum": list(objects.CLASSES)},
            "name": {"type": "string", "description": "full name; or give metadata"},
            "metadata": {"type": "object"},
        },
    }
    example = [{"kind": "Endpoint", "name": "blue/shop"}, {"kind": "PortForward", "name": "blue/shop"}]
    return _body({"type": "array", "items": entry}, example)


def _body(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _schema(kind: str) -> str:
    return objects.CLASSES[kind].__name__

# SPDX-License-Identifier: Apache-2.0
"""Rules that scaled endpoints, gateways, addresses, routes and peerings can break alone."""

from __future__ import annotations

from typing import Any

import pytest

from mizar import errors
from mizar.abi import layout
from mizar.model import kinds, objects, reading, services


def raw(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "shop", "vpc": "blue"}, "spec": spec}


def scaled(**spec: Any) -> dict[str, Any]:
    return raw("Endpoint", {"type": "scaled", "network": "web", "ports": [{"port": 80}], **spec})


def gateway(**spec: Any) -> dict[str, Any]:
    return raw("Gateway", {"hosts": ["h1", "h2"], **spec})


def forward(**spec: Any) -> dict[str, Any]:
    return raw(
        "PortForward",
        {"gateway": "out", "address": "198.51.100.1", "port": 80, "endpoint": "web-1", **spec},
    )


def floating(**spec: Any) -> dict[str, Any]:
    return raw("FloatingAddress", {"gateway": "out", "address": "198.51.100.1", "endpoint": "web-1", **spec})


def route(**route: Any) -> dict[str, Any]:
    return raw("RouteTable", {"routes": [route]})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (scaled(ports=[]), "endpoint 'blue/shop': spec.ports: 0 given, at least 1"),
        (scaled(ports=[{"port": 80}, {"port": 80}]), "endpoint 'blue/shop': port 80/TCP is given twice"),
        (scaled(ports=[{"port": 0}]), "spec.ports[0].port: 0 is below 1, the least"),
        (scaled(ports=[{"port": 65536}]), "spec.ports[0].port: 65536 is above 65535, the most"),
        (
            scaled(ports=[{"port": 80, "protocol": "tcp"}]),
            "'tcp' is not supported; it is 'TCP', 'UDP' or 'SCTP'",
        ),
        (
            scaled(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]),
            "port name 'a' is given twice",
        ),
        (
            scaled(ports=[{"port": 80, "targetPort": 81, "protocol": "SCTP"}]),
            "spec.ports[0]: targetPort 81 differs from port 80; ports of SCTP cannot be translated",
        ),
        (scaled(addresses=["10.0.0.1", "10.0.0.2"]), "spec.addresses: 2 given, at most 1"),
        (scaled(addresses=["224.0.0.1"]), "is in 224.0.0.0/4 (multicast)"),
        (scaled(host="h1"), "unknown field spec.host"),
        (scaled(network=None), "spec.network"),
        (
            scaled(backends=[{"name": "a"}], backendSelector={"app": "shop"}),
            "it has backends and backendSelector; give one of them only",
        ),
        (scaled(backends=[{"name": "a"}, {"name": "a"}]), "backend 'a' is given twice"),
        (scaled(backends=[{"name": "a", "weight": 0}]), "spec.backends[0].weight: 0 is below 1"),
        (scaled(backends=[{"name": "a", "weight": 101}]), "spec.backends[0].weight: 101 is above 100"),
        (scaled(backends=["a"]), "spec.backends[0]: 'a' is not a set of key: value pairs"),
        (scaled(backendSelector={}), "spec.backendSelector: 0 given, at least 1"),
        (scaled(sessionAffinity={"timeoutSeconds": 0}), "spec.sessionAffinity.timeoutSeconds: 0 is below 1"),
        (scaled(healthCheck={"type": "ping"}), "'ping' is not supported; it is 'up', 'tcp' or 'http'"),
        (scaled(healthCheck={"path": "/x"}), "path '/x' is for checks of type http; this one's is tcp"),
        (scaled(healthCheck={"type": "up", "port": 80}), "port 80 is for checks of type tcp and http"),
        (scaled(healthCheck={"type": "http", "path": "x"}), "'x' is not the path of a URL, such as /healthz"),
        (scaled(healthCheck={"type": "http", "path": "/a b"}), "'/a b' is not the path of a URL"),
        (scaled(healthCheck={"timeoutSeconds": 3}), "timeoutSeconds 3 is above intervalSeconds 2"),
        (raw("Gateway", {}), "gateway 'blue/shop': hosts are missing; name the hosts"),
        (gateway(hosts=["h1", "h1"]), "spec.hosts: 'h1' is given twice"),
        (gateway(hostMasquerade=True), "hostMasquerade has no hosts, 'h1' is given"),
        (
            raw("Gateway", {"hostMasquerade": True, "addresses": ["198.51.100.1"]}),
            "hostMasquerade has no addresses, '198.51.100.1' is given",
        ),
        (gateway(addresses=["198.51.100.1"]), "1 addresses for 2 hosts; give at least one a host"),
        (
            gateway(addresses=[f"198.51.100.{n}" for n in range(1, 18)]),
            "17 addresses for 2 hosts; a host has",
        ),
        (gateway(addresses=["198.51.100.1", "127.0.0.1"]), "is in 127.0.0.0/8 (loopback)"),
        (gateway(ports={"first": 2000, "last": 1999}), "spec.ports: first 2000 is above last 1999"),
        (gateway(destinations=[]), "spec.destinations: 0 given, at least 1"),
        (gateway(destinations=["10.0.0.1/8"]), "'10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"),
        (gateway(destinations=["224.0.0.0/8"]), "'224.0.0.0/8' is in 224.0.0.0/4 (multicast)"),
        (floating(address="255.255.255.255"), "is in 240.0.0.0/4 (reserved)"),
        (forward(targetPort=70000), "spec.targetPort: 70000 is above 65535"),
        (forward(protocol="SCTP", targetPort=81), "ports of SCTP cannot be translated"),
        (
            route(to="10.9.0.0/16"),
            "route to 10.9.0.0/16 has no target; give exactly one of endpoint, gateway",
        ),
        (route(to="10.9.0.0/16", gateway="a", peer="b"), "route to 10.9.0.0/16 has gateway and peer"),
        (route(to="10.9.0.0/16", blackhole=False), "has no target"),
        (route(to="10.9.0.0/8", gateway="out"), "spec.routes[0].to: '10.9.0.0/8' has host bits set"),
        (
            raw("RouteTable", {"routes": [{"to": "10.9.0.0/16", "blackhole": True}] * 2}),
            "route to 10.9.0.0/16 is given twice",
        ),
        (raw("RouteTable", {"networks": ["a", "a"]}), "spec.networks: 'a' is given twice"),
        (raw("Peering", {}), "peering 'blue/shop': spec.peer is missing"),
    ],
)
def test_refused(wanted: object, message: str) -> None:
    with pytest.raises(errors.InvalidError) as caught:
        reading.read(wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scaled_endpoint_without_backends_is_right() -> None:
    obj = reading.read(scaled())
    assert isinstance(obj, objects.Endpoint)
    assert isinstance(obj.spec, services.ScaledSpec)
    assert (obj.spec.ports[0].target, obj.spec.ports[0].protocol) == (80, "TCP")


def test_endpoints_of_both_types_are_read_together() -> None:
    simple = raw("Endpoint", {"network": "web", "host": "h1"})
    one, other = reading.read_many([simple, scaled()])
    assert isinstance(one.spec, objects.EndpointSpec)
    assert isinstance(other.spec, services.ScaledSpec)
    text = objects.dump_list([one, other])
    assert reading.read_json(text) == [one, other]


def test_addresses_of_a_gateway_go_to_its_hosts_in_turn() -> None:
    obj = reading.read(gateway(addresses=[f"198.51.100.{n}" for n in range(1, 6)]))
    assert isinstance(obj, objects.Gateway)
    assert obj.spec.addresses_of() == {
        "h1": ("198.51.100.1", "198.51.100.3", "198.51.100.5"),
        "h2": ("198.51.100.2", "198.51.100.4"),
    }


def test_the_limit_of_outside_addresses_is_that_of_the_data_plane() -> None:
    assert services.MAX_OUTSIDE == layout.MAX_OUTSIDE
    assert services.MAX_WEIGHT == 100


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("gw", kinds.GATEWAY),
        ("fip", kinds.FLOATING_ADDRESS),
        ("pf", kinds.PORT_FORWARD),
        ("rt", kinds.ROUTE_TABLE),
        ("peers", kinds.PEERING),
        ("FloatingAddresses", kinds.FLOATING_ADDRESS),
    ],
)
def test_kinds_have_many_names(text: str, kind: kinds.Kind) -> None:
    assert kinds.find(text) is kind


def _cells(kind: kinds.Kind, obj: dict[str, Any]) -> dict[str, str]:
    return {column.header: column.text(obj, now=0) for column in kind.columns}


def test_columns_of_services() -> None:
    shop = objects.to_json(reading.read(scaled(ports=[{"port": 80, "targetPort": 8080}])))
    states = [("healthy", 1), ("unknown", 1), ("unhealthy", 1), ("draining", 0)]
    shop["status"] = {"backends": [{"state": state, "weight": weight} for state, weight in states]}
    cells = _cells(kinds.ENDPOINT, shop)
    assert (cells["HOST"], cells["PORTS"], cells["BACKENDS"]) == ("-", "80->8080/TCP", "2/4")
    out = objects.to_json(reading.read(gateway(ports={})))
    out["status"] = {"hosts": [{"name": "h1", "up": True}, {"name": "h2", "up": False}]}
    cells = _cells(kinds.GATEWAY, out)
    assert (cells["HOSTS"], cells["ADDRESSES"], cells["UP"]) == ("h1,h2", "the hosts'", "1/2")
    assert (cells["DESTINATIONS"], cells["PORTS"]) == ("0.0.0.0/0", "1024-65535")
    table = objects.to_json(reading.read(route(to="10.9.0.0/16", endpoint="fw")))
    cells = _cells(kinds.ROUTE_TABLE, table)
    assert (cells["NETWORKS"], cells["ROUTES"], cells["TARGETS"]) == ("all", "1", "10.9.0.0/16->endpoint fw")

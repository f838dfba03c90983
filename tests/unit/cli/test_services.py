# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints, gateways, routes and sessions for people: get, describe, delete."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mizar.model import kinds
from tests.unit.cli.conftest import Api, Run


def obj(kind: str, name: str, spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    vpc, slash, rest = name.partition("/")
    metadata = {"name": rest, "vpc": vpc} if slash else {"name": name}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": {"ready": True, **status}}


BLUE = obj("VPC", "blue", {"cidrs": ["10.0.0.0/16"]}, vni=7)
GREEN = obj("VPC", "green", {"cidrs": ["10.8.0.0/16"]}, vni=8)
H1 = obj("Host", "h1", {"addresses": ["192.0.2.1"]}, agent="connected")
H2 = obj("Host", "h2", {"addresses": ["192.0.2.2"]}, agent="connected")
H3 = obj("Host", "h3", {"addresses": ["192.0.2.3"]}, agent="away")
SHOP = obj(
    "Endpoint",
    "blue/shop",
    {
        "type": "scaled",
        "network": "web",
        "addresses": [],
        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        "backends": [{"name": "web-1", "weight": 3, "drain": False}],
    },
    addresses=["10.0.1.9"],
    backends=[
        {"name": "web-1", "address": "10.0.1.5", "host": "h1", "weight": 3, "state": "healthy"},
        {
            "name": "web-2",
            "address": "10.0.1.6",
            "host": "h2",
            "weight": 1,
            "state": "unhealthy",
            "message": "connection refused",
        },
    ],
)
OUT = obj(
    "Gateway",
    "blue/out",
    {"hosts": ["h1"], "addresses": ["198.51.100.10"], "destinations": ["0.0.0.0/0"]},
    hosts=[{"name": "h1", "addresses": ["198.51.100.10"], "up": True}],
)
FLOATING = obj(
    "FloatingAddress", "blue/fip", {"gateway": "out", "address": "198.51.100.20", "endpoint": "web-1"}
)
FORWARD = obj(
    "PortForward",
    "blue/ssh",
    {"gateway": "out", "address": "198.51.100.10", "port": 2222, "protocol": "TCP", "endpoint": "shop"},
)
MAIN = obj(
    "RouteTable",
    "blue/main",
    {
        "networks": [],
        "routes": [{"to": "10.9.0.0/16", "endpoint": "fw"}, {"to": "0.0.0.0/0", "gateway": "out"}],
    },
)
WEB = obj(
    "RouteTable", "blue/web", {"networks": ["web"], "routes": [{"to": "10.9.0.0/16", "blackhole": True}]}
)
PEERING = obj("Peering", "blue/to-green", {"peer": "green"}, active=True)
BOUNCER = obj("Bouncer", "blue/web/h1", {"network": "web", "host": "h1", "shards": 128, "entries": 3})
NETWORK = obj("Network", "blue/web", {"cidrs": ["10.0.1.0/24"]})


@pytest.fixture
def world(api: Api) -> Api:
    """Answers for all lists, whole and of VPC blue."""
    lists: dict[str, list[dict[str, Any]]] = {
        "hosts": [H1, H2, H3],
        "vpcs": [BLUE, GREEN],
        "networks": [NETWORK],
        "endpoints": [SHOP],
        "gateways": [OUT],
        "floatingaddresses": [FLOATING],
        "portforwards": [FORWARD],
        "routetables": [MAIN, WEB],
        "peerings": [PEERING],
        "bouncers": [BOUNCER],
        "dividers": [],
    }
    for plural, objects in lists.items():
        api.answer(f"GET /v1/{plural}", objects)
        api.answer(f"GET /v1/{plural}?vpc=blue", objects)
    for one in (SHOP, OUT, MAIN, WEB):
        plural = f"{one['kind'].lower()}s"
        api.answer(f"GET /v1/vpcs/blue/{plural}/{one['metadata']['name']}", one)
    api.answer("GET /v1/vpcs/blue", BLUE)
    out = {"role": "gateway", "vpc": "blue", "packets": 11, "bytes": 1100}
    begun = {"role": "service", "vpc": "blue", "service": "blue/shop", "packets": 5, "bytes": 300}
    api.answer("GET /v1/hosts/h1/counters", {"roles": [out, begun], "endpoints": []})
    return api


def flow(host_vni: int, kind: str, state: list[str], **fields: Any) -> dict[str, Any]:
    row = {
        "vni": host_vni,
        "protocol": "tcp",
        "source": "10.0.1.5:4000",
        "destination": "10.0.1.9:80",
        "kind": kind,
        "new_vni": 7,
        "new_source": "10.0.1.5:4000",
        "new_destination": "10.0.1.6:8080",
        "via": None,
        "state": state,
        "idle_s": 3,
        "timeout_s": 7440,
    }
    return row | fields


NAT = {
    "source": "10.0.1.5:4001",
    "destination": "203.0.113.9:443",
    "new_source": "198.51.100.10:2000",
    "new_destination": "203.0.113.9:443",
    "new_vni": 0,
}


# ---------------------------------------------------------------------------------------------- describing


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.usefixtures("world")
def test_describe_scaled_endpoint_shows_ports_and_backends(run: Run) -> None:
    done = run("describe", "endpoint", "blue/shop")
    shown = lines(done.out)
    assert (done.code, done.err) == (0, "")
    assert "Ports: 1" in shown
    assert "80 8080 TCP" in shown
    assert "Backends: 2" in shown
    assert "NAME ADDRESS HOST WEIGHT STATE MESSAGE" in shown
    assert "web-1 10.0.1.5 h1 3 healthy -" in shown
    assert "web-2 10.0.1.6 h2 1 unhealthy connection refused" in shown
    assert shown[shown.index("Flows begun:") + 2] == "h1 5 300"
    assert any(line.startswith("blue/ssh") for line in shown)  # the forward that leads to it
    assert not any(line.startswith("blue/fip") for line in shown)


@pytest.mark.usefixtures("world")
def test_describe_gateway_shows_hosts_and_what_is_behind(run: Run) -> None:
    shown = lines(run("describe", "gw", "blue/out").out)
    assert "Hosts: 1" in shown
    assert "h1 198.51.100.10 yes" in shown
    assert shown[shown.index("Traffic out and in:") + 2] == "h1 11 1100"
    assert any(line.startswith("blue/fip 198.51.100.20 web-1") for line in shown)
    assert any(line.startswith("blue/ssh 198.51.100.10 2222 TCP shop") for line in shown)


@pytest.mark.usefixtures("world")
def test_describe_vpc_shows_routes_and_peerings(run: Run) -> None:
    shown = lines(run("describe", "vpc", "blue").out)
    assert any(line.startswith("blue/to-green green yes") for line in shown)
    assert "blue all 10.8.0.0/16 peer green peering to-green" in shown


@pytest.mark.usefixtures("world")
def test_describe_route_table_shows_its_routes_and_what_applies(run: Run) -> None:
    shown = lines(run("describe", "routetable", "blue/web").out)
    assert "10.9.0.0/16 blackhole" in shown
    assert "blue web 0.0.0.0/0 gateway out routetable main" in shown


# ------------------------------------------------------------------------------------- routes and sessions


@pytest.mark.usefixtures("world")
def test_routes_that_apply_longest_prefix_first_and_own_table_winning(run: Run) -> None:
    found = json.loads(run("get", "routes", "-n", "blue", "-o", "json").out)
    rows = [(one["spec"].get("network"), one["spec"]["to"], one["spec"]["target"]) for one in found]
    assert rows == [
        (None, "10.0.0.0/16", "local"),
        (None, "10.8.0.0/16", "peer green"),
        (None, "10.9.0.0/16", "endpoint fw"),
        (None, "0.0.0.0/0", "gateway out"),
        ("web", "10.0.0.0/16", "local"),
        ("web", "10.8.0.0/16", "peer green"),
        ("web", "10.9.0.0/16", "blackhole"),
        ("web", "0.0.0.0/0", "gateway out"),
    ]
    assert [one["spec"]["declaredBy"] for one in found][2:4] == ["routetable main", "routetable main"]


def test_peering_of_one_side_is_no_route(world: Api, run: Run) -> None:
    alone = PEERING | {"status": {"active": False}}
    world.answer("GET /v1/peerings", [alone])
    assert "10.8.0.0/16" not in run("get", "routes", "-n", "blue").out


def test_sessions_are_shown_once_with_what_they_become(world: Api, run: Run) -> None:
    world.answer(
        "GET /v1/hosts/h1/tables/flows",
        [
            flow(7, "service", ["replied"]),
            flow(7, "service", ["replied", "reverse"]),
            flow(7, "nat", [], **NAT),
        ],
    )
    world.answer(
        "GET /v1/hosts/h2/tables/flows",
        [flow(8, "via", [], via="192.0.2.1"), flow(0, "nat", ["fin_orig"]), flow(7, "affinity", [])],
    )
    done = run("get", "sessions", "-o", "json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert [
        (one["metadata"]["vpc"], one["spec"]["type"], one["spec"]["becomes"], one["status"]["state"])
        for one in found
    ] == [
        ("blue", "service", "to 10.0.1.6:8080", "established"),
        ("blue", "nat", "from 198.51.100.10:2000", "unanswered"),
        ("blue", "nat", "to 10.0.1.6:8080", "closing"),
        ("blue", "affinity", "to 10.0.1.6:8080", "known"),
        ("green", "via", "via h1", "known"),
    ]
    shown = lines(run("get", "sessions", "-n", "blue", "--host", "h1").out)
    assert shown[0] == "VPC HOST TYPE PROTOCOL FROM TO BECOMES STATE IDLE"
    assert shown[1] == "blue h1 service TCP 10.0.1.5:4000 10.0.1.9:80 to 10.0.1.6:8080 established 3s"
    assert len(shown) == 3
    assert ("GET /v1/hosts/h3/tables/flows", None) not in world.asked


@pytest.mark.parametrize("kind", ["route", "session"])
def test_views_are_not_changed(run: Run, kind: str) -> None:
    assert run("delete", kind, "blue/x").code == 2
    assert run("get", kind, "--watch").code == 2


def test_host_filters_lists(api: Api, run: Run) -> None:
    here = obj("Endpoint", "blue/a", {"network": "web", "host": "h1"})
    there = obj("Endpoint", "blue/b", {"network": "web", "host": "h2"})
    api.answer("GET /v1/endpoints", [here, there, SHOP])
    assert json.loads(run("get", "endpoints", "--host", "h1", "-o", "json").out) == [here]
    assert "--host is for lists" in run("get", "endpoint", "blue/a", "--host", "h1").err


def test_explain_has_fields_of_both_types_of_endpoint(run: Run) -> None:
    shown = lines(run("explain", "endpoint").out)
    assert shown[0].startswith("Endpoint: One attachment")
    assert "spec(simple).host name required host that it is on; a change moves the endpoint" in shown
    assert any(line.startswith("spec(scaled).ports[].port 1 to 65535 required") for line in shown)
    assert not any(line.startswith("metadata") for line in shown)


def test_explain_of_a_part(run: Run) -> None:
    found = json.loads(run("explain", "ep.spec.healthCheck", "-o", "json").out)
    assert {field["path"].rpartition(".")[2] for field in found} >= {
        "healthCheck",
        "type",
        "path",
        "failures",
    }
    assert all("healthCheck" in field["path"] for field in found)
    done = run("explain", "gateway.spec.hots")
    assert (done.code, "Gateway has no field 'spec.hots'" in done.err) == (1, True)
    assert run("explain", "session").code == 1


@pytest.mark.parametrize("kind", kinds.KINDS, ids=str)
def test_explain_every_kind(run: Run, kind: kinds.Kind) -> None:
    done = run("explain", str(kind))
    assert done.code == 0
    assert "spec." in done.out or "spec(" in done.out


@pytest.mark.usefixtures("world")
def test_tables_of_kinds(run: Run) -> None:
    assert lines(run("get", "gateways").out)[1].startswith("blue/out h1 198.51.100.10 0.0.0.0/0 1/1 yes")
    assert lines(run("get", "fips").out)[0] == "NAME ADDRESS ENDPOINT GATEWAY HOST READY AGE"
    assert lines(run("get", "rt", "-o", "wide").out)[1].endswith(
        "10.9.0.0/16->endpoint fw,0.0.0.0/0->gateway out"
    )
    assert "1/2" in run("get", "endpoints", "-o", "wide").out

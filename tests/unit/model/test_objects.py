# SPDX-License-Identifier: Apache-2.0
"""Rules that an object can break alone, and how the error says it."""

from __future__ import annotations

from typing import Any

import pytest

from mizar import errors
from mizar.abi import layout
from mizar.model import facts, kinds, objects, reading


def raw(kind: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    names = {"name": "web", "vpc": "blue"} if kind in {"Network", "Endpoint"} else {"name": "blue"}
    return {"kind": kind, "metadata": {**names, **metadata}, "spec": spec}


ENDPOINT = {"network": "web", "host": "h1"}
VPC = {"cidrs": ["10.0.0.0/8"]}
HOST = {"addresses": ["192.0.2.1"], "agent": "unix:///run/agent.sock"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (raw("Network", {"cidrs": ["10.0.0.1/24"]}), "spec.cidrs[0]: '10.0.0.1/24' has host bits"),
        (raw("Network", {"cidrs": ["10.0.0.0"]}), "'10.0.0.0' is not a CIDR, such as 10.0.0.0/24"),
        (raw("Network", {"cidrs": ["10.0.0.0/33"]}), "'10.0.0.0/33' is not a CIDR"),
        (raw("Network", {"cidrs": ["10.0.0/24"]}), "'10.0.0' is not an IPv4 address"),
        (raw("Network", {"cidrs": ["2001:db8::/64"]}), "'2001:db8::/64' is an IPv6 prefix"),
        (raw("Network", {"cidrs": ["224.0.0.0/8"]}), "overlaps 224.0.0.0/4 (multicast)"),
        (raw("Network", {"cidrs": ["127.0.0.0/16"]}), "overlaps 127.0.0.0/8 (loopback)"),
        (raw("Network", {"cidrs": ["169.254.4.0/24"]}), "has the gateway 169.254.1.1"),
        (raw("Network", {"cidrs": ["0.0.0.0/0"]}), "overlaps 0.0.0.0/8"),
        (raw("Network", {"cidrs": ["10.0.0.0/8", "10.1.0.0/16"]}), "10.0.0.0/8 and 10.1.0.0/16 overlap"),
        (raw("Network", {"cidrs": [f"10.{n}.0.0/16" for n in range(5)]}), "5 given, at most 4"),
        (raw("Network", {"bouncers": 2, "replicas": 3}), "replicas 3 is above bouncers 2"),
        (raw("Network", {"bouncers": 9, "shards": 8}), "bouncers 9 is above shards 8"),
        (raw("Network", {"bouncers": 20, "replicas": 16}), "spec.replicas: 16 is above 15, the most"),
        (raw("Network", {"shards": 100}), "spec.shards: 100 is not a power of two, such as 64"),
        (raw("Network", {"shards": 4}), "spec.shards: 4 is below 8, the least"),
        (raw("Network", {"bouncers": 0}), "spec.bouncers: 0 is below 1, the least"),
        (raw("Network", {"bouncers": "2"}), "spec.bouncers: '2' is not a whole number"),
        (raw("Network", {"bouncers": True}), "spec.bouncers: true is not a whole number"),
        (raw("Network", {"replcas": 2}), "unknown field spec.replcas; did you mean 'replicas'?"),
        (raw("Network", {}, colour="red"), "unknown field metadata.colour"),
        (raw("Network", {}, name="Web"), "'Web' is not a name; a name is 1 to 63 lower-case letters"),
        (raw("Network", {}, name="a" * 64), "is not a name"),
        (raw("Network", {}, name="web\n"), "is not a name"),
        (raw("Network", {}, vpc="-x"), "metadata.vpc: '-x' is not a name"),
        (raw("VPC", {}), "vpc 'blue': spec.cidrs is missing"),
        (raw("VPC", {"cidrs": []}), "spec.cidrs: 0 given, at least 1"),
        (raw("VPC", {"cidrs": "10.0.0.0/8"}), "spec.cidrs: '10.0.0.0/8' is not a list"),
        (raw("VPC", {"cidrs": ["10.0.0.0/8"], "mtu": 500}), "spec.mtu: 500 is below 576, the least"),
        (raw("VPC", {"cidrs": ["10.0.0.0/8"], "dividers": 17}), "spec.dividers: 17 is above 16"),
        (raw("VPC", {"cidrs": ["10.0.0.0/8"]}, vpc="red"), "unknown field metadata.vpc"),
        (raw("Host", {**HOST, "addresses": ["255.255.255.255"]}), "is in 240.0.0.0/4 (reserved)"),
        (raw("Host", {**HOST, "addresses": ["192.0.2.1"] * 2}), "'192.0.2.1' is given twice"),
        (raw("Host", {**HOST, "agent": "unix://relative"}), "is not an agent's address"),
        (raw("Host", {**HOST, "agent": "host"}), "'host' is not an agent's address, such as unix:///run"),
        (raw("Host", {**HOST, "agent": "host:99999"}), "'host:99999' is not an agent's address"),
        (raw("Endpoint", {**ENDPOINT, "type": "big"}), "'big' is not supported; it is 'simple' or 'scaled'"),
        (raw("Endpoint", {**ENDPOINT, "type": "scaled"}), "unknown field spec.host"),
        (raw("Endpoint", {**ENDPOINT, "addresses": ["::1"]}), "'::1' is an IPv6 address"),
        (raw("Endpoint", {**ENDPOINT, "addresses": ["10.1"]}), "'10.1' is not an IPv4 address"),
        (raw("Endpoint", {**ENDPOINT, "addresses": ["010.0.0.1"]}), "is not an IPv4 address"),
        (raw("Endpoint", {**ENDPOINT, "netns": "a/b"}), "'a/b' is not a network namespace"),
        (raw("Endpoint", {**ENDPOINT, "ifname": "e" * 16}), "has 16 letters; an interface"),
        (raw("Endpoint", {**ENDPOINT, "ifname": "lo"}), "'lo' is not a name for an interface"),
        ({"kind": "Bouncer"}, "bouncers are read-only"),
        ({"kind": "vpc"}, "unknown kind 'vpc'; did you mean 'VPC'?; kinds: Host, VPC, Network, Endpoint"),
        ({}, "kind is missing"),
        ([], "[] is not an object"),
        (raw("VPC", VPC) | {"apiVersion": "v2"}, "'v2' is not supported; it is 'mizar.io/v1'"),
        (raw("VPC", VPC) | {"metadata": 3}, "metadata: 3 is not a set of key: value pairs"),
    ],
)  # fmt: skip
def test_refused(wanted: object, message: str) -> None:
    with pytest.raises(errors.InvalidError) as caught:
        reading.read(wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_filled_in() -> None:
    obj = reading.read(raw("Network", {}))
    assert objects.to_json(obj) == {
        "apiVersion": "mizar.io/v1",
        "kind": "Network",
        "metadata": {"name": "web", "vpc": "blue", "labels": {}},
        "spec": {"cidrs": [], "bouncers": 1, "replicas": 1, "shards": 128},
    }


def test_one_bad_object_of_many_is_named() -> None:
    wanted = [raw("Network", {}), raw("VPC", {"cidrs": ["10.0.0.0/8"]}), raw("Network", {"shards": 9})]
    with pytest.raises(reading.FieldError, match="9 is not a power of two") as caught:
        reading.read_many(wanted)
    assert (caught.value.index, caught.value.path) == (2, ("spec", "shards"))


def test_json_of_one_or_many() -> None:
    one = reading.read(raw("VPC", {"cidrs": ["10.0.0.0/8"]}))
    text = objects.dump_list([one])
    assert reading.read_json(text) == [one]
    assert reading.read_json(text[1:-1]) == [one]
    with pytest.raises(errors.InvalidError, match="not JSON: Expecting"):
        reading.read_json(b"{")


def test_limits_are_those_of_the_data_plane() -> None:
    assert objects.MAX_DIVIDERS == layout.MAX_DIVIDERS
    assert objects.MAX_REPLICAS == layout.MAX_REPLICAS
    assert objects.MAX_NETWORK_CIDRS == layout.MAX_ONLINK
    assert objects.MAX_SHARDS == layout.MAX_SHARDS
    assert objects.ENVELOPE == layout.ENVELOPE
    assert facts.mac(facts.ROUTER_SERIAL) == layout.ROUTER_MAC


def test_every_field_is_described() -> None:
    for cls in objects.CLASSES.values():
        schema = cls.model_json_schema(by_alias=True)
        for name, part in schema["$defs"].items():
            for field, described in part["properties"].items():
                assert "description" in described or field in {"type", "status"}, f"{name}.{field}"


@pytest.mark.parametrize("text", ["ep", "EPS", "endpoint", "Endpoints"])
def test_kinds_have_many_names(text: str) -> None:
    assert kinds.find(text) is kinds.ENDPOINT


def test_unknown_kind_suggests() -> None:
    with pytest.raises(errors.InvalidError, match="unknown kind 'netwrk'; did you mean 'network'"):
        kinds.find("netwrk")


def test_columns_of_a_table() -> None:
    obj = objects.to_json(reading.read(raw("Endpoint", {**ENDPOINT})))
    obj["status"] = {"ready": True, "addresses": ["10.0.0.1", "10.0.0.2"]}
    obj["metadata"]["creationTimestamp"] = "2023-11-14T22:13:20Z"
    cells = {c.header: c.text(obj, now=1_700_000_000 + 7200) for c in kinds.ENDPOINT.columns if not c.wide}
    assert cells == {
        "NAME": "blue/web",
        "NETWORK": "web",
        "HOST": "h1",
        "ADDRESSES": "10.0.0.1,10.0.0.2",
        "READY": "yes",
        "AGE": "2h",
    }

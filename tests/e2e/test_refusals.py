# SPDX-License-Identifier: Apache-2.0
"""What is refused: exit code 1, one line that names the rule and the value, and nothing changed.

All of it through the command line, on one VPC that has something of everything.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from mizar.client import api
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import tenants
from tests.support.labs import TWO_TENANTS, Labs, Mizar, tenant_name


@pytest.fixture(scope="module")
def town(labs: Labs) -> Iterator[tenants.Tenant]:
    """One VPC, a subnet and a group network, an endpoint in each."""
    found = labs.on_any_hook(TWO_TENANTS)
    with tenants.Tenant(found, tenant_name(), "10.0.0.0/16", "192.168.0.0/24") as made:
        made.network("web", "10.0.1.0/24", bouncers=2)
        made.network("group")
        made.endpoint("a", "web", "h1", "10.0.1.5")
        made.endpoint("g", "group", "h2", "10.0.200.5")
        made.ready()
        yield made


def _objects(found: lab_module.Lab) -> dict[str, tuple[str, Any]]:
    """Everything that is declared: resourceVersion and spec by kind and name."""
    return {
        f"{kind.singular} {kinds.full_name(obj)}": (obj["metadata"]["resourceVersion"], obj["spec"])
        for kind in (kinds.HOST, kinds.VPC, kinds.NETWORK, kinds.ENDPOINT)
        for obj in found.client.list(kind)
    }


def _refused(
    found: lab_module.Lab, mizar: Mizar, *arguments: str, stdin: str | None = None, code: int = 1
) -> str:
    """The one line that a command is refused with."""
    before = _objects(found)
    done = mizar(*arguments, check=False, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("mizar: ")
    assert _objects(found) == before
    return str(line)


def _object(kind: str, name: str, vpc: str | None = None, **spec: Any) -> api.Object:
    metadata = {"name": name} | ({"vpc": vpc} if vpc else {})
    return {"apiVersion": kinds.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


# Each row: what it is about, an object (V stands for the VPC), what the line must say.
_REFUSED: list[tuple[str, api.Object, list[str]]] = [
    (
        "network-overlaps-another",
        _object("Network", "other", "V", cidrs=["10.0.0.0/20"]),
        ["10.0.0.0/20", "overlaps", "web", "10.0.1.0/24"],
    ),
    (
        "network-outside-the-vpc",
        _object("Network", "other", "V", cidrs=["172.16.0.0/24"]),
        ["172.16.0.0/24", "outside", "10.0.0.0/16"],
    ),
    (
        "cidrs-of-one-vpc-overlap",
        _object("VPC", "lapped", cidrs=["10.0.0.0/16", "10.0.128.0/17"]),
        ["10.0.0.0/16", "10.0.128.0/17", "overlap"],
    ),
    (
        "cidrs-of-one-network-overlap",
        _object("Network", "other", "V", cidrs=["10.0.4.0/24", "10.0.4.128/25"]),
        ["10.0.4.0/24", "10.0.4.128/25", "overlap"],
    ),
    (
        "host-bits-in-cidr",
        _object("VPC", "bits", cidrs=["10.0.0.1/16"]),
        ["10.0.0.1/16", "10.0.0.0/16"],
    ),
    (
        "network-covers-the-group-networks-endpoint",
        _object("Network", "other", "V", cidrs=["10.0.200.0/24"]),
        ["10.0.200.5", "group"],
    ),
    (
        "vpc-leaves-out-its-network",
        _object("VPC", "V", cidrs=["192.168.0.0/24"]),
        ["leave out", "10.0.1.0/24"],
    ),
    (
        "address-outside-the-vpc",
        _object("Endpoint", "x", "V", network="group", host="h1", addresses=["172.16.0.1"]),
        ["172.16.0.1", "outside VPC"],
    ),
    (
        "address-outside-the-network",
        _object("Endpoint", "x", "V", network="web", host="h1", addresses=["10.0.2.5"]),
        ["10.0.2.5", "outside network", "10.0.1.0/24"],
    ),
    (
        "address-of-a-subnet-in-a-group-network",
        _object("Endpoint", "x", "V", network="group", host="h1", addresses=["10.0.1.77"]),
        ["10.0.1.77", "web"],
    ),
    (
        "address-in-use",
        _object("Endpoint", "x", "V", network="web", host="h3", addresses=["10.0.1.5"]),
        ["10.0.1.5", "in use", "/a"],
    ),
    (
        "network-and-broadcast-address",
        _object("Endpoint", "x", "V", network="web", host="h3", addresses=["10.0.1.255"]),
        ["10.0.1.255", "broadcast"],
    ),
    (
        "not-an-address",
        _object("Endpoint", "x", "V", network="web", host="h3", addresses=["10.0.1.256"]),
        ["10.0.1.256"],
    ),
    (
        "unknown-vpc",
        _object("Network", "other", "nowhere", cidrs=["10.0.7.0/24"]),
        ["vpc 'nowhere' does not exist"],
    ),
    (
        "unknown-network",
        _object("Endpoint", "x", "V", network="wbe", host="h1"),
        ["network", "wbe", "does not exist", "did you mean", "web"],
    ),
    (
        "unknown-host",
        _object("Endpoint", "x", "V", network="web", host="h77"),
        ["host 'h77' does not exist"],
    ),
    (
        "endpoint-changes-its-network",
        _object("Endpoint", "a", "V", network="group", host="h1", addresses=["10.0.200.9"]),
        ["network cannot change", "web", "group"],
    ),
    (
        "shards-change",
        _object("Network", "web", "V", cidrs=["10.0.1.0/24"], bouncers=2, shards=64),
        ["shards", "cannot change", "128", "64"],
    ),
    (
        "subnet-becomes-a-group-network",
        _object("Network", "web", "V", bouncers=2),
        ["web"],
    ),
    (
        "replicas-above-bouncers",
        _object("Network", "other", "V", cidrs=["10.0.7.0/24"], bouncers=2, replicas=3),
        ["replicas 3", "bouncers 2"],
    ),
    (
        "shards-not-a-power-of-two",
        _object("Network", "other", "V", cidrs=["10.0.7.0/24"], shards=100),
        ["100", "power of two"],
    ),
    ("no-divider", _object("VPC", "other", cidrs=["10.0.0.0/16"], dividers=0), ["dividers", "0"]),
    ("mtu-too-small", _object("VPC", "other", cidrs=["10.0.0.0/16"], mtu=100), ["mtu", "100", "576"]),
    ("host-address-in-use", _object("Host", "h9", addresses=["172.30.0.11"], agent="unix:///x"), ["h1"]),
    ("unknown-field", _object("VPC", "other", cidr=["10.0.0.0/16"]), ["cidr", "did you mean", "cidrs"]),
    ("unknown-kind", _object("Netwrok", "other", "V"), ["Netwrok", "did you mean", "Network"]),
    ("name-is-no-label", _object("VPC", "Blue_1", cidrs=["10.0.0.0/16"]), ["Blue_1", "lower-case"]),
    ("bouncer-is-read-only", _object("Bouncer", "web/h1", "V"), ["read-only"]),
]


@pytest.mark.parametrize(("obj", "said"), [row[1:] for row in _REFUSED], ids=[row[0] for row in _REFUSED])
def test_refused(
    lab: lab_module.Lab, town: tenants.Tenant, mizar: Mizar, obj: api.Object, said: list[str]
) -> None:
    text = json.dumps(obj).replace('"V"', f'"{town.name}"')
    line = _refused(lab, mizar, "apply", "-f", "-", stdin=text)
    for part in said:
        assert part in line, line


def test_one_wrong_object_refuses_all_of_them(
    lab: lab_module.Lab, town: tenants.Tenant, mizar: Mizar
) -> None:
    good = _object("Network", "fine", town.name, cidrs=["10.0.9.0/24"])
    bad = _object("Endpoint", "x", town.name, network="fine", host="h1", addresses=["10.0.1.5"])
    line = _refused(lab, mizar, "apply", "-f", "-", stdin=json.dumps([good, bad]))
    assert "10.0.1.5" in line


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("kind: VPC\nmetadata: {name: x\n", ":3:", ""),
        ("apiVersion: mizar.io/v1\nkind: VPC\nmetadata: {name: x}\nspec:\n  cidrs: 7\n", ":5:", "cidrs"),
        (
            "apiVersion: mizar.io/v1\nkind: VPC\nmetadata: {name: x}\nspec: {cidrs: [10.0.0.0/16]}\n"
            "---\napiVersion: mizar.io/v1\nkind: VPC\nmetadata: {name: y}\nspec:\n  cidrs: [10.0.0.0/99]\n",
            ":10:",
            "10.0.0.0/99",
        ),
        ("- just\n- a list\n", ":1:", ""),
        ("\t- tab\n", ":1:", ""),
    ],
    ids=["yaml", "field", "second-document", "no-object", "tab"],
)
def test_malformed_manifest_is_refused_with_file_and_line(
    lab: lab_module.Lab, mizar: Mizar, tmp_path: pathlib.Path, text: str, where: str, said: str
) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(text)
    line = _refused(lab, mizar, "apply", "-f", str(manifest))
    assert f"{manifest}{where}" in line
    assert said in line


def test_binary_file_is_no_manifest(lab: lab_module.Lab, mizar: Mizar, tmp_path: pathlib.Path) -> None:
    manifest = tmp_path / "binary.yaml"
    manifest.write_bytes(bytes(range(256)))
    assert str(manifest) in _refused(lab, mizar, "apply", "-f", str(manifest))


# ---------------------------------------------------------------- deleting what is in use


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("vpc", "V", ["V", "2 networks"]),
        ("network", "V/web", ["web", "1 endpoint", "/a"]),
        ("network", "V/group", ["group", "1 endpoint", "/g"]),
        ("host", "h1", ["h1", "endpoint"]),
    ],
)
def test_what_is_in_use_is_not_deleted(
    lab: lab_module.Lab, town: tenants.Tenant, mizar: Mizar, kind: str, name: str, said: list[str]
) -> None:
    line = _refused(lab, mizar, "delete", kind, name.replace("V", town.name))
    for part in said:
        assert part.replace("V", town.name) in line, line


@pytest.mark.parametrize(
    ("kind", "name"), [("vpc", "nowhere"), ("network", "V/nothing"), ("endpoint", "V/no"), ("host", "h77")]
)
def test_what_does_not_exist_is_not_deleted(
    lab: lab_module.Lab, town: tenants.Tenant, mizar: Mizar, kind: str, name: str
) -> None:
    line = _refused(lab, mizar, "delete", kind, name.replace("V", town.name))
    assert "does not exist" in line


# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["get"],
        ["get", "nonsense"],
        ["get", "endpoint", "web-1"],
        ["get", "hosts", "-n", "blue"],
        ["get", "bouncers", "--watch"],
        ["delete"],
        ["delete", "bouncer", "blue/web/h1"],
        ["wait", "vpc", "blue"],
        ["wait", "vpc", "blue", "--for", "rain"],
        ["wait", "vpc", "blue", "--for", "ready", "--timeout", "soon"],
        ["apply"],
        ["apply", "-f", "/no/such/file"],
        ["lab", "up", "--transit", "pigeon"],
        ["lab", "agent", "h1", "tickle"],
        ["lab", "exec", "blue/web-1"],
        ["--api", "nowhere", "get", "hosts"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_has_exit_code_2_and_one_line(
    lab: lab_module.Lab, mizar: Mizar, arguments: list[str]
) -> None:
    _refused(lab, mizar, *arguments, code=2)

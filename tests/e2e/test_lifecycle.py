# SPDX-License-Identifier: Apache-2.0
"""Objects from the first apply to the last delete, through the command line: what scripts rely on."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from mizar.agent import namespaces
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import traffic
from tests.support.labs import Mizar, NewTenant, reaches, tenant_name

_NETWORK = ipaddress.IPv4Network("10.0.1.0/29")


def _manifest(vpc: str) -> str:
    return f"""
apiVersion: mizar.io/v1
kind: VPC
metadata: {{name: {vpc}, labels: {{team: tests}}}}
spec: {{cidrs: [10.0.0.0/16], dividers: 2}}
---
apiVersion: mizar.io/v1
kind: Network
metadata: {{name: web, vpc: {vpc}}}
spec: {{cidrs: [{_NETWORK}], bouncers: 2, replicas: 1}}
---
apiVersion: mizar.io/v1
kind: Endpoint
metadata: {{name: fixed, vpc: {vpc}}}
spec: {{network: web, host: h1, addresses: [10.0.1.1]}}
---
apiVersion: mizar.io/v1
kind: Endpoint
metadata: {{name: picked, vpc: {vpc}}}
spec: {{network: web, host: h2}}
"""


@pytest.fixture
def town(lab: lab_module.Lab, mizar: Mizar) -> Iterator[str]:
    """Name of a VPC that was made by the command line, as users do; what is left of it is removed."""
    name = tenant_name()
    mizar("apply", "-f", "-", "--wait", stdin=_manifest(name))
    yield name
    left = [
        obj
        for kind in (kinds.ENDPOINT, kinds.NETWORK, kinds.VPC)
        for obj in lab.client.list(kind)
        if name in (obj["metadata"].get("vpc"), obj["metadata"]["name"])
    ]
    if left:
        lab.client.delete_all(left)


def _get(mizar: Mizar, *arguments: str) -> Any:
    return json.loads(mizar("get", *arguments, "-o", "json").stdout)


# ---------------------------------------------------------------- get, describe, tables, drops


@pytest.mark.parametrize("kind", ["host", "vpc", "network", "endpoint", "bouncer", "divider"])
def test_list_in_json_is_an_array_of_whole_objects(town: str, mizar: Mizar, kind: str) -> None:
    found = _get(mizar, f"{kind}s")
    assert _get(mizar, kind) == found or kind in ("bouncer", "divider")
    for obj in found:
        assert obj.keys() >= {"apiVersion", "kind", "metadata", "spec", "status"}
        assert obj["apiVersion"] == "mizar.io/v1"
    name = found[0]["metadata"]["name"]
    vpc = found[0]["metadata"].get("vpc")
    one = _get(mizar, kind, f"{vpc}/{name}" if vpc else name)
    assert (one["kind"], one["spec"]) == (found[0]["kind"], found[0]["spec"])


def test_vpc_option_names_and_selects(town: str, mizar: Mizar) -> None:
    assert _get(mizar, "endpoint", "fixed", "-n", town) == _get(mizar, "ep", f"{town}/fixed")
    assert {obj["metadata"]["vpc"] for obj in _get(mizar, "endpoints", "-n", town)} == {town}
    assert len(_get(mizar, "endpoints", "-n", town)) == 2


def test_roles_are_shown_with_what_they_hold_and_carried(
    lab: lab_module.Lab, town: str, mizar: Mizar
) -> None:
    bouncers = _get(mizar, "bouncers", "-n", town)
    assert sum(obj["spec"]["shards"] for obj in bouncers) == 128
    assert sum(obj["spec"]["entries"] for obj in bouncers) == 2
    for obj in [*bouncers, *_get(mizar, "dividers", "-n", town)]:
        assert obj["spec"].keys() >= {"role", "vpc", "host", "shards", "entries"}
        assert obj["spec"]["vpc"] == town
        assert obj["status"]["packets"] == 0
    assert {obj["spec"]["network"] for obj in bouncers} == {"web"}
    (vpc,) = (obj for obj in _get(mizar, "vpcs") if obj["metadata"]["name"] == town)
    assert sorted(vpc["status"]["dividers"]) == sorted(
        obj["spec"]["host"] for obj in _get(mizar, "dividers", "-n", town)
    )


def test_status_tells_what_was_allocated(town: str, mizar: Mizar) -> None:
    vpc = _get(mizar, "vpc", town)
    assert 0 < vpc["status"]["vni"] < 1 << 24
    assert vpc["metadata"]["labels"] == {"team": "tests"}
    vnis = [obj["status"]["vni"] for obj in _get(mizar, "vpcs")]
    assert len(set(vnis)) == len(vnis)
    picked = _get(mizar, "endpoint", f"{town}/picked")
    assert ipaddress.IPv4Address(picked["status"]["addresses"][0]) in _NETWORK
    assert picked["status"]["ready"] is True
    (condition,) = picked["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")


def test_table_fits_the_terminal(town: str, mizar: Mizar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for kind in ("hosts", "vpcs", "networks", "endpoints", "bouncers", "dividers"):
        lines = mizar("get", kind).stdout.splitlines()
        assert max(len(line) for line in lines) <= 80
        assert lines[0].startswith("NAME")


def test_describe_shows_an_object_and_what_belongs_to_it(town: str, mizar: Mizar) -> None:
    said = mizar("describe", "network", f"{town}/web").stdout
    assert "Bouncers: 2" in said
    assert "Endpoints: 2" in said
    assert "team=tests" in mizar("describe", "vpc", town).stdout
    assert "Traffic" in mizar("describe", "endpoint", f"{town}/fixed").stdout
    assert "172.30.0.11" in mizar("describe", "host", "h1").stdout


def test_tables_are_what_the_kernel_holds(lab: lab_module.Lab, town: str, mizar: Mizar) -> None:
    vni = _get(mizar, "vpc", town)["status"]["vni"]
    everything = json.loads(mizar("tables", "h1", "-o", "json").stdout)
    assert set(everything) == {
        *("config", "hosts", "vpcs", "routes", "shards", "locations", "endpoints", "ports", "direct"),
        *("flows", "services", "maglev", "backends", "gateways", "outside", "floating", "forwards"),
        "fragments",
    }
    (endpoint,) = [row for row in everything["endpoints"] if row["vni"] == vni]
    assert endpoint["address"] == "10.0.1.1"
    assert {row["address"] for row in everything["hosts"]} == {m.address for m in lab.topology.hosts}
    assert json.loads(mizar("tables", "h1", "endpoints", "-o", "json").stdout) == everything["endpoints"]
    assert "10.0.1.1" in mizar("tables", "h1", "endpoints").stdout


def test_drops_tell_host_reason_and_count(lab: lab_module.Lab, town: str, mizar: Mizar) -> None:
    assert not reaches(lab, f"{town}/fixed", "8.8.8.8")
    rows = json.loads(mizar("drops", "h1", "-o", "json").stdout)
    (row,) = [row for row in rows if row["reason"] == "no_route"]
    assert row.keys() == {"host", "reason", "packets", "bytes"}
    assert row["host"] == "h1"
    assert row["packets"] >= 1
    assert row in json.loads(mizar("drops", "-o", "json").stdout)
    assert "destination is outside the VPC" in mizar("drops").stdout


# ---------------------------------------------------------------- apply


def test_applied_again_nothing_changes(town: str, mizar: Mizar) -> None:
    before = _get(mizar, "endpoints", "-n", town)
    done = mizar("apply", "-f", "-", "-o", "json", stdin=_manifest(town))
    assert {row["result"] for row in json.loads(done.stdout)} == {"unchanged"}
    assert _get(mizar, "endpoints", "-n", town) == before


def test_what_get_prints_can_be_applied(town: str, mizar: Mizar) -> None:
    for kind in ("vpc", "network", "endpoint"):
        listed = yaml.safe_load_all(mizar("get", f"{kind}s", "-o", "yaml").stdout)
        mine = [obj for obj in listed if town in (obj["metadata"].get("vpc"), obj["metadata"]["name"])]
        done = mizar("apply", "-f", "-", "-o", "json", stdin=json.dumps(mine))
        assert {row["result"] for row in json.loads(done.stdout)} == {"unchanged"}


def test_vpc_grows_under_its_endpoints(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab, "10.0.0.0/16")
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    tenant.ready()
    tenant.vpc(cidrs=["10.0.0.0/16", "192.168.0.0/16"])
    tenant.network("more", "192.168.3.0/24")
    b = tenant.endpoint("b", "more", "h2", "192.168.3.4")
    tenant.ready()
    assert traffic.reaches(a, b.address, count=3)
    assert traffic.reaches(b, a.address, count=3)
    tenant.network("web", "10.0.1.0/24", "10.0.8.0/24")
    c = tenant.endpoint("c", "web", "h3", "10.0.8.9")
    tenant.ready()
    assert traffic.reaches(a, c.address, count=3)
    assert traffic.reaches(b, c.address, count=3)


def test_endpoint_may_have_several_addresses(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24", "10.0.2.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2", "10.0.2.2", "10.0.1.77")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    for address in ("10.0.1.2", "10.0.2.2", "10.0.1.77"):
        assert traffic.reaches(b, address, count=2)
        assert traffic.ping(a, b.address, "-I", address).received == 1


# ---------------------------------------------------------------- addresses


def test_addresses_are_picked_until_the_network_is_full_and_free_again_when_deleted(
    town: str, mizar: Mizar
) -> None:
    def manifest(name: str) -> str:
        return json.dumps(
            {
                "apiVersion": "mizar.io/v1",
                "kind": "Endpoint",
                "metadata": {"name": name, "vpc": town},
                "spec": {"network": "web", "host": "h3"},
            }
        )

    for number in range(4):
        mizar("apply", "-f", "-", stdin=manifest(f"e{number}"))
    taken = [obj["status"]["addresses"][0] for obj in _get(mizar, "endpoints", "-n", town)]
    assert {ipaddress.IPv4Address(address) for address in taken} == set(_NETWORK.hosts())
    done = mizar("apply", "-f", "-", check=False, stdin=manifest("e4"))
    assert done.returncode == 1
    assert f"{town}/web" in done.stderr
    freed = _get(mizar, "endpoint", f"{town}/e2")["status"]["addresses"]
    mizar("delete", "endpoint", f"{town}/e2")
    mizar("apply", "-f", "-", stdin=manifest("e4"))
    assert _get(mizar, "endpoint", f"{town}/e4")["status"]["addresses"] == freed


# ---------------------------------------------------------------- wait, watch


def test_wait_tells_why_when_the_time_is_over(town: str, mizar: Mizar) -> None:
    mizar("wait", "endpoint", f"{town}/picked", "--for", "ready", "--timeout", "10s")
    done = mizar("wait", "vpc", town, "--for", "deleted", "--timeout", "100ms", check=False)
    assert done.returncode == 1
    assert "nobody has deleted it" in done.stderr
    done = mizar("wait", "vpc", "nowhere", "--for", "ready", "--timeout", "100ms", check=False)
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    mizar("wait", "vpc", "nowhere", "--for", "deleted", "--timeout", "100ms")


def test_watch_of_one_object_shows_its_life(town: str, mizar: Mizar) -> None:
    argv = [sys.executable, "-m", "mizar", "get", "endpoint", f"{town}/picked", "--watch", "-o", "json"]
    watcher = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout is not None
        seen = [json.loads(watcher.stdout.readline())["type"]]
        mizar("delete", "endpoint", f"{town}/picked")
        for line in watcher.stdout:
            event = json.loads(line)
            assert event["object"]["metadata"]["name"] == "picked"
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
        assert seen[0] == "ADDED"
        assert set(seen[1:-1]) <= {"MODIFIED"}
        assert seen[-1] == "DELETED"
    finally:
        watcher.kill()
        watcher.communicate()


# ---------------------------------------------------------------- delete


def test_everything_is_deleted_in_the_right_order_and_no_host_keeps_anything(
    lab: lab_module.Lab, town: str, mizar: Mizar
) -> None:
    vni = _get(mizar, "vpc", town)["status"]["vni"]
    number = _get(mizar, "network", f"{town}/web")["status"]["id"]
    mizar("delete", "vpc", town, check=False)
    mizar("delete", "endpoint", f"{town}/fixed")
    assert not namespaces.path_of(f"mizar.{town}.fixed").exists()
    assert mizar("delete", "network", f"{town}/web", check=False).returncode == 1
    mizar("delete", "endpoint", "picked", "-n", town)
    mizar("delete", "network", "web", "-n", town)
    mizar("delete", "vpc", town)
    for machine in lab.topology.hosts:
        held = json.loads(mizar("tables", machine.name, "-o", "json").stdout)
        for table in ("vpcs", "routes", "locations", "endpoints", "ports"):
            assert vni not in {row["vni"] for row in held[table]}, f"{table} of {machine.name}"
        assert number not in {row["network"] for row in held["shards"]}


def test_file_is_deleted_as_a_whole_whatever_its_order(town: str, mizar: Mizar) -> None:
    documents = list(reversed(_manifest(town).split("---")))
    mizar("delete", "-f", "-", stdin="---".join(documents))
    assert town not in {obj["metadata"]["name"] for obj in _get(mizar, "vpcs")}


def test_name_is_free_again_after_deleting(lab: lab_module.Lab, town: str, mizar: Mizar) -> None:
    before = _get(mizar, "vpc", town)
    mizar("delete", "-f", "-", stdin=_manifest(town))
    mizar("apply", "-f", "-", "--wait", stdin=_manifest(town))
    after = _get(mizar, "vpc", town)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["status"]["vni"] != before["status"]["vni"]
    picked = _get(mizar, "endpoint", f"{town}/picked")["status"]["addresses"][0]
    assert reaches(lab, f"{town}/fixed", picked, count=3)


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(mizar: Mizar, shell: str) -> None:
    assert "_MIZAR_COMPLETE" in mizar("completion", shell).stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("mizar ", {"apply", "get", "lab", "wait"}),
        ("mizar get ", {"endpoint", "endpoints", "bouncers"}),
        ("mizar get endpoint TOWN/", {"TOWN/fixed", "TOWN/picked"}),
        ("mizar lab exec TOWN/f", {"TOWN/fixed"}),
        ("mizar lab agent ", {"h1", "h4"}),
        ("mizar tables h1 ro", {"routes"}),
    ],
)
def test_words_are_completed(town: str, words: str, wanted: set[str]) -> None:
    typed = words.replace("TOWN", town)
    completed = subprocess.run(
        [sys.executable, "-m", "mizar"],
        env=os.environ
        | {
            "_MIZAR_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    found = {line.partition(",")[2] for line in completed.stdout.splitlines()}
    assert {word.replace("TOWN", town) for word in wanted} <= found

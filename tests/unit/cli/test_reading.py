# SPDX-License-Identifier: Apache-2.0
"""get, describe, tables, drops: what is printed of what the API says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.unit.cli.conftest import Api, Run

WEB_1: dict[str, Any] = {
    "apiVersion": "mizar.io/v1",
    "kind": "Endpoint",
    "metadata": {"name": "web-1", "vpc": "blue", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"network": "web", "host": "h1", "addresses": []},
    "status": {"ready": True, "addresses": ["10.0.1.5"], "mac": "02:00:00:00:00:01", "conditions": []},
}
BOUNCER: dict[str, Any] = {
    "kind": "Bouncer",
    "metadata": {"name": "web/h2", "vpc": "blue"},
    "spec": {"role": "bouncer", "vpc": "blue", "network": "web", "host": "h2", "shards": 64, "entries": 2},
    "status": {"packets": 7, "bytes": 700},
}


def test_list_in_json_is_an_array_of_whole_objects(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints", [WEB_1])
    assert json.loads(run("get", "endpoints", "-o", "json").out) == [WEB_1]


def test_empty_list_in_json_is_an_empty_array(api: Api, run: Run) -> None:
    api.answer("GET /v1/hosts", [])
    done = run("get", "hosts", "-o", "json")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_empty_table_says_so_on_stderr_only(api: Api, run: Run) -> None:
    api.answer("GET /v1/hosts", [])
    done = run("get", "hosts")
    assert (done.code, done.out, done.err) == (0, "", "no hosts\n")


@pytest.mark.parametrize("kind", ["endpoint", "endpoints", "Endpoint", "ep"])
def test_one_object_in_json_by_any_name_of_its_kind(api: Api, run: Run, kind: str) -> None:
    api.answer("GET /v1/vpcs/blue/endpoints/web-1", WEB_1)
    assert json.loads(run("get", kind, "blue/web-1", "-o", "json").out) == WEB_1


def test_vpc_may_be_named_by_option(api: Api, run: Run) -> None:
    api.answer("GET /v1/vpcs/blue/endpoints/web-1", WEB_1)
    assert json.loads(run("get", "endpoint", "web-1", "-n", "blue", "-o", "json").out) == WEB_1
    assert json.loads(run("get", "endpoint", "blue/web-1", "-n", "blue", "-o", "json").out) == WEB_1


def test_list_of_one_vpc_asks_for_it(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints?vpc=blue", [WEB_1])
    assert "blue/web-1" in run("get", "endpoints", "-n", "blue").out


def test_read_only_objects_are_found_by_name(api: Api, run: Run) -> None:
    api.answer("GET /v1/bouncers?vpc=blue", [BOUNCER])
    assert json.loads(run("get", "bouncer", "blue/web/h2", "-o", "json").out) == BOUNCER


def test_table_has_the_columns_of_the_kind(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints", [WEB_1])
    header, row = run("get", "endpoints").out.splitlines()
    assert header.split() == ["NAME", "NETWORK", "HOST", "ADDRESSES", "READY", "AGE"]
    assert row.split()[:5] == ["blue/web-1", "web", "h1", "10.0.1.5", "yes"]


def test_wide_table_has_more(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints", [WEB_1])
    assert "02:00:00:00:00:01" in run("get", "endpoints", "-o", "wide").out


def test_yaml_of_a_list_are_documents_that_can_be_applied(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints", [WEB_1, WEB_1])
    assert list(yaml.safe_load_all(run("get", "endpoints", "-o", "yaml").out)) == [WEB_1, WEB_1]


def test_watch_in_json_is_one_event_a_line(api: Api, run: Run) -> None:
    events = [{"type": kind, "object": WEB_1} for kind in ("ADDED", "MODIFIED", "DELETED")]
    api.answer("GET /v1/endpoints?watch=true", b"\n".join(json.dumps(event).encode() for event in events))
    done = run("get", "endpoints", "--watch", "-o", "json")
    assert (done.code, "ended the watch" in done.err) == (1, True)
    assert [json.loads(line) for line in done.out.splitlines()] == events


def test_watch_as_table_begins_rows_with_the_event(api: Api, run: Run) -> None:
    event = {"type": "ADDED", "object": WEB_1}
    api.answer("GET /v1/endpoints?watch=true", json.dumps(event).encode())
    header, row = run("get", "endpoints", "--watch").out.splitlines()
    assert header.split()[:2] == ["EVENT", "NAME"]
    assert row.split()[:2] == ["ADDED", "blue/web-1"]


def test_describe_shows_why_it_is_not_ready(api: Api, run: Run) -> None:
    waiting = {
        "ready": False,
        "conditions": [{"type": "Ready", "status": "False", "message": "host h1 is away"}],
    }
    api.answer("GET /v1/vpcs/blue/endpoints/web-1", WEB_1 | {"status": waiting})
    api.refuse("GET /v1/hosts/h1/counters", 503, "host h1 is away")
    api.answer("GET /v1/floatingaddresses?vpc=blue", [])
    api.answer("GET /v1/portforwards?vpc=blue", [])
    done = run("describe", "endpoint", "blue/web-1")
    assert "Not ready: host h1 is away" in done.out
    assert done.code == 0


def test_describe_network_lists_its_bouncers(api: Api, run: Run) -> None:
    network = {
        "kind": "Network",
        "metadata": {"name": "web", "vpc": "blue"},
        "spec": {"cidrs": ["10.0.1.0/24"]},
    }
    api.answer("GET /v1/vpcs/blue/networks/web", network)
    api.answer("GET /v1/bouncers?vpc=blue", [BOUNCER])
    api.answer("GET /v1/endpoints?vpc=blue", [WEB_1])
    out = run("describe", "network", "blue/web").out
    assert "blue/web/h2" in out
    assert "blue/web-1" in out


def test_tables_of_one_kind_are_an_array_of_rows(api: Api, run: Run) -> None:
    rows = [{"vni": 1, "address": "10.0.1.5", "host": "172.30.0.11", "slot": 3}]
    api.answer("GET /v1/hosts/h2/tables/locations", rows)
    assert json.loads(run("tables", "h2", "locations", "-o", "json").out) == rows
    assert run("tables", "h2", "locations").out.split() == [
        "VNI", "ADDRESS", "HOST", "SLOT", "1", "10.0.1.5", "172.30.0.11", "3",
    ]  # fmt: skip


def test_drops_say_what_the_reason_means(api: Api, run: Run) -> None:
    api.answer("GET /v1/drops", [{"host": "h1", "reason": "spoofed_ip", "packets": 3, "bytes": 180}])
    assert "source address is not the endpoint's" in run("drops").out
    api.answer("GET /v1/hosts/h1/drops", [])
    assert json.loads(run("drops", "h1", "-o", "json").out) == []

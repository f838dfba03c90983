# SPDX-License-Identifier: Apache-2.0
"""The two-tenant lab works: who reaches whom, and on which way.

h1  blue/web-1 10.0.1.5   red/web-1 10.0.1.5
h2  blue/web-2 10.0.1.6   red/web-2 10.0.1.6
h3  blue/db-1  10.0.2.5   red/db-1  10.0.2.5
h4  blue/db-2  10.0.2.6   red/web-99 10.0.1.99
"""

from __future__ import annotations

import json
import socket
import threading

import pytest

from mizar.lab import lab as lab_module
from mizar.lab import tools
from mizar.model import kinds
from tests.support.labs import Declare, Mizar, reaches

ADDRESSES = {
    "blue": {"web-1": "10.0.1.5", "web-2": "10.0.1.6", "db-1": "10.0.2.5", "db-2": "10.0.2.6"},
    "red": {"web-1": "10.0.1.5", "web-2": "10.0.1.6", "db-1": "10.0.2.5", "web-99": "10.0.1.99"},
}

_PORT = 7000


@pytest.mark.parametrize("tenant", ADDRESSES)
def test_all_endpoints_of_a_tenant_reach_each_other(lab_on_both: lab_module.Lab, tenant: str) -> None:
    for sender in ADDRESSES[tenant]:
        for receiver, address in ADDRESSES[tenant].items():
            assert reaches(lab_on_both, f"{tenant}/{sender}", address), f"{sender} to {receiver}"


def test_same_address_is_another_endpoint_in_each_tenant(lab_on_both: lab_module.Lab) -> None:
    with _Listening(lab_on_both, "blue/web-2"), _Listening(lab_on_both, "red/web-2"):
        for tenant in ADDRESSES:
            assert _ask(lab_on_both, f"{tenant}/web-1", "10.0.1.6") == f"{tenant}/web-2"


def test_address_that_only_the_other_tenant_has_is_unreachable(lab_on_both: lab_module.Lab) -> None:
    assert reaches(lab_on_both, "red/web-1", "10.0.1.99")
    assert not reaches(lab_on_both, "blue/web-1", "10.0.1.99")
    assert "no_endpoint" in {row["reason"] for row in lab_on_both.client.drops()}


def test_first_packet_goes_by_divider_and_bouncer_and_later_ones_direct(
    lab_on_both: lab_module.Lab, declare: Declare
) -> None:
    declare(_FRESH)
    # A divider or bouncer that has the endpoint itself would deliver at once: a shorter way.
    hosts = {machine.name for machine in lab_on_both.topology.hosts}
    receiver = min(hosts - {host for _, host in _carried(lab_on_both)})
    sender = min(hosts - {receiver})
    declare(
        _endpoint("a", "left", sender, "10.9.1.2") + "---" + _endpoint("b", "right", receiver, "10.9.2.2")
    )
    assert reaches(lab_on_both, "fresh/a", "10.9.2.2")
    first = _carried(lab_on_both)
    assert sum(n for (kind, _), n in first.items() if kind == "Divider") == 1
    assert sum(n for (kind, _), n in first.items() if kind == "Bouncer") == 1
    assert reaches(lab_on_both, "fresh/a", "10.9.2.2", count=5)
    assert _carried(lab_on_both) == first


def test_outside_is_on_the_underlay_and_in_no_vpc(lab: lab_module.Lab, mizar: Mizar) -> None:
    host = lab.topology.hosts[0].address
    assert mizar("lab", "outside", "--", "ping", "-c", "1", "-W", "1", host).returncode == 0
    done = mizar("lab", "outside", "--", "ping", "-c", "1", "-W", "1", "10.0.1.5", check=False)
    assert done.returncode != 0


def test_tables_show_what_a_host_learnt(lab: lab_module.Lab, mizar: Mizar) -> None:
    assert reaches(lab, "blue/web-1", "10.0.1.6", count=3)
    rows = json.loads(mizar("tables", "h1", "direct", "-o", "json").stdout)
    assert ("10.0.1.6", lab.topology.hosts[1].address) in {(row["address"], row["host"]) for row in rows}


def _carried(found: lab_module.Lab) -> dict[tuple[str, str], int]:
    """Packets by kind and host of the roles on the way to network `right`."""
    return {
        (obj["kind"], obj["spec"]["host"]): obj["status"]["packets"]
        for kind in (kinds.BOUNCER, kinds.DIVIDER)
        for obj in found.client.list(kind, vpc="fresh")
        if obj["spec"].get("network") != "left"
    }


class _Listening:
    """An endpoint that tells its name to one who connects."""

    def __init__(self, found: lab_module.Lab, endpoint: str) -> None:
        with tools.inside(found.endpoint_netns(endpoint)):
            self._server = socket.create_server(("", _PORT))
        self._thread = threading.Thread(target=self._tell, args=(endpoint,))

    def __enter__(self) -> None:
        self._server.settimeout(10)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._server.close()

    def _tell(self, endpoint: str) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.sendall(endpoint.encode())


def _ask(found: lab_module.Lab, endpoint: str, address: str) -> str:
    with (
        tools.inside(found.endpoint_netns(endpoint)),
        socket.create_connection((address, _PORT), timeout=5) as asked,
    ):
        return asked.makefile().read()


_FRESH = """
apiVersion: mizar.io/v1
kind: VPC
metadata: {name: fresh}
spec: {cidrs: [10.9.0.0/16]}
---
apiVersion: mizar.io/v1
kind: Network
metadata: {name: left, vpc: fresh}
spec: {cidrs: [10.9.1.0/24]}
---
apiVersion: mizar.io/v1
kind: Network
metadata: {name: right, vpc: fresh}
spec: {cidrs: [10.9.2.0/24]}
"""


def _endpoint(name: str, network: str, host: str, address: str) -> str:
    return f"""
apiVersion: mizar.io/v1
kind: Endpoint
metadata: {{name: {name}, vpc: fresh}}
spec: {{network: {network}, host: {host}, addresses: [{address}]}}
"""

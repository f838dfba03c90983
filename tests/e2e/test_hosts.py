# SPDX-License-Identifier: Apache-2.0
"""Hosts that join the cluster and leave it, on a lab with one more than the VPC needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from mizar import errors
from mizar.abi import geneve
from mizar.client import api
from mizar.lab import config
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import counters, netns, tenants, traffic
from tests.support.labs import Labs, NewTenant

FIVE = config.LabConfig(hosts=5)


@pytest.fixture
def five(labs: Labs) -> lab_module.Lab:
    """Five hosts and no objects."""
    return labs.running(FIVE)


@contextlib.contextmanager
def _removed(lab: lab_module.Lab, name: str) -> Iterator[None]:
    """The host is no part of the cluster for the length of the block; its agent runs on."""
    ref = kinds.Ref(kinds.HOST, None, name)
    spec = lab.client.get(ref)["spec"]
    lab.client.delete(ref)
    lab.client.wait_gone([ref], timeout=tenants.READY_SECONDS)
    try:
        yield
    finally:
        obj: api.Object = {
            "apiVersion": kinds.API_VERSION,
            "kind": "Host",
            "metadata": {"name": name},
            "spec": spec,
        }
        lab.client.apply([obj])
        lab.client.wait_ready([ref], timeout=tenants.READY_SECONDS)


def test_host_with_roles_leaves_and_joins_without_loss(five: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(five, dividers=2)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24", bouncers=2, replicas=2)
    tenant.ready()
    leaving = min(tenant.bouncers("db"))
    left, right = tenant.hosts_but(leaving)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "db", right, "10.0.2.3")
    tenant.ready()
    with traffic.Stream(a, b, each=traffic.forgetter(tenant, a, b)) as stream:
        stream.until_more()
        with _removed(five, leaving):
            assert leaving not in tenant.bouncers("db") | tenant.dividers()
            stream.until_more(100)
            assert five.host(leaving).address not in _peers(five, left)
        assert leaving in tenant.bouncers("db")
        stream.until_more(100)
    assert stream.lost == []


def test_host_that_has_left_is_a_stranger_and_holds_nothing(
    five: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(five)
    tenant.network("web", "10.0.1.0/24", bouncers=5)
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    tenant.ready()
    h5 = tenants.host(five, "h5")
    with _removed(five, "h5"):
        since = counters.Since(five)
        about = geneve.Here(tenants.number_of("10.0.1.77"))
        payload = geneve.pack(geneve.Header(tenant.vni, control=True, options=(about,)))
        traffic.tunnel(h5, five.host("h1").address, payload)
        since.until("h1", "foreign_peer")
        with pytest.raises(errors.NotFoundError):
            five.client.table("h5", "locations")
    assert "h5" in tenant.bouncers("web")
    b = tenant.endpoint("b", "web", "h5", "10.0.1.3")
    tenant.ready()
    assert traffic.reaches(a, b.address, count=3)


def test_host_joins_and_takes_endpoints_at_once(five: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(five)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    with _removed(five, "h5"):
        tenant.ready()
        assert five.host("h5").address not in _peers(five, "h1")
    b = tenant.endpoint("b", "web", "h5", "10.0.1.3")
    tenant.ready()
    assert five.host("h5").address in _peers(five, "h1")
    assert traffic.reaches(a, b.address, count=3)
    assert traffic.reaches(b, a.address, count=3)


def test_dead_host_can_be_removed_and_is_not_missed(five: lab_module.Lab, new_tenant: NewTenant) -> None:
    """Its agent was killed before, so it is never told; the others do without it."""
    tenant = new_tenant(five)
    tenant.network("web", "10.0.1.0/24", bouncers=5, replicas=2)
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    five.stop_agent("h5", kill=True)
    try:
        ref = kinds.Ref(kinds.HOST, None, "h5")
        spec = five.client.get(ref)["spec"]
        five.client.delete(ref)
        five.client.wait_gone([ref], timeout=tenants.READY_SECONDS)
        assert len(tenant.bouncers("web")) == 4
        with traffic.Stream(a, b, each=traffic.forgetter(tenant, a, b)) as stream:
            stream.until_more(100)
        assert stream.lost == []
    finally:
        five.start_agent("h5")
    five.client.apply(
        [{"apiVersion": kinds.API_VERSION, "kind": "Host", "metadata": {"name": "h5"}, "spec": spec}]
    )
    five.client.wait_ready([ref], timeout=tenants.READY_SECONDS)
    netns.until(lambda: len(tenant.bouncers("web")) == 5, "h5 has its role again")


def _peers(lab: lab_module.Lab, host: str) -> set[str]:
    """Addresses that a host accepts tunnel packets from."""
    return {row["address"] for row in lab.client.table(host, "hosts")}

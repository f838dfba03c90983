# SPDX-License-Identifier: Apache-2.0
"""Endpoints that go, come back elsewhere and move, under traffic: what a host has learnt is not believed for
longer than it holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from mizar.lab import lab as lab_module
from tests.support import counters, netns, tenants, traffic
from tests.support.labs import NewTenant

SOFT_MS, HARD_MS = 5000, 15000


@pytest.fixture
def pods() -> Iterator[tuple[netns.Namespace, netns.Namespace]]:
    """Namespaces of our own for one endpoint, before and after: a socket is there before the endpoint is."""
    with contextlib.ExitStack() as made:
        yield (made.enter_context(netns.namespace("old")), made.enter_context(netns.namespace("new")))


Pods = tuple[netns.Namespace, netns.Namespace]


@pytest.mark.parametrize("remains", [True, False], ids=["others-remain", "nothing-remains"])
def test_endpoint_moves_to_another_host_and_no_packet_is_lost(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, pods: Pods, remains: bool
) -> None:
    """Whether or not the host that it leaves has anything else of the VPC."""
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    old, new = tenant.hosts_but(*tenant.bouncers("web"), *tenant.dividers())[:2]
    (start, *_) = tenant.hosts_but(old, new)
    a = tenant.endpoint("a", "web", start, "10.0.1.2")
    b = tenant.endpoint("b", "web", old, "10.0.1.3", netns=pods[0].name)
    if remains:
        tenant.endpoint("c", "web", old, "10.0.1.4")
    tenant.ready()
    with traffic.Stream(a, b) as stream:
        tenant.until_host_of(a, b.address, old)
        since = counters.Since(lab_on_both)
        moved = tenant.endpoint("b", "web", new, "10.0.1.3", netns=pods[1].name)
        stream.listen(moved)
        tenant.ready()
        tenant.until_host_of(a, b.address, new)
        stream.until_more()
        netns.until(lambda: "eth0" not in pods[0].interfaces(), "the old interface is gone")
        stream.until_more()
    assert stream.lost == []
    assert since.verdicts(old)["stale"] >= 1
    assert since.verdicts(start)["forgot"] >= 1


def test_endpoint_moves_into_a_namespace_of_the_same_name(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    """Agents of one machine share names; on machines of their own they could not tell."""
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    assert traffic.reaches(a, b.address)
    for host in ("h3", "h1", "h2"):
        moved = tenant.endpoint("b", "web", host, "10.0.1.3")
        tenant.ready()
        assert traffic.ping(a, b.address, count=10, interval=0.05).received > 0
        netns.until(lambda: traffic.reaches(a, b.address, count=3), f"a reaches b on {host}")
        assert traffic.reaches(moved, a.address)


def test_endpoint_created_anew_on_another_host_is_found_there(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, pods: Pods
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.3", netns=pods[0].name)
    tenant.ready()
    with traffic.Stream(a, b) as stream:
        tenant.until_host_of(a, b.address, "h2")
        tenant.delete(b)
        tenant.until_host_of(a, b.address, None)
        anew = tenant.endpoint("b-anew", "db", "h3", "10.0.2.3", netns=pods[1].name)
        stream.listen(anew)
        tenant.ready()
        stream.until_more()
        tenant.until_host_of(a, b.address, "h3")
    with traffic.Stream(a, anew) as again:
        again.until_more()
    assert again.lost == []


def test_deleted_endpoint_is_gone_for_those_who_talk_to_it_and_for_nobody_else(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, pods: Pods
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3", netns=pods[0].name)
    c = tenant.endpoint("c", "web", "h2", "10.0.1.4")
    tenant.ready()
    since = counters.Since(lab_on_both)
    with traffic.Stream(a, b) as to_b, traffic.Stream(a, c) as to_c:
        tenant.until_host_of(a, b.address, "h2")
        to_b.until_more()
        tenant.delete(b)
        arrived = len(to_b.received)
        to_c.until_more(100)
        netns.until(
            lambda: sum(_no_endpoint(since, host) for host in ("h1", "h2", "h3", "h4")) > 50,
            "what is sent to b is dropped, and counted",
        )
        assert len(to_b.received) == arrived
    assert to_c.lost == []
    assert pods[0].interfaces() == {"lo"}


def _no_endpoint(since: counters.Since, host: str) -> int:
    return since.verdicts(host)["no_endpoint"]


def test_stale_path_loses_no_packet_where_the_host_still_knows_the_vpc(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    """The address is in use again, in another network, and the sender was silent meanwhile."""
    tenant = new_tenant(lab_on_both)
    tenant.network("one")
    tenant.network("two")
    a = tenant.endpoint("a", "one", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "one", "h2", "10.0.1.3")
    tenant.endpoint("c", "one", "h2", "10.0.1.4")
    other = _change_hands(tenant, a, b)
    since = counters.Since(lab_on_both)
    assert traffic.reaches(a, other.address, count=3)
    assert since.verdicts("h2")["stale"] == 1
    assert since.verdicts("h1")["forgot"] == 1


def test_stale_path_to_a_host_that_has_left_the_vpc_loses_one_packet(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    """It cannot pass the packet on, but it says so: the next one finds its way."""
    tenant = new_tenant(lab_on_both)
    tenant.network("one")
    tenant.network("two")
    tenant.ready()
    left = tenant.hosts_but(*tenant.dividers(), *tenant.bouncers("one"), *tenant.bouncers("two"))[0]
    (start, *_) = tenant.hosts_but(left)
    a = tenant.endpoint("a", "one", start, "10.0.1.2")
    b = tenant.endpoint("b", "one", left, "10.0.1.3")
    other = _change_hands(tenant, a, b)
    since = counters.Since(lab_on_both)
    with traffic.listening(other) as at_other:
        traffic.send(a, other.address, b"first")
        tenant.until_host_of(a, other.address, None)
        traffic.send(a, other.address, b"second")
        assert at_other.recv(100) == b"second"
    assert since.verdicts(left)["unknown_vni"] == 1
    assert since.verdicts(start)["forgot"] == 1


def _change_hands(tenant: tenants.Tenant, a: tenants.End, b: tenants.End) -> tenants.End:
    """Who has b's address now, elsewhere and in network two; a still knows b's host."""
    tenant.ready()
    assert traffic.reaches(a, b.address)
    tenant.delete(b)
    (host, *_) = tenant.hosts_but(a.host, b.host)
    other = tenant.endpoint("other", "two", host, b.address)
    tenant.ready()
    assert tenant.knows(a, b.address) == b.host
    return other


def test_learnt_path_is_confirmed_by_traffic_and_forgotten_without(
    lab: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    left, right = tenant.hosts_but(*tenant.bouncers("web"))[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    used = tenant.endpoint("used", "web", right, "10.0.1.3")
    idle = tenant.endpoint("idle", "web", right, "10.0.1.4")
    tenant.ready()
    assert traffic.reaches(a, used.address)
    assert traffic.reaches(a, idle.address)
    since = counters.Since(lab, vpc=tenant.name)

    netns.until(lambda: _age_ms(tenant, a, used) > SOFT_MS, "the path wants confirming", timeout=10)
    assert traffic.reaches(a, used.address)
    assert since.verdicts(left)["direct_probe"] == 1
    assert _age_ms(tenant, a, used) < SOFT_MS
    assert since.roles() == {}

    netns.until(lambda: _age_ms(tenant, a, idle) > HARD_MS, "the path is too old to be used", timeout=20)
    assert traffic.reaches(a, idle.address)
    assert since.bouncers() == 1
    assert _age_ms(tenant, a, idle) < SOFT_MS


def _age_ms(tenant: tenants.Tenant, a: tenants.End, b: tenants.End) -> int:
    vni = tenant.vni
    (age,) = [
        row["age_ms"]
        for row in tenant.lab.client.table(a.host, "direct")
        if (row["vni"], row["address"]) == (vni, b.address)
    ]
    return int(age)

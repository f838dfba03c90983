# SPDX-License-Identifier: Apache-2.0
"""Bouncers and dividers that come and go while packets flow through them: not one is lost.

Every datagram is a first packet here: before each, the sender's host is asked to forget the direct path, as
the receiver's host may (see traffic.forgetter).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import counters, netns, tenants, traffic
from tests.support.labs import NewTenant


@contextlib.contextmanager
def _first_packets(tenant: tenants.Tenant, a: tenants.End, b: tenants.End) -> Iterator[traffic.Stream]:
    """A stream of first packets; afterwards none was lost, and most were carried by a bouncer."""
    since = counters.Since(tenant.lab)
    with traffic.Stream(a, b, each=traffic.forgetter(tenant, a, b)) as stream:
        stream.until_more()
        yield stream
        stream.until_more()
    assert stream.lost == []
    told = sum(since.verdicts(host)["delivered_here"] for host in tenant.hosts_but())
    assert told > len(stream.received) / 2


def _until_only(tenant: tenants.Tenant, network: str, bouncers: set[str]) -> None:
    """Until these are the bouncers, and the tables of the VPC are gone where nothing needs them."""
    vni = tenant.vni
    netns.until(lambda: tenant.bouncers(network) == bouncers, f"bouncers are {bouncers}")
    for host in tenant.hosts_but(*bouncers):
        netns.until(
            lambda host=host: vni not in {row["vni"] for row in tenant.lab.client.table(host, "locations")},  # type: ignore[misc]
            f"{host} holds no locations of {tenant.name}",
        )


def test_bouncers_are_added_and_removed_without_loss(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    first = tenant.bouncers("web")
    with _first_packets(tenant, a, b) as stream:
        for bouncers, replicas in ((2, 1), (4, 4), (3, 1), (1, 1)):
            tenant.network("web", "10.0.1.0/24", bouncers=bouncers, replicas=replicas)
            tenant.ready()
            stream.until_more()
            assert len(tenant.bouncers("web")) == bouncers
        _until_only(tenant, "web", first)


def test_dividers_are_added_and_removed_without_loss(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24", bouncers=2)
    tenant.ready()
    first = tenant.dividers()
    left, right = tenant.hosts_but(*first)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "db", right, "10.0.2.3")
    tenant.ready()
    with _first_packets(tenant, a, b) as stream:
        for dividers in (2, 4, 2, 1):
            tenant.vpc(dividers=dividers)
            tenant.ready()
            stream.until_more()
            assert len(tenant.dividers()) == dividers
        netns.until(lambda: tenant.dividers() == first, f"dividers are {first} again")
        stream.until_more()


def test_group_network_changes_its_bouncers_without_loss(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("group")
    a = tenant.endpoint("a", "group", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "group", "h2", "10.200.1.3")
    tenant.ready()
    with _first_packets(tenant, a, b) as stream:
        for bouncers, replicas in ((4, 2), (2, 1), (1, 1)):
            tenant.network("group", bouncers=bouncers, replicas=replicas)
            tenant.ready()
            stream.until_more()


def test_roles_leave_an_unschedulable_host_without_loss(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.3")
    tenant.ready()
    (leaving,) = tenant.bouncers("db")
    with _first_packets(tenant, a, b) as stream:
        with _unschedulable(lab_on_both, leaving):
            netns.until(lambda: leaving not in tenant.bouncers("db") | tenant.dividers(), "roles have moved")
            stream.until_more(100)
        netns.until(lambda: tenant.bouncers("db") == {leaving}, "the bouncer is back")
        stream.until_more(100)


@contextlib.contextmanager
def _unschedulable(lab: lab_module.Lab, name: str) -> Iterator[None]:
    ref = kinds.Ref(kinds.HOST, None, name)

    def set_to(value: bool) -> None:
        spec = lab.client.get(ref)["spec"] | {"unschedulable": value}
        lab.client.apply(
            [{"apiVersion": kinds.API_VERSION, "kind": "Host", "metadata": {"name": name}, "spec": spec}]
        )
        lab.client.wait_ready([ref], timeout=tenants.READY_SECONDS)

    set_to(True)
    try:
        yield
    finally:
        set_to(False)


def test_silent_bouncer_and_divider_are_skipped(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab, dividers=3)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    network, silent = _network_that_shares_a_role_host(tenant)
    left, right = tenant.hosts_but(silent)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", network, right, f"10.2.{network[1:]}.3")
    tenant.ready()
    address = lab.host(silent).address

    def flags(of: str) -> list[str]:
        (row,) = [row for row in lab.client.table(of, "hosts") if row["address"] == address]
        return list(row["flags"])

    users = [host for host in {left, *tenant.dividers()} if host != silent]
    with _cut_off(lab, silent):
        for user in users:
            netns.until(lambda user=user: flags(user) == ["down"], f"{user} finds {silent} silent")  # type: ignore[misc]
        with _first_packets(tenant, a, b) as stream:
            stream.until_more(100)
    for user in users:
        netns.until(lambda user=user: flags(user) == [], f"{user} finds {silent} alive again")  # type: ignore[misc]
    assert traffic.reaches(a, b.address)


def _network_that_shares_a_role_host(tenant: tenants.Tenant) -> tuple[str, str]:
    """A network and a host that is one of its bouncers and one of the VPC's dividers."""
    for number in range(64):
        name = f"n{number}"
        tenant.network(name, f"10.2.{number}.0/24", bouncers=2, replicas=2)
        tenant.ready()
        if both := tenant.bouncers(name) & tenant.dividers():
            return name, min(both)
    raise AssertionError("no host has both roles in 64 networks")


@contextlib.contextmanager
def _cut_off(lab: lab_module.Lab, name: str) -> Iterator[None]:
    """The host's cable is pulled at the switch."""
    switch = tenants.Place(lab.topology.namespaces[0], "")
    with switch.netlink() as ip:
        port = ip.link_lookup(ifname=lab.host(name).port)[0]
        ip.link("set", index=port, state="down")
    try:
        yield
    finally:
        with switch.netlink() as ip:
            ip.link("set", index=port, state="up")


@pytest.mark.parametrize("bouncers", [1, 3])
def test_endpoints_come_and_go_beside_a_flow_without_touching_it(
    lab: lab_module.Lab, new_tenant: NewTenant, bouncers: int
) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24", bouncers=bouncers)
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    with _first_packets(tenant, a, b):
        for round_ in range(3):
            others = [
                tenant.endpoint(f"e{n}", "web", host, f"10.0.1.{20 + n}")
                for n, host in enumerate(tenant.hosts_but())
            ]
            tenant.ready()
            assert all(traffic.reaches(a, other.address) for other in others), round_
            tenant.delete(*others)

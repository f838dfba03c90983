# SPDX-License-Identifier: Apache-2.0
"""Route tables and peering: appliances, blackholes, and VPCs that meet."""

from __future__ import annotations

import pytest

from mizar import errors
from mizar.lab import lab as lab_module
from tests.support import counters, serving, tenants, traffic
from tests.support.labs import NewTenant


@pytest.fixture
def tenant(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> tenants.Tenant:
    made = new_tenant(lab_on_both, "10.0.0.0/16")
    made.network("web", "10.0.1.0/24")
    made.network("db", "10.0.2.0/24")
    made.ready()
    return made


def test_an_appliance_gets_what_is_not_its_own(tenant: tenants.Tenant) -> None:
    """web reaches an address beyond the VPC through a router, which routes a network behind it."""
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    router = tenant.endpoint("router", "db", "h3", "10.0.2.2", forwarding=True)
    tenant.object("RouteTable", "main", routes=[{"to": "192.0.2.0/24", "endpoint": "router"}])
    tenant.ready()
    router.run("ip", "link", "add", "lan", "type", "bridge")
    router.run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan")
    router.run("ip", "link", "set", "lan", "up")
    assert traffic.reaches(client, "192.0.2.1", count=5)
    with serving.tcp(router, 8080), serving.Connection(client, "192.0.2.1", 8080) as connection:
        assert connection.answer.client == client.address
        assert connection.echoes(b"q" * 100_000)
    since = counters.Since(tenant.lab, vpc=tenant.name)
    assert traffic.reaches(client, "192.0.2.1", count=5)
    assert since.roles() == {}  # the direct path, to the router


def test_an_appliance_between_two_endpoints(tenant: tenants.Tenant) -> None:
    """Both networks' tables send what is for the other to a firewall, which forwards."""
    tenant.network("dmz", "10.0.9.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.2")
    firewall = tenant.endpoint("firewall", "dmz", "h3", "10.0.9.2", forwarding=True)
    tenant.object(
        "RouteTable", "up", networks=["web"], routes=[{"to": "10.0.2.0/24", "endpoint": "firewall"}]
    )
    tenant.object(
        "RouteTable", "down", networks=["db"], routes=[{"to": "10.0.1.0/24", "endpoint": "firewall"}]
    )
    tenant.ready()
    firewall.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0")
    found = traffic.ping(a, b.address, count=3)
    assert found.received == 3
    assert "ttl=61" in found.text  # two hosts and the firewall in between
    hops = a.run("traceroute", "-n", "-w", "1", "-q", "1", "-m", "6", b.address)
    assert [line.split()[1] for line in hops.splitlines()[1:]] == [
        "169.254.1.1",
        firewall.address,
        "169.254.1.1",
        b.address,
    ]
    firewall.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    assert traffic.ping(a, b.address, count=3).received == 0


def test_a_blackhole_swallows_and_counts(tenant: tenants.Tenant) -> None:
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.2")
    c = tenant.endpoint("c", "db", "h2", "10.0.2.130")
    tenant.ready()
    assert traffic.reaches(a, b.address)
    assert traffic.reaches(a, c.address)
    tenant.object("RouteTable", "main", routes=[{"to": "10.0.2.128/25", "blackhole": True}])
    tenant.ready()
    since = counters.Since(tenant.lab, vpc=tenant.name)
    assert traffic.reaches(a, b.address)
    assert not traffic.reaches(a, c.address)
    assert since.verdicts("h1").get("blackhole") == 1


def test_peers_meet_directly_once_both_want_it(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, tenant: tenants.Tenant
) -> None:
    other = new_tenant(lab_on_both, "10.1.0.0/16")
    other.network("app", "10.1.1.0/24")
    ends = [
        (tenant.endpoint("a", "web", "h1", "10.0.1.2"), other.endpoint("x", "app", "h2", "10.1.1.2")),
        (tenant.endpoint("b", "web", "h3", "10.0.1.3"), other.endpoint("y", "app", "h3", "10.1.1.3")),
    ]
    other.ready()
    tenant.ready()
    tenant.object("Peering", "to-other", peer=other.name)
    tenant.apply()
    assert not traffic.reaches(ends[0][0], "10.1.1.2")
    assert not tenant.status("Peering", "to-other").get("active")
    other.object("Peering", "back", peer=tenant.name)
    other.ready()
    tenant.ready()
    assert tenant.status("Peering", "to-other")["active"]
    for here, there in ends:
        assert traffic.reaches(here, there.address, count=2)
        assert traffic.reaches(there, here.address, count=2)
        since = counters.Since(lab_on_both, vpc=tenant.name)
        assert traffic.reaches(here, there.address, count=5)
        assert since.roles() == {}
        with serving.tcp(there, 8080):
            assert serving.ask(here, there.address, 8080).client == here.address
    other.drop("Peering", "back")
    assert not traffic.reaches(ends[0][0], "10.1.1.2")


def test_peering_is_not_transitive_and_not_between_overlapping_vpcs(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, tenant: tenants.Tenant
) -> None:
    middle = new_tenant(lab_on_both, "10.1.0.0/16")
    middle.network("app", "10.1.1.0/24")
    far = new_tenant(lab_on_both, "10.2.0.0/16")
    far.network("app", "10.2.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    z = far.endpoint("z", "app", "h2", "10.2.1.2")
    three = (tenant, middle, far)
    for one in three:
        one.ready()
    for one, two in ((tenant, middle), (middle, tenant), (middle, far), (far, middle)):
        one.object("Peering", f"to-{two.name}", peer=two.name)
    for one in three:
        one.apply()
    for one in three:
        one.ready()
    assert not traffic.reaches(a, z.address)
    same = new_tenant(lab_on_both, "10.0.0.0/16")
    same.object("Peering", "back", peer=tenant.name)
    with pytest.raises(errors.MizarError, match="overlap"):
        same.apply()

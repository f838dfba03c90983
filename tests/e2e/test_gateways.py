# SPDX-License-Identifier: Apache-2.0
"""The way out of a VPC and back in: source NAT, floating addresses, port forwards, to a host outside."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest
from scapy.layers import dns

from mizar.lab import lab as lab_module
from tests.support import counters, netns, serving, tenants, traffic
from tests.support.labs import NewTenant

_WEB = 8000


def pool(tenant: tenants.Tenant) -> list[str]:
    """Addresses of the lab's underlay, and nobody's but this test's."""
    return [f"172.30.{int(tenant.name[1:]) % 200 + 1}.{number}" for number in (1, 2, 20)]


@pytest.fixture
def tenant(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> tenants.Tenant:
    made = new_tenant(lab_on_both, "10.0.0.0/8")
    made.network("web", "10.0.1.0/24")
    made.ready()
    return made


@contextlib.contextmanager
def website(at: tenants.Place) -> Iterator[list[str]]:
    """A web server; yields the addresses of those who asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.client_address[0])
            self.send_response(200)
            self.send_header("Content-Length", "200000")
            self.end_headers()
            self.wfile.write(b"m" * 200_000)

        def log_message(self, *_: object) -> None:
            pass

    with at.inside():
        server = http.server.ThreadingHTTPServer(("", _WEB), Handler)
    job = threading.Thread(target=server.serve_forever, args=(0.05,))
    job.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        job.join()


def curl(client: tenants.Place, address: str) -> int:
    """Bytes that came."""
    url = f"http://{address}:{_WEB}/"
    return int(client.run("curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{size_download}", url))


@pytest.mark.parametrize("at", ["gateway", "elsewhere"])
def test_a_website_outside_sees_the_gateway(tenant: tenants.Tenant, at: str) -> None:
    client = tenant.endpoint("a", "web", {"gateway": "h1", "elsewhere": "h3"}[at], "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1"], addresses=pool(tenant)[:1])
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    with website(outside) as asked:
        for _ in range(3):
            assert curl(client, outside.address) == 200_000
    assert asked == pool(tenant)[:1] * 3
    assert traffic.reaches(client, outside.address, count=3)


def test_a_name_server_outside_answers(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h2", "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1"], addresses=pool(tenant)[:1])
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    question = dns.DNS(id=7, rd=1, qd=dns.DNSQR(qname="mizar.example."))
    with (
        outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        server.bind(("", 53))
        server.settimeout(5)
        asking.settimeout(5)
        asking.connect((outside.address, 53))
        asking.send(bytes(question))
        asked, sender = server.recvfrom(512)
        assert sender[0] == pool(tenant)[0]
        found = dns.DNS(asked)
        answer = dns.DNSRR(rrname=found.qd[0].qname, rdata="192.0.2.80")
        server.sendto(bytes(dns.DNS(id=found.id, qr=1, qd=found.qd, an=answer)), sender)
        assert dns.DNS(asking.recv(512)).an[0].rdata == "192.0.2.80"


def test_two_tenants_with_the_same_addresses_and_ports_meet_outside(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, tenant: tenants.Tenant
) -> None:
    other = new_tenant(lab_on_both)
    other.network("web", "10.0.1.0/24")
    outside = tenants.outside(lab_on_both)
    clients = []
    for one in (tenant, other):
        clients.append(one.endpoint("a", "web", "h2", "10.0.1.2"))
        one.object("Gateway", "out", hosts=["h1"], addresses=pool(one)[:1])
        one.ready()
    with serving.tcp(outside, _WEB), contextlib.ExitStack() as held:
        connections = [
            held.enter_context(serving.Connection(client, outside.address, _WEB, source_port=5000))
            for client in clients
        ]
        assert [one.answer.client for one in connections] == [pool(tenant)[0], pool(other)[0]]
        assert all(one.echoes(b"z" * 50_000) for one in connections)


def test_every_host_masquerades(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, tenant: tenants.Tenant
) -> None:
    """Two tenants, one host: both leave from its address, on ports of their own."""
    other = new_tenant(lab_on_both)
    other.network("web", "10.0.1.0/24")
    outside = tenants.outside(lab_on_both)
    clients = []
    for one in (tenant, other):
        clients.append(one.endpoint("a", "web", "h2", "10.0.1.2"))
        one.object("Gateway", "out", hostMasquerade=True)
        one.ready()
    with serving.tcp(outside, _WEB), contextlib.ExitStack() as held:
        found = [
            held.enter_context(serving.Connection(client, outside.address, _WEB, source_port=5000))
            for client in clients
        ]
        answers = [one.answer for one in found]
        assert {answer.client for answer in answers} == {tenants.host(lab_on_both, "h2").address}
        assert len({answer.port for answer in answers}) == 2
        assert all(one.echoes(b"z" * 50_000) for one in found)


def test_a_floating_address_works_both_ways(tenant: tenants.Tenant) -> None:
    end = tenant.endpoint("a", "web", "h3", "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1", "h2"], addresses=pool(tenant)[:2])
    tenant.object("FloatingAddress", "public", gateway="out", address=pool(tenant)[2], endpoint="a")
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    with serving.tcp(end, 8080):
        answer = serving.ask(outside, pool(tenant)[2], 8080)
    assert (answer.name, answer.client) == ("a", outside.address)
    with serving.tcp(outside, _WEB):
        assert serving.ask(end, outside.address, _WEB).client == pool(tenant)[2]
    assert traffic.reaches(outside, pool(tenant)[2], count=3)


def test_a_port_is_forwarded_to_an_endpoint_and_to_a_service(tenant: tenants.Tenant) -> None:
    ends = [tenant.endpoint(f"b{i}", "web", f"h{2 + i}", f"10.0.1.{10 + i}") for i in range(2)]
    tenant.scaled("shop", "web", "10.0.1.100", ports=[80], backends=[{"name": end.short} for end in ends])
    tenant.object("Gateway", "out", hosts=["h1"], addresses=pool(tenant)[:1])
    forward = {"gateway": "out", "address": pool(tenant)[0], "protocol": "TCP"}
    tenant.object("PortForward", "ssh", port=2222, endpoint="b0", targetPort=22, **forward)
    tenant.object("PortForward", "shop", port=8080, endpoint="shop", targetPort=80, **forward)
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    with contextlib.ExitStack() as up:
        for end in ends:
            up.enter_context(serving.tcp(end, 80))
        up.enter_context(serving.tcp(ends[0], 22))
        assert serving.ask(outside, pool(tenant)[0], 2222).name == "b0"
        names = set()
        for _ in range(24):
            with serving.Connection(outside, pool(tenant)[0], 8080) as connection:
                assert connection.answer.client == outside.address
                assert connection.echoes(b"z" * 20_000)
                names.add(connection.answer.name)
        assert names == {"b0", "b1"}


def test_what_belongs_to_no_flow_is_dropped_and_counted(tenant: tenants.Tenant) -> None:
    tenant.endpoint("a", "web", "h2", "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1"], addresses=pool(tenant)[:1])
    tenant.ready()
    outside = tenants.outside(tenant.lab)

    since = counters.Since(tenant.lab)
    assert not traffic.reaches(outside, pool(tenant)[0])
    since.until("h1", "nat_unknown", 1)


def test_flows_leave_a_dead_gateway_host(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h4", "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1", "h2"], addresses=pool(tenant)[:2])
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    with serving.tcp(outside, _WEB):
        seen = {serving.ask(client, outside.address, _WEB).client for _ in range(24)}
        assert seen == set(pool(tenant)[:2])  # spread over both
        dead = tenants.host(tenant.lab, "h1")
        dead.run("ip", "link", "set", "eth0", "down")
        try:

            def all_by_the_other() -> bool:
                with contextlib.suppress(TimeoutError):
                    return {serving.ask(client, outside.address, _WEB).client for _ in range(8)} == {
                        pool(tenant)[1]
                    }
                return False

            netns.until(all_by_the_other, "h1 is left")
        finally:
            dead.run("ip", "link", "set", "eth0", "up")


def test_the_path_mtu_outside_reaches_the_endpoint(tenant: tenants.Tenant) -> None:
    """A narrow link outside: its router's error is translated, and the endpoint sends smaller packets."""
    client = tenant.endpoint("a", "web", "h3", "10.0.1.2")
    tenant.object("Gateway", "out", hosts=["h1"], addresses=pool(tenant)[:1])
    tenant.ready()
    outside = tenants.outside(tenant.lab)
    # The outside host is a router to an address of its own behind a narrow route.
    outside.run("ip", "link", "add", "narrow", "type", "bridge")
    outside.run("ip", "link", "set", "narrow", "mtu", "1000", "up")
    try:
        outside.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
        outside.run("ip", "route", "add", "198.51.100.0/24", "dev", "narrow")
        gateway = tenants.host(tenant.lab, "h1")
        gateway.run("ip", "route", "add", "198.51.100.0/24", "via", outside.address)
        try:
            found = traffic.ping(client, "198.51.100.9", "-M", "do", "-s", "1300", count=2, interval=0.2)
        finally:
            gateway.run("ip", "route", "del", "198.51.100.0/24")
    finally:
        outside.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
        outside.run("ip", "link", "del", "narrow")
    assert "mtu = 1000" in found.text or "mtu=1000" in found.text

# SPDX-License-Identifier: Apache-2.0
"""What tenants run over the network: TCP, UDP, ICMP, fragments, many flows; and what an IP network owes them:
TTL, errors, a gateway, the MTU."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from mizar.lab import config
from mizar.lab import lab as lab_module
from tests.support import counters, netns, tenants, traffic
from tests.support.labs import Labs, NewTenant, on_hook, tenant_name

GATEWAY = "169.254.1.1"
ROUTER_MAC = "02:4d:5a:00:00:01"
MTU = config.LabConfig().mtu - config.ENVELOPE
_IP_AND_ICMP = 28
_IP_AND_UDP = 28
_IP_RECVTTL = 12
"""Of linux/in.h; the socket module has no name for it."""


@dataclasses.dataclass(frozen=True)
class _Street:
    """a and its neighbours: on the same host, on the same network, on another network."""

    tenant: tenants.Tenant
    a: tenants.End
    beside: tenants.End
    near: tenants.End
    far: tenants.End

    def to(self, where: str) -> tenants.End:
        found: tenants.End = getattr(self, where)
        return found

    def forget(self) -> None:
        """The next packets go by divider and bouncer again."""
        for end in (self.near, self.far):
            traffic.forgetter(self.tenant, self.a, end)()
            self.tenant.until_host_of(self.a, end.address, None)


@pytest.fixture(scope="module")
def street(labs: Labs, transit: config.Transit) -> Iterator[_Street]:
    lab = labs.running(on_hook(transit))
    with tenants.Tenant(lab, tenant_name(), "10.0.0.0/8") as tenant:
        tenant.network("web", "10.0.1.0/24")
        tenant.network("db", "10.0.2.0/24")
        tenant.ready()
        left, right = tenant.hosts_but(*tenant.dividers(), *tenant.bouncers("db"))[:2]
        made = _Street(
            tenant,
            a=tenant.endpoint("a", "web", left, "10.0.1.2"),
            beside=tenant.endpoint("beside", "web", left, "10.0.1.3"),
            near=tenant.endpoint("near", "web", right, "10.0.1.4"),
            far=tenant.endpoint("far", "db", right, "10.0.2.5"),
        )
        tenant.ready()
        yield made


everywhere = pytest.mark.parametrize("where", ["beside", "near", "far"])
elsewhere = pytest.mark.parametrize("where", ["near", "far"])


# ---------------------------------------------------------------- TCP, UDP, ICMP


@everywhere
def test_tcp_carries_bulk_both_ways_unharmed(street: _Street, where: str) -> None:
    traffic.exchange(street.a, street.to(where))


def test_many_tcp_connections_at_once_are_unharmed(street: _Street) -> None:
    failures: list[BaseException] = []

    def one(port: int) -> None:
        try:
            traffic.exchange(street.a, street.far, megabytes=1, port=port)
        except BaseException as failure:  # noqa: BLE001  raised below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(20000 + n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@everywhere
@pytest.mark.parametrize("size", [0, 1, 100, MTU - _IP_AND_UDP, MTU, 8000, 60000])
def test_datagram_of_any_size_arrives_whole(street: _Street, where: str, size: int) -> None:
    """Above the MTU it is sent in fragments."""
    receiver = street.to(where)
    data = bytes(n % 251 for n in range(size))
    with traffic.listening(receiver) as opened:
        traffic.send(street.a, receiver.address, data)
        assert opened.recv(65536) == data


@elsewhere
def test_fragments_arrive_as_first_packets_too(street: _Street, where: str) -> None:
    street.forget()
    done = traffic.ping(street.a, street.to(where).address, "-s", "8000", count=3)
    assert done.received == 3, done.text


@everywhere
def test_closed_port_says_so(street: _Street, where: str) -> None:
    """An ICMP error of the other end finds its way back."""
    with street.a.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect((street.to(where).address, 9))
        opened.settimeout(3)
        opened.send(b"knock")
        with pytest.raises(ConnectionRefusedError):
            opened.recv(100)


def test_hundred_flows_to_every_place_lose_nothing(street: _Street) -> None:
    for where in ("beside", "near", "far"):
        receiver = street.to(where)
        with traffic.listening(receiver) as opened:
            for number in range(100):
                traffic.send(street.a, receiver.address, str(number).encode())
            assert {opened.recv(100) for _ in range(100)} == {str(n).encode() for n in range(100)}


# ---------------------------------------------------------------- gateway, ARP, TTL


def test_gateway_answers_ping_and_nothing_else(street: _Street) -> None:
    assert traffic.reaches(street.a, GATEWAY, count=3)
    since = counters.Since(street.tenant.lab)
    traffic.send(street.a, GATEWAY, b"anything else")
    since.until(street.a.host, "gateway")


def test_every_neighbour_has_the_routers_mac(street: _Street) -> None:
    for where in ("beside", "near", "far"):
        assert traffic.reaches(street.a, street.to(where).address)
    neighbours = street.a.run("ip", "-4", "neigh")
    macs = dict(re.findall(r"^(\S+) dev eth0 lladdr (\S+)", neighbours, re.MULTILINE))
    assert macs[GATEWAY] == macs[street.near.address] == macs[street.beside.address] == ROUTER_MAC
    assert street.far.address not in macs


@pytest.mark.parametrize(
    ("where", "left"), [("beside", 64), ("near", 64), ("far", 63)], ids=["host", "network", "router"]
)
def test_ttl_falls_by_one_between_networks_and_not_within(street: _Street, where: str, left: int) -> None:
    receiver = street.to(where)
    with traffic.listening(receiver) as opened:
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        traffic.send(street.a, receiver.address, b"how far")
        _, ((_, _, ttl),), _, _ = opened.recvmsg(100, 100)
    assert int.from_bytes(ttl[:4], "little") == left


def test_traceroute_shows_the_gateway_between_networks(street: _Street) -> None:
    def hops(to: str) -> list[str]:
        shown = street.a.run("traceroute", "-n", "-q1", "-w2", "-m4", to)
        return re.findall(r"^ *\d+  (\S+)", shown, re.MULTILINE)

    assert hops(street.near.address) == [street.near.address]
    assert hops(street.far.address) == [GATEWAY, street.far.address]


# ---------------------------------------------------------------- MTU


@elsewhere
@pytest.mark.parametrize("first", [True, False], ids=["first-packet", "direct"])
def test_packet_of_exactly_the_mtu_passes(street: _Street, where: str, first: bool) -> None:
    receiver = street.to(where)
    if first:
        street.forget()
    else:
        assert traffic.reaches(street.a, receiver.address)
    done = traffic.ping(street.a, receiver.address, "-M", "do", "-s", str(MTU - _IP_AND_ICMP), count=3)
    assert done.received == 3, done.text


def test_own_stack_knows_the_mtu(street: _Street) -> None:
    done = traffic.ping(street.a, street.near.address, "-M", "do", "-s", str(MTU - _IP_AND_ICMP + 1))
    assert done.received == 0
    assert f"mtu={MTU}" in done.text


@pytest.fixture
def careless(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> tuple[tenants.End, tenants.End]:
    """Two endpoints on two hosts; the first believes that its interface takes 1500 bytes."""
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    a.run("ip", "link", "set", "eth0", "mtu", "1500")
    return a, b


def test_too_big_with_df_is_answered_with_the_mtu_which_is_learnt(
    careless: tuple[tenants.End, tenants.End],
) -> None:
    a, b = careless
    done = traffic.ping(a, b.address, "-M", "do", "-s", str(1500 - _IP_AND_ICMP), count=2, interval=0.2)
    assert done.received == 0
    assert f"From {GATEWAY} icmp_seq=1 Frag needed and DF set (mtu = {MTU})" in done.text
    assert f" mtu {MTU}" in a.run("ip", "route", "get", b.address)
    assert traffic.ping(a, b.address, "-s", str(1500 - _IP_AND_ICMP)).received == 1


def test_too_big_without_df_is_dropped_and_counted(
    lab_on_both: lab_module.Lab, careless: tuple[tenants.End, tenants.End]
) -> None:
    a, b = careless
    since = counters.Since(lab_on_both)
    assert traffic.ping(a, b.address, "-M", "dont", "-s", str(1500 - _IP_AND_ICMP)).received == 0
    since.until("h1", "too_big")


def test_tcp_learns_the_path_mtu(careless: tuple[tenants.End, tenants.End]) -> None:
    a, b = careless
    b.run("ip", "link", "set", "eth0", "mtu", "1500")
    traffic.exchange(a, b, megabytes=2)
    assert f" mtu {MTU}" in a.run("ip", "route", "get", b.address)


def test_vpc_may_have_a_smaller_mtu(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab_on_both, mtu=1300)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    assert "mtu 1300 " in a.run("ip", "link", "show", "eth0")
    assert traffic.ping(a, b.address, "-M", "do", "-s", str(1300 - _IP_AND_ICMP)).received == 1
    traffic.exchange(a, b, megabytes=1)
    tenant.vpc(mtu=1200)
    tenant.ready()
    netns.until(lambda: "mtu 1200 " in b.run("ip", "link", "show", "eth0"), "b has the new MTU")

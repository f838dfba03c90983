# SPDX-License-Identifier: Apache-2.0
"""The programs alone, between real interfaces: does bulk traffic survive them?

BPF_PROG_TEST_RUN has no GSO, no checksum offload and no wire; these tests are about nothing else.

      a 10.0.1.1                                       b 10.0.1.2
        | eth0                                           | eth0
        | port                                           | port
     +--+---+               +------+                  +--+---+
     |  h1  |               |  h3  | bouncer          |  h2  |
     +--+---+               +--+---+                  +--+---+
        | eth0 172.30.0.1      | eth0 172.30.0.3         | eth0 172.30.0.2
        +----------------- bridge in `fabric` -----------+

mz_endpoint runs on `port`, the transit programs on eth0 of the hosts. There is no agent and no
controller: the tables are filled by hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Iterator
from typing import Final

import pytest

from mizar.abi import layout
from mizar.abi.layout import Table
from mizar.abi.verdicts import DROP_FIRST, Verdict
from mizar.dataplane import links
from tests.support import machine, netns, packets
from tests.support.machine import Hook, Machine

VNI: Final = 7
NETWORK: Final = 1
SHARDS: Final = 8
H1, H2, H3 = "172.30.0.1", "172.30.0.2", "172.30.0.3"
A, B = "10.0.1.1", "10.0.1.2"
MACS: Final = {A: "02:00:00:00:0a:01", B: "02:00:00:00:0b:02"}
ROUTER: Final = layout.ROUTER_MAC.hex(":")
MTU: Final = 1500 - layout.ENVELOPE
BOUNCER_SLOT: Final = 9

BULK: Final = 256 << 20
"""Bytes: seconds at most, but for a path that loses every GSO packet it is hours."""


@dataclasses.dataclass
class Host:
    """A namespace with the programs on its eth0."""

    net: netns.Namespace
    machine: Machine
    addr: str

    def drops(self) -> dict[Verdict, int]:
        return {v: n for v, n in self.machine.verdicts().items() if v >= DROP_FIRST}

    def count(self, verdict: Verdict) -> int:
        return self.machine.verdicts().get(verdict, 0)


@dataclasses.dataclass
class Fabric:
    middle: netns.Namespace
    hosts: dict[str, Host]
    a: netns.Namespace
    b: netns.Namespace

    def drops(self) -> dict[str, dict[Verdict, int]]:
        return {addr: host.drops() for addr, host in self.hosts.items() if host.drops()}


def _mac_of(net: netns.Namespace, ifname: str = "eth0") -> str:
    return str(json.loads(net.run("ip", "-j", "link", "show", ifname).stdout)[0]["address"])


def _ip(net: netns.Namespace, *argv: str) -> None:
    net.run("ip", *argv)


def _make_wire_for_xdp(stack: contextlib.ExitStack, middle: netns.Namespace, *, ports: int) -> None:
    """XDP_TX out of a veth wakes its peer up only if that has a program too: one that passes all."""
    unconfigured = stack.enter_context(Machine())
    with middle.entered():
        for n in range(ports):
            port = socket.if_nametoindex(f"port{n}")
            mode = links.XdpMode.NATIVE
            stack.enter_context(links.Link.xdp(unconfigured.programs[Hook.XDP], port, mode))


def _attach_host(stack: contextlib.ExitStack, host: Host, hook: Hook) -> None:
    with host.net.entered():
        nic = socket.if_nametoindex("eth0")
        stack.enter_context(links.Link.tcx(host.machine.programs[Hook.TC], nic))
        if hook is Hook.XDP:
            # A checksum that is still to be made would be lost where XDP sends the packet on.
            host.net.run("ethtool", "-K", "eth0", "tx", "off")
            mode = links.XdpMode.NATIVE
            stack.enter_context(links.Link.xdp(host.machine.programs[Hook.XDP], nic, mode))


def _configure(host: Host, macs: dict[str, str]) -> None:
    with host.net.entered():
        nic = socket.if_nametoindex("eth0")
    host.machine.config(host.addr, ifindex=nic, mac=macs[host.addr])
    for addr, mac in macs.items():
        flags = layout.HostFlags.SELF if addr == host.addr else 0
        host.machine.host(addr, nexthop=addr, mac=mac, flags=flags)
    host.machine.vpc(VNI)
    host.machine.route(VNI, "10.0.1.0/24", layout.RouteKind.NETWORK, network=NETWORK, shards=SHARDS)
    host.machine.shards(NETWORK, SHARDS, [H3])


def _attach_endpoint(stack: contextlib.ExitStack, host: Host, endpoint: netns.Namespace, addr: str) -> None:
    """A veth from the host into the endpoint's namespace, `port` at the host's end."""
    netns.wire(host.net, "169.254.9.9/32", endpoint, f"{addr}/24", ifname="eth1", mtu=MTU)
    _ip(host.net, "link", "set", "eth1", "down")
    _ip(host.net, "addr", "flush", "dev", "eth1")
    _ip(host.net, "link", "set", "eth1", "name", "port", "address", ROUTER)
    _ip(host.net, "link", "set", "port", "up")
    _ip(endpoint, "link", "set", "eth1", "address", MACS[addr])
    with host.net.entered():
        port = socket.if_nametoindex("port")
        stack.enter_context(links.Link.tcx(host.machine.programs[Hook.ENDPOINT], port))
    onlink = ["10.0.1.0/24"]
    host.machine.port(
        port, vni=VNI, addr=addr, mac=MACS[addr], mtu=MTU, network=NETWORK, shards=SHARDS, onlink=onlink
    )
    host.machine.endpoint(VNI, addr, ifindex=port, mac=MACS[addr])


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def fabric(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    hook: Hook = request.param
    with contextlib.ExitStack() as stack:
        middle = stack.enter_context(netns.namespace("fabric"))
        nets = {addr: stack.enter_context(netns.namespace("host")) for addr in (H1, H2, H3)}
        ends = {addr: stack.enter_context(netns.namespace("end")) for addr in (A, B)}
        netns.switch(middle, {f"{addr}/24": net for addr, net in nets.items()})
        if hook is Hook.XDP:
            _make_wire_for_xdp(stack, middle, ports=len(nets))
        hosts = {addr: Host(net, stack.enter_context(Machine()), addr) for addr, net in nets.items()}
        macs = {addr: _mac_of(net) for addr, net in nets.items()}
        for host in hosts.values():
            _attach_host(stack, host, hook)
            _configure(host, macs)
        _attach_endpoint(stack, hosts[H1], ends[A], A)
        _attach_endpoint(stack, hosts[H2], ends[B], B)
        for addr, home in ((A, H1), (B, H2)):
            hosts[H3].machine.location(VNI, addr, home, slot=BOUNCER_SLOT)
        yield Fabric(middle, hosts, ends[A], ends[B])


def _listen(net: netns.Namespace) -> None:
    net.start("iperf3", "--server", "--json", "--one-off")
    netns.until(lambda: ":5201" in net.run("ss", "-Hltn").stdout, "iperf3 listens")


def _tcp(fabric: Fabric, *options: str) -> int:
    """Send BULK bytes from a to b; how many b received."""
    _listen(fabric.b)
    argv = ("iperf3", "--client", B, "--json", "--bytes", str(BULK), *options)
    report = json.loads(fabric.a.run(*argv, timeout=60).stdout)
    return int(report["end"]["sum_received"]["bytes"])


def test_first_packet_is_bounced_and_later_ones_are_direct(fabric: Fabric) -> None:
    fabric.a.run("ping", "-c3", "-i0.05", "-W1", B)
    h1, h2, h3 = (fabric.hosts[addr] for addr in (H1, H2, H3))
    assert h1.count(Verdict.TO_BOUNCER) == 1
    assert h3.count(Verdict.BOUNCED) == 1
    assert h3.machine.stats(BOUNCER_SLOT)[0] == 1
    assert h2.count(Verdict.DELIVERED_HERE) == 1
    assert h1.count(Verdict.LEARNT) == 1
    assert h1.count(Verdict.DIRECT) == 2
    assert h2.count(Verdict.DIRECT) == 3
    assert fabric.drops() == {}


@pytest.mark.parametrize("direction", [(), ("--reverse",)], ids=["forth", "back"])
def test_bulk_tcp_is_not_held_up(fabric: Fabric, direction: tuple[str, ...]) -> None:
    assert _tcp(fabric, *direction) > BULK * 0.9, "iperf3 does not count what is on the way at the end"
    assert fabric.drops() == {}


def test_one_way_udp_leaves_the_bouncer(fabric: Fabric) -> None:
    _ip(fabric.b, "route", "add", "blackhole", f"{A}/32")
    with fabric.a.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"first", (B, 9))
        h1, h3 = fabric.hosts[H1], fabric.hosts[H3]
        netns.until(lambda: h1.count(Verdict.LEARNT) == 1, "h1 is told")
        for _ in range(10):
            sender.sendto(b"more", (B, 9))
        netns.until(lambda: h1.count(Verdict.DIRECT) == 10, "the rest goes direct")
    assert h3.count(Verdict.BOUNCED) == 1


def test_bulk_tcp_survives_a_wrong_direct_path(fabric: Fabric) -> None:
    """Time and again h1 believes that b is on h3, while whole GSO packets are on their way."""
    h1, h3 = fabric.hosts[H1], fabric.hosts[H3]

    def misled() -> bool:
        """b's acknowledgements correct h1 at once, so it takes a few lies until one is believed."""
        h1.machine.direct(VNI, B, H3)
        return h3.count(Verdict.STALE) >= 5

    _listen(fabric.b)
    client = fabric.a.start("iperf3", "--client", B, "--json", "--bytes", str(4 * BULK))
    netns.until(misled, "packets go astray")
    report = json.loads(client.communicate(timeout=60)[0])
    assert report["end"]["sum_received"]["bytes"] > 4 * BULK * 0.9
    assert h1.count(Verdict.FORGOT) == h3.count(Verdict.STALE)
    assert fabric.drops() == {}


def test_stale_packet_goes_on_and_is_confirmed_from_its_new_host(fabric: Fabric) -> None:
    h1, h3 = fabric.hosts[H1], fabric.hosts[H3]
    h1.machine.direct(VNI, B, H3)
    fabric.a.run("ping", "-c1", "-W1", B)
    assert h3.count(Verdict.STALE) == 1
    netns.until(lambda: h1.machine.direct_host(VNI, B) == H2, "h1 has learnt anew")


def test_aged_path_is_confirmed_without_leaving_it(fabric: Fabric) -> None:
    h1, h2 = fabric.hosts[H1], fabric.hosts[H2]
    h1.machine.direct(VNI, B, H2, age_ms=machine.SOFT_MS + 100)
    _ip(fabric.b, "route", "add", "blackhole", f"{A}/32")
    fabric.a.run("ping", "-c1", "-W0.2", B, check=False)
    assert h1.count(Verdict.DIRECT_PROBE) == 1
    assert h2.count(Verdict.DELIVERED_HERE) == 1
    netns.until(lambda: (h1.machine.direct_age_ms(VNI, B) or 0) < machine.SOFT_MS, "confirmed")


def test_oversized_packet_is_answered_with_the_mtu(fabric: Fabric) -> None:
    _ip(fabric.a, "link", "set", "eth1", "mtu", "9000")
    _ip(fabric.hosts[H1].net, "link", "set", "port", "mtu", "9000")
    done = fabric.a.run("ping", "-c2", "-i0.1", "-W1", "-Mdo", "-s", str(MTU), B, check=False)
    assert f"mtu = {MTU}" in done.stdout or f"mtu={MTU}" in done.stdout
    fabric.a.run("ping", "-c1", "-W1", "-s", "6000", B)


def test_gateway_answers(fabric: Fabric) -> None:
    _ip(fabric.a, "route", "add", "169.254.1.1", "dev", "eth1")
    fabric.a.run("ping", "-c1", "-W1", "169.254.1.1")


def test_traffic_inside_a_host_does_not_leave_it(fabric: Fabric) -> None:
    """b moves to h1 by a second port there."""
    h1 = fabric.hosts[H1]
    with contextlib.ExitStack() as stack:
        c = stack.enter_context(netns.namespace("end"))
        netns.wire(h1.net, "169.254.9.8/32", c, "10.0.1.3/24", ifname="eth2", mtu=MTU)
        with h1.net.entered():
            port = socket.if_nametoindex("eth2")
            stack.enter_context(links.Link.tcx(h1.machine.programs[Hook.ENDPOINT], port))
        mac = _mac_of(c, "eth2")
        h1.machine.port(port, vni=VNI, addr="10.0.1.3", mac=mac, mtu=MTU, onlink=["10.0.1.0/24"])
        h1.machine.endpoint(VNI, "10.0.1.3", ifindex=port, mac=mac)
        fabric.a.run("ping", "-c2", "-i0.05", "-W1", "10.0.1.3")
    assert h1.count(Verdict.LOCAL) == 4
    assert h1.machine.get(Table.DIRECT4, (VNI, machine.number("10.0.1.3"))) is None


def test_frames_cut_anywhere_are_dropped_and_counted(fabric: Fabric) -> None:
    """From 14 bytes on, which is less than BPF_PROG_TEST_RUN can make."""
    h1 = fabric.hosts[H1]
    packet = packets.ipv4(packets.udp(), src=A, dst=B)
    question = packets.arp(sender_mac=MACS[A], sender=A, target=B)
    whole = {
        Verdict.DROP_MALFORMED_IP: packets.frame(packet, src=MACS[A]),
        Verdict.DROP_MALFORMED_ARP: question,
    }
    with fabric.a.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth1", 0))
        for frame in whole.values():
            for length in range(packets.ETHER, len(frame)):
                raw.send(frame[:length])
    expected = {verdict: len(frame) - packets.ETHER for verdict, frame in whole.items()}
    netns.until(lambda: h1.drops() == expected, "all are counted")
    assert fabric.drops().keys() == {H1}


# ---------------------------------------------------------------- a scaled endpoint


V: Final = "10.0.1.100"
"""Served by b; h3 bounces for it."""


@pytest.fixture
def scaled(fabric: Fabric) -> Fabric:
    h3 = fabric.hosts[H3].machine
    h3.location(VNI, V, "0.0.0.0", slot=BOUNCER_SLOT)
    for service_id, (port, target, protocol) in enumerate(((80, 5201, 6), (5201, 5201, 6), (53, 9053, 17))):
        h3.service(VNI, V, [B], port=port, target=target, protocol=protocol, service_id=service_id)
    return fabric


def _through_v(fabric: Fabric, *options: str) -> int:
    """Send BULK bytes to V; how many b received."""
    _listen(fabric.b)
    argv = ("iperf3", "--client", V, "--json", "--bytes", str(BULK), *options)
    report = json.loads(fabric.a.run(*argv, timeout=60).stdout)
    return int(report["end"]["sum_received"]["bytes"])


@pytest.mark.parametrize("direction", [(), ("--reverse",)], ids=["forth", "back"])
def test_bulk_tcp_to_a_scaled_endpoint_is_not_held_up(scaled: Fabric, direction: tuple[str, ...]) -> None:
    """Checksums that are left to the device, and whole GSO packets, are translated too."""
    assert _through_v(scaled, *direction) > BULK * 0.9
    h1, h3 = scaled.hosts[H1], scaled.hosts[H3]
    assert h3.count(Verdict.REDIRECTED) == h1.count(Verdict.REDIRECT_TAKEN) == 2, (
        "control and data connection"
    )
    assert scaled.drops() == {}


def test_bulk_tcp_survives_forgetting(scaled: Fabric) -> None:
    """Time and again h1 forgets all direct paths, while whole GSO packets are on their way."""
    h1, h3 = scaled.hosts[H1], scaled.hosts[H3]
    paths = h1.machine.tables[Table.DIRECT4]

    def forgotten() -> bool:
        paths.delete(paths.dump()[0])
        return h3.count(Verdict.REDIRECTED) >= 10

    _listen(scaled.b)
    client = scaled.a.start("iperf3", "--client", V, "--json", "--bytes", str(4 * BULK))
    netns.until(lambda: h1.count(Verdict.REDIRECT_TAKEN) == 2, "both connections are up")
    netns.until(forgotten, "the bouncer is asked again")
    report = json.loads(client.communicate(timeout=60)[0])
    assert report["end"]["sum_received"]["bytes"] > 4 * BULK * 0.9


def test_datagrams_in_fragments_come_back_whole(scaled: Fabric) -> None:
    with scaled.b.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((B, 9053))
        server.settimeout(5)
        with scaled.a.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((V, 53))
            client.settimeout(5)
            client.send(b"first")
            assert server.recvfrom(100)[0] == b"first"
            client.send(b"x" * 8000)
            data, sender = server.recvfrom(9000)
            assert (data, sender[0]) == (b"x" * 8000, A)
            server.sendto(data[::-1], sender)
            assert client.recv(9000) == data[::-1]
    assert scaled.drops() == {}


def test_refusals_reach_the_client_s_socket(scaled: Fabric) -> None:
    """No such port, no backend, and a backend where nobody listens."""
    with scaled.a.entered():
        for port in (81, 80):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((V, port), timeout=5)
        for port in (54, 53):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.connect((V, port))
                client.send(b"anybody?")
                with pytest.raises(ConnectionRefusedError):
                    client.recv(100)
    assert scaled.hosts[H1].count(Verdict.REFUSED) == 2
    assert scaled.drops() == {}


def test_backend_reaches_itself_by_its_service(scaled: Fabric) -> None:
    with scaled.b.entered(), socket.socket() as server:
        server.bind((B, 5201))
        server.listen()
        server.settimeout(5)
        with socket.create_connection((V, 80), timeout=5) as client:
            accepted, sender = server.accept()
            with accepted:
                accepted.settimeout(5)
                assert sender[0] == V
                client.sendall(b"hello")
                assert accepted.recv(100) == b"hello"
                accepted.sendall(b"x" * 100_000)
                client.shutdown(socket.SHUT_WR)
                received = 0
                while received < 100_000:
                    received += len(client.recv(100_000))
    assert scaled.drops() == {}

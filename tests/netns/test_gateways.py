# SPDX-License-Identifier: Apache-2.0
"""Gateways between real interfaces, with real clients and servers: checksums, GSO, ARP, the kernel's routes.

     a 10.0.1.1                                              x 203.0.113.5, behind 172.30.0.9
        | eth1                                                  |
        | port                                                  |
     +--+---+                +------+ gateway                   |
     |  h1  |                |  h2  | O 172.30.0.50             |
     +--+---+                +--+---+ F 172.30.0.51, a's        |
        | eth0 172.30.0.1       | eth0 172.30.0.2               | eth0 172.30.0.9
        +---------------- bridge in `fabric` -------------------+

There is no agent and no controller: the tables are filled by hand.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from mizar.abi import layout
from mizar.abi.layout import ConfigFlags, GatewayFlags, RouteKind, VpcFlags
from mizar.abi.verdicts import DROP_FIRST, Verdict
from mizar.dataplane import links
from tests.support import netns
from tests.support.machine import Hook, Machine

VNI, NETWORK, SHARDS, GATEWAYS = 7, 1, 8, 99
H1, H2 = "172.30.0.1", "172.30.0.2"
O, F = "172.30.0.50", "172.30.0.51"  # noqa: E741
A, X, X_NIC = "10.0.1.1", "203.0.113.5", "172.30.0.9"
A_MAC: Final = "02:00:00:00:0a:01"
ROUTER: Final = layout.ROUTER_MAC.hex(":")
MTU: Final = 1500 - layout.ENVELOPE
PORT: Final = 8000
BULK: Final = 64 << 20


class World:
    """The namespaces, and the two hosts' machines."""

    def __init__(self, stack: contextlib.ExitStack, hook: Hook) -> None:
        self.middle = stack.enter_context(netns.namespace("fabric"))
        self.a = stack.enter_context(netns.namespace("a"))
        self.x = stack.enter_context(netns.namespace("x"))
        self.nets = {host: stack.enter_context(netns.namespace("host")) for host in (H1, H2)}
        ends = {f"{host}/24": net for host, net in self.nets.items()} | {f"{X_NIC}/24": self.x}
        netns.switch(self.middle, ends)
        if hook is Hook.XDP:
            _pass_all(stack, self.middle, ports=len(ends))
        self.machines = {host: stack.enter_context(Machine()) for host in self.nets}
        self.x.run("ip", "addr", "add", f"{X}/32", "dev", "lo")
        for host, net in self.nets.items():
            net.run("ip", "route", "add", f"{X}/32", "via", X_NIC)
            _attach_host(stack, net, self.machines[host], hook)
            self._configure(host)
        _attach_endpoint(stack, self.nets[H1], self.a, self.machines[H1])

    def _configure(self, host: str) -> None:
        here = self.machines[host]
        flags = ConfigFlags.GATEWAY if host == H2 else 0
        here.config(host, ifindex=_nic(self.nets[host]), mac=_mac_of(self.nets[host]), flags=flags)
        for other, net in self.nets.items():
            is_self = layout.HostFlags.SELF if other == host else 0
            here.host(other, nexthop=other, mac=_mac_of(net), flags=is_self)
        here.vpc(VNI, flags=VpcFlags.GATEWAY | VpcFlags.DIVIDER if host == H2 else VpcFlags.ENDPOINTS)
        here.route(VNI, "10.0.1.0/24", RouteKind.NETWORK, network=NETWORK, shards=SHARDS)
        here.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY, network=GATEWAYS)
        here.shard(GATEWAYS, 0, [H2])
        here.shards(NETWORK, SHARDS, [H2])
        here.location(VNI, A, H1)
        if host == H2:
            here.gateway(VNI, [O], ifindex=_nic(self.nets[host]))

    def drops(self) -> dict[str, dict[Verdict, int]]:
        found = {
            host: {v: n for v, n in each.verdicts().items() if v >= DROP_FIRST}
            for host, each in self.machines.items()
        }
        return {host: drops for host, drops in found.items() if drops}

    def count(self, host: str, verdict: Verdict) -> int:
        return self.machines[host].verdicts().get(verdict, 0)


def _nic(net: netns.Namespace) -> int:
    with net.entered():
        return socket.if_nametoindex("eth0")


def _mac_of(net: netns.Namespace) -> str:
    return str(json.loads(net.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"])


def _pass_all(stack: contextlib.ExitStack, middle: netns.Namespace, *, ports: int) -> None:
    """XDP_TX out of a veth wakes its peer up only if that has a program too."""
    unconfigured = stack.enter_context(Machine())
    with middle.entered():
        for n in range(ports):
            port = socket.if_nametoindex(f"port{n}")
            stack.enter_context(links.Link.xdp(unconfigured.programs[Hook.XDP], port, links.XdpMode.NATIVE))


def _attach_host(stack: contextlib.ExitStack, net: netns.Namespace, here: Machine, hook: Hook) -> None:
    with net.entered():
        nic = socket.if_nametoindex("eth0")
        stack.enter_context(links.Link.tcx(here.programs[Hook.TC], nic))
        if hook is Hook.XDP:
            net.run("ethtool", "-K", "eth0", "tx", "off")
            stack.enter_context(links.Link.xdp(here.programs[Hook.XDP], nic, links.XdpMode.NATIVE))


def _attach_endpoint(
    stack: contextlib.ExitStack, net: netns.Namespace, endpoint: netns.Namespace, here: Machine
) -> None:
    netns.wire(net, "169.254.9.9/32", endpoint, f"{A}/24", ifname="eth1", mtu=MTU)
    net.run("ip", "addr", "flush", "dev", "eth1")
    net.run("ip", "link", "set", "eth1", "address", ROUTER)
    endpoint.run("ip", "link", "set", "eth1", "address", A_MAC)
    endpoint.run("ip", "route", "add", "169.254.1.1", "dev", "eth1")
    endpoint.run("ip", "route", "add", "default", "via", "169.254.1.1")
    with net.entered():
        port = socket.if_nametoindex("eth1")
        stack.enter_context(links.Link.tcx(here.programs[Hook.ENDPOINT], port))
    here.port(
        port, vni=VNI, addr=A, mac=A_MAC, mtu=MTU, network=NETWORK, shards=SHARDS, onlink=["10.0.1.0/24"]
    )
    here.endpoint(VNI, A, ifindex=port, mac=A_MAC)


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(stack, request.param)


def _serve(net: netns.Namespace) -> None:
    """A web server."""
    net.start("python3", "-m", "http.server", str(PORT))
    netns.until(lambda: f":{PORT}" in net.run("ss", "-Hltn").stdout, "the web server listens")


def _fetch(net: netns.Namespace, addr: str, *options: str, port: int = PORT) -> str:
    """Status that curl gets."""
    argv = ("curl", "-sS", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}", *options)
    return net.run(*argv, f"http://{addr}:{port}/").stdout


def _send_bulk(client: netns.Namespace, server: netns.Namespace, addr: str, *options: str) -> int:
    """How many bytes of a transfer have arrived."""
    server.start("iperf3", "--server", "--json", "--one-off")
    netns.until(lambda: ":5201" in server.run("ss", "-Hltn").stdout, "iperf3 listens")
    argv = ("iperf3", "--client", addr, "--json", "--bytes", str(BULK), *options)
    report = json.loads(client.run(*argv, timeout=60).stdout)
    return int(report["end"]["sum_received"]["bytes"])


def test_client_gets_a_page_from_outside(world: World) -> None:
    _serve(world.x)
    assert _fetch(world.a, X) == "200"
    assert world.count(H1, Verdict.TO_GATEWAY) > 0
    assert world.count(H2, Verdict.NAT_OUT) > 0
    assert world.drops() == {}


def test_server_outside_sees_the_outside_address_and_answers_by_udp(world: World) -> None:
    with world.x.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((X, 53))
    seen: list[str] = []

    def answer() -> None:
        data, peer = server.recvfrom(2048)
        seen.append(peer[0])
        server.sendto(data[::-1], peer)

    thread = threading.Thread(target=answer)
    with contextlib.closing(server), world.a.entered():
        server.settimeout(10)
        thread.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"query", (X, 53))
            assert client.recv(100) == b"yreuq"
        thread.join()
    assert seen == [O]


def test_echo(world: World) -> None:
    world.a.run("ping", "-c3", "-i0.05", "-W1", X)
    assert world.count(H2, Verdict.NAT_OUT) == world.count(H2, Verdict.NAT_IN) == 3
    assert world.drops() == {}


@pytest.mark.parametrize("direction", [(), ("--reverse",)], ids=["out", "in"])
@pytest.mark.parametrize("segmenting", [False, True], ids=["whole", "segmented"])
def test_bulk_tcp(world: World, direction: tuple[str, ...], segmenting: bool) -> None:
    """`segmented`: the gateway's interface takes no large packet, and has no checksums made by the device."""
    if segmenting:
        for net in (world.nets[H2], world.x):
            net.run("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx", "off")
    assert _send_bulk(world.a, world.x, X, *direction) > BULK * 0.9
    assert world.drops() == {}


def test_floating_address_both_ways(world: World) -> None:
    world.machines[H2].floating(VNI, A, F)
    _serve(world.a)
    _serve(world.x)
    assert _fetch(world.x, F, "--interface", X) == "200"
    assert _fetch(world.a, X) == "200"
    assert world.drops() == {}


def test_port_forward(world: World) -> None:
    world.machines[H2].forward((O, 80), VNI, (A, PORT))
    _serve(world.a)
    assert _fetch(world.x, O, port=80) == "200"
    assert world.drops() == {}


def test_too_large_from_outside_is_answered_with_the_mtu(world: World) -> None:
    world.machines[H2].floating(VNI, A, F)
    done = world.x.run("ping", "-c2", "-i0.1", "-W1", "-Mdo", "-s", "1472", F, check=False)
    assert f"mtu = {MTU}" in done.stdout or f"mtu={MTU}" in done.stdout
    assert world.count(H2, Verdict.ICMP_OUTSIDE) == 1
    world.x.run("ping", "-c1", "-W1", "-Mdo", "-s", str(MTU - 28), F)


def test_narrow_path_outside_is_found_out(world: World) -> None:
    """x is a router, and y behind it."""
    with netns.namespace("y") as y:
        netns.wire(world.x, "198.51.100.1/24", y, "198.51.100.9/24", ifname="eth1", mtu=1300)
        world.x.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        y.run("ip", "route", "add", "default", "via", "198.51.100.1")
        world.nets[H2].run("ip", "route", "add", "198.51.100.0/24", "via", X_NIC)
        done = world.a.run("ping", "-c2", "-i0.1", "-W1", "-Mdo", "-s", "1372", "198.51.100.9", check=False)
        assert "mtu = 1300" in done.stdout or "mtu=1300" in done.stdout
        assert _send_bulk(world.a, y, "198.51.100.9") > BULK * 0.75, "less what is on the way at the end"
    assert world.drops() == {}


def test_host_with_one_address_is_the_gateway_of_its_own(world: World) -> None:
    h1 = world.machines[H1]
    h1.config(H1, ifindex=_nic(world.nets[H1]), mac=_mac_of(world.nets[H1]), flags=ConfigFlags.GATEWAY)
    h1.vpc(VNI, flags=VpcFlags.ENDPOINTS | VpcFlags.GATEWAY)
    h1.route(VNI, "0.0.0.0/0", RouteKind.GATEWAY)
    h1.gateway(VNI, [H1], ifindex=_nic(world.nets[H1]), ports=(61000, 65535), flags=GatewayFlags.HOST)
    _serve(world.x)
    _serve(world.nets[H1])
    assert _fetch(world.a, X) == "200"
    assert _fetch(world.x, H1) == "200", "the host's own services"
    assert _fetch(world.nets[H1], X_NIC) == "200", "what the host itself asks for"
    assert world.count(H2, Verdict.NAT_OUT) == 0
    assert world.drops() == {}

# SPDX-License-Identifier: Apache-2.0
"""Who may say what: endpoints cannot pretend, strangers cannot speak the tunnel; every drop has a reason."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator

import pytest
from scapy import packet
from scapy.layers import inet, l2

from mizar.abi import geneve, layout
from mizar.lab import config
from tests.support import counters, tenants, traffic
from tests.support.labs import Labs, on_hook, tenant_name

ROUTER_MAC = "02:4d:5a:00:00:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"
STRANGER = "172.30.0.99"


@dataclasses.dataclass(frozen=True)
class _Scene:
    """Two endpoints on two hosts that have heard of each other; of the VPC's roles neither host has any."""

    tenant: tenants.Tenant
    a: tenants.End
    b: tenants.End
    vni: int

    def mac(self, of: tenants.End) -> str:
        with of.netlink() as ip:
            return str(ip.get_links(ifname="eth0")[0].get("address"))

    @property
    def at_b(self) -> tenants.Place:
        return tenants.host(self.tenant.lab, self.b.host)

    def to_b(self, *, vni: int | None = None, options: tuple[geneve.Option, ...] = ()) -> bytes:
        """What a host would send to b's host for b."""
        inner = (
            l2.Ether(src=ROUTER_MAC, dst=ROUTER_MAC)
            / inet.IP(src=self.a.address, dst=self.b.address)
            / inet.UDP(sport=1, dport=traffic.PORT)
            / b"for b"
        )
        header = geneve.Header(self.vni if vni is None else vni, options=options)
        return geneve.pack(header, bytes(inner))


@pytest.fixture(scope="module")
def scene(labs: Labs, transit: config.Transit) -> Iterator[_Scene]:
    lab = labs.running(on_hook(transit))
    with tenants.Tenant(lab, tenant_name(), "10.0.0.0/16") as tenant:
        tenant.network("web", "10.0.1.0/24")
        tenant.ready()
        left, right = tenant.hosts_but(*tenant.dividers(), *tenant.bouncers("web"))[:2]
        a = tenant.endpoint("a", "web", left, "10.0.1.2")
        b = tenant.endpoint("b", "web", right, "10.0.1.3")
        tenant.ready()
        assert traffic.reaches(a, b.address)
        yield _Scene(tenant, a, b, tenant.vni)


@pytest.fixture
def silence(scene: _Scene) -> Iterator[None]:
    """Nothing may arrive at b. A datagram of its own ends the test, so whatever was before it has arrived."""
    with traffic.listening(scene.b) as opened:
        yield
        traffic.send(scene.a, scene.b.address, b"the end")
        assert opened.recv(100) == b"the end"


# ---------------------------------------------------------------- endpoints that pretend


def _udp(scene: _Scene, *, mac: str | None = None, source: str | None = None) -> packet.Packet:
    return (
        l2.Ether(src=mac or scene.mac(scene.a), dst=ROUTER_MAC)
        / inet.IP(src=source or scene.a.address, dst=scene.b.address)
        / inet.UDP(sport=1, dport=traffic.PORT)
        / b"pretended"
    )


def _arp(scene: _Scene, *, mac: str | None = None, sender: str | None = None, asks: str) -> packet.Packet:
    return l2.Ether(src=mac or scene.mac(scene.a), dst=BROADCAST) / l2.ARP(
        hwsrc=mac or scene.mac(scene.a),
        psrc=scene.a.address if sender is None else sender,
        pdst=asks,
    )


@pytest.mark.usefixtures("silence")
def test_spoofed_mac_is_dropped_and_counted(scene: _Scene) -> None:
    since = counters.Since(scene.tenant.lab)
    traffic.inject(scene.a, *[bytes(_udp(scene, mac="02:00:00:00:be:ef"))] * 3)
    since.until(scene.a.host, "spoofed_mac", 3)


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("source", ["10.0.1.99", "10.0.1.3", "8.8.8.8"], ids=["unused", "victim", "outside"])
def test_spoofed_address_is_dropped_and_counted(scene: _Scene, source: str) -> None:
    since = counters.Since(scene.tenant.lab)
    traffic.inject(scene.a, *[bytes(_udp(scene, source=source))] * 3)
    since.until(scene.a.host, "spoofed_ip", 3)


@pytest.mark.parametrize(
    ("mac", "sender"), [("02:00:00:00:be:ef", None), (None, "10.0.1.3")], ids=["mac", "address"]
)
def test_spoofed_arp_is_dropped_and_counted(scene: _Scene, mac: str | None, sender: str | None) -> None:
    frame = _arp(scene, mac=mac, sender=sender, asks="10.0.1.7")
    frame[l2.Ether].src = scene.mac(scene.a)
    since = counters.Since(scene.tenant.lab)
    traffic.inject(scene.a, bytes(frame))
    since.until(scene.a.host, "spoofed_arp")


@pytest.mark.parametrize("asks", ["10.0.1.3", "10.0.1.200", "10.0.77.1", "169.254.1.1"])
def test_arp_is_answered_for_all_that_the_vpc_can_reach(scene: _Scene, asks: str) -> None:
    with scene.a.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as opened:
        opened.bind(("eth0", 0x0806))
        opened.settimeout(3)
        opened.send(bytes(_arp(scene, asks=asks)))
        answer = l2.Ether(opened.recv(100))
    assert (answer[l2.ARP].op, answer[l2.ARP].psrc, answer[l2.ARP].hwsrc) == (2, asks, ROUTER_MAC)
    assert answer[l2.ARP].pdst == scene.a.address
    assert answer.src == ROUTER_MAC


@pytest.mark.parametrize(
    ("sender", "asks"),
    [(None, "8.8.8.8"), ("0.0.0.0", "10.0.1.2"), (None, "10.0.1.2")],
    ids=["outside", "probe", "announcement"],
)
def test_arp_that_must_not_be_answered_is_not(scene: _Scene, sender: str | None, asks: str) -> None:
    since = counters.Since(scene.tenant.lab)
    traffic.inject(scene.a, bytes(_arp(scene, sender=sender, asks=asks)))
    since.until(scene.a.host, "arp_unanswered")
    assert since.verdicts(scene.a.host)["arp_reply"] == 0


def test_other_protocols_and_multicast_are_dropped_and_counted(scene: _Scene) -> None:
    since = counters.Since(scene.tenant.lab)
    ether = l2.Ether(src=scene.mac(scene.a), dst=ROUTER_MAC)
    traffic.inject(
        scene.a,
        bytes(l2.Ether(src=ether.src, dst=ROUTER_MAC, type=0x86DD) / bytes(40)),
        bytes(ether / inet.IP(src=scene.a.address, dst="224.0.0.251") / inet.UDP() / b"mdns"),
        bytes(ether / inet.IP(src=scene.a.address, dst=scene.b.address, ihl=3) / b"short"),
    )
    since.until(scene.a.host, "not_ipv4")
    since.until(scene.a.host, "multicast")
    since.until(scene.a.host, "malformed_ip")


# ---------------------------------------------------------------- strangers on the underlay


def test_tunnel_packet_of_a_host_is_delivered(scene: _Scene) -> None:
    """What strangers send below is well-formed: sent by a host, it arrives."""
    (other, *_) = scene.tenant.hosts_but(scene.a.host, scene.b.host)
    with traffic.listening(scene.b) as opened:
        traffic.tunnel(tenants.host(scene.tenant.lab, other), scene.at_b.address, scene.to_b())
        assert opened.recv(100) == b"for b"
    traffic.forgetter(scene.tenant, scene.b, dataclasses.replace(scene.a, host=other))()


@pytest.mark.usefixtures("silence")
def test_tunnel_packet_from_outside_is_dropped_and_counted(scene: _Scene) -> None:
    since = counters.Since(scene.tenant.lab)
    for _ in range(3):
        traffic.tunnel(tenants.outside(scene.tenant.lab), scene.at_b.address, scene.to_b())
    since.until(scene.b.host, "foreign_peer", 3)


@pytest.mark.usefixtures("silence")
def test_tunnel_packet_from_an_unlisted_address_of_a_host_is_dropped(scene: _Scene) -> None:
    sender = tenants.host(scene.tenant.lab, scene.a.host)
    since = counters.Since(scene.tenant.lab)
    with sender.netlink() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address=STRANGER, prefixlen=32)
        try:
            traffic.tunnel(sender, scene.at_b.address, scene.to_b(), source=STRANGER)
            since.until(scene.b.host, "foreign_peer")
        finally:
            ip.addr("del", index=index, address=STRANGER, prefixlen=32)


@pytest.mark.usefixtures("silence")
def test_stranger_cannot_teach_or_untie_a_path(scene: _Scene) -> None:
    assert traffic.reaches(scene.b, scene.a.address)
    about = tenants.number_of(scene.a.address)
    since = counters.Since(scene.tenant.lab)
    for option in (geneve.Here(about), geneve.Forget(about)):
        payload = geneve.pack(geneve.Header(scene.vni, control=True, options=(option,)))
        traffic.tunnel(tenants.outside(scene.tenant.lab), scene.at_b.address, payload)
    since.until(scene.b.host, "foreign_peer", 2)
    assert scene.tenant.knows(scene.b, scene.a.address) == scene.a.host


@pytest.mark.usefixtures("silence")
def test_unknown_vni_is_dropped_and_counted(scene: _Scene) -> None:
    since = counters.Since(scene.tenant.lab)
    sender = tenants.host(scene.tenant.lab, scene.a.host)
    traffic.tunnel(sender, scene.at_b.address, scene.to_b(vni=0xFFFFF0))
    since.until(scene.b.host, "unknown_vni")


_DAMAGES = {
    "geneve_version": lambda good: bytes([good[0] | 0x40]) + good[1:],
    "geneve_protocol": lambda good: good[:2] + b"\x08\x00" + good[4:],
    "geneve_truncated": lambda good: bytes([0x3F]) + good[1:20],
    "geneve_critical": lambda good: b"\x01\x40" + good[2:8] + b"\x01\x02\x80\x00" + good[8:],
    "geneve_option": lambda good: b"\x01\x00" + good[2:8] + b"\xff\x4d\x01\x05" + good[8:],
    "geneve_control": lambda good: bytes([good[0], 0x80]) + good[2:],
    "inner_not_ipv4": lambda good: good[:20] + b"\x86\xdd" + good[22:],
    "inner_malformed": lambda good: good[:22] + b"\x42" + good[23:],
}


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("reason", _DAMAGES)
def test_damaged_tunnel_packet_is_dropped_and_counted(scene: _Scene, reason: str) -> None:
    sender = tenants.host(scene.tenant.lab, scene.a.host)
    since = counters.Since(scene.tenant.lab)
    traffic.tunnel(sender, scene.at_b.address, _DAMAGES[reason](scene.to_b()))
    since.until(scene.b.host, reason)


@pytest.mark.usefixtures("silence")
def test_packet_bounced_to_the_wrong_host_is_dropped(scene: _Scene) -> None:
    since = counters.Since(scene.tenant.lab)
    rts = geneve.Rts(tenants.number_of(scene.at_b.address), layout.Hop.ENDPOINT)
    wrong = tenants.host(scene.tenant.lab, scene.a.host).address
    traffic.tunnel(scene.at_b, wrong, scene.to_b(options=(rts,)))
    since.until(scene.a.host, "not_here")

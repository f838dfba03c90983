# SPDX-License-Identifier: Apache-2.0
"""The tunnel on the underlay, as tshark decodes it: Geneve of RFC 8926, our options, nothing malformed."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import socket
from collections.abc import Iterator

import pytest

from mizar.abi import layout
from mizar.lab import config
from tests.support import capture, tenants, traffic
from tests.support.labs import Labs, on_hook, tenant_name

ROUTER_MAC = "02:4d:5a:00:00:01"


@dataclasses.dataclass(frozen=True)
class _Line:
    """a and b on two hosts; b's network has its divider and its bouncer on two others."""

    tenant: tenants.Tenant
    a: tenants.End
    b: tenants.End
    divider: str
    bouncer: str

    def address(self, host: str) -> str:
        return self.tenant.lab.host(host).address

    def way(self) -> list[tuple[str, str]]:
        """Outer source and destination of a first packet, hop by hop."""
        hosts = [self.a.host, self.divider, self.bouncer, self.b.host]
        return list(itertools.pairwise(map(self.address, hosts)))

    def forget(self) -> None:
        traffic.forgetter(self.tenant, self.a, self.b)()
        self.tenant.until_host_of(self.a, self.b.address, None)


@pytest.fixture(scope="module")
def line(labs: Labs, transit: config.Transit) -> Iterator[_Line]:
    lab = labs.running(on_hook(transit))
    with tenants.Tenant(lab, tenant_name(), "10.0.0.0/8") as tenant:
        tenant.network("web", "10.0.1.0/24")
        tenant.ready()
        (divider,) = tenant.dividers()
        name, bouncer = _network_bounced_elsewhere(tenant, divider)
        left, right = tenant.hosts_but(divider, bouncer)
        a = tenant.endpoint("a", "web", left, "10.0.1.2")
        b = tenant.endpoint("b", name, right, f"10.2.{name[1:]}.3")
        tenant.ready()
        yield _Line(tenant, a, b, divider, bouncer)


def _network_bounced_elsewhere(tenant: tenants.Tenant, divider: str) -> tuple[str, str]:
    for number in range(64):
        name = f"n{number}"
        tenant.network(name, f"10.2.{number}.0/24")
        tenant.ready()
        (bouncer,) = tenant.bouncers(name)
        if bouncer != divider:
            return name, bouncer
    raise AssertionError("the divider bounces for each of 64 networks")


def _tunnelled(wire: capture.Capture, line: _Line, directory: pathlib.Path) -> list[capture.Packet]:
    """Tunnel packets of the VPC, each of them sound."""
    found = wire.decoded(f"geneve.vni == {line.tenant.vni}", directory)
    for packet in found:
        _check_envelope(packet)
    return found


def _check_envelope(packet: capture.Packet) -> None:
    """What holds for every tunnel packet."""
    assert packet.complaints == []
    assert set(packet.fields["ip_checksum_status"]) == {"1"}
    assert packet.outer("ip_flags_df"), "the underlay must not fragment the tunnel"
    assert packet.outer("ip_ttl") == "64"
    assert packet.outer("udp_dstport") == str(layout.GENEVE_PORT)
    assert packet.outer("udp_checksum") == "0x0000"
    assert packet.outer("geneve_version") == "0"
    assert packet.outer("geneve_proto_type") == "0x6558"
    assert packet.outer("geneve_flags_critical") is False


def _hop(packet: capture.Packet) -> tuple[str, str]:
    return packet.outer("ip_src"), packet.outer("ip_dst")


def _is_request(packet: capture.Packet) -> bool:
    """An echo request itself, not a message that quotes it."""
    return packet.fields.get("icmp_type") == ["8"] and not packet.outer("geneve_flags_oam")


def _rts(packet: capture.Packet) -> tuple[str, int]:
    """Sender's host and hop of the one option that a first packet has."""
    assert packet.fields["geneve_option_class"] == [f"{layout.OPT_CLASS:#x}"]
    assert packet.fields["geneve_option_type"] == [f"{layout.OptType.RTS:#04x}"]
    assert packet.outer("geneve_option_type_critical") is False
    data = bytes.fromhex(packet.outer("geneve_option_unknown_data").replace(":", ""))
    return socket.inet_ntoa(data[:4]), data[4]


def test_first_packet_carries_its_senders_host_and_what_may_still_be_done(
    line: _Line, tmp_path: pathlib.Path
) -> None:
    lab = line.tenant.lab
    line.forget()
    with (
        capture.Capture(capture.cable(lab, line.divider)) as at_divider,
        capture.Capture(capture.cable(lab, line.b.host)) as at_b,
    ):
        assert traffic.reaches(line.a, line.b.address)
    packets = [*_tunnelled(at_divider, line, tmp_path), *_tunnelled(at_b, line, tmp_path)]
    seen = {_hop(packet): _rts(packet) for packet in packets if _is_request(packet)}
    sender = line.address(line.a.host)
    hops = (layout.Hop.DIVIDER, layout.Hop.BOUNCER, layout.Hop.ENDPOINT)
    assert seen == {way: (sender, int(hop)) for way, hop in zip(line.way(), hops, strict=True)}


@pytest.mark.parametrize("size", [56, 1000])
def test_receiving_host_says_where_the_endpoint_is(line: _Line, tmp_path: pathlib.Path, size: int) -> None:
    line.forget()
    with capture.Capture(capture.cable(line.tenant.lab, line.a.host)) as wire:
        assert traffic.ping(line.a, line.b.address, "-s", str(size)).received == 1
    (here,) = [p for p in _tunnelled(wire, line, tmp_path) if p.outer("geneve_flags_oam")]
    assert _hop(here) == (line.address(line.b.host), line.address(line.a.host))
    assert here.fields["geneve_option_type"] == [f"{layout.OptType.HERE:#04x}"]
    data = bytes.fromhex(here.outer("geneve_option_unknown_data").replace(":", ""))
    assert socket.inet_ntoa(data[:4]) == line.b.address


def test_direct_packets_have_no_options_and_the_tenants_frame_inside(
    line: _Line, tmp_path: pathlib.Path
) -> None:
    assert traffic.reaches(line.a, line.b.address, count=2)
    with capture.Capture(capture.cable(line.tenant.lab, line.a.host)) as wire:
        assert traffic.reaches(line.a, line.b.address, count=3)
    packets = _tunnelled(wire, line, tmp_path)
    there, back = (line.a, line.b), (line.b, line.a)
    assert [_hop(packet) for packet in packets] == [
        (line.address(sender.host), line.address(receiver.host)) for sender, receiver in (there, back) * 3
    ]
    for packet, (sender, receiver) in zip(packets, (there, back) * 3, strict=True):
        assert packet.outer("geneve_option_length") == "0"
        assert (packet.inner("ip_src"), packet.inner("ip_dst")) == (sender.address, receiver.address)
        assert packet.inner("eth_dst") == ROUTER_MAC
        assert packet.inner("icmp_checksum_status") == "1"


@pytest.mark.parametrize("tos", [0x00, 0xB8, 0xBA, 0x01], ids=["plain", "EF", "EF+ECT0", "ECT1"])
def test_dscp_and_ecn_are_copied_to_the_outer_header(line: _Line, tmp_path: pathlib.Path, tos: int) -> None:
    with capture.Capture(capture.cable(line.tenant.lab, line.a.host)) as wire:
        assert traffic.ping(line.a, line.b.address, "-Q", str(tos)).received == 1
    (request,) = [packet for packet in _tunnelled(wire, line, tmp_path) if _is_request(packet)]
    assert request.fields["ip_dsfield"] == [f"{tos:#04x}"] * 2


def test_source_port_tells_flows_apart_and_stays_within_one(line: _Line, tmp_path: pathlib.Path) -> None:
    assert traffic.reaches(line.a, line.b.address)
    ports = [20000 + n for n in range(16)]
    with (
        traffic.listening(line.b) as opened,
        capture.Capture(capture.cable(line.tenant.lab, line.a.host)) as wire,
    ):
        for port in ports * 2:
            traffic.send(line.a, line.b.address, b"x", source_port=port)
            assert opened.recv(10) == b"x"
    outer: dict[str, set[int]] = {}
    for packet in _tunnelled(wire, line, tmp_path):
        outer.setdefault(packet.inner("udp_srcport"), set()).add(int(packet.outer("udp_srcport")))
    assert sorted(map(int, outer)) == ports
    assert all(len(found) == 1 and min(found) >= 32768 for found in outer.values())
    assert len(set.union(*outer.values())) > len(ports) / 2


def test_largest_first_packet_fits_the_underlay(line: _Line, tmp_path: pathlib.Path) -> None:
    line.forget()
    mtu = line.tenant.lab.config.mtu
    size = mtu - config.ENVELOPE - 28
    with capture.Capture(capture.cable(line.tenant.lab, line.b.host)) as wire:
        assert traffic.ping(line.a, line.b.address, "-M", "do", "-s", str(size)).received == 1
    (first,) = [p for p in _tunnelled(wire, line, tmp_path) if _is_request(p)]
    assert _rts(first)[1] == layout.Hop.ENDPOINT
    assert mtu - 2 <= int(first.outer("ip_len")) <= mtu


def test_nothing_else_is_on_the_wire(line: _Line, tmp_path: pathlib.Path) -> None:
    """Tunnel, health probes and the hosts' own ARP; no tenant's frame outside of the tunnel."""
    with capture.Capture(capture.cable(line.tenant.lab, line.a.host)) as wire:
        line.forget()
        assert traffic.reaches(line.a, line.b.address, count=3)
    assert wire.decoded("not geneve and not arp", tmp_path) == []
    assert wire.decoded("arp and not arp.src.proto_ipv4 == 172.30.0.0/16", tmp_path) == []

# SPDX-License-Identifier: Apache-2.0
"""What is timed: a program, a packet, and the verdict by which every run must leave. Pure.

A case that depends on table size says which addresses it draws from.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from bench.programs import frames, tables
from mizar.abi import geneve, layout
from mizar.abi.verdicts import Verdict


class Program(enum.Enum):
    ENDPOINT = "mz_endpoint"
    TRANSIT_TC = "mz_transit_tc"
    TRANSIT_XDP = "mz_transit_xdp"


class Method(enum.Enum):
    """How the packet is made whole again, see the package's docstring."""

    RESTORED = "restored"
    UNWRAPPED = "unwrapped"
    WRAPPED = "wrapped"
    SINGLE = "single"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One figure."""

    name: str
    title: str
    program: Program
    frame: bytes
    verdict: Verdict
    method: Method = Method.RESTORED
    # The table whose size matters: measured at every size, with destinations drawn from all of its rows.
    grows: layout.Table | None = None
    # Where the destination stands in the frame.
    offset: int = 0
    port: tables.Fill | None = None
    config: tables.Fill | None = None

    def addresses(self, rows: int) -> int:
        """How many destinations there are."""
        return rows * tables.ADDRESSES_PER_NETWORK if self.grows is layout.Table.ROUTES4 else rows


# Every plain frame is as long as what the harness restores, or longer.
_PAYLOAD = bytes(100)
_ONLINK = "10.0.0.0/8"
_INNER_PEER = frames.number("10.255.0.2")


def all_cases() -> list[Case]:
    return [*_endpoint_paths(), *_transit_paths(), *_endpoint_drops(), *_transit_drops()]


# ---------------------------------------------------------------- frames


def plain(
    destination: int = tables.FIRST,
    *,
    ip: frames.Ip | None = None,
    mac: bytes = tables.ENDPOINT_MAC,
    payload: bytes | None = None,
    to: bytes = layout.ROUTER_MAC,
) -> bytes:
    """A UDP packet as the endpoint sends it."""
    body = frames.udp(source=1000, destination=2000, payload=_PAYLOAD) if payload is None else payload
    header = ip or frames.Ip(source=tables.ENDPOINT, destination=destination)
    return frames.ethernet(destination=to, source=mac, kind=frames.ETH_IPV4, payload=header.pack(body))


def _outer(packet: bytes) -> bytes:
    return frames.ethernet(
        destination=tables.UNDERLAY_MAC, source=tables.NEXT_MAC, kind=frames.ETH_IPV4, payload=packet
    )


def _inner(*, tos: int = 0) -> bytes:
    ip = frames.Ip(source=_INNER_PEER, destination=tables.FIRST, tos=tos)
    return ip_frame(ip)


def ip_frame(ip: frames.Ip, *, ports: tuple[int, int] = (1000, 2000), to: bytes = layout.ROUTER_MAC) -> bytes:
    """A UDP packet as it comes from elsewhere."""
    body = ip.pack(frames.udp(source=ports[0], destination=ports[1], payload=_PAYLOAD))
    return frames.ethernet(destination=to, source=tables.NEXT_MAC, kind=frames.ETH_IPV4, payload=body)


def wire(
    vni: int,
    *options: geneve.Option,
    inner: bytes | None = None,
    source: int = tables.CLIENT,
    control: bool = False,
) -> bytes:
    """A tunnel packet as it reaches this host."""
    header = geneve.Header(vni=vni, control=control, options=options)
    packet = _inner() if inner is None else inner
    # Control packets quote what they are about; the quote also fills the harness's frame.
    return _outer(frames.tunnel(source=source, destination=tables.SELF, header=header, inner=packet))


def rts(hop: layout.Hop) -> geneve.Rts:
    return geneve.Rts(host=tables.CLIENT, hop=hop)


def _member(vni: tables.Vni, network: tables.Network) -> tables.Fill:
    """An endpoint of a subnet network that holds all destinations."""
    return tables.port(vni=vni, network=network, shards=tables.SHARDS, onlink=_ONLINK)


# ---------------------------------------------------------------- paths


def _endpoint_paths() -> Iterator[Case]:
    table = layout.Table
    local = tables.port(vni=tables.Vni.LOCAL, onlink=_ONLINK)
    direct = tables.port(vni=tables.Vni.DIRECT, onlink=_ONLINK)
    bouncer = _member(tables.Vni.VIA_BOUNCER, tables.Network.VIA_BOUNCER)
    divider = tables.port(vni=tables.Vni.VIA_DIVIDER)
    own_bouncer = _member(tables.Vni.BOUNCE, tables.Network.OWN_BOUNCER)
    paths = (
        ("local", "endpoint, same host", local, Verdict.LOCAL, table.ENDPOINTS4),
        ("direct", "endpoint, direct path", direct, Verdict.DIRECT, table.DIRECT4),
        # What these look up does not grow with the VPC; what they miss does: the direct-path cache.
        ("bouncer", "endpoint, to a bouncer", bouncer, Verdict.TO_BOUNCER, table.DIRECT4),
        ("divider", "endpoint, to a divider", divider, Verdict.TO_DIVIDER, table.DIRECT4),
        (
            "own_bouncer",
            "endpoint, own host bounces",
            own_bouncer,
            Verdict.TO_ENDPOINT_HOST,
            table.LOCATIONS4,
        ),
    )
    for name, title, port, verdict, grows in paths:
        yield Case(
            name=f"endpoint.{name}",
            title=title,
            program=Program.ENDPOINT,
            frame=plain(),
            verdict=verdict,
            method=Method.RESTORED if verdict is Verdict.LOCAL else Method.UNWRAPPED,
            grows=grows,
            offset=frames.DESTINATION,
            port=port,
        )
    yield from _first_hop()


def _first_hop() -> Iterator[Case]:
    """What the first hop answers itself."""
    group = tables.port(vni=tables.Vni.VIA_DIVIDER)
    yield Case(
        name="endpoint.arp",
        title="ARP answered",
        program=Program.ENDPOINT,
        frame=_arp(layout.GATEWAY4),
        verdict=Verdict.ARP_REPLY,
        port=group,
    )
    ip = frames.Ip(source=tables.ENDPOINT, destination=layout.GATEWAY4, protocol=frames.IP_ICMP)
    yield Case(
        name="endpoint.gateway_echo",
        title="echo to the gateway answered",
        program=Program.ENDPOINT,
        frame=plain(ip=ip, payload=frames.echo_request(_PAYLOAD)),
        verdict=Verdict.ICMP_REPLY,
        port=group,
    )
    yield Case(
        name="endpoint.too_big",
        title="ICMP fragmentation needed",
        program=Program.ENDPOINT,
        frame=plain(payload=frames.udp(source=1, destination=2, payload=bytes(tables.MTU))),
        verdict=Verdict.ICMP_TOO_BIG,
        method=Method.SINGLE,
        port=group,
    )
    yield Case(
        name="endpoint.ttl",
        title="ICMP time exceeded",
        program=Program.ENDPOINT,
        frame=plain(ip=frames.Ip(source=tables.ENDPOINT, destination=tables.FIRST, ttl=1)),
        verdict=Verdict.ICMP_TTL,
        method=Method.SINGLE,
        port=group,
    )


def _transit_paths() -> Iterator[Case]:
    for program, hook in ((Program.TRANSIT_XDP, "xdp"), (Program.TRANSIT_TC, "tc")):
        yield Case(
            name=f"transit.bounce.{hook}",
            title=f"bounce at {hook}",
            program=program,
            frame=wire(tables.Vni.BOUNCE, rts(layout.Hop.BOUNCER)),
            verdict=Verdict.BOUNCED,
            grows=layout.Table.LOCATIONS4,
            offset=frames.INNER_DESTINATION,
        )
        yield Case(
            name=f"transit.divide.{hook}",
            title=f"divide at {hook}",
            program=program,
            frame=wire(tables.Vni.DIVIDE, rts(layout.Hop.DIVIDER)),
            verdict=Verdict.DIVIDED,
            grows=layout.Table.ROUTES4,
            offset=frames.INNER_DESTINATION,
        )
        yield from _control(program, hook)
    yield Case(
        name="transit.deliver",
        title="deliver, direct path",
        program=Program.TRANSIT_TC,
        frame=wire(tables.Vni.LOCAL),
        verdict=Verdict.DELIVERED,
        method=Method.WRAPPED,
        grows=layout.Table.ENDPOINTS4,
        offset=frames.INNER_DESTINATION_BARE,
    )
    yield Case(
        name="transit.deliver_here",
        title="deliver and tell the sender",
        program=Program.TRANSIT_TC,
        frame=wire(tables.Vni.LOCAL, rts(layout.Hop.ENDPOINT)),
        verdict=Verdict.DELIVERED_HERE,
        method=Method.WRAPPED,
        grows=layout.Table.ENDPOINTS4,
        offset=frames.INNER_DESTINATION,
    )
    yield Case(
        name="transit.hand_over.xdp",
        title="XDP hands a direct packet to tcx",
        program=Program.TRANSIT_XDP,
        frame=wire(tables.Vni.LOCAL),
        verdict=Verdict.TO_TC,
    )
    yield Case(
        name="transit.pass.xdp",
        title="XDP lets the host's own packet through",
        program=Program.TRANSIT_XDP,
        frame=_outer(
            frames.Ip(source=tables.CLIENT, destination=tables.SELF).pack(
                frames.udp(source=53, destination=53, payload=_PAYLOAD)
            )
        ),
        verdict=Verdict.PASS,
    )


def _control(program: Program, hook: str) -> Iterator[Case]:
    kinds = (
        ("echo", "echo answered", geneve.Echo(nonce=1), Verdict.ECHO),
        ("here", "HERE taken in", geneve.Here(addr=_INNER_PEER), Verdict.LEARNT),
        ("forget", "FORGET taken in", geneve.Forget(addr=_INNER_PEER), Verdict.FORGOT),
    )
    for name, title, option, verdict in kinds:
        yield Case(
            name=f"transit.{name}.{hook}",
            title=f"{title} at {hook}",
            program=program,
            frame=wire(tables.Vni.DIRECT, option, control=True),
            verdict=verdict,
        )


# ---------------------------------------------------------------- drops


def _arp(target: int, *, sender: int = tables.ENDPOINT, hardware: int = 1) -> bytes:
    body = frames.arp_request(mac=tables.ENDPOINT_MAC, sender=sender, target=target, hardware=hardware)
    return frames.ethernet(
        destination=b"\xff" * 6, source=tables.ENDPOINT_MAC, kind=frames.ETH_ARP, payload=body + _PAYLOAD
    )


def _endpoint_drops() -> Iterator[Case]:
    group = tables.port(vni=tables.Vni.VIA_DIVIDER)
    own = _member(tables.Vni.BOUNCE, tables.Network.OWN_BOUNCER)
    outside = frames.number("172.16.0.1")
    unknown = frames.number("10.200.0.1")
    big = frames.udp(source=1, destination=2, payload=bytes(tables.MTU))

    def ip(destination: int = tables.FIRST, **other: int) -> frames.Ip:
        return frames.Ip(**{"source": tables.ENDPOINT, "destination": destination, **other})

    rows: tuple[tuple[Verdict, bytes, tables.Fill | None], ...] = (
        (Verdict.DROP_UNKNOWN_PORT, plain(), None),
        (Verdict.DROP_SPOOFED_MAC, plain(mac=tables.NEXT_MAC), group),
        (Verdict.DROP_SPOOFED_IP, plain(ip=ip(source=tables.FIRST)), group),
        (Verdict.DROP_SPOOFED_ARP, _arp(layout.GATEWAY4, sender=tables.FIRST), group),
        (Verdict.DROP_ARP_UNANSWERED, _arp(tables.ENDPOINT), group),
        (Verdict.DROP_MALFORMED_ARP, _arp(layout.GATEWAY4, hardware=6), group),
        (Verdict.DROP_MALFORMED_IP, plain(ip=ip(version_length=0x55)), group),
        (Verdict.DROP_NOT_IPV4, frames.patched(plain(), 12, b"\x86\xdd"), group),
        (Verdict.DROP_MULTICAST, plain(ip=ip(frames.number("224.0.0.251"))), group),
        (Verdict.DROP_TOO_BIG, plain(ip=ip(fragment=0), payload=big), group),
        # Never an ICMP error about an ICMP error, RFC 1122 s3.2.2: type 3 in the payload's first byte.
        (
            Verdict.DROP_TTL,
            plain(ip=ip(ttl=1, protocol=frames.IP_ICMP), payload=b"\x03\x01" + _PAYLOAD),
            group,
        ),
        (Verdict.DROP_NO_ROUTE, plain(outside), group),
        (Verdict.DROP_NO_NETWORK, plain(frames.number("10.254.0.1")), group),
        (Verdict.DROP_NO_DIVIDER, plain(), tables.port(vni=tables.Vni.BARE)),
        (
            Verdict.DROP_NO_BOUNCER,
            plain(),
            tables.port(
                vni=tables.Vni.BARE, network=tables.Network.EMPTY, shards=tables.SHARDS, onlink="10.0.0.0/8"
            ),
        ),
        (Verdict.DROP_NO_ENDPOINT, plain(unknown), own),
        (
            Verdict.DROP_UNKNOWN_HOST,
            plain(),
            tables.port(
                vni=tables.Vni.BARE, network=tables.Network.LOST, shards=tables.SHARDS, onlink="10.0.0.0/8"
            ),
        ),
        (Verdict.DROP_GATEWAY, plain(layout.GATEWAY4), group),
    )
    for verdict, frame, port in rows:
        yield Case(
            name=f"drop.endpoint.{verdict.label}",
            title=f"drop {verdict.label}",
            program=Program.ENDPOINT,
            frame=frame,
            verdict=verdict,
            port=port,
        )
    yield Case(
        name="drop.endpoint.no_config",
        title="drop no_config",
        program=Program.ENDPOINT,
        frame=plain(),
        verdict=Verdict.DROP_NO_CONFIG,
        port=group,
        config=tables.config(ready=False),
    )


def _transit_drops() -> Iterator[Case]:
    bounce = wire(tables.Vni.BOUNCE, rts(layout.Hop.BOUNCER))
    geneve_at = frames.ETH_BYTES + frames.IP_BYTES + frames.UDP_BYTES
    option_at = geneve_at + 8
    inner_at = option_at + 12
    missing = ip_frame(frames.Ip(source=_INNER_PEER, destination=frames.number("10.200.0.1")))
    marked = frames.Ip(source=tables.CLIENT, destination=tables.SELF, tos=3)
    header = geneve.Header(vni=tables.Vni.LOCAL)
    body = frames.udp(source=40000, destination=layout.GENEVE_PORT, payload=geneve.pack(header, _inner()))
    first = frames.Ip(source=tables.CLIENT, destination=tables.SELF, fragment=frames.MORE_FRAGMENTS)
    udp_length_at = frames.ETH_BYTES + frames.IP_BYTES + 4

    xdp, tc = Program.TRANSIT_XDP, Program.TRANSIT_TC
    rows: tuple[tuple[Verdict, Program, bytes], ...] = (
        (
            Verdict.DROP_OUTER_MALFORMED,
            xdp,
            frames.patched(bounce, udp_length_at, b"\x00\x09"),
        ),
        (Verdict.DROP_OUTER_FRAGMENT, xdp, _outer(first.pack(body))),
        (
            Verdict.DROP_FOREIGN_PEER,
            xdp,
            wire(tables.Vni.BOUNCE, rts(layout.Hop.BOUNCER), source=tables.UNLISTED),
        ),
        (Verdict.DROP_GENEVE_VERSION, xdp, frames.patched(bounce, geneve_at, b"\x43")),
        (
            Verdict.DROP_GENEVE_PROTOCOL,
            xdp,
            frames.patched(bounce, geneve_at + 2, b"\x08\x00"),
        ),
        (Verdict.DROP_GENEVE_TRUNCATED, xdp, frames.patched(bounce, geneve_at, b"\x3f")),
        (Verdict.DROP_GENEVE_OPTION, xdp, frames.patched(bounce, option_at + 3, b"\x05")),
        (Verdict.DROP_GENEVE_CRITICAL, xdp, frames.patched(bounce, option_at + 2, b"\xff")),
        (Verdict.DROP_GENEVE_CONTROL, xdp, frames.patched(bounce, geneve_at + 1, b"\x80")),
        (
            Verdict.DROP_INNER_MALFORMED,
            xdp,
            frames.patched(bounce, inner_at + frames.ETH_BYTES, b"\x65"),
        ),
        (
            Verdict.DROP_INNER_NOT_IPV4,
            xdp,
            frames.patched(bounce, inner_at + 12, b"\x86\xdd"),
        ),
        (
            Verdict.DROP_UNKNOWN_VNI,
            xdp,
            wire(tables.Vni.ABSENT, rts(layout.Hop.BOUNCER)),
        ),
        (
            Verdict.DROP_NO_ENDPOINT,
            xdp,
            wire(tables.Vni.BOUNCE, rts(layout.Hop.BOUNCER), inner=missing),
        ),
        (
            Verdict.DROP_NOT_HERE,
            tc,
            wire(tables.Vni.LOCAL, geneve.Rts(host=tables.NEXT, hop=layout.Hop.ENDPOINT), inner=missing),
        ),
        (Verdict.DROP_ECN, tc, _outer(marked.pack(body))),
    )
    for verdict, program, frame in rows:
        yield Case(
            name=f"drop.transit.{verdict.label}",
            title=f"drop {verdict.label}",
            program=program,
            frame=frame,
            verdict=verdict,
        )

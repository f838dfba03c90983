# SPDX-License-Identifier: Apache-2.0
"""The small network that the rows are about, as the tables of one of its hosts.

        10.0.1.2                     10.0.1.3 10.0.2.3        10.0.3.0/24: in no network
        02:..:02                       somewhere              10.1.0.0/16: outside the VPC
           |
    +------+-----+   +------------+   +------------+   +------------+
    | US         |   | H2         |   | H3         |   | H4         |
    | 192.0.2.1  |   | 192.0.2.2  |   | 192.0.2.3  |   | 192.0.2.4  |
    +------------+   +------------+   +------------+   +------------+

VPC 5: 10.0.0.0/16. Network 11: 10.0.1.0/24. Network 12: 10.0.2.0/24. Host 192.0.2.99 is no host of ours.
"""

from __future__ import annotations

from typing import Any, Final

from mizar.abi import geneve, layout
from mizar.abi.geneve import Rts
from mizar.abi.layout import Hop, RouteKind, VpcFlags
from tests.support import packets
from tests.support.machine import LOOPBACK, Machine, number

US, H2, H3, H4 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
STRANGER: Final = "192.0.2.99"

VNI: Final = 5
OTHER_VNI: Final = 6
NETWORK, NETWORK2 = 11, 12
SHARDS: Final = 4
MTU: Final = 1436
UNDERLAY_MTU: Final = MTU + layout.ENVELOPE

A, B, C = "10.0.1.2", "10.0.1.3", "10.0.2.3"
"""Our endpoint; one of its network; one of the other network."""
A2: Final = "10.0.9.2"
"""A's second address."""
NOWHERE, OUTSIDE = "10.0.3.3", "10.1.0.1"

A_MAC, LOCAL_MAC = "02:00:00:00:00:02", "02:00:00:00:00:07"
NIC_MAC: Final = packets.WIRE.dst
HOST_MACS: Final = {H2: "02:aa:00:00:00:02", H3: "02:aa:00:00:00:03", H4: "02:aa:00:00:00:04"}

A_SLOT, LOCAL_SLOT, DIVIDER_SLOT, BOUNCER_SLOT = 1, 2, 3, 4

PORT: Final = LOOPBACK


def hosts(machine: Machine) -> None:
    """We are configured, and know the others and their MACs."""
    machine.config(US, mac=NIC_MAC)
    machine.host(US, flags=layout.HostFlags.SELF)
    for addr, mac in HOST_MACS.items():
        machine.host(addr, nexthop=addr, mac=mac)


def endpoint_host(machine: Machine) -> None:
    """A's host: H2 bounces for its network, H3 divides the VPC."""
    hosts(machine)
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS)
    machine.route(VNI, "10.0.0.0/16", RouteKind.DIVIDER)
    machine.route(VNI, "10.0.1.0/24", RouteKind.NETWORK, network=NETWORK, shards=SHARDS)
    machine.route(VNI, "10.0.3.0/24", RouteKind.NONE)
    machine.shards(NETWORK, SHARDS, [H2])
    machine.port(
        PORT,
        vni=VNI,
        addr=A,
        mac=A_MAC,
        mtu=MTU,
        network=NETWORK,
        shards=SHARDS,
        slot=A_SLOT,
        onlink=["10.0.1.0/24"],
    )
    machine.endpoint(VNI, A, ifindex=PORT, mac=A_MAC, slot=A_SLOT)
    machine.endpoint(VNI, A2, ifindex=PORT, mac=A_MAC, slot=A_SLOT)


def divider(machine: Machine) -> None:
    """We divide the VPC: H2 bounces for network 11, H4 for 12."""
    machine.vpc(VNI, dividers=[US], flags=VpcFlags.DIVIDER, slot=DIVIDER_SLOT)
    machine.route(VNI, "10.0.0.0/16", RouteKind.NONE)
    machine.route(VNI, "10.0.1.0/24", RouteKind.NETWORK, network=NETWORK, shards=SHARDS)
    machine.route(VNI, "10.0.2.0/24", RouteKind.NETWORK, network=NETWORK2, shards=SHARDS)
    machine.shards(NETWORK, SHARDS, [H2])
    machine.shards(NETWORK2, SHARDS, [H4])


def divider_host(machine: Machine) -> None:
    hosts(machine)
    divider(machine)


def bouncer_host(machine: Machine) -> None:
    """We bounce: B is on H4."""
    hosts(machine)
    machine.vpc(VNI, flags=VpcFlags.BOUNCER)
    machine.location(VNI, B, H4, slot=BOUNCER_SLOT)


def local_endpoint(machine: Machine, addr: str = B, *, peer: bool = True) -> None:
    machine.endpoint(VNI, addr, ifindex=PORT, mac=LOCAL_MAC, slot=LOCAL_SLOT, peer=peer)


def receiving_host(machine: Machine) -> None:
    """B is here."""
    hosts(machine)
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS)
    local_endpoint(machine)


def left_host(machine: Machine) -> None:
    """B was here; others of its VPC still are. H3 divides."""
    hosts(machine)
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS)
    machine.route(VNI, "10.0.0.0/16", RouteKind.DIVIDER)


# ---------------------------------------------------------------- packets


def sent(
    payload: Any = None,
    *,
    dst: str = B,
    src: str = A,
    mac: str = A_MAC,
    to: str = packets.ROUTER_MAC,
    **fields: Any,
) -> bytes:
    """A frame of A's, UDP if not said otherwise."""
    content = packets.udp() if payload is None else payload
    return packets.frame(packets.ipv4(content, src=src, dst=dst, **fields), src=mac, dst=to)


def sized(total: int, **fields: Any) -> bytes:
    """A UDP packet of `total` bytes of IP."""
    return sent(packets.udp(payload=b"x" * (total - 28)), **fields)


def inner(**fields: Any) -> bytes:
    """A's packet to B as the envelope holds it."""
    return sent(**fields)


def arrived(
    options: tuple[geneve.Option, ...] = (),
    *,
    src: str = H2,
    vni: int = VNI,
    content: bytes | None = None,
    **fields: Any,
) -> bytes:
    """A tunnel packet from `src` to us, with A's packet to B if not said otherwise."""
    found = inner() if content is None else content
    return packets.tunnel(found, src=src, dst=US, vni=vni, options=options, **fields)


def named(frame: bytes, *, dst: bytes = layout.ROUTER_MAC, src: bytes = b"") -> bytes:
    """An inner frame whose MACs say who is meant."""
    return dst + (src or frame[6:12]) + frame[12:]


def rts(hop: Hop, host: str = H2) -> tuple[geneve.Option, ...]:
    return (Rts(number(host), hop),)


def control(option: geneve.Option, *, src: str = H2, vni: int = VNI, **fields: Any) -> bytes:
    return arrived((option,), src=src, vni=vni, control=True, content=b"", **fields)


def raw(options: bytes, *, flags: int = 0, protocol: int = 0x6558, src: str = H2) -> bytes:
    """A tunnel packet with these option bytes."""
    payload = packets.with_options(options, inner(), vni=VNI, flags=flags, protocol=protocol)
    return packets.raw_tunnel(payload, src=src, dst=US)

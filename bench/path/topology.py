# SPDX-License-Identifier: Apache-2.0
"""Two hosts on a wire, and pods on them. Every network under test stands on exactly this.

    client pod            server pod          what a network connects
        |                     |
    +-------+   the wire  +-------+
    | left  |eth0=====eth0| right |           192.0.2.1 and .2, MTU 1500
    +-------+             +-------+

The wire is a veth pair. As a GSO wire it is left as the kernel makes it: packets of up to 64 KiB cross it
in one piece. As a segmenting wire it behaves like a cable between two NICs: the sender cuts every packet
to the MTU before it leaves, and the receiver has GRO, as NICs do.

All pods have the same MTU, the one that Mizar's envelope leaves, so that every network sends segments of
the same size; for bare hosts the route says so.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections.abc import Callable

from bench import tools
from bench.core import command, world

UNDERLAY_PREFIX = 24
WIRE_MTU = 1500
POD_MTU = 1436  # WIRE_MTU less MZ_ENVELOPE

WIRE_INTERFACE = "eth0"
# Everything that lets a packet above the MTU onto the wire, ethtool(8).
_SEGMENTATION = (
    "tso",
    "gso",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
)


_PASS = pathlib.Path(__file__).with_name("pass.bpf.c")
"""For the switch's ports where hosts bounce in XDP; see there."""


class Wire(enum.Enum):
    GSO = "gso"
    SEGMENTING = "segmenting"


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A machine: its namespace and its underlay address."""

    label: str
    netns: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ends:
    """Where the tools run: namespaces of client and server, and the server's address."""

    client: str
    server: str
    address: str
    service: str = ""
    """Another address for the same server, which the network translates; empty: none."""
    # Arguments of tools/first_packet that make the next packet a first one; empty: there is no such thing.
    forget: tuple[str, ...] = ()
    # How many packets have taken the long way so far: proof that first packets were.
    witness: Callable[[], int] | None = None

    @property
    def target(self) -> str:
        """What the client connects to."""
        return self.service or self.address


@dataclasses.dataclass(frozen=True, slots=True)
class Hosts:
    left: Host
    right: Host


def two_hosts(owner: world.World, label: str, wire: Wire) -> Hosts:
    """Two hosts joined by a wire."""
    hosts = Hosts(
        left=Host(label=f"{label}.l", netns=owner.namespace(f"{label}.l"), address="192.0.2.1"),
        right=Host(label=f"{label}.r", netns=owner.namespace(f"{label}.r"), address="192.0.2.2"),
    )
    command.run(
        command.words(
            f"ip link add {WIRE_INTERFACE} netns {hosts.left.netns} type veth peer name "
            f"{WIRE_INTERFACE} netns {hosts.right.netns}"
        )
    )
    for host in (hosts.left, hosts.right):
        shape(host.netns, WIRE_INTERFACE, wire)
        address_up(host.netns, WIRE_INTERFACE, f"{host.address}/{UNDERLAY_PREFIX}", mtu=WIRE_MTU)
    return hosts


def switched_hosts(owner: world.World, label: str, wire: Wire, *, count: int) -> list[Host]:
    """Hosts on a bridge in a namespace of its own; each of their wires to it is of the given kind."""
    switch = owner.namespace(f"{label}.switch")
    place = command.Place(netns=switch)
    command.run(["ip", "link", "add", "br0", "type", "bridge"], place=place)
    command.run(["ip", "link", "set", "br0", "mtu", str(WIRE_MTU), "up"], place=place)
    passes = str(tools.bpf_object(_PASS))
    hosts = []
    for number in range(1, count + 1):
        host = Host(f"{label}.{number}", owner.namespace(f"{label}.{number}"), f"192.0.2.{number}")
        port = f"port{number}"
        command.run(
            command.words(
                f"ip link add {WIRE_INTERFACE} netns {host.netns} type veth peer name {port} netns {switch}"
            )
        )
        shape(host.netns, WIRE_INTERFACE, wire)
        shape(switch, port, wire)
        if wire is Wire.SEGMENTING:
            command.run(
                ["ip", "link", "set", port, "xdpdrv", "object", passes, "section", "xdp"], place=place
            )
        command.run(["ip", "link", "set", port, "master", "br0", "mtu", str(WIRE_MTU), "up"], place=place)
        address_up(host.netns, WIRE_INTERFACE, f"{host.address}/{UNDERLAY_PREFIX}", mtu=WIRE_MTU)
        hosts.append(host)
    return hosts


def shape(netns: str, interface: str, wire: Wire) -> None:
    """Make one end of a veth pair an end of the wire."""
    if wire is Wire.SEGMENTING:
        off = [word for feature in _SEGMENTATION for word in (feature, "off")]
        command.run(["ethtool", "-K", interface, *off, "gro", "on"], place=command.Place(netns=netns))


def address_up(netns: str, interface: str, address: str | None, *, mtu: int) -> None:
    place = command.Place(netns=netns)
    command.run(["ip", "link", "set", interface, "mtu", str(mtu), "up"], place=place)
    if address is not None:
        command.run(["ip", "address", "add", address, "dev", interface], place=place)


def pod(owner: world.World, host: Host, *, address: str, gateway: str | None = None) -> tuple[str, str]:
    """A pod on `host`: its namespace with eth0, and the name of the host's side, up and without address."""
    name = owner.namespace(f"{host.label}.pod")
    outside = "pod0"
    command.run(
        command.words(f"ip link add {outside} netns {host.netns} type veth peer name eth0 netns {name}")
    )
    address_up(host.netns, outside, None, mtu=POD_MTU)
    address_up(name, "eth0", address, mtu=POD_MTU)
    if gateway is not None:
        command.run(["ip", "route", "add", "default", "via", gateway], place=command.Place(netns=name))
    return name, outside

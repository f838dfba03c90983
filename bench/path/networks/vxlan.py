# SPDX-License-Identifier: Apache-2.0
"""The kernel's own overlay: pods on a bridge, the bridges joined by VXLAN. What most overlays are made of."""

from __future__ import annotations

import dataclasses

from bench.core import command, world
from bench.path import topology

_CLIENT = "10.77.0.1"
_SERVER = "10.77.0.2"
_VNI = 77
_PORT = 4789


@dataclasses.dataclass(frozen=True, slots=True)
class Vxlan:
    name: str = "vxlan"
    title: str = "kernel VXLAN + bridge"

    def missing(self) -> str | None:
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        hosts = topology.two_hosts(owner, label, wire)
        client = _pod(owner, hosts.left, peer=hosts.right, address=_CLIENT)
        server = _pod(owner, hosts.right, peer=hosts.left, address=_SERVER)
        return topology.Ends(client=client, server=server, address=_SERVER)


def _pod(owner: world.World, host: topology.Host, *, peer: topology.Host, address: str) -> str:
    name, outside = topology.pod(owner, host, address=f"{address}/24")
    place = command.Place(netns=host.netns)
    command.run(
        command.words(
            f"ip link add vxlan0 type vxlan id {_VNI} dstport {_PORT} local {host.address} "
            f"remote {peer.address} dev {topology.WIRE_INTERFACE}"
        ),
        place=place,
    )
    command.run(["ip", "link", "add", "br0", "type", "bridge"], place=place)
    for port in ("vxlan0", outside):
        command.run(
            ["ip", "link", "set", port, "master", "br0", "mtu", str(topology.POD_MTU), "up"], place=place
        )
    command.run(["ip", "link", "set", "br0", "up"], place=place)
    return name

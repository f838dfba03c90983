# SPDX-License-Identifier: Apache-2.0
"""The kernel's own overlay on two hosts of the lab: pods on a bridge, the bridges joined by VXLAN.

    mizar-vxlan-1            mizar-vxlan-2        pods, 10.77.0.1 and .2, MTU of Mizar's endpoints
         |                        |
    brx0 + vxlan77           brx0 + vxlan77       in the host namespaces, beside Mizar
         |                        |
       eth0 ---- underlay ----- eth0

What most overlays are made of, so what a figure of ours is read beside. `down` of the lab removes it too.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Final

import pyroute2

from mizar.agent import namespaces
from mizar.lab import config, network, topology

_VNI: Final = 77
_PORT: Final = 4789
_BRIDGE: Final = "brx0"
_TUNNEL: Final = "vxlan77"
_POD_SIDE: Final = "podx0"
_LOOPBACK: Final = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    netns: str
    address: str


@contextlib.contextmanager
def between(
    left: topology.Machine, right: topology.Machine, *, underlay_mtu: int
) -> Iterator[tuple[Pod, Pod]]:
    """Two pods that reach each other over VXLAN; removed at the end of the block."""
    pods = tuple(Pod(name, f"10.77.0.{number}") for number, name in enumerate(topology.VXLAN_PODS, start=1))
    try:
        for pod, host, peer in ((pods[0], left, right), (pods[1], right, left)):
            _pod(pod, host, mtu=underlay_mtu - config.ENVELOPE)
            _tunnel(host, peer, mtu=underlay_mtu - config.ENVELOPE)
        yield pods[0], pods[1]
    finally:
        network.destroy([pod.netns for pod in pods])
        for host in (left, right):
            _remove(host)


def _pod(pod: Pod, host: topology.Machine, *, mtu: int) -> None:
    path = namespaces.create(pod.netns)
    with network.inside(host.netns) as ip, namespaces.opened(path) as fd:
        peer = {"ifname": topology.INTERFACE, "net_ns_fd": fd, "mtu": mtu}
        ip.link("add", ifname=_POD_SIDE, kind="veth", mtu=mtu, peer=peer)
    with network.inside(pod.netns) as ip:
        index = ip.link_lookup(ifname=topology.INTERFACE)[0]
        ip.link("set", index=_LOOPBACK, state="up")
        ip.addr("add", index=index, address=pod.address, prefixlen=24)
        ip.link("set", index=index, state="up")


def _tunnel(host: topology.Machine, peer: topology.Machine, *, mtu: int) -> None:
    with network.inside(host.netns) as ip:
        underlay = ip.link_lookup(ifname=host.interface)[0]
        ip.link("add", ifname=_BRIDGE, kind="bridge")
        ip.link(
            "add",
            ifname=_TUNNEL,
            kind="vxlan",
            vxlan_id=_VNI,
            vxlan_port=_PORT,
            vxlan_local=host.address,
            vxlan_group=peer.address,
            vxlan_link=underlay,
        )
        bridge = ip.link_lookup(ifname=_BRIDGE)[0]
        for name in (_TUNNEL, _POD_SIDE):
            ip.link("set", index=ip.link_lookup(ifname=name)[0], master=bridge, mtu=mtu, state="up")
        ip.link("set", index=bridge, state="up")


def _remove(host: topology.Machine) -> None:
    """What the pod's namespace has not taken with it."""
    with network.inside(host.netns) as ip:
        for name in (_TUNNEL, _BRIDGE, _POD_SIDE):
            _remove_link(ip, name)


def _remove_link(ip: pyroute2.IPRoute, name: str) -> None:
    for index in ip.link_lookup(ifname=name):
        ip.link("del", index=index)

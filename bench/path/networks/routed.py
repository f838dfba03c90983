# SPDX-License-Identifier: Apache-2.0
"""Pods routed by the hosts' kernels without an overlay: what a network without tenants costs."""

from __future__ import annotations

import dataclasses
import shutil

from bench.core import command, world
from bench.path import topology

_CLIENT = "10.77.1.2"
_SERVER = "10.77.2.2"
_SERVICE = "10.77.9.9"
_TABLE = "mizar_bench"


@dataclasses.dataclass(frozen=True, slots=True)
class Routed:
    name: str = "routed"
    title: str = "routed pods"
    service: bool = False
    """The client asks an address that nftables on its host translates, as kube-proxy would have it."""

    def missing(self) -> str | None:
        if self.service and shutil.which("nft") is None:
            return "nft is not installed"
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        hosts = topology.two_hosts(owner, label, wire)
        client = _pod(owner, hosts.left, peer=hosts.right, address=_CLIENT, other="10.77.2.0/24")
        server = _pod(owner, hosts.right, peer=hosts.left, address=_SERVER, other="10.77.1.0/24")
        if self.service:
            _translate(hosts.left)
        return topology.Ends(
            client=client, server=server, address=_SERVER, service=_SERVICE if self.service else ""
        )


def _translate(host: topology.Host) -> None:
    """A backend is picked by the hash of the flow, of the one that there is."""
    pick = f"mod 1 map {{ 0 : {_SERVER} }}"
    for rule in (
        f"add table ip {_TABLE}",
        f"add chain ip {_TABLE} services {{ type nat hook prerouting priority dstnat; }}",
        *(
            f"add rule ip {_TABLE} services ip daddr {_SERVICE} meta l4proto {protocol} "
            f"dnat to jhash ip saddr . {protocol} sport {pick}"
            for protocol in ("tcp", "udp")
        ),
    ):
        command.run(["nft", rule], place=command.Place(netns=host.netns))


def _pod(owner: world.World, host: topology.Host, *, peer: topology.Host, address: str, other: str) -> str:
    gateway = address.rpartition(".")[0] + ".1"
    name, outside = topology.pod(owner, host, address=f"{address}/24", gateway=gateway)
    place = command.Place(netns=host.netns)
    world.sysctl(host.netns, {"net.ipv4.ip_forward": "1"})
    command.run(["ip", "address", "add", f"{gateway}/24", "dev", outside], place=place)
    command.run(["ip", "route", "add", other, "via", peer.address], place=place)
    return name

# SPDX-License-Identifier: Apache-2.0
"""Bare hosts: the tools run on the hosts themselves. The limit that no pod network can pass."""

from __future__ import annotations

import dataclasses

from bench.core import command, world
from bench.path import topology

_HEADERS = 40  # IPv4 and TCP


@dataclasses.dataclass(frozen=True, slots=True)
class Bare:
    name: str = "bare"
    title: str = "bare hosts"

    def missing(self) -> str | None:
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        hosts = topology.two_hosts(owner, label, wire)
        for host in (hosts.left, hosts.right):
            # The pods' segment size, so that all subjects send the same number of packets for the same bytes.
            command.run(
                command.words(
                    f"ip route change 192.0.2.0/24 dev {topology.WIRE_INTERFACE} src {host.address} "
                    f"mtu {topology.POD_MTU} advmss {topology.POD_MTU - _HEADERS}"
                ),
                place=command.Place(netns=host.netns),
            )
        return topology.Ends(client=hosts.left.netns, server=hosts.right.netns, address=hosts.right.address)

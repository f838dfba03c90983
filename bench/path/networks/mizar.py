# SPDX-License-Identifier: Apache-2.0
"""Mizar itself: real agents on the two hosts, one VPC with an endpoint on each.

After the first packet everything is direct, as it is for all but the first packet of real flows.
"""

from __future__ import annotations

import dataclasses

from bench.core import world
from bench.path import agents, tools, topology

_CLIENT = "10.77.0.1"
_SERVER = "10.77.0.2"
_SERVICE = "10.77.0.100"


@dataclasses.dataclass(frozen=True, slots=True)
class Mizar:
    """`transit` as the agent's option: auto, xdp or tcx."""

    name: str = "mizar"
    title: str = "Mizar"
    transit: str = "auto"
    service: bool = False
    """The client asks a scaled endpoint: the server is its backend, the server's host its bouncer."""

    def missing(self) -> str | None:
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        hosts = topology.two_hosts(owner, label, wire)
        vpc = agents.Vpc(
            vni=77,
            cidr=("10.77.0.0", 16),
            divider=hosts.left,
            networks=(
                agents.Network(
                    id=1,
                    cidr=("10.77.0.0", 24),
                    bouncer=hosts.right,
                    endpoints=((_CLIENT, hosts.left), (_SERVER, hosts.right)),
                ),
            ),
            services=(
                agents.Service(_SERVICE, backends=(_SERVER,), tcp=tools.TCP_PORTS, udp=tools.UDP_PORTS),
            )
            if self.service
            else (),
        )
        running = agents.start(owner, (hosts.left, hosts.right), transit=self.transit)
        agents.write(running, vpc)
        placed = agents.attach(owner, running, vpc)
        return topology.Ends(
            client=placed[_CLIENT],
            server=placed[_SERVER],
            address=_SERVER,
            service=_SERVICE if self.service else "",
        )

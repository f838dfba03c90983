# SPDX-License-Identifier: Apache-2.0
"""Mizar with every role on a host of its own: for the first packet of a flow, and nothing else.

    client's host   divider   bouncer   server's host
          |            |         |            |
          +------------+-- bridge +-----------+

Client and server are in two networks of one VPC, so that a first packet visits the divider and the bouncer.
The answer is direct: the server's host has learnt the sender from the packet.
"""

from __future__ import annotations

import dataclasses

from bench.core import world
from bench.path import agents, topology
from mizar.abi.verdicts import Verdict

_CLIENT = "10.77.1.1"
_SERVER = "10.77.2.1"
_VNI = 77


@dataclasses.dataclass(frozen=True, slots=True)
class MizarRoles:
    name: str = "mizar.roles"
    title: str = "Mizar, each role on its own host"

    def missing(self) -> str | None:
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        client, divider, bouncer, server = topology.switched_hosts(owner, label, wire, count=4)
        vpc = agents.Vpc(
            vni=_VNI,
            cidr=("10.77.0.0", 16),
            divider=divider,
            networks=(
                agents.Network(1, ("10.77.1.0", 24), bouncer=bouncer, endpoints=((_CLIENT, client),)),
                agents.Network(2, ("10.77.2.0", 24), bouncer=bouncer, endpoints=((_SERVER, server),)),
            ),
        )
        running = agents.start(owner, (client, divider, bouncer, server), transit="auto")
        agents.write(running, vpc)
        placed = agents.attach(owner, running, vpc)
        by_host = {agent.host: agent for agent in running}
        return topology.Ends(
            client=placed[_CLIENT],
            server=placed[_SERVER],
            address=_SERVER,
            forget=(by_host[client].learnt(_VNI, _SERVER), by_host[server].learnt(_VNI, _CLIENT)),
            witness=lambda: min(
                agents.packets(by_host[divider], Verdict.DIVIDED),
                agents.packets(by_host[bouncer], Verdict.BOUNCED),
            ),
        )

# SPDX-License-Identifier: Apache-2.0
"""Real agents among the simulated hosts: three that may bounce, one that has an endpoint and no role.

r1 r2 r3   take all roles of the VPC; the server's endpoint is on r1
r4         the client's endpoint
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from typing import Any, Final

import grpc

from bench.core import command, world
from bench.path import agents, topology
from bench.provision import plane
from mizar import errors
from mizar.rpc.gen.mizar.node.v1 import node_pb2

COUNT: Final = 4
CLIENT: Final = 0
SERVER: Final = 1
"""Numbers of the two endpoints with an interface; those after them are on simulated hosts."""
_START_SECONDS: Final = 60.0


@dataclasses.dataclass(slots=True)
class Real:
    """One real agent that can be killed and started again."""

    agent: agents.Agent
    process: command.Process

    @property
    def name(self) -> str:
        return self.agent.host.label

    def entries(self, table: str) -> int:
        with self.agent.call() as stub:
            return int(stub.GetStatus(node_pb2.GetStatusRequest()).entries[table])

    def memory(self) -> int:
        """Resident bytes."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise errors.UnavailableError(f"agent {self.name} has ended")

    def answers(self) -> bool:
        with contextlib.suppress(grpc.RpcError), self.agent.call() as stub:
            stub.GetStatus(node_pb2.GetStatusRequest(), timeout=1)
            return True
        return False


class Reals:
    """All of them, on a switch."""

    def __init__(self, owner: world.World) -> None:
        self._owner = owner
        owner.adopt(plane.ENDPOINT_NAMESPACES)
        hosts = topology.switched_hosts(owner, "r", topology.Wire.GSO, count=COUNT)
        # The controller knows hosts by these names.
        hosts = [dataclasses.replace(host, label=f"r{number}") for number, host in enumerate(hosts, start=1)]
        self.all = [Real(*agents.launch(owner, host, "tcx")) for host in hosts]
        for real in self.all:
            real.process.wait_until(real.answers, what="serving", timeout=_START_SECONDS)

    @property
    def bouncers(self) -> list[Real]:
        return self.all[:-1]

    @property
    def bystander(self) -> Real:
        """Bounces nothing."""
        return self.all[-1]

    def manifests(self) -> list[dict[str, Any]]:
        return [
            plane.host(
                real.name,
                real.agent.host.address,
                real.agent.target,
                takes_roles=real is not self.bystander,
            )
            for real in self.all
        ]

    def endpoints(self) -> list[dict[str, Any]]:
        """The two with an interface, in namespaces that the agents make."""
        return [
            plane.endpoint(CLIENT, self.bystander.name),
            plane.endpoint(SERVER, self.bouncers[0].name),
        ]

    def ends(self, vni: int) -> topology.Ends:
        """The flow between the two."""
        client, server = (plane.address(number) for number in (CLIENT, SERVER))
        return topology.Ends(
            client=f"{plane.ENDPOINT_NAMESPACES}e{CLIENT}",
            server=f"{plane.ENDPOINT_NAMESPACES}e{SERVER}",
            address=server,
            forget=(
                self.bystander.agent.learnt(vni, server),
                self.bouncers[0].agent.learnt(vni, client),
            ),
        )

    def locations(self) -> int:
        """Rows in all bouncers' tables."""
        return sum(real.entries("locations") for real in self.bouncers)

    def restart(self, real: Real) -> float:
        """kill -9 and start again; seconds until it answers."""
        real.process.kill()
        begun = time.monotonic()
        real.process = agents.launch(self._owner, real.agent.host, "tcx")[1]
        real.process.wait_until(real.answers, what="serving", timeout=_START_SECONDS)
        return time.monotonic() - begun

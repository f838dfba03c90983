# SPDX-License-Identifier: Apache-2.0
"""A VPC for one test: declared piece by piece, made ready at once, deleted at the end.

    with tenants.Tenant(lab, "t1") as blue:
        blue.network("web", "10.0.1.0/24", bouncers=2)
        a = blue.endpoint("a", "web", "h1", "10.0.1.2")
        blue.ready()
        a.run("ping", "-c1", "10.0.1.3")

What holds:
 - Names and VPC are the test's own, so tests share a lab without meeting.
 - Deleting is begun at the end of the block and not waited for: nothing in another VPC depends on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
import subprocess
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import pyroute2

from mizar.client import api
from mizar.lab import lab as lab_module
from mizar.lab import tools
from mizar.model import kinds
from tests.support import netns

READY_SECONDS: Final = 30.0


@dataclasses.dataclass(frozen=True)
class Place:
    """A network namespace of the lab that a test speaks from: an endpoint's, a host's, the outside."""

    netns: str
    address: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is there for the length of the block."""
        with tools.inside(self.netns):
            yield

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket there, to be used from anywhere: it stays in the namespace that it was made in."""
        with self.inside():
            return socket.socket(family, kind, protocol)

    def try_run(self, *argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return tools.attempt(argv, netns=self.netns, timeout=timeout)

    def run(self, *argv: str, timeout: float = 30) -> str:
        """Standard output of a command that must succeed."""
        done = self.try_run(*argv, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def netlink(self) -> Iterator[pyroute2.IPRoute]:
        with self.inside(), pyroute2.IPRoute() as ip:
            yield ip


@dataclasses.dataclass(frozen=True)
class End(Place):
    """An endpoint, and where it is. `address`: its first."""

    name: str
    """Full name."""
    host: str

    @property
    def short(self) -> str:
        return self.name.partition("/")[2]


def host(lab: lab_module.Lab, name: str) -> Place:
    machine = lab.host(name)
    return Place(machine.netns, machine.address)


def outside(lab: lab_module.Lab) -> Place:
    return Place(lab.topology.outside.netns, lab.topology.outside.address)


class Tenant:
    """One VPC and what is in it."""

    def __init__(
        self, lab: lab_module.Lab, name: str, *cidrs: str, dividers: int = 1, mtu: int | None = None
    ) -> None:
        self.lab = lab
        self.name = name
        self._declared: dict[kinds.Ref, api.Object] = {}
        self._pending: list[kinds.Ref] = []
        spec: dict[str, Any] = {"cidrs": list(cidrs or ("10.0.0.0/8",)), "dividers": dividers}
        self._declare("VPC", None, name, spec | ({"mtu": mtu} if mtu else {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client = self.lab.client
        left = [obj for ref, obj in self._declared.items() if (found := client.find(ref)) and _alive(found)]
        if left:
            client.delete_all(left)

    # ------------------------------------------------------------- declaring

    def network(self, name: str, *cidrs: str, **spec: int) -> None:
        self._declare("Network", self.name, name, {"cidrs": list(cidrs)} | spec)

    def endpoint(self, name: str, network: str, at: str, *addresses: str, **spec: Any) -> End:
        """Declared anew with another host, it moves."""
        wanted = {"network": network, "host": at, "addresses": list(addresses)} | spec
        self._declare("Endpoint", self.name, name, wanted)
        where = spec.get("netns", f"mizar.{self.name}.{name}")
        return End(netns=where, address=addresses[0], name=f"{self.name}/{name}", host=at)

    def scaled(self, name: str, network: str, address: str, *, ports: Sequence[Any], **spec: Any) -> str:
        """A scaled endpoint; `ports` as in its spec, a number stands for TCP. Returns its address."""
        declared = [{"port": port} if isinstance(port, int) else port for port in ports]
        wanted = {"type": "scaled", "network": network, "addresses": [address], "ports": declared} | spec
        self._declare("Endpoint", self.name, name, wanted)
        return address

    def label(self, name: str, **labels: str) -> None:
        """Labels of an endpoint that has been declared."""
        ref = kinds.Ref(kinds.ENDPOINT, self.name, name)
        self._declared[ref]["metadata"]["labels"] = labels
        if ref not in self._pending:
            self._pending.append(ref)

    def object(self, kind: str, name: str, **spec: Any) -> None:
        """Any other object of the VPC."""
        self._declare(kind, self.name, name, spec)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found = self.lab.client.get(kinds.Ref(kinds.find(kind), self.name, name))
        return dict(found["status"])

    def drop(self, kind: str, name: str) -> None:
        """Delete one object, and wait until it is gone."""
        ref = kinds.Ref(kinds.find(kind), self.name, name)
        self.lab.client.delete_all([self._declared.pop(ref)])
        self.lab.client.wait_gone([ref], timeout=READY_SECONDS)

    def drop_all(self, kind: str) -> None:
        """Delete all of a kind that was declared, and wait until they are gone."""
        wanted = kinds.find(kind)
        for ref in [ref for ref in self._declared if ref.kind is wanted]:
            if self.lab.client.find(ref) is not None:
                self.drop(kind, ref.name)

    def vpc(self, **spec: Any) -> None:
        """Change fields of the VPC."""
        ref = kinds.Ref(kinds.VPC, None, self.name)
        self._declare("VPC", None, self.name, self._declared[ref]["spec"] | spec)

    def ready(self) -> None:
        """Apply what was declared since, and wait until all of it is ready."""
        self.apply()
        pending, self._pending = self._pending, []
        self.lab.client.wait_ready(pending, timeout=READY_SECONDS)

    def apply(self) -> None:
        """Apply what was declared since, without waiting; `ready` then waits for it."""
        self.lab.client.apply([self._declared[ref] for ref in self._pending])

    def delete(self, *ends: End, wait: bool = True) -> None:
        """Endpoints."""
        refs = [kinds.Ref(kinds.ENDPOINT, self.name, end.short) for end in ends]
        self.lab.client.delete_all([self._declared.pop(ref) for ref in refs])
        if wait:
            self.lab.client.wait_gone(refs, timeout=READY_SECONDS)

    def _declare(self, kind: str, vpc: str | None, name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name} | ({"vpc": vpc} if vpc else {})
        ref = kinds.Ref(kinds.find(kind), vpc, name)
        self._declared[ref] = {
            "apiVersion": kinds.API_VERSION,
            "kind": kind,
            "metadata": metadata,
            "spec": spec,
        }
        if ref not in self._pending:
            self._pending.append(ref)

    # ------------------------------------------------------------- what there is

    @property
    def vni(self) -> int:
        return int(self.lab.client.get(kinds.Ref(kinds.VPC, None, self.name))["status"]["vni"])

    def dividers(self) -> set[str]:
        return {obj["spec"]["host"] for obj in self.lab.client.list(kinds.DIVIDER, vpc=self.name)}

    def bouncers(self, network: str) -> set[str]:
        found = self.lab.client.list(kinds.BOUNCER, vpc=self.name)
        return {obj["spec"]["host"] for obj in found if obj["spec"]["network"] == network}

    def hosts_but(self, *taken: str) -> list[str]:
        """The lab's other hosts."""
        return [machine.name for machine in self.lab.topology.hosts if machine.name not in taken]

    def knows(self, end: End, about: str) -> str | None:
        """Name of the host that the direct path from `end`'s host to an address leads to; None: no path."""
        vni = self.vni
        hosts = {machine.address: machine.name for machine in self.lab.topology.hosts}
        for row in self.lab.client.table(end.host, "direct"):
            if (row["vni"], row["address"]) == (vni, about):
                return hosts[row["host"]]
        return None

    def until_host_of(self, end: End, about: str, wanted: str | None) -> None:
        """Until the direct path from `end`'s host to an address is as wanted."""
        netns.until(
            lambda: self.knows(end, about) == wanted, f"{end.host} has {about} on {wanted}: {self.name}"
        )


def number_of(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def _alive(obj: api.Object) -> bool:
    return not obj["metadata"].get("deletionTimestamp")

# SPDX-License-Identifier: Apache-2.0
"""Agents in this process, each with its own gRPC server on a unix socket and everything of an agent but the
kernel.

with cluster.Cluster(tmp_path, hosts=3) as agents:
    agents["h1"].stop()     # away; its tables stay
    agents["h1"].start()    # back, with what it had
"""

from __future__ import annotations

import itertools
import json
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from mizar.agent import node, service, simulated
from mizar.model import addresses
from mizar.rpc import server
from mizar.rpc.gen.mizar.node.v1 import node_pb2

FIRST = addresses.parse("172.30.0.10")


class Recorder(service.NodeService):
    """The agent's service, which also notes what came, over all agents in one order."""

    def __init__(self, served: node.Node, name: str, log: Log) -> None:
        super().__init__(served)
        self._name = name
        self._log = log

    def Sync(  # noqa: N802  gRPC calls methods by the names in the .proto
        self, request_iterator: Iterator[node_pb2.SyncRequest], context: Any
    ) -> Iterator[node_pb2.SyncAck]:
        return super().Sync(self._noted(request_iterator), context)

    def _noted(self, requests: Iterator[node_pb2.SyncRequest]) -> Iterator[node_pb2.SyncRequest]:
        for request in requests:
            self._log.note(self._name, request)
            yield request


class Log:
    """Messages of all agents in the order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[str, node_pb2.SyncRequest]] = []

    def note(self, host: str, request: node_pb2.SyncRequest) -> None:
        with self._lock:
            self._entries.append((host, request))

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __iter__(self) -> Iterator[tuple[str, node_pb2.SyncRequest]]:
        with self._lock:
            return iter(list(self._entries))

    def position(self, holds: Callable[[str, node_pb2.SyncRequest], bool], *, last: bool = False) -> int:
        """Place in the order of the first (or last) message for which `holds` is true."""
        found = [place for place, entry in enumerate(self) if holds(*entry)]
        assert found, "no such message"
        return found[-1] if last else found[0]


class Agent:
    """One host: a simulated node that outlives its server, as pinned maps outlive an agent."""

    def __init__(self, name: str, number: int, directory: pathlib.Path, log: Log) -> None:
        self.name = name
        self.address = FIRST + number
        self.target = f"unix://{directory}/{name}.sock"
        self._log = log
        state = directory / name
        state.mkdir()
        self.parts = simulated.parts(self.address, state_dir=state)
        self._server: server.Server | None = None

    def start(self) -> None:
        self.node = node.Node(self.name, self.parts)
        serving = Recorder(self.node, self.name, self._log)
        self._server = server.Server(serving, server.Listen((self.target,)))

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=0)
            self._server = None

    def locations(self) -> dict[tuple[int, str], str | None]:
        """(VNI, address) to host, as the bouncer's table has it; None: a scaled endpoint."""
        return {(row["vni"], row["address"]): row["host"] for row in self.rows("locations")}

    def endpoints(self) -> set[str]:
        return {f"{one.key.vpc}/{one.key.name}" for one in self.node.list_endpoints()}

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """Decoded rows of a table."""
        pages = self.node.read_table(table)
        return [json.loads(row) for row in itertools.chain.from_iterable(pages)]

    @property
    def manifest(self) -> dict[str, Any]:
        """The host as an object for the API."""
        return {
            "apiVersion": "mizar.io/v1",
            "kind": "Host",
            "metadata": {"name": self.name},
            "spec": {"addresses": [addresses.to_text(self.address)], "agent": self.target},
        }


class Cluster:
    """Agents h1, h2, ... below one directory."""

    def __init__(self, directory: pathlib.Path, *, hosts: int) -> None:
        self.log = Log()
        names = [f"h{number}" for number in range(1, hosts + 1)]
        self.agents = {
            name: Agent(name, number, directory, self.log) for number, name in enumerate(names, start=1)
        }

    def __enter__(self) -> Self:
        for agent in self.agents.values():
            agent.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agent in self.agents.values():
            agent.stop()

    def __getitem__(self, name: str) -> Agent:
        return self.agents[name]

    @property
    def manifests(self) -> list[dict[str, Any]]:
        return [agent.manifest for agent in self.agents.values()]

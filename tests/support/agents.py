# SPDX-License-Identifier: Apache-2.0
"""Real agent processes in test namespaces, driven by hand over the node API.

    with agents.agent(h1, "h1", tmp_path) as a1:
        a1.node.Apply(...)
        a1.kill(); a1.start()

Leaving the block ends the process and removes its pins, state and endpoints.
"""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import grpc

from mizar.dataplane import kernel
from mizar.rpc import client
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc
from tests.support import netns

_START: Final = """
import pathlib, sys
from mizar.agent import config, main
from mizar.dataplane import protocol
name, state, pins, transit = sys.argv[1:]
main.run(config.AgentConfig(
    name=name, interface="eth0", state_dir=pathlib.Path(state), pin_root=pathlib.Path(pins),
    transit=protocol.TransitMode(transit), log_level="debug",
))
"""


class Agent:
    """One agent, running or not."""

    def __init__(self, where: netns.Namespace, name: str, state: pathlib.Path, transit: str) -> None:
        self.name = name
        self.where = where
        self.log = state / "agent.log"
        self.pins = pathlib.Path("/sys/fs/bpf/mizar-tests") / where.name
        self._state = state
        self._transit = transit
        self._process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self._state.mkdir(parents=True, exist_ok=True)
        arguments = (self.name, str(self._state), str(self.pins), self._transit)
        self._process = self.where.start(sys.executable, "-c", _START, *arguments, output=self.log)
        self._channel = client.channel(f"unix://{self._state}/agent.sock")
        self.node = node_pb2_grpc.NodeStub(self._channel)
        netns.until(self._answers, f"agent {self.name} answers: {self.log}", timeout=20)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            self.node.GetStatus(node_pb2.GetStatusRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return True

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.send_signal(how)
            self._process.wait(timeout=20)
            self._process = None

    def rows(self, table: str) -> list[str]:
        """A table's rows as the agent shows them."""
        pages = self.node.ReadTable(node_pb2.ReadTableRequest(table=table))
        return [row for page in pages for row in page.rows]

    def remove_all(self) -> None:
        """Everything the agent made in the kernel, by its own hands, then the data plane itself."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        for status in self.node.ListEndpoints(node_pb2.ListEndpointsRequest()).endpoints:
            self.node.RemoveEndpoint(status.key)
        self.stop()
        with self.where.entered():
            kernel.KernelDataPlane(self.pins).destroy()


@contextlib.contextmanager
def agent(
    where: netns.Namespace, name: str, state: pathlib.Path, *, transit: str = "auto"
) -> Iterator[Agent]:
    """A running agent of host `name` in a namespace whose underlay interface is eth0."""
    made = Agent(where, name, state / name, transit)
    made.start()
    try:
        yield made
    finally:
        made.remove_all()

# SPDX-License-Identifier: Apache-2.0
"""The node API as a worker sees it: one channel, one Sync stream, failures in our words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

import grpc
import grpc.aio

from mizar import errors
from mizar.controller import wire, worker
from mizar.controller.hostqueue import Outgoing
from mizar.plan.rows import Key
from mizar.rpc import client, failures
from mizar.rpc import wire as rpc_wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc


class AgentSession:
    """worker.Session over gRPC. The stream is opened by the first message."""

    def __init__(self, stub: node_pb2_grpc.NodeAsyncStub) -> None:
        self._stub = stub
        self._stream: grpc.aio.StreamStreamCall[node_pb2.SyncRequest, node_pb2.SyncAck] | None = None

    async def status(self) -> node_pb2.NodeStatus:
        with _our_errors():
            return await self._stub.GetStatus(node_pb2.GetStatusRequest())

    async def send(self, message: Outgoing) -> None:
        with _our_errors():
            await self._opened().write(wire.request(message))

    async def receive(self) -> node_pb2.SyncAck:
        with _our_errors():
            ack = await self._opened().read()
        if not isinstance(ack, node_pb2.SyncAck):
            raise errors.UnavailableError("the agent has closed the stream")
        return ack

    def refused(self, message: Outgoing, ack: node_pb2.SyncAck) -> Mapping[Key, str]:
        return wire.refused(message, ack)

    async def counters(self) -> node_pb2.Counters:
        with _our_errors():
            return await self._stub.GetCounters(node_pb2.GetCountersRequest())

    async def health(self) -> AsyncIterator[node_pb2.HealthReport]:
        with _our_errors():
            async for report in self._stub.WatchHealth(node_pb2.WatchHealthRequest()):
                yield report

    async def table(self, name: str) -> AsyncIterator[list[str]]:
        with _our_errors():
            async for page in self._stub.ReadTable(node_pb2.ReadTableRequest(table=name)):
                yield list(page.rows)

    def _opened(self) -> grpc.aio.StreamStreamCall[node_pb2.SyncRequest, node_pb2.SyncAck]:
        if self._stream is None:
            self._stream = self._stub.Sync(None)  # None: messages are written one by one
        return self._stream

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()


class Agents:
    """How this controller reaches agents."""

    def __init__(self, *, tls: rpc_wire.TlsFiles | None = None, insecure: bool = False) -> None:
        self._tls = tls
        self._insecure = insecure

    def connector(self, target: str) -> worker.Connect:
        """What a worker calls for each attempt to reach the agent at `target`."""
        return lambda: self._session(target)

    @contextlib.asynccontextmanager
    async def _session(self, target: str) -> AsyncIterator[AgentSession]:
        async with client.connect_aio(target, tls=self._tls, insecure=self._insecure) as stub:
            session = AgentSession(stub)
            try:
                yield session
            finally:
                session.cancel()


@contextlib.contextmanager
def _our_errors() -> Iterator[None]:
    """gRPC's failures as ours. A cancelled stream counts as an agent that is away."""
    try:
        yield
    except grpc.RpcError as failure:
        raise failures.from_rpc(failure) from failure
    except grpc.aio.UsageError as failure:
        raise errors.UnavailableError(f"the stream to the agent is closed: {failure}") from failure

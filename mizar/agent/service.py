# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802  gRPC calls methods by the names in the .proto
"""The node API over a node: one method a call, errors as status codes. Nothing is decided here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from mizar import errors
from mizar.agent import health, node
from mizar.rpc import failures
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc


class NodeService(node_pb2_grpc.NodeServicer):
    """Implements service Node of proto/mizar/node/v1."""

    def __init__(self, served: node.Node) -> None:
        self.node = served

    def GetStatus(
        self, request: node_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> node_pb2.NodeStatus:
        with _errors_to(context):
            return self.node.status()

    def Sync(
        self, request_iterator: Iterator[node_pb2.SyncRequest], context: grpc.ServicerContext
    ) -> Iterator[node_pb2.SyncAck]:
        with _errors_to(context):
            for request in request_iterator:
                yield self.node.apply(request)

    def Apply(self, request: node_pb2.SyncRequest, context: grpc.ServicerContext) -> node_pb2.SyncAck:
        with _errors_to(context):
            return self.node.apply(request)

    def CreateEndpoint(
        self, request: node_pb2.Endpoint, context: grpc.ServicerContext
    ) -> node_pb2.EndpointStatus:
        with _errors_to(context):
            return self.node.create_endpoint(request)

    def RemoveEndpoint(
        self, request: node_pb2.EndpointKey, context: grpc.ServicerContext
    ) -> node_pb2.RemoveEndpointResponse:
        with _errors_to(context):
            return node_pb2.RemoveEndpointResponse(existed=self.node.remove_endpoint(request))

    def ListEndpoints(
        self, request: node_pb2.ListEndpointsRequest, context: grpc.ServicerContext
    ) -> node_pb2.ListEndpointsResponse:
        with _errors_to(context):
            return node_pb2.ListEndpointsResponse(endpoints=self.node.list_endpoints())

    def ReadTable(
        self, request: node_pb2.ReadTableRequest, context: grpc.ServicerContext
    ) -> Iterator[node_pb2.TablePage]:
        with _errors_to(context):
            for rows in self.node.read_table(request.table):
                yield node_pb2.TablePage(rows=rows)

    def GetCounters(
        self, request: node_pb2.GetCountersRequest, context: grpc.ServicerContext
    ) -> node_pb2.Counters:
        with _errors_to(context):
            return self.node.counters()

    def WatchHealth(
        self, request: node_pb2.WatchHealthRequest, context: grpc.ServicerContext
    ) -> Iterator[node_pb2.HealthReport]:
        with _errors_to(context), contextlib.closing(self.node.health.watch()) as watcher:
            if not context.add_callback(watcher.close):
                return  # the caller has gone already
            for key, result in watcher:
                yield _health_report(key, result)


def _health_report(key: health.Key, result: health.Result) -> node_pb2.HealthReport:
    endpoint = node_pb2.EndpointKey(vpc=key.vpc, name=key.endpoint)
    return node_pb2.HealthReport(
        key=node_pb2.CheckKey(endpoint=endpoint, service=key.service),
        healthy=result.healthy,
        message=result.message,
    )


@contextlib.contextmanager
def _errors_to(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status code of one of our errors."""
    try:
        yield
    except errors.MizarError as failure:
        context.abort(failures.code_of(failure), str(failure))

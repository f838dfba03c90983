# SPDX-License-Identifier: Apache-2.0
"""A host in memory, and messages to drive it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Final, TypeAlias

import pytest

from mizar.agent import node, simulated
from mizar.dataplane import fake
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2

OWN: Final = values.address("172.30.0.11")
PEER: Final = values.address("172.30.0.12")
VNI: Final = 5
NETWORK: Final = 7
SHARDS: Final = 16

Node: TypeAlias = node.Node

SIZES: Final = {"mz_stats": 64, "mz_locations4": 1000}


@dataclasses.dataclass
class Host:
    """A node and what is behind it; reopen() is a restart of the agent."""

    state: pathlib.Path
    parts: node.Parts
    node: Node
    plane: fake.FakeDataPlane
    links: simulated.MemoryAttachments

    def reopen(self) -> Node:
        """A new agent over what the killed one left."""
        fresh = simulated.parts(OWN, state_dir=self.state, sizes=SIZES)
        self.parts = dataclasses.replace(fresh, data_plane=self.plane, attachments=self.links)
        self.node = node.Node("h1", self.parts)
        return self.node

    def apply(self, **fields: object) -> node_pb2.SyncAck:
        return self.node.apply(node_pb2.SyncRequest(**fields))  # type: ignore[arg-type]

    def rows(self, table: str) -> list[str]:
        return sorted(row for page in self.node.read_table(table) for row in page)


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[Host]:
    parts = simulated.parts(OWN, state_dir=tmp_path, sizes=SIZES)
    assert isinstance(parts.data_plane, fake.FakeDataPlane)
    assert isinstance(parts.attachments, simulated.MemoryAttachments)
    made = Host(tmp_path, parts, node.Node("h1", parts), parts.data_plane, parts.attachments)
    yield made
    made.node.close()


def endpoint(name: str = "web-1", address: str = "10.0.1.5", **fields: object) -> node_pb2.Endpoint:
    number = values.address(address)
    wanted = node_pb2.Endpoint(
        key=node_pb2.EndpointKey(vpc="blue", name=name),
        vni=VNI,
        network=NETWORK,
        shards=SHARDS,
        mac=b"\x02\x00" + number.to_bytes(4, "big"),
        addresses=[number],
        onlink=[values.prefix("10.0.1.0/24")],
    )
    wanted.MergeFrom(node_pb2.Endpoint(**fields))  # type: ignore[arg-type]
    return wanted


def tables(*endpoints: node_pb2.Endpoint) -> node_pb2.Tables:
    """A host with both roles."""
    located = [values.address(f"10.0.1.{number}") for number in range(10, 30)]
    return node_pb2.Tables(
        hosts=[node_pb2.Host(address=OWN, name="h1"), node_pb2.Host(address=PEER, name="h2")],
        vpcs=[node_pb2.Vpc(vni=VNI, name="blue", dividers=[OWN, PEER], divides=True)],
        networks=[node_pb2.Network(id=NETWORK, vni=VNI, name="blue/web", bounces=True)],
        routes=[route("10.0.1.0", 24)],
        shards=[node_pb2.ShardSet(network=NETWORK, replicas=[node_pb2.Replicas(hosts=[OWN, PEER])] * SHARDS)],
        locations=[
            node_pb2.LocationSet(vni=VNI, network=NETWORK, addresses=located, hosts=[PEER] * len(located))
        ],
        endpoints=endpoints,
    )


def route(prefix: str, length: int, **fields: object) -> node_pb2.Route:
    made = node_pb2.Route(
        key=node_pb2.RouteKey(vni=VNI, prefix=values.address(prefix), length=length),
        kind=node_pb2.Route.NETWORK,
        network=NETWORK,
        shards=SHARDS,
    )
    made.MergeFrom(node_pb2.Route(**fields))  # type: ignore[arg-type]
    return made

# SPDX-License-Identifier: Apache-2.0
"""Drive two agents by hand, without a controller, until their endpoints can talk.

    python examples/node-api/01-two-agents.py unix:///run/n1/agent.sock unix:///run/n2/agent.sock

01-two-agents.sh starts the agents and calls this. What is sent here is all there is to say: hosts, a VPC, a
network and its shards to both; the table of endpoints to the first, which divides and bounces; then an
endpoint each.
"""

from __future__ import annotations

import sys

from mizar.rpc import client
from mizar.rpc.gen.mizar.node.v1 import node_pb2

VNI, NETWORK, SHARDS = 4711, 1, 8
SUBNET, LENGTH = 0x0A000100, 24  # 10.0.1.0/24
ADDRESSES = (0x0A000105, 0x0A000106)  # 10.0.1.5 on the first host, 10.0.1.6 on the second


def tables(hosts: tuple[int, int], *, first: bool) -> node_pb2.Tables:
    """Everything but endpoints. `hosts`: underlay addresses; the first host has both roles."""
    route = node_pb2.Route(
        key=node_pb2.RouteKey(vni=VNI, prefix=SUBNET, length=LENGTH),
        kind=node_pb2.Route.NETWORK,
        network=NETWORK,
        shards=SHARDS,
    )
    made = node_pb2.Tables(
        hosts=[node_pb2.Host(address=host, name=f"n{at}") for at, host in enumerate(hosts, start=1)],
        vpcs=[node_pb2.Vpc(vni=VNI, name="byhand", dividers=[hosts[0]], divides=first)],
        networks=[node_pb2.Network(id=NETWORK, vni=VNI, name="byhand/web", bounces=first)],
        routes=[route],
        shards=[node_pb2.ShardSet(network=NETWORK, replicas=[node_pb2.Replicas(hosts=hosts[:1])] * SHARDS)],
    )
    if first:  # the bouncer's table: which host each endpoint is on
        made.locations.add(vni=VNI, network=NETWORK, addresses=ADDRESSES, hosts=hosts)
    return made


def endpoint(name: str, address: int) -> node_pb2.Endpoint:
    return node_pb2.Endpoint(
        key=node_pb2.EndpointKey(vpc="byhand", name=name),
        vni=VNI,
        network=NETWORK,
        shards=SHARDS,
        mac=b"\x02\x00" + address.to_bytes(4, "big"),
        addresses=[address],
        onlink=[node_pb2.Prefix(address=SUBNET, length=LENGTH)],
    )


def main(first: str, second: str) -> None:
    with client.connect(first) as n1, client.connect(second) as n2:
        nodes = (n1, n2)
        statuses = [node.GetStatus(node_pb2.GetStatusRequest()) for node in nodes]
        hosts = (statuses[0].address, statuses[1].address)
        for node in nodes:
            request = node_pb2.SyncRequest(revision=1, upsert=tables(hosts, first=node is n1))
            ack = node.Apply(request)
            if ack.errors:
                sys.exit(f"{ack.errors[0].table} {ack.errors[0].key}: {ack.errors[0].message}")
        for node, name, address in zip(nodes, ("web-1", "web-2"), ADDRESSES, strict=True):
            made = node.CreateEndpoint(endpoint(name, address))
            print(f"{name} is ready in network namespace {made.netns}, MTU {made.mtu}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

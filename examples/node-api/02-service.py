# SPDX-License-Identifier: Apache-2.0
"""A load balancer of a hundred lines, which leaves out servers that do not answer.

    python examples/node-api/02-service.py unix:///run/n1/agent.sock unix:///run/n2/agent.sock

02-service.sh starts the agents and the servers, and calls this. The service goes to the bouncer of its
address, which is the first host; the checks go to the hosts of the servers, whose agents report.
"""

from __future__ import annotations

import queue
import sys
import threading

from mizar.rpc import client
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc

VNI, NETWORK, SHARDS = 4711, 1, 8
SUBNET, LENGTH = 0x0A000100, 24  # 10.0.1.0/24
SHOP = 0x0A000164  # 10.0.1.100
SERVERS = {"web-1": 0x0A000105, "web-2": 0x0A000106}  # on the first and the second host
CLIENT = 0x0A000107  # on the first


def tables(hosts: list[int], *, first: bool) -> node_pb2.Tables:
    """What both hosts need, and the tables of the bouncer."""
    route = node_pb2.Route(
        key=node_pb2.RouteKey(vni=VNI, prefix=SUBNET, length=LENGTH),
        kind=node_pb2.Route.NETWORK,
        network=NETWORK,
        shards=SHARDS,
    )
    made = node_pb2.Tables(
        hosts=[node_pb2.Host(address=host, name=f"n{at}") for at, host in enumerate(hosts, start=1)],
        vpcs=[node_pb2.Vpc(vni=VNI, name="byhand", dividers=hosts[:1], divides=first)],
        networks=[node_pb2.Network(id=NETWORK, vni=VNI, name="byhand/web", bounces=first)],
        routes=[route],
        shards=[node_pb2.ShardSet(network=NETWORK, replicas=[node_pb2.Replicas(hosts=hosts[:1])] * SHARDS)],
    )
    if first:
        # Host 0: a scaled endpoint. Its services follow, they are what answers there.
        addresses, places = [*SERVERS.values(), CLIENT, SHOP], [*hosts, hosts[0], 0]
        made.services.append(service([]))
        made.locations.add(vni=VNI, network=NETWORK, addresses=addresses, hosts=places)
    return made


def service(backends: list[int]) -> node_pb2.Service:
    return node_pb2.Service(
        key=node_pb2.ServiceKey(vni=VNI, address=SHOP, port=80, protocol=node_pb2.TCP),
        name="byhand/shop",
        target_port=8080,
        backends=[node_pb2.Backend(address=address, weight=1) for address in backends],
    )


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


def check(name: str) -> node_pb2.Check:
    return node_pb2.Check(
        key=node_pb2.CheckKey(endpoint=node_pb2.EndpointKey(vpc="byhand", name=name), service="byhand/shop"),
        kind=node_pb2.Check.HTTP_GET,
        port=8080,
        path="/",
        interval_ms=500,
        timeout_ms=400,
        failures=2,
        successes=1,
    )


def apply(node: node_pb2_grpc.NodeStub, entries: node_pb2.Tables) -> None:
    ack = node.Apply(node_pb2.SyncRequest(revision=1, upsert=entries))
    if ack.errors:
        sys.exit(f"{ack.errors[0].table} {ack.errors[0].key}: {ack.errors[0].message}")


def main(first: str, second: str) -> None:
    with client.connect(first) as n1, client.connect(second) as n2:
        nodes = (n1, n2)
        hosts = [node.GetStatus(node_pb2.GetStatusRequest()).address for node in nodes]
        for node in nodes:
            apply(node, tables(hosts, first=node is n1))
        n1.CreateEndpoint(endpoint("client", CLIENT))
        reports: queue.SimpleQueue[node_pb2.HealthReport] = queue.SimpleQueue()
        for node, (name, address) in zip(nodes, SERVERS.items(), strict=True):
            node.CreateEndpoint(endpoint(name, address))
            apply(node, node_pb2.Tables(checks=[check(name)]))
            threading.Thread(target=listen, args=(node, reports), daemon=True).start()
        print("everybody is attached")  # noqa: T201
        balance(n1, reports)


def listen(node: node_pb2_grpc.NodeStub, reports: queue.SimpleQueue[node_pb2.HealthReport]) -> None:
    for report in node.WatchHealth(node_pb2.WatchHealthRequest()):
        reports.put(report)


def balance(bouncer: node_pb2_grpc.NodeStub, reports: queue.SimpleQueue[node_pb2.HealthReport]) -> None:
    """Give the bouncer those that are healthy, for ever."""
    healthy: set[str] = set()
    while True:
        report = reports.get()
        name = report.key.endpoint.name
        (healthy.add if report.healthy else healthy.discard)(name)
        print(f"{name}: {report.message or 'healthy'}")  # noqa: T201
        listed = sorted(healthy)
        apply(bouncer, node_pb2.Tables(services=[service([SERVERS[each] for each in listed])]))
        print(f"backends: {', '.join(listed) or 'none'}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

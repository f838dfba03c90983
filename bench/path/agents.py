# SPDX-License-Identifier: Apache-2.0
"""Real agents on the bench's hosts, driven by hand through the node API.

No controller, so that what is measured is the data plane with exactly the tables that are written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.core import command, world
from bench.path import topology
from mizar import errors
from mizar.abi import layout
from mizar.abi.verdicts import Verdict
from mizar.dataplane import bpffs, maps, sets, tables
from mizar.rpc import client, values
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc

PIN_ROOT: Final = pathlib.Path("/sys/fs/bpf")
_START_SECONDS: Final = 60.0  # the verifier's time, on a busy machine
_SHARDS: Final = 128


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """A running agent."""

    host: topology.Host
    target: str
    pins: pathlib.Path

    @contextlib.contextmanager
    def call(self) -> Iterator[node_pb2_grpc.NodeStub]:
        with client.connect(self.target) as stub:
            yield stub

    def pinned_map(self, name: str) -> pathlib.Path:
        """Path of a map, wherever the version of the tables puts it."""
        found = sorted(self.pins.glob(f"v*/maps/{name}"))
        if not found:
            raise errors.NotFoundError(f"map {name} is not pinned below {self.pins}")
        return found[-1]

    def learnt(self, vni: int, address: str) -> str:
        """What the host has learnt of an endpoint, as tools/first_packet names it: the set that it is in."""
        path = self.pinned_map(layout.Table.DIRECT4)
        pinned = {
            name: maps.Map.pinned(self.pinned_map(name), key=spec.key, value=spec.value)
            for name, spec in layout.MAPS.items()
            if name in (layout.Table.DIRECT4, layout.PARTS)
        }
        table = tables.over(pinned)[layout.Table.DIRECT4]
        assert isinstance(table, sets.SetTable)
        home = table.home((vni, values.address(address)))
        return f"{path}:{home}"


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """A subnet, the host that bounces for it, and its endpoints by address with the host that each is on."""

    id: int
    cidr: tuple[str, int]
    bouncer: topology.Host
    endpoints: tuple[tuple[str, topology.Host], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """A scaled endpoint in the first network, the same ports on address and backends."""

    address: str
    backends: tuple[str, ...]
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Vpc:
    """One tenant over some hosts."""

    vni: int
    cidr: tuple[str, int]
    divider: topology.Host
    networks: tuple[Network, ...]
    services: tuple[Service, ...] = ()


def start(owner: world.World, hosts: Sequence[topology.Host], *, transit: str) -> list[Agent]:
    """Agents on all hosts, each told of all hosts; ready on return."""
    bpffs.ensure(PIN_ROOT)
    pending = [launch(owner, host, transit) for host in hosts]
    peers = [node_pb2.Host(address=values.address(host.address), name=host.label) for host in hosts]
    started = []
    for agent, process in pending:
        socket = pathlib.Path(agent.target.removeprefix("unix://"))
        process.wait_until(socket.exists, what="serving", timeout=_START_SECONDS)
        _apply(agent, node_pb2.Tables(hosts=peers))
        started.append(agent)
    return started


def launch(owner: world.World, host: topology.Host, transit: str) -> tuple[Agent, command.Process]:
    """Start an agent, or start it again; it may not answer yet."""
    state = owner.directory / f"agent-{host.label}"
    agent = Agent(
        host=host,
        target=f"unix://{state}/agent.sock",
        # bpffs allows no dot in a name.
        pins=PIN_ROOT / f"{world.PREFIX}-{os.getpid()}-{host.label.replace('.', '-')}",
    )
    owner.callback(lambda: shutil.rmtree(agent.pins, ignore_errors=True))
    process = owner.start(
        [
            *(
                sys.executable,
                "-m",
                "mizar",
                "agent",
                "--state-dir",
                str(state),
                "--pin-root",
                str(agent.pins),
            ),
            *command.words(f"--name {host.label} --address {host.address} --transit {transit}"),
        ],
        place=command.Place(netns=host.netns),
    )
    return agent, process


def write(agents: Sequence[Agent], vpc: Vpc) -> None:
    """The VPC's rows, on each host those of its roles and endpoints, as a controller would write them."""
    for agent in agents:
        _apply(agent, _tables(vpc, agent.host))


def attach(owner: world.World, agents: Sequence[Agent], vpc: Vpc) -> dict[str, str]:
    """All endpoints of the VPC, each in a namespace of its own; namespaces by address."""
    by_host = {agent.host.label: agent for agent in agents}
    placed = {}
    for network in vpc.networks:
        for address, host in network.endpoints:
            name = owner.namespace(f"{host.label}.{network.id}")
            with by_host[host.label].call() as stub:
                status = stub.CreateEndpoint(_endpoint(vpc, network, address, name))
            if not status.ready:
                raise errors.KernelError(f"create endpoint {address} on {host.label}: {status.message}")
            placed[address] = name
    return placed


def transit_of(agent: Agent) -> str:
    """What really runs on the host's interface."""
    with agent.call() as stub:
        return str(stub.GetStatus(node_pb2.GetStatusRequest()).transit)


def packets(agent: Agent, verdict: Verdict) -> int:
    """How many packets have left the host's programs that way."""
    with agent.call() as stub:
        counters = stub.GetCounters(node_pb2.GetCountersRequest())
    return sum(count.packets for count in counters.verdicts if count.name == verdict.label)


def _apply(agent: Agent, tables: node_pb2.Tables) -> None:
    with agent.call() as stub:
        ack = stub.Apply(node_pb2.SyncRequest(revision=1, upsert=tables), wait_for_ready=True)
    if ack.errors:
        first = ack.errors[0]
        raise errors.KernelError(f"write {first.table} {first.key} on {agent.host.label}: {first.message}")


def _tables(vpc: Vpc, host: topology.Host) -> node_pb2.Tables:
    divides = vpc.divider == host
    bounces = [network for network in vpc.networks if network.bouncer == host]
    looks_up = [network for network in vpc.networks if divides or _has(network, host)]
    return node_pb2.Tables(
        vpcs=[
            node_pb2.Vpc(
                vni=vpc.vni,
                name="bench",
                dividers=[values.address(vpc.divider.address)],
                divides=divides,
            )
        ],
        networks=[
            node_pb2.Network(
                id=network.id, vni=vpc.vni, name=f"net-{network.id}", bounces=network.bouncer == host
            )
            for network in dict.fromkeys((*bounces, *looks_up))
        ],
        routes=list(_routes(vpc, looks_up, divides=divides)) if looks_up else [],
        shards=[_shards(network) for network in looks_up],
        locations=[_locations(vpc, network) for network in bounces],
        services=list(_services(vpc)) if vpc.networks[0] in bounces else [],
    )


def _services(vpc: Vpc) -> Iterator[node_pb2.Service]:
    for service in vpc.services:
        ports = [(port, node_pb2.TCP) for port in service.tcp] + [
            (port, node_pb2.UDP) for port in service.udp
        ]
        for port, protocol in ports:
            address = values.address(service.address)
            yield node_pb2.Service(
                key=node_pb2.ServiceKey(vni=vpc.vni, address=address, port=port, protocol=protocol),
                name="bench/service",
                target_port=port,
                backends=[
                    node_pb2.Backend(address=values.address(backend), weight=1)
                    for backend in service.backends
                ],
            )


def _has(network: Network, host: topology.Host) -> bool:
    return any(placed == host for _, placed in network.endpoints)


def _routes(vpc: Vpc, networks: Iterable[Network], *, divides: bool) -> Iterator[node_pb2.Route]:
    kinds = node_pb2.Route.Kind
    yield node_pb2.Route(key=_key(vpc, vpc.cidr), kind=kinds.NONE if divides else kinds.DIVIDER)
    for network in networks:
        yield node_pb2.Route(
            key=_key(vpc, network.cidr), kind=kinds.NETWORK, network=network.id, shards=_SHARDS
        )


def _key(vpc: Vpc, cidr: tuple[str, int]) -> node_pb2.RouteKey:
    return node_pb2.RouteKey(vni=vpc.vni, prefix=values.address(cidr[0]), length=cidr[1])


def _shards(network: Network) -> node_pb2.ShardSet:
    holder = node_pb2.Replicas(hosts=[values.address(network.bouncer.address)])
    return node_pb2.ShardSet(network=network.id, first_shard=0, replicas=[holder] * _SHARDS)


def _locations(vpc: Vpc, network: Network) -> node_pb2.LocationSet:
    scaled = [service.address for service in vpc.services] if network is vpc.networks[0] else []
    return node_pb2.LocationSet(
        vni=vpc.vni,
        network=network.id,
        addresses=[values.address(address) for address in (*dict(network.endpoints), *scaled)],
        hosts=[values.address(host.address) for _, host in network.endpoints] + [0] * len(scaled),
    )


def _endpoint(vpc: Vpc, network: Network, address: str, netns: str) -> node_pb2.Endpoint:
    number = values.address(address)
    return node_pb2.Endpoint(
        key=node_pb2.EndpointKey(vpc="bench", name=address.replace(".", "-")),
        vni=vpc.vni,
        network=network.id,
        shards=_SHARDS,
        mac=b"\x02\x4d" + number.to_bytes(4, "big"),
        addresses=[number],
        onlink=[node_pb2.Prefix(address=values.address(network.cidr[0]), length=network.cidr[1])],
        mtu=topology.POD_MTU,
        veth=node_pb2.Veth(netns=netns),
    )

# SPDX-License-Identifier: Apache-2.0
"""Objects by what the planner calls them: which hosts must know one, and whose a row is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mizar.abi import hashes
from mizar.model import addresses, facts, kinds, objects, parts
from mizar.plan import planner, rows, scaled, state
from mizar.plan.rows import Table
from mizar.store import records


class Subject(NamedTuple):
    """An object by what the planner calls it.

    kind              id
    Host              name
    VPC               VNI
    Network, Gateway  number
    Endpoint          serial number of a simple endpoint
    Service           serial number of a scaled endpoint
    FloatingAddress   outside address
    PortForward       outside address, port, protocol
    RouteTable        VNI and name
    Peering           VNI and the peer's VNI
    """

    kind: str
    id: Any


def of(world: state.State, obj: objects.Declared) -> Subject:
    match obj:
        case objects.Endpoint(spec=objects.EndpointSpec()):
            return Subject("Endpoint", _serial(obj))
        case objects.Endpoint():
            return Subject("Service", _serial(obj))
        case objects.Host():
            return Subject("Host", obj.metadata.name)
        case objects.Vpc():
            return Subject("VPC", obj.status.vni if obj.status else None)
        case objects.Network() | objects.Gateway():
            return Subject(obj.kind, obj.status.id if obj.status else None)
        case objects.FloatingAddress():
            return Subject("FloatingAddress", addresses.parse(obj.spec.address))
        case objects.PortForward():
            outside = addresses.parse(obj.spec.address)
            return Subject("PortForward", (outside, obj.spec.port, parts.PROTOCOLS[obj.spec.protocol]))
        case objects.RouteTable():
            return Subject("RouteTable", (world.vnis.get(obj.metadata.vpc), obj.metadata.name))
        case objects.Peering():
            return Subject("Peering", (world.vnis.get(obj.metadata.vpc), world.vnis.get(obj.spec.peer)))


def _serial(obj: objects.Endpoint) -> int | None:
    return records.serial_of(obj.metadata.uid) if obj.metadata.uid else None


def of_change(change: planner.Change) -> Iterator[Subject]:
    """What was created or changed."""
    for host in change.hosts:
        yield Subject("Host", host.name)
    for vpc in change.vpcs:
        yield Subject("VPC", vpc.vni)
    for network in change.networks:
        yield Subject("Network", network.id)
    for endpoint in change.endpoints:
        yield Subject("Endpoint", endpoint.id)
    for service in change.services:
        yield Subject("Service", service.id)
    for gateway in change.gateways:
        yield Subject("Gateway", gateway.id)
    for floating in change.floating:
        yield Subject("FloatingAddress", floating.address)
    for forward in change.forwards:
        yield Subject("PortForward", (forward.address, forward.port, forward.protocol))
    for table in change.route_tables:
        yield Subject("RouteTable", (table.vni, table.name))
    for peering in change.peerings:
        yield Subject("Peering", (peering.vni, peering.peer))


def ref(world: state.State, subject: Subject) -> kinds.Ref | None:
    """Its name; None when it is gone. Peerings have no name here."""
    if subject.kind == "Host":
        return kinds.Ref(kinds.HOST, None, subject.id)
    if subject.kind == "VPC":
        known = world.vpcs.get(subject.id)
        return kinds.Ref(kinds.VPC, None, known.fact.name) if known is not None else None
    fact = _fact(world, subject)
    if fact is None:
        return None
    kind = kinds.find("Endpoint" if subject.kind == "Service" else subject.kind)
    return kinds.Ref(kind, world.vpcs[fact.vni].fact.name, fact.name)


_Fact = (
    facts.NetworkFact
    | facts.EndpointFact
    | facts.ServiceFact
    | facts.GatewayFact
    | facts.FloatingFact
    | facts.ForwardFact
    | facts.RouteTableFact
)


def _fact(world: state.State, subject: Subject) -> _Fact | None:
    """Of what is in a VPC."""
    match subject.kind:
        case "Endpoint":
            return world.endpoints.get(subject.id)
        case "Network" if subject.id in world.networks:
            return world.networks[subject.id].fact
        case "Service" if subject.id in world.services:
            return world.services[subject.id].fact
        case "Gateway" if subject.id in world.gateways:
            return world.gateways[subject.id].fact
        case "FloatingAddress":
            return world.floating.get(subject.id)
        case "PortForward":
            return world.forwards.get(subject.id)
        case "RouteTable" if subject.id[0] in world.vpcs:
            vni, name = subject.id
            return world.vpcs[vni].tables.get(name)
    return None


# ------------------------------------------------------------------ who must know


def knowers(world: state.State, subject: Subject) -> Iterable[str] | None:
    """Hosts that must know the object; None while the planner does not know it."""
    if subject.kind == "Host":
        return world.hosts if subject.id in world.hosts else None
    if subject.kind in ("VPC", "Peering"):
        return _vpc_knowers(world, subject)
    match _fact(world, subject):
        case facts.EndpointFact() as fact:
            return _endpoint_knowers(world, fact)
        case facts.NetworkFact(id=number):
            network = world.networks[number]
            return {*network.space.bouncers, *world.vpcs[network.fact.vni].dividers, *network.hosts}
        case facts.ServiceFact() as fact:
            return scaled.holders(world, fact)
        case facts.GatewayFact() | facts.RouteTableFact() as fact:
            return world.vpcs[fact.vni].hosts
        case facts.FloatingFact() | facts.ForwardFact() as fact:
            return world.gateways[fact.gateway].hosts
    return None


def _vpc_knowers(world: state.State, subject: Subject) -> Iterable[str] | None:
    vni, peer = subject.id if subject.kind == "Peering" else (subject.id, None)
    vpc = world.vpcs.get(vni)
    if vpc is None or (subject.kind == "Peering" and peer not in vpc.peers):
        return None
    return {*vpc.dividers, *vpc.hosts}


def _endpoint_knowers(world: state.State, fact: facts.EndpointFact) -> Iterator[str]:
    """Its bouncers first: its own host is told last."""
    space = world.networks[fact.network].space
    for address in fact.addresses:
        yield from space.holders[hashes.shard_of(address, space.shards)]
    yield fact.host


# ------------------------------------------------------------------ whose a row is


def concerns(world: state.State, key: rows.Key, subject: Subject) -> bool:
    """The row with this key follows from the object."""
    table, *rest = key
    match subject.kind, table:
        case "VPC" | "RouteTable" | "Peering", Table.VPCS | Table.ROUTES:
            return bool(rest[0] == (subject.id if subject.kind == "VPC" else subject.id[0]))
        case "Network", Table.NETWORKS | Table.SHARDS:
            return bool(rest[0] == subject.id)
        case "FloatingAddress", Table.FLOATING:
            return bool(rest[0] == subject.id)
        case "PortForward", Table.FORWARDS:
            return bool(tuple(rest) == subject.id)
        case "Gateway", Table.SHARDS:
            return bool(rest[0] == subject.id)
    fact = _fact(world, subject)
    match fact, table:
        case facts.EndpointFact() | facts.ServiceFact(), Table.LOCATIONS | Table.SERVICES:
            return rest[0] == fact.vni and rest[1] in fact.addresses
        case facts.EndpointFact(), Table.ENDPOINTS:
            return rest == [world.vpcs[fact.vni].fact.name, fact.name]
        case facts.ServiceFact(), Table.CHECKS:
            return rest[2] == f"{world.vpcs[fact.vni].fact.name}/{fact.name}"
        case facts.GatewayFact(), Table.GATEWAYS:
            return rest[0] == fact.vni
    return False


def of_row(world: state.State, key: rows.Key, host: str) -> Subject | None:
    """The object that a row of a host follows from."""
    table, *rest = key
    match table:
        case Table.ENDPOINTS:
            return _endpoint_named(world, host, rest)
        case Table.LOCATIONS | Table.SERVICES:
            return _located(world, *rest[:2])  # type: ignore[arg-type]  # (VNI, address)
        case Table.SHARDS if rest[0] in world.gateways:
            return Subject("Gateway", rest[0])
        case Table.NETWORKS | Table.SHARDS:
            return Subject("Network", rest[0])
        case Table.VPCS | Table.ROUTES:
            return Subject("VPC", rest[0])
        case Table.GATEWAYS:
            vpc = world.vpcs.get(rest[0])  # type: ignore[call-overload]  # VNI
            return next((Subject("Gateway", number) for number in vpc.gateways), None) if vpc else None
        case Table.FLOATING:
            return Subject("FloatingAddress", rest[0])
        case Table.FORWARDS:
            return Subject("PortForward", tuple(rest))
    return None


def _endpoint_named(world: state.State, host: str, names: list[Any]) -> Subject | None:
    here = world.hosts.get(host)
    for serial in here.endpoints if here else ():
        fact = world.endpoints[serial]
        if [world.vpcs[fact.vni].fact.name, fact.name] == names:
            return Subject("Endpoint", serial)
    return None


def _located(world: state.State, vni: int, address: int) -> Subject | None:
    vpc = world.vpcs.get(vni)
    for space in vpc.spaces() if vpc else ():
        found = space.index[hashes.shard_of(address, space.shards)]
        if found and address in found:
            return of_located(found[address])
    return None


def of_located(fact: state.Located) -> Subject:
    return Subject("Endpoint" if isinstance(fact, facts.EndpointFact) else "Service", fact.id)

# SPDX-License-Identifier: Apache-2.0
"""Declared routes come, change and go, and with them the tables that networks have of their own."""

from __future__ import annotations

from mizar.model import facts
from mizar.plan import routing, spaces, state
from mizar.plan.edit import Edit


def put_table(world: state.State, edit: Edit, fact: facts.RouteTableFact) -> None:
    vpc = world.vpcs[fact.vni]
    before = vpc.tables.get(fact.name)
    if before == fact:
        return
    edit.touch_vpc(vpc, vpc.hosts)
    vpc.tables[fact.name] = fact
    _refer(world, before, fact)
    reroute(edit, vpc)


def remove_table(world: state.State, edit: Edit, key: tuple[int, str]) -> None:
    vni, name = key
    vpc = world.vpcs.get(vni)
    if vpc is None or name not in vpc.tables:
        return
    edit.touch_vpc(vpc, vpc.hosts)
    _refer(world, vpc.tables.pop(name), None)
    reroute(edit, vpc)


def reroute(edit: Edit, vpc: state.VpcState) -> None:
    """What routes depend on has changed: tables, gateways, the CIDRs of the VPC or of its peers. Its cells
    have been touched before that."""
    cidrs = [*vpc.fact.cidrs, *(cidr for peer in vpc.peers.values() for cidr in peer.fact.cidrs)]
    gateways = (gateway.fact for gateway in vpc.gateways.values())
    vpc.routing = routing.routing(cidrs, gateways, vpc.tables.values())
    for network in vpc.networks.values():
        own = vpc.routing.owns(network.fact.id)
        if own != network.own_routes:
            network.own_routes = own
            spaces.refresh_endpoints(edit, vpc, network)


def _refer(
    world: state.State, before: facts.RouteTableFact | None, after: facts.RouteTableFact | None
) -> None:
    if after is not None:
        for route in after.routes:
            if route.kind == routing.ENDPOINT:
                world.refer(route.target, state.Routes(after.vni))
    if before is not None:
        for route in before.routes:
            if route.kind == routing.ENDPOINT:
                world.unrefer(route.target, state.Routes(before.vni))

# SPDX-License-Identifier: Apache-2.0
"""Gateways, floating addresses and port forwards come, change and go; hosts of gateways are away and back."""

from __future__ import annotations

from collections.abc import Mapping

from mizar.model import facts
from mizar.plan import declared, outside, state
from mizar.plan.edit import Edit


def put_gateway(world: state.State, edit: Edit, fact: facts.GatewayFact) -> None:
    """Its hosts count as hosts of the VPC."""
    vpc = world.vpcs[fact.vni]
    gateway = world.gateways.get(fact.id)
    if gateway is not None and gateway.fact == fact:
        return
    edit.touch_vpc(vpc, {*vpc.hosts, *dict(fact.hosts)})
    if gateway is None:
        gateway = world.gateways[fact.id] = vpc.gateways[fact.id] = state.GatewayState(fact)
    else:
        _touch_behind(edit, gateway)
        _uncount(world, vpc, gateway)
        if gateway.hosts.keys() - dict(fact.hosts):
            edit.delta.replaces = True
        gateway.put(fact)
    for host in gateway.hosts:
        vpc.hosts[host] = vpc.hosts.get(host, 0) + 1
        world.hosts[host].gateways.add(fact.id)
    declared.reroute(edit, vpc)


def remove_gateway(world: state.State, edit: Edit, number: int) -> None:
    gateway = world.gateways.get(number)
    if gateway is None:
        return
    vpc = world.vpcs[gateway.fact.vni]
    edit.touch_vpc(vpc, vpc.hosts)
    _touch_behind(edit, gateway)
    _uncount(world, vpc, gateway)
    del world.gateways[number], vpc.gateways[number]
    declared.reroute(edit, vpc)


def _uncount(world: state.State, vpc: state.VpcState, gateway: state.GatewayState) -> None:
    for host in gateway.hosts:
        vpc.hosts[host] -= 1
        if not vpc.hosts[host]:
            del vpc.hosts[host]
        world.hosts[host].gateways.discard(gateway.fact.id)


def _touch_behind(edit: Edit, gateway: state.GatewayState) -> None:
    for item in outside.all_behind(gateway):
        edit.touch_item(item)


# ---------------------------------------------------------------- outside addresses


def put_floating(world: state.State, edit: Edit, fact: facts.FloatingFact) -> None:
    item = state.Floating(fact.address)
    edit.touch_item(item)
    _forget_floating(world, fact.address)
    world.floating[fact.address] = fact
    world.gateways[fact.gateway].floating.add(fact.address)
    world.refer(fact.endpoint, item)


def remove_floating(world: state.State, edit: Edit, address: int) -> None:
    edit.touch_item(state.Floating(address))
    _forget_floating(world, address)


def _forget_floating(world: state.State, address: int) -> None:
    before = world.floating.pop(address, None)
    if before is not None:
        if before.gateway in world.gateways:
            world.gateways[before.gateway].floating.discard(address)
        world.unrefer(before.endpoint, state.Floating(address))


def put_forward(world: state.State, edit: Edit, fact: facts.ForwardFact) -> None:
    key = (fact.address, fact.port, fact.protocol)
    edit.touch_item(state.Forward(key))
    _forget_forward(world, key)
    world.forwards[key] = fact
    world.gateways[fact.gateway].forwards.add(key)
    world.refer(fact.endpoint, state.Forward(key))


def remove_forward(world: state.State, edit: Edit, key: state.ForwardKey) -> None:
    edit.touch_item(state.Forward(key))
    _forget_forward(world, key)


def _forget_forward(world: state.State, key: state.ForwardKey) -> None:
    before = world.forwards.pop(key, None)
    if before is not None:
        if before.gateway in world.gateways:
            world.gateways[before.gateway].forwards.discard(key)
        world.unrefer(before.endpoint, state.Forward(key))


def put_away(world: state.State, edit: Edit, away: Mapping[str, bool]) -> None:
    """Others answer for what hosts that are away would answer for."""
    for name, is_away in away.items():
        host = world.hosts.get(name)
        if host is None or is_away == (name in world.away):
            continue
        for number in host.gateways:
            _touch_behind(edit, world.gateways[number])
        (world.away.add if is_away else world.away.discard)(name)

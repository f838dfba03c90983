# SPDX-License-Identifier: Apache-2.0
"""VPCs and networks come, change and go."""

from __future__ import annotations

from collections.abc import Sequence

from mizar.model import addresses, facts
from mizar.plan import declared, spaces, state
from mizar.plan.edit import Edit


def put_vpc(world: state.State, edit: Edit, fact: facts.VpcFact) -> None:
    vpc = world.vpcs.get(fact.vni)
    if vpc is None:
        vpc = world.vpcs[fact.vni] = state.VpcState(fact)
        world.vnis[fact.name] = fact.vni
    else:
        if fact.cidrs != vpc.fact.cidrs:
            edit.touch_vpc(vpc, {*vpc.hosts, *vpc.dividers})
            for other in vpc.onlookers.values():
                edit.touch_vpc(other, {*other.hosts, *other.dividers})
        before, vpc.fact = vpc.fact, fact
        if fact.cidrs != before.cidrs:
            for one in (vpc, *vpc.onlookers.values()):
                declared.reroute(edit, one)
        if fact.mtu != before.mtu:
            for network in vpc.networks.values():
                spaces.refresh_endpoints(edit, vpc, network)
    spaces.place_dividers(world, edit, vpc)


def remove_vpc(world: state.State, edit: Edit, vni: int) -> None:
    vpc = world.vpcs.get(vni)
    if vpc is not None:
        spaces.set_dividers(world, edit, vpc, ())
        del world.vpcs[vni]
        if world.vnis[vpc.fact.name] == vni:
            del world.vnis[vpc.fact.name]


def put_network(world: state.State, edit: Edit, fact: facts.NetworkFact) -> None:
    vpc = world.vpcs[fact.vni]
    network = world.networks.get(fact.id)
    if network is None:
        network = _add_network(edit, vpc, fact)
        world.networks[fact.id] = network
    elif fact.cidrs != network.fact.cidrs:
        _touch(edit, vpc, network)
        _set_prefixes(vpc, network, network.fact.cidrs, fact.cidrs)
        network.put(fact)
        spaces.refresh_endpoints(edit, vpc, network)
    else:
        network.put(fact)
    spaces.place_space(world, edit, vpc, network.space)


def _add_network(edit: Edit, vpc: state.VpcState, fact: facts.NetworkFact) -> state.NetworkState:
    if fact.cidrs:
        space = state.Space(fact.id, fact.vni, fact.shards)
    elif vpc.group is not None:
        space = vpc.group
    else:
        edit.touch_vpc(vpc, vpc.knowing())
        _touch_onlookers(edit, vpc)
        space = vpc.group = state.Space(vpc.fact.group, fact.vni, fact.shards)
    network = state.NetworkState(fact, space)
    network.alive = False  # as the cells of before see it
    _touch(edit, vpc, network)
    network.alive = True
    network.own_routes = vpc.routing.owns(fact.id)
    vpc.networks[fact.id] = space.networks[fact.id] = network
    _set_prefixes(vpc, network, (), fact.cidrs)
    return network


def remove_network(world: state.State, edit: Edit, number: int) -> None:
    network = world.networks.get(number)
    if network is None:
        return
    vpc = world.vpcs[network.fact.vni]
    _touch(edit, vpc, network)
    _set_prefixes(vpc, network, network.fact.cidrs, ())
    network.alive = False
    space = network.space
    del world.networks[number], vpc.networks[number], space.networks[number]
    if space.networks:
        spaces.place_space(world, edit, vpc, space)
        return
    spaces.set_holders(world, edit, vpc, space, bouncers=(), replicas=0)
    if network.is_group:
        vpc.group = None


def _set_prefixes(
    vpc: state.VpcState,
    network: state.NetworkState,
    before: Sequence[addresses.Prefix],
    after: Sequence[addresses.Prefix],
) -> None:
    for cidr in before:
        if vpc.prefixes.get(cidr) is network:
            del vpc.prefixes[cidr]
    vpc.prefixes.update(dict.fromkeys(after, network))


def _touch(edit: Edit, vpc: state.VpcState, network: state.NetworkState) -> None:
    """The network's cell on every host that has it, and what the dividers of other VPCs know of it."""
    edit.touch_network(vpc, network, {*vpc.knowing(), *network.hosts, *network.space.bouncers})
    _touch_onlookers(edit, vpc)


def _touch_onlookers(edit: Edit, vpc: state.VpcState) -> None:
    for other in vpc.onlookers.values():
        edit.touch_vpc(other, other.dividers)

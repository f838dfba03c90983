# SPDX-License-Identifier: Apache-2.0
"""VPCs and networks come, change and go."""

from __future__ import annotations

from collections.abc import Sequence

from mizar.model import addresses, facts
from mizar.plan import cells, spaces, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage


def put_vpc(world: state.State, edit: Edit, fact: facts.VpcFact) -> None:
    vpc = world.vpcs.get(fact.vni)
    if vpc is None:
        vpc = world.vpcs[fact.vni] = state.VpcState(fact)
    else:
        if fact.cidrs != vpc.fact.cidrs:
            edit.touch_vpc(vpc, {*vpc.hosts, *vpc.dividers})
        refresh, vpc.fact = fact.mtu != vpc.fact.mtu, fact
        if refresh:
            for network in vpc.networks.values():
                _refresh_endpoints(edit, vpc, network)
    spaces.place_dividers(world, edit, vpc)


def remove_vpc(world: state.State, edit: Edit, vni: int) -> None:
    vpc = world.vpcs.get(vni)
    if vpc is not None:
        spaces.set_dividers(world, edit, vpc, ())
        del world.vpcs[vni]


def put_network(world: state.State, edit: Edit, fact: facts.NetworkFact) -> None:
    vpc = world.vpcs[fact.vni]
    network = world.networks.get(fact.id)
    if network is None:
        network = _add_network(edit, vpc, fact)
        world.networks[fact.id] = network
    elif fact.cidrs != network.fact.cidrs:
        edit.touch_network(vpc, network, _all_hosts(vpc, network))
        _set_prefixes(vpc, network, network.fact.cidrs, fact.cidrs)
        network.put(fact)
        _refresh_endpoints(edit, vpc, network)
    else:
        network.put(fact)
    spaces.place_space(world, edit, vpc, network.space)


def _add_network(edit: Edit, vpc: state.VpcState, fact: facts.NetworkFact) -> state.NetworkState:
    if fact.cidrs:
        space = state.Space(fact.id, fact.vni, fact.shards)
    elif vpc.group is not None:
        space = vpc.group
    else:
        edit.touch_vpc(vpc, vpc.dividers)
        space = vpc.group = state.Space(vpc.fact.group, fact.vni, fact.shards)
    network = state.NetworkState(fact, space)
    network.alive = False  # as the cells of before see it
    edit.touch_network(vpc, network, _all_hosts(vpc, network))
    network.alive = True
    vpc.networks[fact.id] = space.networks[fact.id] = network
    _set_prefixes(vpc, network, (), fact.cidrs)
    return network


def remove_network(world: state.State, edit: Edit, number: int) -> None:
    network = world.networks.get(number)
    if network is None:
        return
    vpc = world.vpcs[network.fact.vni]
    edit.touch_network(vpc, network, _all_hosts(vpc, network))
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


def _all_hosts(vpc: state.VpcState, network: state.NetworkState) -> set[str]:
    """Every host that has the network's cell."""
    return {*vpc.dividers, *network.hosts, *network.space.bouncers}


def _refresh_endpoints(edit: Edit, vpc: state.VpcState, network: state.NetworkState) -> None:
    """What endpoints have from their network or VPC has changed."""
    for fact in network.space.endpoints():
        if fact.network == network.fact.id:
            edit.upsert(Stage.ENDPOINTS, fact.host, cells.endpoint_row(vpc, network, fact))

# SPDX-License-Identifier: Apache-2.0
"""Who divides a VPC and who bounces for a space, and what moves when that changes."""

from __future__ import annotations

from mizar.plan import cells, placement, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage


def place_all(world: state.State, edit: Edit) -> None:
    for vpc in world.vpcs.values():
        place_dividers(world, edit, vpc)
        for space in tuple(vpc.spaces()):
            place_space(world, edit, vpc, space)


def place_dividers(world: state.State, edit: Edit, vpc: state.VpcState) -> None:
    wanted = world.pool.top(placement.DIVIDERS, vpc.fact.vni, vpc.fact.dividers)
    if wanted != vpc.dividers:
        set_dividers(world, edit, vpc, wanted)


def set_dividers(world: state.State, edit: Edit, vpc: state.VpcState, wanted: tuple[str, ...]) -> None:
    changed = set(vpc.dividers) ^ set(wanted)
    edit.touch_vpc(vpc, {*vpc.hosts, *vpc.dividers, *wanted})
    for one in (vpc, *vpc.peers.values()):
        edit.touch_vpc(one, changed)
        for network in one.networks.values():
            edit.touch_network(one, network, changed)
    vni = vpc.fact.vni
    for name in vpc.dividers:
        world.hosts[name].divides.discard(vni)
    for name in wanted:
        world.hosts[name].divides.add(vni)
    vpc.dividers = wanted


def place_space(world: state.State, edit: Edit, vpc: state.VpcState, space: state.Space) -> None:
    """Bouncers as many as the most demanding network of the space asks for."""
    count = max(network.fact.bouncers for network in space.networks.values())
    replicas = max(network.fact.replicas for network in space.networks.values())
    bouncers = world.pool.top(placement.BOUNCERS, space.id, count)
    if bouncers != space.bouncers or replicas != space.replicas:
        set_holders(world, edit, vpc, space, bouncers=bouncers, replicas=replicas)


def set_holders(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    space: state.Space,
    *,
    bouncers: tuple[str, ...],
    replicas: int,
) -> None:
    hosts = {*space.bouncers, *bouncers}
    knowing = vpc.knowing()
    edit.touch_vpc(vpc, {*hosts, *knowing})
    for network in space.networks.values():
        edit.touch_network(vpc, network, {*hosts, *knowing, *network.hosts})
    for service in space.services:
        edit.touch_item(state.Service(service))
    _count_bouncers(world, vpc, space, bouncers)
    before = space.holders
    space.bouncers, space.replicas = bouncers, replicas
    space.holders = placement.place_shards(space.id, bouncers, shards=space.shards, replicas=replicas)
    space.rows = cells.shard_rows(world, space)
    for shard, endpoints in enumerate(space.index):
        if endpoints and before[shard] != space.holders[shard]:
            _move_shard(world, edit, endpoints, before[shard], space.holders[shard])


def _count_bouncers(
    world: state.State, vpc: state.VpcState, space: state.Space, bouncers: tuple[str, ...]
) -> None:
    for name in space.bouncers:
        del world.hosts[name].bounces[space.id]
        vpc.bouncing[name] -= 1
        if not vpc.bouncing[name]:
            del vpc.bouncing[name]
    for name in bouncers:
        world.hosts[name].bounces[space.id] = space
        vpc.bouncing[name] = vpc.bouncing.get(name, 0) + 1


def _move_shard(
    world: state.State,
    edit: Edit,
    endpoints: dict[int, state.Located],
    before: tuple[str, ...],
    after: tuple[str, ...],
) -> None:
    made = [cells.location_row(world, fact, address) for address, fact in endpoints.items()]
    for name in after:
        if name not in before:
            edit.delta.batch(Stage.BOUNCERS, name).upserts.extend(made)
    lost = [name for name in before if name not in after]
    if lost:
        edit.delta.replaces = True
        keys = [row.key for row in made]
        for name in lost:
            edit.delta.batch(Stage.BREAK, name).removals.extend(keys)


def refresh_endpoints(edit: Edit, vpc: state.VpcState, network: state.NetworkState) -> None:
    """What endpoints have from their network or VPC has changed."""
    for fact in network.space.endpoints():
        if fact.network == network.fact.id:
            edit.upsert(Stage.ENDPOINTS, fact.host, cells.endpoint_row(vpc, network, fact))

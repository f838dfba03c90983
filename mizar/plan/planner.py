# SPDX-License-Identifier: Apache-2.0
"""Changes to deltas, and the snapshot of a host.

    apply(state, change) -> Delta      mutates the state; costs what the change touches
    snapshot(state, host) -> rows      all rows of one host, from scratch

What the caller (the store's rules) guarantees: names and ids refer to something, addresses are free and
inside their network, a host's address, a network's shards and whether it has CIDRs never change, and nothing
is deleted that is in use by something that is not deleted in the same change.

Order inside a change: endpoints go first, then hosts, VPCs and networks change and roles move, then endpoints
come. So roles are moved once, with the fewest endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mizar.abi import hashes
from mizar.model import addresses, facts
from mizar.plan import cells, delta, placement, rows, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage

_FEW = 32
"""So many addresses are hashed one by one; more go through numpy at once."""


@dataclass(frozen=True, slots=True)
class Change:
    """Objects that were created or changed, and the keys of those that were deleted. One object once."""

    hosts: Sequence[facts.HostFact] = ()
    vpcs: Sequence[facts.VpcFact] = ()
    networks: Sequence[facts.NetworkFact] = ()
    endpoints: Sequence[facts.EndpointFact] = ()
    gone_hosts: Sequence[str] = ()
    gone_vpcs: Sequence[int] = ()
    gone_networks: Sequence[int] = ()
    gone_endpoints: Sequence[int] = ()


def apply(world: state.State, change: Change) -> delta.Delta:
    """Take the change into the state; returns what every host must be told."""
    edit = Edit(world)
    for serial in change.gone_endpoints:
        _remove_endpoint(world, edit, serial)
    _change_hosts(world, edit, change)
    for vpc in change.vpcs:
        _put_vpc(world, edit, vpc)
    for network in change.networks:
        _put_network(world, edit, network)
    for number in change.gone_networks:
        _remove_network(world, edit, number)
    for vni in change.gone_vpcs:
        _remove_vpc(world, edit, vni)
    _put_endpoints(world, edit, change.endpoints)
    made = edit.finish()
    _drop_hosts(world, made, change.gone_hosts)
    _settle(world, made)
    return made


def snapshot(world: state.State, host: str) -> dict[Stage, list[rows.Row]]:
    """All rows of one host, by the stage in which a host that has nothing should get them."""
    known = world.hosts.get(host)
    if known is None:
        return {}
    staged: dict[Stage, list[rows.Row]] = {stage: [] for stage in Stage if stage < Stage.MOVES}
    staged[Stage.PEERS].extend(_host_row(other.fact) for other in world.hosts.values())
    for vpc, networks in _present(world, known).items():
        for network in networks:
            _add_cell(staged, cells.of_network(vpc, network, host))
        _add_cell(staged, cells.of_vpc(world, vpc, host))
    for space in known.bounces.values():
        staged[Stage.BOUNCERS].extend(_locations(world, space, host))
    for serial in known.endpoints:
        fact = world.endpoints[serial]
        vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
        staged[Stage.ENDPOINTS].append(cells.endpoint_row(vpc, network, fact))
    return staged


# ------------------------------------------------------------------------------------------------ snapshot


def _present(world: state.State, host: state.HostState) -> dict[state.VpcState, list[state.NetworkState]]:
    """The networks that the host has rows of, by VPC."""
    found: dict[state.VpcState, dict[int, state.NetworkState]] = {}
    for serial in host.endpoints:
        fact = world.endpoints[serial]
        found.setdefault(world.vpcs[fact.vni], {})[fact.network] = world.networks[fact.network]
    for space in host.bounces.values():
        found.setdefault(world.vpcs[space.vni], {}).update(space.networks)
    for vni in host.divides:
        vpc = world.vpcs[vni]
        found.setdefault(vpc, {}).update(vpc.networks)
    return {vpc: list(networks.values()) for vpc, networks in found.items()}


def _add_cell(staged: dict[Stage, list[rows.Row]], cell: cells.Cell) -> None:
    if cell.head is None:
        return
    lookup = Stage.DIVIDERS if cell.divides else Stage.HOSTS
    staged[Stage.BOUNCERS].append(cell.head)
    staged[lookup].extend(cell.shards)
    staged[lookup].extend(cell.routes)


def _locations(world: state.State, space: state.Space, host: str) -> Iterable[rows.LocationRow]:
    for holders, endpoints in zip(space.holders, space.index, strict=True):
        if endpoints and host in holders:
            for address, fact in endpoints.items():
                yield _location_row(world, fact, address)


# --------------------------------------------------------------------------------------------------- hosts


def _change_hosts(world: state.State, edit: Edit, change: Change) -> None:
    """Hosts come, change, and lose their roles; those that are gone are dropped when the delta is made."""
    if not change.hosts and not change.gone_hosts:
        return
    for fact in change.hosts:
        known = world.hosts.get(fact.name)
        if known is None:
            _welcome(world, edit, fact)
        else:
            known.fact = fact
    gone = set(change.gone_hosts)
    eligible = [name for name, host in world.hosts.items() if host.fact.schedulable and name not in gone]
    pool = placement.Pool(eligible)
    if pool.names != world.pool.names:
        world.pool = pool
        _place_all(world, edit)


def _welcome(world: state.State, edit: Edit, fact: facts.HostFact) -> None:
    row = _host_row(fact)
    world.hosts[fact.name] = state.HostState(fact)
    peers = edit.delta.batch(Stage.PEERS, fact.name).upserts
    for name, other in world.hosts.items():
        peers.append(_host_row(other.fact))
        if name != fact.name:
            edit.upsert(Stage.PEERS, name, row)


def _place_all(world: state.State, edit: Edit) -> None:
    for vpc in world.vpcs.values():
        _place_dividers(world, edit, vpc)
        for space in tuple(vpc.spaces()):
            _place_space(world, edit, vpc, space)


def _drop_hosts(world: state.State, made: delta.Delta, names: Sequence[str]) -> None:
    """Everyone forgets the hosts that are gone, and they everyone."""
    gone = {name: _host_row(world.hosts[name].fact).key for name in names if name in world.hosts}
    if not gone:
        return
    everyone = {name: _host_row(host.fact).key for name, host in world.hosts.items()}
    for name in everyone:
        removals = everyone if name in gone else gone
        made.batch(Stage.BREAK, name).removals.extend(removals.values())
    for name in gone:
        del world.hosts[name]


# ---------------------------------------------------------------------------------------- VPCs and networks


def _put_vpc(world: state.State, edit: Edit, fact: facts.VpcFact) -> None:
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
    _place_dividers(world, edit, vpc)


def _remove_vpc(world: state.State, edit: Edit, vni: int) -> None:
    vpc = world.vpcs.get(vni)
    if vpc is not None:
        _set_dividers(world, edit, vpc, ())
        del world.vpcs[vni]


def _place_dividers(world: state.State, edit: Edit, vpc: state.VpcState) -> None:
    wanted = world.pool.top(placement.DIVIDERS, vpc.fact.vni, vpc.fact.dividers)
    if wanted != vpc.dividers:
        _set_dividers(world, edit, vpc, wanted)


def _set_dividers(world: state.State, edit: Edit, vpc: state.VpcState, wanted: tuple[str, ...]) -> None:
    changed = set(vpc.dividers) ^ set(wanted)
    edit.touch_vpc(vpc, {*vpc.hosts, *vpc.dividers, *wanted})
    for network in vpc.networks.values():
        edit.touch_network(vpc, network, changed)
    vni = vpc.fact.vni
    for name in vpc.dividers:
        world.hosts[name].divides.discard(vni)
    for name in wanted:
        world.hosts[name].divides.add(vni)
    vpc.dividers = wanted


def _put_network(world: state.State, edit: Edit, fact: facts.NetworkFact) -> None:
    vpc = world.vpcs[fact.vni]
    network = world.networks.get(fact.id)
    if network is None:
        network = _add_network(edit, vpc, fact)
        world.networks[fact.id] = network
    elif fact.cidrs != network.fact.cidrs:
        edit.touch_network(vpc, network, _all_hosts(vpc, network))
        _set_prefixes(vpc, network, network.fact.cidrs, fact.cidrs)
        network.fact = fact
        _refresh_endpoints(edit, vpc, network)
    else:
        network.fact = fact
    _place_space(world, edit, vpc, network.space)


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


def _remove_network(world: state.State, edit: Edit, number: int) -> None:
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
        _place_space(world, edit, vpc, space)
        return
    _set_holders(world, edit, vpc, space, bouncers=(), replicas=0)
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


# --------------------------------------------------------------------------------------------------- spaces


def _place_space(world: state.State, edit: Edit, vpc: state.VpcState, space: state.Space) -> None:
    """Bouncers as many as the most demanding network of the space asks for."""
    count = max(network.fact.bouncers for network in space.networks.values())
    replicas = max(network.fact.replicas for network in space.networks.values())
    bouncers = world.pool.top(placement.BOUNCERS, space.id, count)
    if bouncers != space.bouncers or replicas != space.replicas:
        _set_holders(world, edit, vpc, space, bouncers=bouncers, replicas=replicas)


def _set_holders(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    space: state.Space,
    *,
    bouncers: tuple[str, ...],
    replicas: int,
) -> None:
    hosts = {*space.bouncers, *bouncers}
    edit.touch_vpc(vpc, {*hosts, *vpc.dividers})
    for network in space.networks.values():
        edit.touch_network(vpc, network, {*hosts, *vpc.dividers, *network.hosts})
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
    endpoints: dict[int, facts.EndpointFact],
    before: tuple[str, ...],
    after: tuple[str, ...],
) -> None:
    made = [_location_row(world, fact, address) for address, fact in endpoints.items()]
    for name in after:
        if name not in before:
            edit.delta.batch(Stage.BOUNCERS, name).upserts.extend(made)
    lost = [name for name in before if name not in after]
    if lost:
        edit.delta.replaces = True
        keys = [row.key for row in made]
        for name in lost:
            edit.delta.batch(Stage.BREAK, name).removals.extend(keys)


# ------------------------------------------------------------------------------------------------ endpoints


def _put_endpoints(world: state.State, edit: Edit, endpoints: Sequence[facts.EndpointFact]) -> None:
    """The hot path: a new endpoint costs the same whatever is there already."""
    mixed = _mixed([address for fact in endpoints for address in fact.addresses])
    at = 0
    for fact in endpoints:
        count = len(fact.addresses)
        before = world.endpoints.get(fact.id)
        if before is None:
            _add_endpoint(world, edit, fact, mixed[at : at + count])
        elif before != fact:
            _change_endpoint(world, edit, before, fact)
        at += count


def _mixed(addresses: list[int]) -> list[int]:
    """mix32 of every address."""
    if len(addresses) <= _FEW:
        return [hashes.mix32(address) for address in addresses]
    mixed: list[int] = hashes.mix32_column(addresses).tolist()
    return mixed


def _add_endpoint(world: state.State, edit: Edit, fact: facts.EndpointFact, mixed: Sequence[int]) -> None:
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    _count_endpoint(world, edit, vpc, network, fact)
    space, batch = network.space, edit.delta.batch
    for address, mix in zip(fact.addresses, mixed, strict=True):
        shard = mix & (space.shards - 1)
        space.put(address, shard, fact)
        row = _location_row(world, fact, address)
        for name in space.holders[shard]:
            batch(Stage.BOUNCERS, name).upserts.append(row)
    batch(Stage.ENDPOINTS, fact.host).upserts.append(cells.endpoint_row(vpc, network, fact))


def _count_endpoint(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    network: state.NetworkState,
    fact: facts.EndpointFact,
) -> None:
    """The endpoint is on its host from now on."""
    host = fact.host
    if host not in network.hosts:
        edit.touch_network(vpc, network, (host,))
    network.hosts[host] = network.hosts.get(host, 0) + 1
    vpc.hosts[host] = vpc.hosts.get(host, 0) + 1
    world.hosts[host].endpoints.add(fact.id)
    world.endpoints[fact.id] = fact


def _uncount_endpoint(
    world: state.State,
    edit: Edit,
    vpc: state.VpcState,
    network: state.NetworkState,
    fact: facts.EndpointFact,
) -> None:
    """The endpoint is on its host no longer."""
    host = fact.host
    if network.hosts[host] == 1:
        edit.touch_network(vpc, network, (host,))
        del network.hosts[host]
    else:
        network.hosts[host] -= 1
    vpc.hosts[host] -= 1
    if not vpc.hosts[host]:
        del vpc.hosts[host]
    world.hosts[host].endpoints.discard(fact.id)
    del world.endpoints[fact.id]


def _remove_endpoint(world: state.State, edit: Edit, serial: int) -> None:
    fact = world.endpoints.get(serial)
    if fact is None:
        return
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    edit.remove(fact.host, (rows.Table.ENDPOINTS, vpc.fact.name, fact.name))
    for address in fact.addresses:
        _remove_location(edit, network.space, fact, address)
    _uncount_endpoint(world, edit, vpc, network, fact)


def _remove_location(edit: Edit, space: state.Space, fact: facts.EndpointFact, address: int) -> None:
    shard = hashes.shard_of(address, space.shards)
    space.drop(address, shard, fact)
    key = (rows.Table.LOCATIONS, fact.vni, address)
    for name in space.holders[shard]:
        edit.remove(name, key)


def _change_endpoint(
    world: state.State, edit: Edit, before: facts.EndpointFact, fact: facts.EndpointFact
) -> None:
    """It moves, or changes its addresses or attachment: what it leaves is broken last."""
    vpc, network = world.vpcs[fact.vni], world.networks[fact.network]
    space = network.space
    moved = fact.host != before.host
    for address in before.addresses:
        if address not in fact.addresses:
            _remove_location(edit, space, before, address)
    for address in fact.addresses:
        shard = hashes.shard_of(address, space.shards)
        space.put(address, shard, fact)
        stays = address in before.addresses
        if moved or not stays:
            row = _location_row(world, fact, address)
            for name in space.holders[shard]:
                edit.upsert(Stage.MOVES if stays else Stage.BOUNCERS, name, row)
    edit.upsert(Stage.ENDPOINTS, fact.host, cells.endpoint_row(vpc, network, fact))
    if not moved:
        world.endpoints[fact.id] = fact
        return
    edit.delta.replaces = True
    edit.remove(before.host, (rows.Table.ENDPOINTS, vpc.fact.name, before.name))
    _uncount_endpoint(world, edit, vpc, network, before)
    _count_endpoint(world, edit, vpc, network, fact)


# -------------------------------------------------------------------------------------------------- helpers


def _settle(world: state.State, made: delta.Delta) -> None:
    """Keep no removal of a row that the host is to have after all: an address that changed its owner.
    Keep no empty batch."""
    for name, broken in made.at(Stage.BREAK).items():
        if broken.removals:
            kept = _kept(world, made, name, set(broken.removals))
            if kept:
                broken.removals[:] = [key for key in broken.removals if key not in kept]
    for stage in tuple(made.stages):
        filled = {name: batch for name, batch in made.stages[stage].items() if batch}
        if filled:
            made.stages[stage] = filled
        else:
            del made.stages[stage]


def _kept(world: state.State, made: delta.Delta, host: str, removed: set[rows.Key]) -> set[rows.Key]:
    """Keys that the delta both gives to the host and removes there, and that the state says it has."""
    batches = (hosts[host] for hosts in made.stages.values() if host in hosts)
    both = (row for batch in batches for row in batch.upserts if row.key in removed)
    return {row.key for row in both if _is_wanted(world, host, row)}


def _is_wanted(world: state.State, host: str, row: rows.Row) -> bool:
    if isinstance(row, rows.LocationRow):
        return _holds_location(world.vpcs[row.vni], host, row.address)
    if isinstance(row, rows.EndpointRow):
        fact = world.endpoints.get(facts.serial_of(row.mac))
        return fact is not None and fact.host == host
    return isinstance(row, rows.HostRow) and host in world.hosts and row.name in world.hosts


def _holds_location(vpc: state.VpcState, host: str, address: int) -> bool:
    for space in vpc.spaces():
        shard = hashes.shard_of(address, space.shards)
        if host in space.holders[shard] and space.has(address, shard):
            return True
    return False


def _host_row(fact: facts.HostFact) -> rows.HostRow:
    return rows.HostRow(fact.address, fact.name)


def _location_row(world: state.State, fact: facts.EndpointFact, address: int) -> rows.LocationRow:
    return rows.LocationRow(fact.vni, fact.network, address, world.hosts[fact.host].fact.address)

# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints come, change and go; their backends fall ill and recover.

A scaled endpoint is at the bouncers of its address only: its location, and a row for each of its ports. What
changes of its backends changes those rows and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from mizar.abi import hashes
from mizar.model import facts
from mizar.plan import cells, items, referrers, rows, scaled, state
from mizar.plan.edit import Edit
from mizar.plan.rows import Stage


def put_service(world: state.State, edit: Edit, fact: facts.ServiceFact) -> None:
    service = world.services.get(fact.id)
    before = service.fact if service is not None else None
    if before == fact:
        return
    _touch(world, edit, before, fact)
    if service is None:
        service = world.services[fact.id] = state.ServiceState(fact)
    else:
        service.put(fact)
    service.unhealthy &= service.weights.keys() if fact.check is not None else set()
    _refer(world, before, fact)
    if before is not None and before.address != fact.address:
        _remove_location(world, edit, before)
    _put_location(world, edit, fact, new=before is None or before.address != fact.address)


def remove_service(world: state.State, edit: Edit, number: int) -> None:
    service = world.services.get(number)
    if service is None:
        return
    _touch(world, edit, service.fact, None)
    _refer(world, service.fact, None)
    _remove_location(world, edit, service.fact)
    del world.services[number]


def put_health(world: state.State, edit: Edit, health: Mapping[tuple[int, int], bool]) -> None:
    """What has been heard of backends; of others nothing is kept."""
    for (number, serial), healthy in health.items():
        service = world.services.get(number)
        if service is None or service.fact.check is None or serial not in service.weights:
            continue
        if healthy != (serial not in service.unhealthy):
            edit.touch_item(state.Service(number))
            (service.unhealthy.discard if healthy else service.unhealthy.add)(serial)


def _touch(
    world: state.State, edit: Edit, before: facts.ServiceFact | None, after: facts.ServiceFact | None
) -> None:
    """The service, who refers to it, and the checks that come, change or go."""
    either = before or after
    if either is None:
        return
    edit.touch_item(state.Service(either.id))
    referrers.touch(world, edit, either.id)
    was, becomes = _backends(before), _backends(after)
    same = before is not None and after is not None and _checks_alike(before, after)
    for serial in was ^ becomes if same else was | becomes:
        edit.touch_item(items.Check(either.id, serial))


def _backends(fact: facts.ServiceFact | None) -> set[int]:
    return {backend.endpoint for backend in fact.backends} if fact is not None else set()


def _checks_alike(one: facts.ServiceFact, other: facts.ServiceFact) -> bool:
    return (one.check, one.name) == (other.check, other.name)


def _refer(world: state.State, before: facts.ServiceFact | None, after: facts.ServiceFact | None) -> None:
    either = before or after
    was, becomes = _backends(before), _backends(after)
    if either is not None:
        for serial in becomes - was:
            world.refer(serial, state.Service(either.id))
        for serial in was - becomes:
            world.unrefer(serial, state.Service(either.id))


def _put_location(world: state.State, edit: Edit, fact: facts.ServiceFact, *, new: bool) -> None:
    """At the bouncers that have the services by then."""
    space = world.networks[fact.network].space
    space.put(fact.address, hashes.shard_of(fact.address, space.shards), fact)
    space.services.add(fact.id)
    if new:
        row = cells.location_row(world, fact, fact.address)
        for name in scaled.holders(world, fact):
            edit.upsert(Stage.MOVES, name, row)


def _remove_location(world: state.State, edit: Edit, fact: facts.ServiceFact) -> None:
    space = world.networks[fact.network].space
    space.drop(fact.address, hashes.shard_of(fact.address, space.shards), fact)
    space.services.discard(fact.id)
    for name in scaled.holders(world, fact):
        edit.remove(name, (rows.Table.LOCATIONS, fact.vni, fact.address))

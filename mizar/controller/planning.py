# SPDX-License-Identifier: Apache-2.0
"""What a transaction did, in steps that are small enough to plan between two answers. Pure.

A request may bring a hundred thousand endpoints. They are planned in steps, so that acknowledgements and
other requests get their turn. New endpoints are planned host by host, so that a host is told of all its new
endpoints in one message and not in one a step: with a thousand hosts, messages are what a bulk request costs.

What steps must keep: endpoints go before what they are in goes, and come after what they are in has come;
what refers to endpoints goes before them and comes after them; endpoints that exist already are changed in
one step, because one may take over the address of another.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from mizar.model import kinds
from mizar.plan import planner, state
from mizar.store import protocol

STEP: Final = 5_000
"""Endpoints of one step: some 50 ms of planning."""


_COME_LAST: Final = ("services", "gateways", "floating", "forwards", "route_tables", "peerings")
_GO_FIRST: Final = tuple(f"gone_{name}" for name in _COME_LAST)
_NO_REFERRERS: Final[Any] = dict.fromkeys((*_GO_FIRST, *_COME_LAST), ())


def steps(change: planner.Change, known: Collection[int]) -> Iterator[planner.Change]:
    """The change in steps, one at least. `known`: ids of the endpoints that the planner has."""
    new = [fact for fact in change.endpoints if fact.id not in known]
    if len(new) + len(change.gone_endpoints) <= STEP:
        yield change
        return
    gone = list(_runs(change.gone_endpoints))
    first = planner.Change(**{name: getattr(change, name) for name in _GO_FIRST})
    if any(getattr(first, name) for name in _GO_FIRST):
        yield first
    for some in gone[:-1]:
        yield planner.Change(gone_endpoints=some)
    new.sort(key=operator.attrgetter("host"))
    came = list(_runs(new))
    yield dataclasses.replace(
        change,
        endpoints=[fact for fact in change.endpoints if fact.id in known] + list(came[0] if came else ()),
        gone_endpoints=gone[-1] if gone else (),
        **_NO_REFERRERS,
    )
    for more in came[1:]:
        yield planner.Change(endpoints=more)
    last = planner.Change(**{name: getattr(change, name) for name in _COME_LAST})
    if any(getattr(last, name) for name in _COME_LAST):
        yield last


def _runs(items: Sequence[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while run := list(islice(rest, STEP)):
        yield run


def fixtures_gone(results: Iterable[protocol.Result]) -> list[kinds.Ref]:
    """The fixtures that a request has marked. The first step deletes them; of some, such as a peering that
    the other side never declared, the planner knows nothing."""
    return [
        one.ref
        for one in results
        if one.outcome is protocol.Outcome.DELETED and one.ref.kind in kinds.FIXTURES
    ]


def refs_gone(world: state.State, change: planner.Change) -> list[kinds.Ref]:
    """What a change deletes, by name, but for fixtures (a forward whose port is changed is gone for the
    planner, and is no less there); asked before the planner forgets it."""
    endpoints = (world.endpoints[serial] for serial in change.gone_endpoints if serial in world.endpoints)
    scaled = (world.services[serial].fact for serial in change.gone_services if serial in world.services)
    networks = (world.networks[number].fact for number in change.gone_networks if number in world.networks)
    return [
        *(kinds.Ref(kinds.ENDPOINT, world.vpcs[fact.vni].fact.name, fact.name) for fact in endpoints),
        *(kinds.Ref(kinds.ENDPOINT, world.vpcs[fact.vni].fact.name, fact.name) for fact in scaled),
        *(kinds.Ref(kinds.NETWORK, world.vpcs[fact.vni].fact.name, fact.name) for fact in networks),
        *(
            kinds.Ref(kinds.VPC, None, world.vpcs[vni].fact.name)
            for vni in change.gone_vpcs
            if vni in world.vpcs
        ),
        *(kinds.Ref(kinds.HOST, None, name) for name in change.gone_hosts if name in world.hosts),
    ]

# SPDX-License-Identifier: Apache-2.0
"""To which host a packet goes next: a divider, a bouncer, or the endpoint's host."""

from __future__ import annotations

import dataclasses
from typing import Final, TypeAlias

from mizar.abi import hashes, layout
from mizar.abi.verdicts import Verdict
from mizar.dataplane.evaluation import tables
from mizar.dataplane.evaluation.outcome import CountTx


@dataclasses.dataclass(frozen=True)
class Question:
    """Where to with packets for this endpoint, with this outer source port?"""

    vni: int
    address: int
    sport: int
    own: int
    """Our underlay address."""
    peered: bool = False
    """The packet has come from a peer VPC already."""


@dataclasses.dataclass(frozen=True)
class Next:
    verdict: Verdict
    host: tables.Host
    hop: layout.Hop
    slots: tuple[int, ...] = ()
    """Counters of the roles that this host has played."""
    vni: int = 0
    """Of the peer VPC into which the packet crosses; 0: it stays."""

    def counted(self, size: int) -> tuple[CountTx, ...]:
        return tuple(CountTx(slot, size) for slot in self.slots)


@dataclasses.dataclass(frozen=True)
class Lost:
    """No way on in peer VPC `vni`, into which the packet has crossed; perhaps its endpoint is here."""

    verdict: Verdict
    vni: int


Answer: TypeAlias = Next | Verdict
"""A drop's verdict if there is no way."""

Crossing: TypeAlias = Answer | Lost
"""An answer that may have crossed into a peer VPC."""


def endpoint_host(view: tables.Tables, question: Question) -> Answer:
    """The bouncer's question: on which host is it?"""
    location = view.location(question.vni, question.address)
    if location is None:
        return Verdict.DROP_NO_ENDPOINT
    if location.host == question.own:
        return Verdict.DROP_NOT_HERE
    host = view.host(location.host)
    if host is None:
        return Verdict.DROP_UNKNOWN_HOST
    return Next(Verdict.TO_ENDPOINT_HOST, host, layout.Hop.ENDPOINT, (location.slot,))


def bouncer(view: tables.Tables, question: Question, network: int, shards: int) -> Answer:
    """A bouncer of the network; if that is us, what it would answer."""
    shard = hashes.mix32(question.address) & (shards - 1) & 0xFFFFFFFF
    replicas = view.shard(network, shard)
    if not replicas:
        return Verdict.DROP_NO_BOUNCER
    first = hashes.pick_replica(question.sport, len(replicas))
    address = _up(view, replicas[first:] + replicas[:first]) or replicas[first]
    if address == question.own:
        return endpoint_host(view, question)
    host = view.host(address)
    return Verdict.DROP_UNKNOWN_HOST if host is None else Next(Verdict.TO_BOUNCER, host, layout.Hop.BOUNCER)


def divider(view: tables.Tables, question: Question) -> Answer:
    """A divider of the VPC other than us: who asks here does not divide."""
    vpc = view.vpc(question.vni)
    if vpc is None or not vpc.dividers:
        return Verdict.DROP_NO_DIVIDER
    first = hashes.pick_divider(question.sport, len(vpc.dividers))
    others = [a for a in vpc.dividers[first:] + vpc.dividers[:first] if a != question.own]
    if not others:
        return Verdict.DROP_NO_DIVIDER
    known = [address for address in others if view.host(address) is not None]
    host = view.host(_up(view, known) or known[0]) if known else None
    return Verdict.DROP_UNKNOWN_HOST if host is None else Next(Verdict.TO_DIVIDER, host, layout.Hop.DIVIDER)


def as_divider(view: tables.Tables, question: Question, vpc: tables.Vpc) -> Crossing:
    """The divider's question: which network is it in, of this VPC or a peer, and so which bouncer?"""
    route = _route(view, question)
    if isinstance(route, Verdict):
        return route
    if route.kind != layout.RouteKind.NETWORK:  # just made a divider, and not told all networks yet
        return Verdict.DROP_NO_DIVIDER
    there = dataclasses.replace(question, vni=route.target or question.vni)
    answer = bouncer(view, there, route.network, route.shards)
    if isinstance(answer, Next):
        return dataclasses.replace(answer, slots=(vpc.slot, *answer.slots), vni=route.target)
    return Lost(answer, route.target) if route.target else answer


def in_vpc(view: tables.Tables, question: Question, *, own_networks: bool) -> Crossing:
    """Somewhere in the VPC; `own_networks`: the shards of networks that this host knows may be used."""
    vpc = view.vpc(question.vni)
    if vpc is not None and vpc.divides:
        divided = as_divider(view, question, vpc)
        return divider(view, question) if divided is Verdict.DROP_NO_DIVIDER else divided
    route = _route(view, question)
    if isinstance(route, Verdict):
        return route
    if own_networks and route.kind == layout.RouteKind.NETWORK and not route.target:
        answer = bouncer(view, question, route.network, route.shards)
        if answer is not Verdict.DROP_NO_BOUNCER:
            return answer
    return divider(view, question)


_ENDS: Final = {
    layout.RouteKind.NONE: Verdict.DROP_NO_NETWORK,
    layout.RouteKind.BLACKHOLE: Verdict.DROP_BLACKHOLE,
    layout.RouteKind.APPLIANCE: Verdict.DROP_NO_ROUTE,
    layout.RouteKind.GATEWAY: Verdict.DROP_NO_GATEWAY,
}
"""Kinds that lead to no divider or bouncer."""


def checked(route: tables.Route | None, *, peered: bool = False) -> tables.Route | Verdict:
    """The route, if it leads to a divider or bouncer. `peered`: peering is not transitive."""
    if route is None:
        return Verdict.DROP_NO_ROUTE
    if route.kind in _ENDS:
        return _ENDS[layout.RouteKind(route.kind)]
    return Verdict.DROP_NO_ROUTE if peered and route.target else route


def _route(view: tables.Tables, question: Question) -> tables.Route | Verdict:
    return checked(view.route(question.vni, question.address), peered=question.peered)


def _up(view: tables.Tables, addresses: tuple[int, ...] | list[int]) -> int | None:
    """The first that is listed and not down."""
    for address in addresses:
        host = view.host(address)
        if host is not None and host.is_up:
            return address
    return None

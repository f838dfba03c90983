# SPDX-License-Identifier: Apache-2.0
"""The routes that users have declared for a VPC, as its endpoints see them.

A VPC's gateways and its own tables make its *main* routes; a network with a table has those, and its own win
at equal length. What is implied (the CIDRs of the VPC and of its peers) is not here: `routes` adds that.

Hosts keep rows by VPC, which both endpoints and the transit program read. That is enough as long as all
networks see the same, as long as no declared route lies inside of a CIDR, where dividers must find networks
and nothing else, and as long as none leads to an endpoint: those are for a first hop only. Where it is not
enough, the VPC is *split*: every network has a table of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mizar.model import addresses, facts

GATEWAY: Final = "gateway"
ENDPOINT: Final = "endpoint"
PEER: Final = "peer"
BLACKHOLE: Final = "blackhole"

Routes = Mapping[addresses.Prefix, facts.RouteFact]


class Routing(NamedTuple):
    """Declared routes of one VPC. `own`: of networks with a table, by id, the main ones among them."""

    main: Routes
    own: Mapping[int, Routes]
    shared: tuple[facts.RouteFact, ...]
    """Those that can be rows of the VPC, longest prefix first."""
    split: bool

    def owns(self, network: int) -> bool:
        """The network has a table of its own."""
        return self.split or network in self.own

    def of(self, network: int) -> Routes:
        return self.own.get(network, self.main)


NOTHING: Final = Routing({}, {}, (), split=False)


def routing(
    cidrs: Iterable[addresses.Prefix],
    gateways: Iterable[facts.GatewayFact],
    tables: Iterable[facts.RouteTableFact],
) -> Routing:
    """`cidrs`: of the VPC and of its peers."""
    cidrs = tuple(cidrs)
    main = {
        prefix: facts.RouteFact(prefix, GATEWAY, gateway.id)
        for gateway in sorted(gateways, key=lambda one: -one.id)
        for prefix in gateway.destinations
    }
    ordered = sorted(tables, key=lambda table: table.name)
    for table in ordered:
        if not table.networks:
            main.update((route.to, route) for route in table.routes)
    own = {
        number: main | {route.to: route for route in table.routes}
        for table in ordered
        for number in table.networks
    }
    if not main and not own:
        return NOTHING
    shared = _longest_first(route for route in main.values() if not _needs_own_table(route, cidrs))
    split = any(route.kind != PEER and _needs_own_table(route, cidrs) for route in main.values())
    return Routing(main, own, shared, split=split)


def _needs_own_table(route: facts.RouteFact, cidrs: Iterable[addresses.Prefix]) -> bool:
    return route.kind == ENDPOINT or _is_inside(route.to, cidrs)


def _is_inside(prefix: addresses.Prefix, cidrs: Iterable[addresses.Prefix]) -> bool:
    return any(cidr.covers(prefix) for cidr in cidrs)


def _longest_first(routes: Iterable[facts.RouteFact]) -> tuple[facts.RouteFact, ...]:
    return tuple(sorted(set(routes), key=lambda route: (-route.to.length, route.to, route.target)))

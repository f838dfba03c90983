# SPDX-License-Identifier: Apache-2.0
"""Declared routes: what networks see, and where it becomes rows."""

from __future__ import annotations

import pytest

from mizar.model import addresses, facts
from mizar.plan import planner, routing, rows, state
from mizar.plan.rows import RouteKind

WEB, DB, GROUP, OUT, OTHER = 11, 12, 13, 21, 22
FIREWALL = 9


def prefix(text: str) -> addresses.Prefix:
    return addresses.parse_prefix(text)


def blackhole(to: str) -> facts.RouteFact:
    return facts.RouteFact(prefix(to), routing.BLACKHOLE, 0)


def via(to: str, gateway: int) -> facts.RouteFact:
    return facts.RouteFact(prefix(to), routing.GATEWAY, gateway)


def appliance(to: str) -> facts.RouteFact:
    return facts.RouteFact(prefix(to), routing.ENDPOINT, FIREWALL)


def table(*routes: facts.RouteFact, name: str = "main", networks: tuple[int, ...] = ()) -> planner.Change:
    return planner.Change(route_tables=[facts.RouteTableFact(1, name, networks, routes)])


def gateway(number: int, *hosts: str, to: str | None = "0.0.0.0/0") -> planner.Change:
    destinations = (prefix(to),) if to else ()
    named = tuple((host, ()) for host in hosts)
    return planner.Change(gateways=[facts.GatewayFact(number, 1, f"g{number}", named, 0, 0, destinations)])


@pytest.fixture
def world() -> state.State:
    """h1 divides; h2 has endpoints of web and db, and the firewall; h3 and h4 have nothing."""
    made = state.State()
    planner.apply(
        made,
        planner.Change(
            hosts=[facts.HostFact(f"h{n}", n, f"unix:///h{n}", schedulable=n == 1) for n in range(1, 5)],
            vpcs=[facts.VpcFact(1, "blue", (prefix("10.0.0.0/16"),), 1, 0, GROUP)],
            networks=[
                facts.NetworkFact(WEB, 1, "web", (prefix("10.0.1.0/24"),), 1, 1, 8),
                facts.NetworkFact(DB, 1, "db", (prefix("10.0.2.0/24"),), 1, 1, 8),
            ],
            endpoints=[
                facts.EndpointFact(1, 1, "web-1", WEB, "h2", (0x0A000101,), "", ""),
                facts.EndpointFact(2, 1, "db-1", DB, "h2", (0x0A000201,), "", ""),
                facts.EndpointFact(
                    FIREWALL, 1, "firewall", WEB, "h2", (0x0A000109,), "", "", forwarding=True
                ),
            ],
        ),
    )
    return made


def held(world: state.State, host: str, *, table: int = 0) -> dict[str, rows.RouteRow]:
    """Routes of a host in the VPC's table, or a network's, by prefix."""
    return {
        str(addresses.Prefix(row.prefix, row.length)): row
        for staged in planner.snapshot(world, host).values()
        for row in staged
        if isinstance(row, rows.RouteRow) and row.table == table
    }


def owners(world: state.State) -> set[int]:
    """Networks whose endpoints use a table of their own."""
    return {
        row.network
        for staged in planner.snapshot(world, "h2").values()
        for row in staged
        if isinstance(row, rows.EndpointRow) and row.own_routes
    }


def test_what_all_see_is_in_the_table_of_the_vpc(world: state.State) -> None:
    planner.apply(world, table(blackhole("192.168.0.0/16")))
    assert held(world, "h2")["192.168.0.0/16"].kind is RouteKind.BLACKHOLE
    assert owners(world) == set()
    assert "192.168.0.0/16" not in held(world, "h1")


def test_a_network_with_a_table_has_all_routes_in_it(world: state.State) -> None:
    planner.apply(world, table(blackhole("192.168.0.0/16"), blackhole("172.16.0.0/12")))
    planner.apply(world, gateway(OUT, "h3"))
    planner.apply(world, table(via("172.16.0.0/12", OUT), name="inner", networks=(DB,)))
    own = held(world, "h2", table=DB)
    assert {to: row.kind for to, row in own.items()} == {
        "0.0.0.0/0": RouteKind.GATEWAY,
        "192.168.0.0/16": RouteKind.BLACKHOLE,
        "172.16.0.0/12": RouteKind.GATEWAY,
        "10.0.0.0/16": RouteKind.DIVIDER,
        "10.0.1.0/24": RouteKind.NETWORK,
        "10.0.2.0/24": RouteKind.NETWORK,
    }


def test_a_route_inside_of_the_vpc_takes_over_what_is_in_it_for_endpoints_only(world: state.State) -> None:
    planner.apply(world, table(blackhole("10.0.0.0/22")))
    assert owners(world) == {WEB, DB}
    for number in (WEB, DB):
        own = held(world, "h2", table=number)
        assert {to: row.kind for to, row in own.items()} == {
            "10.0.0.0/16": RouteKind.DIVIDER,
            "10.0.0.0/22": RouteKind.BLACKHOLE,
        }
    assert held(world, "h1")["10.0.1.0/24"].kind is RouteKind.NETWORK
    assert "10.0.0.0/22" not in held(world, "h1")


def test_a_divider_that_has_endpoints_divides_by_the_networks_alone(world: state.State) -> None:
    there = facts.EndpointFact(3, 1, "web-2", WEB, "h1", (0x0A000102,), "", "")
    planner.apply(world, planner.Change(endpoints=[there]))
    planner.apply(world, table(blackhole("10.0.2.0/24")))
    assert held(world, "h1")["10.0.2.0/24"].kind is RouteKind.NETWORK
    assert held(world, "h1", table=WEB)["10.0.2.0/24"].kind is RouteKind.BLACKHOLE


def test_routes_to_an_appliance_follow_its_address_and_end_with_it(world: state.State) -> None:
    planner.apply(world, table(appliance("0.0.0.0/0")))
    row = held(world, "h2", table=DB)["0.0.0.0/0"]
    assert (row.kind, row.endpoint) == (RouteKind.APPLIANCE, 0x0A000109)
    moved = world.endpoints[FIREWALL]._replace(addresses=(0x0A000108,))
    planner.apply(world, planner.Change(endpoints=[moved]))
    assert held(world, "h2", table=DB)["0.0.0.0/0"].endpoint == 0x0A000108
    planner.apply(world, planner.Change(gone_endpoints=[FIREWALL]))
    assert held(world, "h2", table=DB)["0.0.0.0/0"].kind is RouteKind.BLACKHOLE


def test_a_network_may_leave_where_the_vpc_may_not(world: state.State) -> None:
    """Gateway hosts take what they are sent: what is in the VPC's table is of no interest to them."""
    planner.apply(world, gateway(OUT, "h3", to=None))
    planner.apply(world, table(blackhole("0.0.0.0/0")))
    planner.apply(world, table(via("0.0.0.0/0", OUT), name="inner", networks=(DB,)))
    assert held(world, "h3")["0.0.0.0/0"].kind is RouteKind.BLACKHOLE
    assert held(world, "h2")["0.0.0.0/0"].kind is RouteKind.BLACKHOLE
    assert held(world, "h2", table=DB)["0.0.0.0/0"].kind is RouteKind.GATEWAY
    assert owners(world) == {DB}


def test_the_first_of_two_gateways_to_one_prefix_is_taken(world: state.State) -> None:
    for number, host in ((OTHER, "h4"), (OUT, "h3")):
        planner.apply(world, gateway(number, host))
    assert held(world, "h2")["0.0.0.0/0"].network == OUT


def test_a_table_wins_over_a_gateways_destinations(world: state.State) -> None:
    planner.apply(world, gateway(OUT, "h3"))
    planner.apply(world, table(blackhole("0.0.0.0/0")))
    assert held(world, "h2")["0.0.0.0/0"].kind is RouteKind.BLACKHOLE
    planner.apply(world, planner.Change(gone_route_tables=[(1, "main")]))
    assert held(world, "h2")["0.0.0.0/0"].kind is RouteKind.GATEWAY
    planner.apply(world, planner.Change(gone_gateways=[OUT]))
    assert "0.0.0.0/0" not in held(world, "h2")
    assert held(world, "h3") == {}

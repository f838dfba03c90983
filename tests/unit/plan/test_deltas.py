# SPDX-License-Identifier: Apache-2.0
"""What single changes tell which hosts, and when."""

from __future__ import annotations

import pytest

from mizar.model import addresses, facts
from mizar.plan import delta, planner, rows, state
from mizar.plan.rows import Stage, Table

UNDERLAY = 0xC0000200
WEB, ANY, GROUP = 11, 12, 13


def host(number: int, *, schedulable: bool = False) -> facts.HostFact:
    return facts.HostFact(f"h{number}", UNDERLAY + number, f"unix:///h{number}", schedulable)


def endpoint(
    serial: int, where: str, address: int, *, network: int = WEB, vni: int = 1
) -> facts.EndpointFact:
    return facts.EndpointFact(serial, vni, f"e{serial}", network, where, (address,), "", "")


BLUE = facts.VpcFact(1, "blue", (addresses.parse_prefix("10.0.0.0/16"),), 1, 0, GROUP)
NET = facts.NetworkFact(WEB, 1, "web", (addresses.parse_prefix("10.0.1.0/24"),), 1, 1, 8)
OUTSIDE = facts.NetworkFact(ANY, 1, "any", (), 1, 1, 8)
FIRST, SECOND, WIDE = 0x0A000101, 0x0A000102, 0x0A000909


@pytest.fixture
def world() -> state.State:
    """h1 bounces and divides, h2 and h3 take no role; one VPC, a subnet and a group network."""
    made = state.State()
    hosts = (host(1, schedulable=True), host(2), host(3))
    planner.apply(made, planner.Change(hosts=hosts, vpcs=(BLUE,), networks=(NET, OUTSIDE)))
    return made


def told(made: delta.Delta) -> dict[tuple[str, str], set[str]]:
    """Tables by stage and host, `-` before what is removed."""
    return {
        (stage.name, name): {row.key[0] for row in batch.upserts} | {f"-{key[0]}" for key in batch.removals}  # type: ignore[misc]
        for stage, hosts in made.stages.items()
        for name, batch in hosts.items()
    }


def test_first_endpoint_on_a_host(world: state.State) -> None:
    made = planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    assert told(made) == {
        ("BOUNCERS", "h1"): {Table.LOCATIONS},
        ("BOUNCERS", "h2"): {Table.VPCS},
        ("HOSTS", "h2"): {Table.NETWORKS, Table.ROUTES, Table.SHARDS},
        ("ENDPOINTS", "h2"): {Table.ENDPOINTS},
    }
    assert not made.replaces


def test_second_endpoint_costs_its_bouncer_and_its_host_only(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    made = planner.apply(world, planner.Change(endpoints=[endpoint(2, "h2", SECOND)]))
    assert told(made) == {
        ("BOUNCERS", "h1"): {Table.LOCATIONS},
        ("ENDPOINTS", "h2"): {Table.ENDPOINTS},
    }
    assert sum(len(batch) for hosts in made.stages.values() for batch in hosts.values()) == 2


def test_moved_endpoint_is_looked_for_at_its_new_host_once_it_is_there(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    made = planner.apply(world, planner.Change(endpoints=[endpoint(1, "h3", FIRST)]))
    assert told(made) == {
        ("BOUNCERS", "h3"): {Table.VPCS},
        ("HOSTS", "h3"): {Table.NETWORKS, Table.ROUTES, Table.SHARDS},
        ("ENDPOINTS", "h3"): {Table.ENDPOINTS},
        ("MOVES", "h1"): {Table.LOCATIONS},
        ("BREAK", "h2"): {"-vpcs", "-networks", "-routes", "-shards", "-endpoints"},
    }
    assert made.replaces
    assert made.at(Stage.MOVES)["h1"].upserts == [rows.LocationRow(1, WEB, FIRST, UNDERLAY + 3)]


def test_changed_address_is_known_before_it_is_there_and_the_old_one_until_the_end(
    world: state.State,
) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    made = planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", SECOND)]))
    assert told(made) == {
        ("BOUNCERS", "h1"): {Table.LOCATIONS},
        ("ENDPOINTS", "h2"): {Table.ENDPOINTS},
        ("BREAK", "h1"): {"-locations"},
    }


def test_deleted_endpoint_takes_all_of_its_host_along_with_the_last(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST), endpoint(2, "h2", SECOND)]))
    made = planner.apply(world, planner.Change(gone_endpoints=[1]))
    assert told(made) == {("BREAK", "h1"): {"-locations"}, ("BREAK", "h2"): {"-endpoints"}}
    assert not made.replaces
    made = planner.apply(world, planner.Change(gone_endpoints=[2]))
    assert told(made)["BREAK", "h2"] == {"-vpcs", "-networks", "-routes", "-shards", "-endpoints"}


def test_endpoint_of_a_group_network_asks_a_divider_for_everything(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", WIDE, network=ANY)]))
    held = [row for staged in planner.snapshot(world, "h2").values() for row in staged]
    routes = [row for row in held if isinstance(row, rows.RouteRow)]
    assert [(route.length, route.kind) for route in routes] == [(16, rows.RouteKind.DIVIDER)]
    assert not any(isinstance(row, rows.ShardRow) for row in held)
    (there,) = [row for row in held if isinstance(row, rows.EndpointRow)]
    assert (there.shards, there.onlink, there.network) == (0, (), ANY)


def test_divider_sends_what_is_in_no_subnet_to_the_group_space(world: state.State) -> None:
    def route_of_the_vpc() -> rows.RouteRow:
        held = [row for staged in planner.snapshot(world, "h1").values() for row in staged]
        (found,) = [row for row in held if isinstance(row, rows.RouteRow) and row.length == 16]
        return found

    assert (route_of_the_vpc().kind, route_of_the_vpc().network) == (rows.RouteKind.NETWORK, GROUP)
    planner.apply(world, planner.Change(gone_networks=[ANY]))
    assert route_of_the_vpc().kind is rows.RouteKind.NONE


def test_network_as_large_as_its_vpc_owns_the_route(world: state.State) -> None:
    red = BLUE._replace(vni=2, name="red", group=23)
    all_of_it = NET._replace(id=21, vni=2, name="all", cidrs=red.cidrs)
    put = endpoint(9, "h2", FIRST, network=21, vni=2)
    planner.apply(world, planner.Change(vpcs=[red], networks=[all_of_it], endpoints=[put]))
    for name in ("h1", "h2"):
        held = [row for staged in planner.snapshot(world, name).values() for row in staged]
        routes = [row for row in held if isinstance(row, rows.RouteRow) and row.vni == 2]
        assert [(route.kind, route.network) for route in routes] == [(rows.RouteKind.NETWORK, 21)]


def test_bouncer_that_takes_over_knows_before_it_is_asked(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    made = planner.apply(world, planner.Change(hosts=[host(1), host(3, schedulable=True)]))
    assert Table.LOCATIONS in told(made)["BOUNCERS", "h3"]
    assert Table.SHARDS in told(made)["BOUNCERS", "h3"]
    assert Table.ROUTES in told(made)["DIVIDERS", "h3"]
    assert told(made)["HOSTS", "h2"] == {Table.VPCS, Table.SHARDS}
    assert "-locations" in told(made)["BREAK", "h1"]
    assert made.replaces


def test_growing_the_bouncers_moves_only_the_shards_that_must(world: state.State) -> None:
    ready = [host(number, schedulable=True) for number in range(1, 9)]
    grown = NET._replace(shards=128, id=31, name="big", cidrs=(addresses.parse_prefix("10.0.8.0/21"),))
    many = [endpoint(100 + n, "h2", 0x0A000801 + n, network=31) for n in range(1000)]
    planner.apply(world, planner.Change(hosts=ready, networks=[grown._replace(bouncers=2)], endpoints=many))
    made = planner.apply(world, planner.Change(networks=[grown._replace(bouncers=3)]))
    located = [
        [row for row in batch.upserts if isinstance(row, rows.LocationRow)]
        for batch in made.at(Stage.BOUNCERS).values()
    ]
    removed = sum(key[0] is Table.LOCATIONS for b in made.at(Stage.BREAK).values() for key in b.removals)
    assert 200 < removed < 470
    assert [len(batch) for batch in located] == [removed]  # the new bouncer, and nobody else
    (shards,) = [batch.upserts for name, batch in made.at(Stage.HOSTS).items() if name == "h2"] or [[]]
    assert 20 < len(shards) < 60


def test_host_that_is_gone_is_forgotten_by_all_and_forgets_all(world: state.State) -> None:
    made = planner.apply(world, planner.Change(gone_hosts=["h3"]))
    assert told(made) == {("BREAK", name): {"-hosts"} for name in ("h1", "h2", "h3")}
    assert len(made.at(Stage.BREAK)["h3"].removals) == 3
    assert planner.snapshot(world, "h3") == {}


def test_new_mtu_reaches_every_endpoint(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST), endpoint(2, "h3", SECOND)]))
    made = planner.apply(world, planner.Change(vpcs=[BLUE._replace(mtu=1400)]))
    assert told(made) == {("ENDPOINTS", "h2"): {Table.ENDPOINTS}, ("ENDPOINTS", "h3"): {Table.ENDPOINTS}}


def test_without_a_host_for_the_role_nobody_is_sent_anywhere(world: state.State) -> None:
    planner.apply(world, planner.Change(endpoints=[endpoint(1, "h2", FIRST)]))
    made = planner.apply(world, planner.Change(hosts=[host(1)]))
    assert {"-shards", "-routes"} <= told(made)["BREAK", "h1"]
    assert world.vpcs[1].dividers == ()


def test_nothing_changed_is_an_empty_delta(world: state.State) -> None:
    put = planner.Change(endpoints=[endpoint(1, "h2", FIRST)])
    planner.apply(world, put)
    assert not planner.apply(world, put)
    assert not planner.apply(world, planner.Change(hosts=[host(2)], vpcs=[BLUE], networks=[NET]))

# SPDX-License-Identifier: Apache-2.0
"""Services, gateways, routes and peerings by what the planner calls them."""

from __future__ import annotations

import pytest

from mizar.controller import subjects
from mizar.controller.subjects import Subject
from mizar.model import addresses, facts, kinds
from mizar.plan import planner, rows, state

OUTSIDE = addresses.parse("192.0.2.20")
FORWARD = (OUTSIDE + 1, 2222, 6)
SHOP, WEB_1, OUT = 9, 1, 21

CHANGE = planner.Change(
    hosts=[facts.HostFact(f"h{n}", n, f"unix:///h{n}", schedulable=n == 4) for n in range(1, 5)],
    vpcs=[
        facts.VpcFact(7, "blue", (addresses.parse_prefix("10.0.0.0/16"),), 1, 0, 97),
        facts.VpcFact(8, "green", (addresses.parse_prefix("10.8.0.0/16"),), 1, 0, 98),
    ],
    networks=[facts.NetworkFact(3, 7, "web", (addresses.parse_prefix("10.0.1.0/24"),), 1, 1, 8)],
    endpoints=[facts.EndpointFact(WEB_1, 7, "web-1", 3, "h3", (0x0A000101,), "", "")],
    services=[
        facts.ServiceFact(
            SHOP,
            7,
            "shop",
            3,
            0x0A000164,
            (facts.PortFact(80, 6, 8080),),
            (facts.BackendFact(WEB_1, 1),),
            0,
            facts.CheckFact("up", 0, "", 1000, 500, 1, 1),
        )
    ],
    gateways=[facts.GatewayFact(OUT, 7, "out", (("h1", ()), ("h2", ())), 0, 0, ())],
    floating=[facts.FloatingFact(OUTSIDE, 7, "web-outside", OUT, WEB_1)],
    forwards=[facts.ForwardFact(*FORWARD, 7, "ssh", OUT, WEB_1, 22)],
    route_tables=[facts.RouteTableFact(7, "main", (), ())],
    peerings=[facts.PeeringFact(7, 8), facts.PeeringFact(8, 7)],
)

IN_BLUE = {
    Subject("Service", SHOP): (kinds.ENDPOINT, "shop", {"h4"}),
    Subject("Gateway", OUT): (kinds.GATEWAY, "out", {"h1", "h2", "h3"}),
    Subject("FloatingAddress", OUTSIDE): (kinds.FLOATING_ADDRESS, "web-outside", {"h1", "h2"}),
    Subject("PortForward", FORWARD): (kinds.PORT_FORWARD, "ssh", {"h1", "h2"}),
    Subject("RouteTable", (7, "main")): (kinds.ROUTE_TABLE, "main", {"h1", "h2", "h3"}),
}


@pytest.fixture(scope="module")
def world() -> state.State:
    """h1 and h2 lead out, h3 has the endpoint, h4 bounces and divides."""
    made = state.State()
    planner.apply(made, CHANGE)
    return made


@pytest.mark.parametrize("subject", IN_BLUE)
def test_name_and_hosts_that_must_know(world: state.State, subject: Subject) -> None:
    kind, name, hosts = IN_BLUE[subject]
    assert subjects.ref(world, subject) == kinds.Ref(kind, "blue", name)
    assert set(subjects.knowers(world, subject) or ()) == hosts


def test_a_peering_is_known_by_all_of_its_vpc_while_both_sides_agree(world: state.State) -> None:
    assert set(subjects.knowers(world, Subject("Peering", (7, 8))) or ()) == {"h1", "h2", "h3", "h4"}
    assert subjects.knowers(world, Subject("Peering", (7, 9))) is None
    assert subjects.knowers(world, Subject("Peering", (7, None))) is None


@pytest.mark.parametrize(
    "subject",
    [Subject(kind, None) for kind in ("Service", "Gateway", "FloatingAddress", "PortForward")]
    + [Subject("RouteTable", (None, "main")), Subject("RouteTable", (7, "other"))],
)
def test_what_the_planner_does_not_know_has_neither(world: state.State, subject: Subject) -> None:
    assert subjects.knowers(world, subject) is None
    assert subjects.ref(world, subject) is None


def test_everything_that_changes_is_a_subject() -> None:
    found = set(subjects.of_change(CHANGE))
    assert found >= {*IN_BLUE, Subject("Peering", (7, 8)), Subject("Endpoint", WEB_1), Subject("VPC", 7)}


@pytest.mark.parametrize("host", ["h1", "h2", "h3", "h4"])
def test_rows_concern_whose_they_are(world: state.State, host: str) -> None:
    told = [row for staged in planner.snapshot(world, host).values() for row in staged]
    for row in told:
        subject = subjects.of_row(world, row.key, host)
        if subject is not None:
            assert subjects.concerns(world, row.key, subject), row
        elif not isinstance(row, rows.CheckRow):
            assert isinstance(row, rows.HostRow)
        others = [one for one in IN_BLUE if one != subject and one.kind != "RouteTable"]
        whose = {one for one in others if subjects.concerns(world, row.key, one)}
        assert whose <= {Subject("Service", SHOP)} if isinstance(row, rows.CheckRow) else not whose

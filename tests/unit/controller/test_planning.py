# SPDX-License-Identifier: Apache-2.0
"""Large changes in steps."""

from __future__ import annotations

import pytest

from mizar.controller import planning
from mizar.model import addresses, facts, kinds
from mizar.plan import planner, state


def endpoint(serial: int, address: int | None = None) -> facts.EndpointFact:
    return facts.EndpointFact(serial, 7, f"e{serial}", 3, "h1", (address or 0x0A000000 + serial,), "", "")


BASE = planner.Change(
    hosts=[facts.HostFact("h1", 1, "unix:///h1", schedulable=True)],
    vpcs=[facts.VpcFact(7, "blue", (addresses.parse_prefix("10.0.0.0/8"),), 1, 0, 9)],
    networks=[facts.NetworkFact(3, 7, "web", (addresses.parse_prefix("10.0.0.0/9"),), 1, 1, 8)],
)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "STEP", 10)


def test_a_small_change_is_one_step() -> None:
    change = planner.Change(endpoints=[endpoint(1)])
    assert list(planning.steps(change, ())) == [change]


def test_what_endpoints_are_in_comes_with_the_first_of_them() -> None:
    change = planner.Change(
        vpcs=BASE.vpcs, networks=BASE.networks, endpoints=[endpoint(i) for i in range(35)]
    )
    steps = list(planning.steps(change, ()))
    assert [len(step.endpoints) for step in steps] == [10, 10, 10, 5]
    assert steps[0].networks == BASE.networks
    assert all(not step.networks for step in steps[1:])


def test_new_endpoints_of_a_host_come_in_steps_next_to_each_other() -> None:
    spread = [endpoint(serial)._replace(host=f"h{serial % 4}") for serial in range(40)]
    steps = list(planning.steps(planner.Change(endpoints=spread), ()))
    assert [{fact.host for fact in step.endpoints} for step in steps] == [{"h0"}, {"h1"}, {"h2"}, {"h3"}]


def test_what_endpoints_were_in_goes_with_the_last_of_them() -> None:
    change = planner.Change(gone_endpoints=list(range(25)), gone_networks=[3], gone_vpcs=[7])
    steps = list(planning.steps(change, ()))
    assert [len(step.gone_endpoints) for step in steps] == [10, 10, 5]
    assert [len(step.gone_networks) for step in steps] == [0, 0, 1]


def test_what_refers_to_endpoints_goes_before_them_and_comes_after_them() -> None:
    service = facts.ServiceFact(99, 7, "shop", 3, 0x0A000063, (), (facts.BackendFact(34, 1),), 0, None)
    change = planner.Change(
        endpoints=[endpoint(i) for i in range(35)],
        services=[service],
        gone_endpoints=list(range(40, 65)),
        gone_gateways=[5],
        gone_networks=[4],
    )
    steps = list(planning.steps(change, ()))
    assert [(list(step.gone_gateways), len(step.services)) for step in steps] == [
        ([5], 0),
        *[([], 0)] * (len(steps) - 2),
        ([], 1),
    ]
    assert [len(step.gone_endpoints) for step in steps] == [0, 10, 10, 5, 0, 0, 0, 0]
    assert [len(step.endpoints) for step in steps] == [0, 0, 0, 10, 10, 10, 5, 0]


def test_endpoints_that_exist_change_together() -> None:
    """One may take over the address of another."""
    known = dict.fromkeys(range(15))
    change = planner.Change(endpoints=[endpoint(i) for i in range(40)])
    steps = list(planning.steps(change, known))
    assert {fact.id for fact in steps[0].endpoints} >= set(known)
    assert sum(len(step.endpoints) for step in steps) == 40


def test_steps_lead_to_the_same_state_as_the_whole() -> None:
    whole, stepped = state.State(), state.State()
    many = planner.Change(
        hosts=BASE.hosts,
        vpcs=BASE.vpcs,
        networks=BASE.networks,
        endpoints=[endpoint(i) for i in range(1, 60)],
    )
    gone = planner.Change(
        gone_endpoints=list(range(1, 45)), endpoints=[endpoint(i, i) for i in range(60, 90)]
    )
    for change in (many, gone):
        planner.apply(whole, change)
        for step in planning.steps(change, stepped.endpoints):
            planner.apply(stepped, step)
    assert planner.snapshot(whole, "h1").keys() == planner.snapshot(stepped, "h1").keys()
    for stage, rows in planner.snapshot(whole, "h1").items():
        assert set(rows) == set(planner.snapshot(stepped, "h1")[stage])


def test_what_goes_is_named_before_it_is_forgotten() -> None:
    world = state.State()
    planner.apply(world, BASE)
    planner.apply(world, planner.Change(endpoints=[endpoint(1)]))
    gone = planner.Change(gone_endpoints=[1], gone_networks=[3], gone_vpcs=[7], gone_hosts=["h1"])
    assert planning.refs_gone(world, gone) == [
        kinds.Ref(kinds.ENDPOINT, "blue", "e1"),
        kinds.Ref(kinds.NETWORK, "blue", "web"),
        kinds.Ref(kinds.VPC, None, "blue"),
        kinds.Ref(kinds.HOST, None, "h1"),
    ]

# SPDX-License-Identifier: Apache-2.0
"""Reports of checks: whose they are, and when the plan changes for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mizar.controller import health
from mizar.model import addresses, facts
from mizar.plan import delta, planner, rows, state
from mizar.rpc.gen.mizar.node.v1 import node_pb2

SHOP = 9
CHECK = facts.CheckFact("http", 8080, "/", 2000, 1000, 2, 1)


def backend(serial: int, host: str = "h1") -> facts.EndpointFact:
    return facts.EndpointFact(serial, 7, f"web-{serial}", 3, host, (0x0A000000 + serial,), "", "")


def service(*backends: int) -> facts.ServiceFact:
    return facts.ServiceFact(
        SHOP,
        7,
        "shop",
        3,
        0x0A000064,
        (facts.PortFact(80, 6, 8080),),
        tuple(facts.BackendFact(serial, 1) for serial in backends),
        0,
        CHECK,
    )


def report(serial: int, *, healthy: bool, service: str = "blue/shop") -> node_pb2.HealthReport:
    endpoint = node_pb2.EndpointKey(vpc="blue", name=f"web-{serial}")
    key = node_pb2.CheckKey(endpoint=endpoint, service=service)
    return node_pb2.HealthReport(key=key, healthy=healthy, message="" if healthy else "refused")


class Ward:
    """A planner, two backends on h1, and what is heard of them."""

    def __init__(self) -> None:
        self.world = state.State()
        self.deltas: list[delta.Delta] = []
        self.news: list[int] = []
        self._timers: list[Callable[[], None]] = []
        self.health = health.Health(
            self.world,
            plan=self.plan,
            later=lambda seconds, call: self._timers.append(call),
            news=self.news.append,
        )
        self.plan(
            planner.Change(
                hosts=[facts.HostFact(f"h{n}", n, f"unix:///h{n}", schedulable=n == 3) for n in (1, 2, 3)],
                vpcs=[facts.VpcFact(7, "blue", (addresses.parse_prefix("10.0.0.0/8"),), 1, 0, 99)],
                networks=[facts.NetworkFact(3, 7, "web", (addresses.parse_prefix("10.0.0.0/9"),), 1, 1, 8)],
                endpoints=[backend(1), backend(2)],
                services=[service(1, 2)],
            )
        )

    def plan(self, change: planner.Change) -> None:
        self.deltas.append(planner.apply(self.world, change))
        self.health.planned(change)

    def wait(self) -> None:
        timers, self._timers = self._timers, []
        for call in timers:
            call()

    def given_out(self) -> list[int]:
        held = [row for staged in planner.snapshot(self.world, "h3").values() for row in staged]
        (row,) = [row for row in held if isinstance(row, rows.ServiceRow)]
        return [address - 0x0A000000 for address, _ in row.backends]

    def state(self, serial: int) -> str:
        return health.state_of(self.health.of(SHOP, self.world.endpoints[serial]), weight=1)


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_nothing_known_counts_as_healthy(ward: Ward) -> None:
    assert ward.given_out() == [1, 2]
    assert ward.state(1) == "unknown"


def test_an_unhealthy_backend_is_given_out_no_more_until_it_recovers(ward: Ward) -> None:
    ward.health.heard("h1", report(2, healthy=False))
    ward.wait()
    assert ward.given_out() == [1]
    assert (ward.state(1), ward.state(2)) == ("unknown", "unhealthy")
    ward.health.heard("h1", report(2, healthy=True))
    ward.wait()
    assert ward.given_out() == [1, 2]
    assert ward.state(2) == "healthy"
    assert ward.news == [SHOP, SHOP]


def test_many_reports_are_one_change(ward: Ward) -> None:
    before = len(ward.deltas)
    for serial in (1, 2):
        ward.health.heard("h1", report(serial, healthy=False))
    ward.wait()
    assert len(ward.deltas) == before + 1
    assert ward.given_out() == []


def test_a_host_does_not_speak_of_backends_of_others(ward: Ward) -> None:
    ward.health.heard("h2", report(1, healthy=False))
    ward.health.heard("h1", report(1, healthy=False, service="blue/other"))
    ward.wait()
    assert ward.given_out() == [1, 2]


def test_of_a_backend_that_has_moved_nothing_is_known(ward: Ward) -> None:
    ward.health.heard("h1", report(1, healthy=False))
    ward.wait()
    ward.plan(planner.Change(endpoints=[backend(1, "h2")]))
    assert (ward.state(1), ward.given_out()) == ("unknown", [1, 2])
    ward.health.heard("h1", report(1, healthy=False))  # late, of the old place
    ward.wait()
    assert ward.given_out() == [1, 2]
    ward.health.heard("h2", report(1, healthy=False))
    ward.wait()
    assert ward.given_out() == [2]


def test_a_backend_that_left_and_came_back_is_unknown(ward: Ward) -> None:
    ward.health.heard("h1", report(1, healthy=False))
    ward.wait()
    ward.plan(planner.Change(services=[service(2)]))
    ward.plan(planner.Change(services=[service(1, 2)]))
    assert (ward.state(1), ward.given_out()) == ("unknown", [1, 2])


def test_hosts_that_get_checks_are_to_be_heard(ward: Ward) -> None:
    assert health.hosts_to_hear(ward.deltas[0]) == {"h1"}
    ward.plan(planner.Change(endpoints=[backend(1, "h2")]))
    assert health.hosts_to_hear(ward.deltas[-1]) == {"h2"}
    ward.health.heard("h2", report(1, healthy=False))
    ward.wait()
    assert health.hosts_to_hear(ward.deltas[-1]) == set()

# SPDX-License-Identifier: Apache-2.0
"""Verdicts, and news for watchers. h1 has the endpoint; who bounces follows from placement."""

from __future__ import annotations

from typing import Any

import pytest

from mizar.controller import pusher, status
from mizar.controller.rollout import Change
from mizar.controller.subjects import Subject
from mizar.model import addresses, facts
from mizar.plan import planner, state
from mizar.plan.delta import Batch
from mizar.plan.rows import Stage, Table

ENDPOINT = Subject("Endpoint", 1)
ADDRESS = addresses.parse("10.0.0.5")


class Board:
    """A board over a planner and a pusher whose hosts acknowledge when told to."""

    def __init__(self) -> None:
        self.news: list[Subject] = []
        self.world = state.State()
        self.board = status.Board(self.world, self.news.append)
        self.pusher = pusher.Pusher(
            snapshot=self._snapshot,
            later=lambda seconds, call: None,
            listener=self.board,
            drain=0,
            retry_delay=lambda n: 1,
        )
        self.board.pusher = self.pusher
        for number in (1, 2, 3):
            self.pusher.add_host(f"h{number}")
            self.pusher.connected(f"h{number}")
        self.plan(
            1,
            hosts=[facts.HostFact(f"h{n}", n, f"unix:///h{n}", schedulable=n > 1) for n in (1, 2, 3)],
            vpcs=[facts.VpcFact(7, "blue", (addresses.parse_prefix("10.0.0.0/8"),), 1, 0, 9)],
            networks=[facts.NetworkFact(3, 7, "web", (addresses.parse_prefix("10.0.0.0/9"),), 1, 1, 8)],
        )
        self.acknowledge()
        self.bouncer = self.world.networks[3].space.bouncers[0]
        self.other = ({"h2", "h3"} - {self.bouncer}).pop()

    def _snapshot(self, host: str) -> list[Batch]:
        staged = planner.snapshot(self.world, host)
        return [Batch(staged.get(stage, [])) for stage in Stage if stage < Stage.MOVES]

    def plan(self, revision: int, **change: Any) -> None:
        made = planner.apply(self.world, planner.Change(**change))
        self.pusher.submit(Change(revision, revision, made))

    def add_endpoint(self) -> None:
        self.plan(2, endpoints=[facts.EndpointFact(1, 7, "a", 3, "h1", (ADDRESS,), "", "")])

    def acknowledge(self, *hosts: str, refused: dict[Any, str] | None = None) -> None:
        going = True
        while going:
            going = False
            for host in hosts or tuple(self.pusher.hosts):
                if self.pusher.take(host, 1000) is not None:
                    self.pusher.acknowledged(host, refused or {})
                    going = True

    def verdict(self, subject: Subject = ENDPOINT, version: int = 2) -> status.Verdict:
        return self.board.verdict(subject, version)


@pytest.fixture
def b() -> Board:
    return Board()


def test_an_endpoint_is_ready_once_its_bouncer_and_its_host_have_it(b: Board) -> None:
    b.add_endpoint()
    assert b.verdict().message == f"host {b.bouncer} has not acknowledged yet"
    b.acknowledge(b.bouncer)
    assert b.verdict().message == "host h1 has not acknowledged yet"
    b.acknowledge("h1")
    assert b.verdict() == status.READY


def test_a_host_that_need_not_know_does_not_matter(b: Board) -> None:
    b.pusher.away(b.other, "gone")
    b.add_endpoint()
    b.acknowledge(b.bouncer, "h1")
    assert b.verdict().ready


def test_a_host_that_is_away_is_named_with_the_cause(b: Board) -> None:
    b.pusher.away(b.bouncer, "connection refused")
    b.add_endpoint()
    b.acknowledge("h1")
    found = b.verdict()
    assert (found.ready, found.reason) == (False, "HostAway")
    assert found.message == f"host {b.bouncer} is away: connection refused"


def test_what_was_ready_stays_so_when_a_host_goes_away(b: Board) -> None:
    b.add_endpoint()
    b.acknowledge()
    b.pusher.away(b.bouncer, "killed")
    assert b.verdict().ready


def test_what_the_planner_has_not_seen_is_pending(b: Board) -> None:
    assert b.verdict().message == "the change is being planned"
    assert b.verdict(Subject("VPC", 7), version=9).message == "the change is being planned"


def test_a_refusal_is_told_of_the_endpoint_that_it_concerns_only(b: Board) -> None:
    b.add_endpoint()
    b.plan(3, endpoints=[facts.EndpointFact(2, 7, "b", 3, "h1", (ADDRESS + 1,), "", "")])
    b.acknowledge(b.bouncer)
    b.acknowledge("h1", refused={(Table.ENDPOINTS, "blue", "a"): "no namespace"})
    assert (b.verdict().reason, b.verdict().message) == ("EntryRefused", "host h1: no namespace")
    assert b.verdict(Subject("Endpoint", 2), version=3).ready


def test_a_refused_location_concerns_its_endpoint(b: Board) -> None:
    b.add_endpoint()
    b.acknowledge(b.bouncer, refused={(Table.LOCATIONS, 7, ADDRESS): "table full"})
    b.acknowledge("h1")
    assert b.verdict().message == f"host {b.bouncer}: table full"


def test_networks_and_vpcs_need_those_who_use_them(b: Board) -> None:
    assert b.verdict(Subject("Network", 3), version=1).ready
    assert b.verdict(Subject("VPC", 7), version=1).ready


def test_a_host_is_ready_when_it_is_connected_and_those_here_know_it(b: Board) -> None:
    assert b.verdict(Subject("Host", "h1"), version=1).ready
    b.pusher.away("h2", "gone")
    assert b.verdict(Subject("Host", "h1"), version=1).ready
    assert b.verdict(Subject("Host", "h2"), version=1).reason == "HostAway"


def test_nothing_is_followed_while_nobody_watches(b: Board) -> None:
    b.add_endpoint()
    b.acknowledge()
    assert b.news == []


def test_a_watched_endpoint_is_news_once_when_it_turns_ready(b: Board) -> None:
    b.board.watched = True
    b.add_endpoint()
    b.board.track(ENDPOINT, 2)
    b.acknowledge(b.bouncer)
    assert b.news == []
    b.acknowledge("h1")
    assert b.news == [ENDPOINT]


def test_refusals_and_recoveries_are_news(b: Board) -> None:
    b.board.watched = True
    b.add_endpoint()
    b.acknowledge(b.bouncer)
    b.acknowledge("h1", refused={(Table.ENDPOINTS, "blue", "a"): "no namespace"})
    assert b.news == [ENDPOINT]
    assert not b.verdict().ready


def test_a_host_that_goes_away_is_news(b: Board) -> None:
    b.board.watched = True
    b.pusher.away("h2", "gone")
    assert Subject("Host", "h2") in b.news

# SPDX-License-Identifier: Apache-2.0
"""Gateway hosts whose agents go away. In fake time."""

from __future__ import annotations

import asyncio

from mizar.controller import presence, pusher, sentries
from mizar.controller.hostqueue import HostState
from mizar.model import addresses, facts
from mizar.plan import planner, rows, state
from tests.unit.controller import faketime

OUTSIDE = addresses.parse("192.0.2.20")
PATIENCE = 2.0


class Edge:
    """h1 and h2 lead out, h3 has the endpoint that the floating address is of."""

    def __init__(self) -> None:
        self.world = state.State()
        self.changes = 0
        later = asyncio.get_running_loop().call_later
        self.pusher = pusher.Pusher(
            snapshot=lambda name: [], later=later, listener=self, drain=0, retry_delay=lambda n: 1
        )
        for name in ("h1", "h2", "h3"):
            self.pusher.add_host(name).state = HostState.CONNECTED
        self.presence = presence.Presence(
            self.world, self.pusher, plan=self.plan, later=later, patience=PATIENCE
        )
        self.plan(
            planner.Change(
                hosts=[facts.HostFact(f"h{n}", n, f"unix:///h{n}", schedulable=n == 3) for n in (1, 2, 3)],
                vpcs=[facts.VpcFact(7, "blue", (addresses.parse_prefix("10.0.0.0/8"),), 1, 0, 99)],
                networks=[facts.NetworkFact(3, 7, "web", (addresses.parse_prefix("10.0.0.0/9"),), 1, 1, 8)],
                endpoints=[facts.EndpointFact(1, 7, "web-1", 3, "h3", (0x0A000001,), "", "")],
                gateways=[facts.GatewayFact(5, 7, "out", (("h1", ()), ("h2", ())), 0, 0, ())],
                floating=[facts.FloatingFact(OUTSIDE, 7, "f", 5, 1)],
            )
        )

    def plan(self, change: planner.Change) -> None:
        self.changes += 1
        planner.apply(self.world, change)

    def settled(self, host: str) -> None: ...

    def turned(self, host: str) -> None: ...

    def turn(self, name: str, turned: HostState) -> None:
        self.pusher.hosts[name].state = turned
        self.presence.look([name])

    @property
    def answering(self) -> str:
        (name,) = [
            name
            for name in ("h1", "h2")
            for staged in planner.snapshot(self.world, name).values()
            for row in staged
            if isinstance(row, rows.FloatingRow) and row.answers
        ]
        return name


def test_another_host_answers_for_one_that_is_away_until_it_is_back() -> None:
    async def story() -> None:
        edge = Edge()
        first = edge.answering
        other = {"h1": "h2", "h2": "h1"}[first]
        edge.turn(first, HostState.AWAY)
        await asyncio.sleep(PATIENCE - 0.1)
        assert edge.answering == first
        await asyncio.sleep(0.2)
        assert edge.answering == other
        edge.turn(first, HostState.SYNCING)
        assert edge.answering == other
        edge.turn(first, HostState.CONNECTED)
        assert edge.answering == first

    faketime.run(story())


def test_an_agent_that_is_started_again_moves_nothing() -> None:
    async def story() -> None:
        edge = Edge()
        before = edge.changes
        edge.turn("h1", HostState.AWAY)
        edge.turn("h1", HostState.AWAY)
        await asyncio.sleep(PATIENCE / 2)
        edge.turn("h1", HostState.CONNECTED)
        await asyncio.sleep(2 * PATIENCE)
        assert edge.changes == before

    faketime.run(story())


def test_a_host_that_its_neighbours_have_lost_is_away_at_once() -> None:
    async def story() -> None:
        edge = Edge()
        first = edge.answering
        edge.presence.lost({first, "h3"})
        assert edge.answering != first
        edge.presence.lost({first, "h3"})
        edge.turn(first, HostState.CONNECTED)
        assert edge.answering != first
        edge.presence.lost(set())
        assert edge.answering == first

    faketime.run(story())


def test_a_host_that_is_cut_off_is_outvoted() -> None:
    """h1 reaches nobody, h2 and h3 do not reach h1."""

    async def story() -> None:
        edge = Edge()
        wanted = sentries.witnesses(edge.world)
        assert {host: sorted(some) for host, some in wanted.items()} == {
            "h1": ["h2", "h3"],
            "h2": ["h1", "h3"],
        }
        sights = {"h1": frozenset({2, 3}), "h2": frozenset({1}), "h3": frozenset({1})}
        assert sentries.lost(edge.world, wanted, sights) == {"h1"}
        assert sentries.lost(edge.world, wanted, {"h2": frozenset({1})}) == {"h1"}
        assert sentries.lost(edge.world, wanted, {}) == set()

    faketime.run(story())


def test_neighbours_are_asked_again_and_again() -> None:
    async def story() -> None:
        edge = Edge()
        told: list[set[str]] = []
        seen: list[frozenset[int] | None] = [None]

        async def ask(name: str) -> frozenset[int] | None:
            return seen[-1]

        watching = asyncio.create_task(sentries.watch(edge.world, ask=ask, tell=told.append, period=1))
        await asyncio.sleep(1.5)
        assert told == [set()]
        seen.append(frozenset({2}))
        await asyncio.sleep(1)
        assert told == [set(), {"h2"}]
        watching.cancel()

    faketime.run(story())


def test_hosts_that_lead_nowhere_are_of_no_interest() -> None:
    async def story() -> None:
        edge = Edge()
        before = edge.changes
        edge.turn("h3", HostState.AWAY)
        await asyncio.sleep(2 * PATIENCE)
        assert edge.changes == before

    faketime.run(story())

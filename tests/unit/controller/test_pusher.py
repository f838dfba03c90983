# SPDX-License-Identifier: Apache-2.0
"""What hosts are told, in which order, and what happens when they are away or refuse. No I/O, no clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import pytest

from mizar.controller import hostqueue, pusher
from mizar.controller.hostqueue import Mode, Outgoing
from mizar.controller.rollout import Change
from mizar.plan.delta import Batch, Delta
from mizar.plan.rows import Stage


class R(NamedTuple):
    key: str
    value: int = 0


class World:
    """A pusher, agents that are dictionaries, and a timer that is turned by hand."""

    def __init__(self, *hosts: str, expected: bool = False, drain: float = 1.0) -> None:
        self.wanted: dict[str, dict[Any, Any]] = {}
        self.tables: dict[str, dict[Any, Any]] = {}
        self.named: dict[str, set[Any]] = {}
        self.log: list[tuple[str, str, Any]] = []  # host, make or break, key
        self.refuse: dict[tuple[str, Any], str] = {}
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.now = 0.0
        self.order = 0
        self.done: list[int] = []
        self.version = 0
        self.pusher = pusher.Pusher(
            snapshot=self._snapshot,
            later=self._later,
            listener=self,
            drain=drain,
            retry_delay=lambda n: 0.5,
        )
        for host in hosts:
            self.add(host, expected=expected)
            if not expected:
                self.pusher.connected(host)
        if not expected:
            self.run()

    def add(self, host: str, *, expected: bool = False) -> None:
        self.wanted.setdefault(host, {})
        self.tables.setdefault(host, {})
        self.pusher.add_host(host, expected=expected)

    def settled(self, host: str) -> None: ...

    def turned(self, host: str) -> None: ...

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.timers, (self.now + seconds, self.order, call))

    def _snapshot(self, host: str) -> list[Batch]:
        rows = self.wanted[host].values()
        late = [row for row in rows if row.key.startswith("ep")]
        early = [row for row in rows if not row.key.startswith("ep")]
        return [Batch(early), Batch(), Batch(), Batch(), Batch(late)]

    def change(
        self,
        make: Mapping[int, Mapping[str, list[Any]]] | None = None,
        drop: Mapping[str, list[Any]] | None = None,
        *,
        replaces: bool = True,
    ) -> int:
        self.version += 1
        delta = Delta(replaces=replaces)
        for stage, hosts in (make or {}).items():
            delta.stages[Stage(stage)] = {host: Batch(list(rows)) for host, rows in hosts.items()}
            for host, rows in hosts.items():
                self.wanted[host].update({row.key: row for row in rows})
        if drop:
            delta.stages[Stage.BREAK] = {host: Batch(removals=list(keys)) for host, keys in drop.items()}
            for host, keys in drop.items():
                for key in keys:
                    self.wanted[host].pop(key, None)
        number = self.version
        self.pusher.submit(Change(number, number, delta, done=lambda: self.done.append(number)))
        return number

    def take(self, host: str) -> Outgoing | None:
        return self.pusher.take(host, 1000)

    def apply(self, host: str, message: Outgoing) -> None:
        refused: dict[Any, str] = {}
        table, named = self.tables[host], self.named.setdefault(host, set())
        if message.mode is Mode.SNAPSHOT_BEGIN:
            named.clear()
        for row in message.upserts:
            self.log.append((host, "make", row.key))
            if (host, row.key) in self.refuse:
                refused[row.key] = self.refuse[host, row.key]
            else:
                table[row.key] = row
            named.add(row.key)
        for key in message.removals:
            self.log.append((host, "break", str(key)))
            if (host, str(key)) in self.refuse:
                refused[key] = self.refuse[host, str(key)]
            else:
                table.pop(str(key), None)
        if message.mode is Mode.PRUNE:
            self.tables[host] = {key: row for key, row in table.items() if key in named}
        self.pusher.acknowledged(host, refused)

    def run(self, *only: str) -> None:
        """Until nobody takes anything any more."""
        going = True
        while going:
            going = False
            for host in only or tuple(self.pusher.hosts):
                if (
                    host in self.pusher.hosts
                    and self.pusher.hosts[host].state is not hostqueue.HostState.AWAY
                ):
                    message = self.take(host)
                    if message is not None:
                        self.apply(host, message)
                        going = True

    def pass_time(self, seconds: float) -> None:
        self.let_timers_fire(seconds)
        self.run()

    def let_timers_fire(self, seconds: float) -> None:
        self.now += seconds
        while self.timers and self.timers[0][0] <= self.now:
            heapq.heappop(self.timers)[2]()

    def settle(self) -> None:
        for _ in range(4):
            self.run()
            self.pass_time(1.0)


def test_an_endpoint_is_told_to_its_bouncer_before_its_host() -> None:
    world = World("bouncer", "host")
    world.change({1: {"bouncer": [R("loc")]}, 4: {"host": [R("ep")]}})
    assert world.take("host") is None
    world.run()
    assert world.log == [("bouncer", "make", "loc"), ("host", "make", "ep")]
    assert world.done == [1]


def test_a_stage_waits_for_all_hosts_of_the_stage_before() -> None:
    world = World("b1", "b2", "host")
    world.change({1: {"b1": [R("loc")], "b2": [R("loc")]}, 4: {"host": [R("ep")]}})
    world.run("b1", "host")
    assert world.take("host") is None
    world.run()
    assert world.log[-1] == ("host", "make", "ep")


def test_the_break_waits_for_makes_and_drain() -> None:
    world = World("old", "new", "host")
    world.change({1: {"new": [R("loc")]}, 3: {"host": [R("shard", 2)]}}, {"old": ["loc"]})
    world.run()
    assert ("old", "break", "loc") not in world.log
    world.pass_time(0.9)
    assert ("old", "break", "loc") not in world.log
    world.pass_time(0.2)
    assert world.log[-1] == ("old", "break", "loc")
    assert world.done == [1]


def test_a_break_that_no_flow_needs_does_not_drain() -> None:
    world = World("b", "h")
    world.change(drop={"b": ["loc"], "h": ["ep"]}, replaces=False)
    world.run()
    assert world.done == [1]


def test_a_row_that_is_wanted_again_is_not_broken() -> None:
    world = World("b")
    world.change({1: {"b": [R("loc", 1)]}})
    world.change(drop={"b": ["loc"]})
    world.change({1: {"b": [R("loc", 2)]}})
    world.settle()
    assert world.tables["b"] == {"loc": R("loc", 2)}
    assert world.done == [1, 3, 2]


def test_a_host_that_is_away_holds_up_no_make_but_the_break() -> None:
    world = World("old", "new", "host", "gone")
    world.pusher.away("gone", "no answer")
    world.change({1: {"new": [R("loc")]}, 3: {"host": [R("shard")], "gone": [R("shard")]}}, {"old": ["loc"]})
    world.settle()
    assert ("host", "make", "shard") in world.log
    assert world.done == []
    world.pusher.connected("gone")
    world.settle()
    assert world.log[-1] == ("old", "break", "loc")
    assert world.done == [1]


def test_an_endpoints_deletion_does_not_wait_for_hosts_that_are_away() -> None:
    world = World("b1", "b2", "h")
    world.change({1: {"b1": [R("loc")], "b2": [R("loc")]}, 4: {"h": [R("ep")]}})
    world.run()
    world.pusher.away("b2", "no answer")
    world.change(drop={"b1": ["loc"], "b2": ["loc"], "h": ["ep"]}, replaces=False)
    world.run()
    assert world.done == [1, 2]
    world.pusher.connected("b2")
    world.settle()
    assert world.tables["b2"] == {}


def test_a_host_that_goes_away_in_the_middle_is_not_waited_for() -> None:
    world = World("b1", "b2", "h")
    world.change({1: {"b1": [R("loc")], "b2": [R("loc")]}, 4: {"h": [R("ep")]}})
    assert world.take("b2") is not None
    world.run("b1", "h")
    assert world.log[-1] == ("b1", "make", "loc")
    world.pusher.away("b2", "no answer")
    world.run()
    assert world.log[-1] == ("h", "make", "ep")
    assert not world.pusher.hosts["b2"].settled(1)
    assert world.pusher.hosts["h"].settled(1)


def test_a_removed_host_is_not_waited_for() -> None:
    world = World("b1", "b2", "old")
    world.pusher.away("b2", "no answer")
    world.change({3: {"b1": [R("shard")], "b2": [R("shard")]}}, {"old": ["loc"]})
    world.settle()
    assert world.done == []
    world.pusher.remove_host("b2")
    world.settle()
    assert world.done == [1]


def test_an_agent_that_comes_back_has_exactly_what_is_wanted() -> None:
    world = World("h")
    world.tables["h"] = {"left-over": R("left-over")}
    world.change({3: {"h": [R("a")]}, 4: {"h": [R("ep")]}})
    world.run()
    world.pusher.away("h", "killed")
    world.change({3: {"h": [R("b")]}}, {"h": ["a"]}, replaces=False)
    world.pusher.connected("h")
    world.settle()
    assert world.tables["h"] == {"ep": R("ep"), "b": R("b")}
    assert world.done == [1, 2]


def test_a_returning_host_keeps_rows_whose_break_is_still_held() -> None:
    world = World("old", "new", "gone")
    world.change({1: {"old": [R("loc")]}})
    world.run()
    world.pusher.away("gone", "no answer")
    world.change({1: {"new": [R("loc")]}, 3: {"gone": [R("shard")]}}, {"old": ["loc"]})
    world.settle()
    world.pusher.away("old", "restarts")
    world.pusher.connected("old")
    world.settle()
    assert "loc" in world.tables["old"]
    world.pusher.connected("gone")
    world.settle()
    assert world.tables["old"] == {}


def test_after_a_start_nobody_prunes_before_everybody_has_the_snapshot() -> None:
    world = World("h1", "h2", expected=True)
    world.tables["h1"] = {"stale": R("stale")}
    pruned: list[bool] = []
    world.pusher.when_pruned(lambda: pruned.append(True))
    world.pusher.connected("h1")
    world.run()
    assert "stale" in world.tables["h1"]
    world.pusher.connected("h2")
    world.run()
    assert world.tables["h1"] == {}
    assert pruned == [True]


def test_after_a_start_a_host_that_does_not_answer_is_not_waited_for() -> None:
    world = World("h1", "h2", expected=True)
    world.tables["h1"] = {"stale": R("stale")}
    world.pusher.connected("h1")
    world.pusher.away("h2", "no answer")
    world.run()
    assert world.tables["h1"] == {}


def test_snapshots_put_endpoints_last_everywhere() -> None:
    world = World("h1", "h2", expected=True)
    world.wanted = {"h1": {"loc1": R("loc1"), "ep1": R("ep1")}, "h2": {"loc2": R("loc2"), "ep2": R("ep2")}}
    world.pusher.connected("h1")
    world.run()
    world.pusher.connected("h2")
    world.run()
    order = [key for _, _, key in world.log]
    assert {order.index("loc1"), order.index("loc2")} == {0, 1}
    assert len(order) == 4


def test_a_large_snapshot_is_split_and_only_its_first_message_begins_one() -> None:
    world = World("h")
    world.pusher.away("h", "restart")
    world.wanted["h"] = {f"k{i}": R(f"k{i}") for i in range(25)}
    world.pusher.connected("h")
    modes = []
    while (message := world.pusher.take("h", 10)) is not None:
        modes.append((message.mode, message.rows))
        world.apply("h", message)
    assert modes[:3] == [(Mode.SNAPSHOT_BEGIN, 10), (Mode.SNAPSHOT_PART, 10), (Mode.SNAPSHOT_PART, 5)]
    assert modes[-1] == (Mode.PRUNE, 0)
    assert world.tables["h"] == world.wanted["h"]


def test_changes_that_are_ready_coalesce_into_one_message() -> None:
    world = World("h")
    for i in range(20):
        world.change({3: {"h": [R(f"k{i}")]}})
    message = world.take("h")
    assert message is not None
    assert message.rows == 20
    assert message.revision == 20


def test_an_upsert_never_shares_a_message_with_an_earlier_removal_of_its_row() -> None:
    world = World("h")
    world.change({3: {"h": [R("k", 1)]}})
    world.change(drop={"h": ["k"]}, replaces=False)
    world.change({3: {"h": [R("k", 2)]}})
    first = world.take("h")
    second = world.take("h")
    assert first is not None
    assert second is not None
    assert [first.rows, first.removals] == [1, ["k"]]
    assert [row.value for row in cast("list[Any]", second.upserts)] == [2]


def test_settled_says_which_versions_a_host_has() -> None:
    world = World("h")
    queue = world.pusher.hosts["h"]
    world.change({3: {"h": [R("a")]}})
    world.change({3: {"h": [R("b")]}})
    assert queue.settled(0)
    assert not queue.settled(1)
    world.run()
    assert queue.settled(2)
    world.pusher.away("h", "no answer")
    assert queue.settled(2)
    world.change({3: {"h": [R("c")]}})
    assert not queue.settled(3)
    world.pusher.connected("h")
    world.run()
    assert queue.settled(3)


def test_a_refused_row_is_tried_again_until_it_is_taken() -> None:
    world = World("h")
    world.refuse["h", "ep"] = "no such network namespace"
    world.change({4: {"h": [R("ep")]}})
    world.run()
    queue = world.pusher.hosts["h"]
    assert [failure.message for failure in queue.failing.values()] == ["no such network namespace"]
    world.pass_time(0.6)
    assert queue.failing
    world.refuse.clear()
    world.pass_time(0.6)
    assert not queue.failing
    assert world.tables["h"] == {"ep": R("ep")}


def test_a_refused_row_that_is_replaced_is_not_tried_as_it_was() -> None:
    world = World("h")
    world.refuse["h", "ep"] = "no"
    world.change({4: {"h": [R("ep", 1)]}})
    world.run()
    world.refuse.clear()
    world.change({4: {"h": [R("ep", 2)]}})
    world.settle()
    assert world.tables["h"] == {"ep": R("ep", 2)}
    assert [entry for entry in world.log if entry[2] == "ep"] == [("h", "make", "ep")] * 2


def test_a_refused_row_that_is_deleted_is_not_tried_again() -> None:
    world = World("h")
    world.refuse["h", "ep"] = "no"
    world.change({4: {"h": [R("ep")]}})
    world.run()
    world.refuse.clear()
    world.change(drop={"h": ["ep"]}, replaces=False)
    world.settle()
    assert world.tables["h"] == {}
    assert world.done == [1, 2]


def test_a_break_waits_for_a_refused_make() -> None:
    world = World("old", "new")
    world.refuse["new", "loc"] = "table full"
    world.change({1: {"new": [R("loc")]}}, {"old": ["loc"]})
    world.settle()
    assert world.done == []
    world.refuse.clear()
    world.settle()
    assert world.done == [1]


def test_a_refused_row_of_one_change_does_not_hold_another() -> None:
    world = World("h")
    world.refuse["h", "ep"] = "no"
    world.change({4: {"h": [R("ep")]}})
    world.run()
    world.change({3: {"h": [R("b")]}}, {"h": ["a"]})
    world.pass_time(1.1)
    world.pass_time(1.1)
    assert world.pusher.hosts["h"].failing
    assert 2 in world.done


def test_a_deletion_is_done_only_when_the_removal_was_taken() -> None:
    world = World("h")
    world.refuse["h", "ep"] = "interface is busy"
    world.change(drop={"h": ["ep"]}, replaces=False)
    world.run()
    assert world.done == []
    world.refuse.clear()
    world.settle()
    assert world.done == [1]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_all_hosts_end_with_what_is_wanted(seed: int) -> None:
    rng = random.Random(seed)
    hosts = ["h1", "h2", "h3", "h4"]
    world = World(*hosts)
    for _ in range(120):
        act = rng.random()
        host = rng.choice(hosts)
        state = world.pusher.hosts[host].state
        if act < 0.35:
            make: dict[int, dict[str, list[Any]]] = {}
            drop: dict[str, list[Any]] = {}
            touched: set[tuple[str, str]] = set()
            for _ in range(rng.randrange(1, 5)):
                one, key = rng.choice(hosts), rng.choice(["loc", "shard", "ep", "ep2"])
                if (one, key) in touched:
                    continue
                touched.add((one, key))
                if rng.random() < 0.65:
                    stage = rng.choice([1, 3, 4])
                    make.setdefault(stage, {}).setdefault(one, []).append(R(key, world.version + 1))
                else:
                    drop.setdefault(one, []).append(key)
            world.change(make, drop, replaces=rng.random() < 0.5)
        elif act < 0.7 and state is not hostqueue.HostState.AWAY:
            message = world.pusher.take(host, rng.choice([1, 2, 1000]))
            if message is not None and rng.random() < 0.9:
                while world.pusher.hosts[host].in_flight:
                    world.apply(host, world.pusher.hosts[host].in_flight[0])
        elif act < 0.8:
            world.let_timers_fire(rng.random())
        elif act < 0.88 and state is not hostqueue.HostState.AWAY:
            world.pusher.away(host, "lost")
        elif act < 0.96 and state is hostqueue.HostState.AWAY:
            world.pusher.connected(host)
        elif rng.random() < 0.5:
            world.refuse[host, rng.choice(["loc", "ep"])] = "refused"
        else:
            world.refuse.clear()
    world.refuse.clear()
    for host in hosts:
        while world.pusher.hosts[host].in_flight:
            world.apply(host, world.pusher.hosts[host].in_flight[0])
        if world.pusher.hosts[host].state is hostqueue.HostState.AWAY:
            world.pusher.connected(host)
    for _ in range(5):
        world.settle()
    assert world.tables == world.wanted
    assert sorted(world.done) == list(range(1, world.version + 1))
    assert not world.pusher.busy
    for host in hosts:
        assert world.pusher.hosts[host].settled(world.version)


def test_a_prune_that_failed_is_tried_again() -> None:
    world = World("h", expected=True)
    world.tables["h"] = {"stale": R("stale")}
    pruned: list[bool] = []
    world.pusher.when_pruned(lambda: pruned.append(True))
    world.pusher.connected("h")
    begin = world.take("h")
    assert begin is not None
    world.apply("h", begin)
    prune = world.take("h")
    assert prune is not None
    assert prune.mode is Mode.PRUNE
    world.pusher.acknowledged("h", {(): "interface is busy"})
    world.run()
    assert pruned == []
    world.pass_time(1.0)
    assert world.tables["h"] == {}
    assert pruned == [True]

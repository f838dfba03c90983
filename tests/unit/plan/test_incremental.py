# SPDX-License-Identifier: Apache-2.0
"""What everything rests on: deltas lead where snapshots are, and packets find their way all along."""

from __future__ import annotations

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from mizar.plan import delta, planner, state
from mizar.plan.rows import Stage, Table
from tests.unit.plan import cluster, history, referring

# Long histories say more than many short ones, so examples are seeds, not single draws.
SETTINGS = hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**32)


KINDS = pytest.mark.parametrize("kind", [history.History, referring.History])


@KINDS
@SETTINGS
@hypothesis.given(seed=SEEDS)
def test_deltas_lead_where_the_snapshot_is(kind: type[history.History], seed: int) -> None:
    rng = random.Random(seed)
    world, now, hosts = state.State(), kind(), cluster.Cluster()
    for _ in range(40):
        before = now.snapshot()
        for _ in range(rng.randint(1, 6)):
            now.step(rng)
        made = planner.apply(world, now.change_since(before))
        for stage in Stage:
            hosts.play(made, stage)
        assert {host: rows for host, rows in hosts.tables.items() if rows} == cluster.scratch(world)


@KINDS
@SETTINGS
@hypothesis.given(seed=SEEDS)
def test_state_is_the_same_in_whatever_order_it_was_built(kind: type[history.History], seed: int) -> None:
    rng = random.Random(seed)
    world, now = state.State(), kind()
    for _ in range(100):
        before = now.snapshot()
        now.step(rng)
        planner.apply(world, now.change_since(before))
    at_once = state.State()
    planner.apply(at_once, now.change_since(kind()))
    assert cluster.scratch(world) == cluster.scratch(at_once)


@KINDS
@SETTINGS
@hypothesis.given(seed=SEEDS)
def test_no_packet_is_lost_at_any_moment_of_a_change(kind: type[history.History], seed: int) -> None:
    rng = random.Random(seed)
    world, now, hosts = state.State(), kind(), cluster.Cluster()
    for _ in range(40):
        before = now.snapshot()
        for _ in range(rng.randint(1, 6)):
            now.step(rng)
        hosts.given_up = before.given_up_until(now)
        made = planner.apply(world, now.change_since(before))
        for stage in Stage:
            named = sorted(made.at(stage))
            first = {host for host in named if rng.random() < 0.5}
            hosts.play(made, stage, first)
            some = {host for host in named if rng.random() < 0.5}
            hosts.play(made, stage, some, steps=rng.randint(0, 2 * len(Table) - 1))
            _assert_reachable(hosts, before, now, made, f"in the middle of {stage.name}")
            hosts.play(made, stage)
            _assert_reachable(hosts, before, now, made, f"after {stage.name}")


def _assert_reachable(
    hosts: cluster.Cluster, before: history.History, now: history.History, made: delta.Delta, when: str
) -> None:
    """Endpoints that are there before and after the change reach all that they could reach all along.

    Left out is what has no bouncer or divider before or after: there is no host for the role.
    """
    if not (_schedulable(before) and _schedulable(now)):
        return
    steady = [fact for serial, fact in now.endpoints.items() if before.endpoints.get(serial) == fact]
    targets = before.reachable() & now.reachable()
    for source in steady:
        for vni, address, _ in targets:
            if vni == source.vni:
                try:
                    hosts.resolve(source.host, source, address)
                except cluster.LostError as lost:
                    raise AssertionError(f"{when}: {lost}; {made}") from None


def _schedulable(at: history.History) -> bool:
    return any(host.schedulable for host in at.hosts.values())

# SPDX-License-Identifier: Apache-2.0
"""Roles spread over the hosts, and move only when they must."""

from __future__ import annotations

from collections import Counter

import hypothesis
from hypothesis import strategies as st

from mizar.plan import placement

HOSTS = [f"host-{n}" for n in range(40)]
SETTINGS = hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)

names = st.lists(st.sampled_from(HOSTS), unique=True, min_size=1)


@SETTINGS
@hypothesis.given(names, st.integers(1, 2**32), st.integers(1, 16))
def test_top_is_of_the_pool_and_independent_of_order(pool: list[str], number: int, count: int) -> None:
    chosen = placement.Pool(pool).top(placement.BOUNCERS, number, count)
    assert len(set(chosen)) == len(chosen) == min(count, len(pool))
    assert set(chosen) <= set(pool)
    assert placement.Pool(reversed(pool)).top(placement.BOUNCERS, number, count) == chosen


@SETTINGS
@hypothesis.given(names, st.integers(1, 2**32), st.integers(1, 16), st.sampled_from(HOSTS))
def test_a_host_that_leaves_moves_only_what_it_held(
    pool: list[str], number: int, count: int, leaving: str
) -> None:
    before = placement.Pool(pool).top(placement.DIVIDERS, number, count)
    after = placement.Pool(set(pool) - {leaving}).top(placement.DIVIDERS, number, count)
    stayed = [name for name in before if name != leaving]
    assert list(after[: len(stayed)]) == stayed


@SETTINGS
@hypothesis.given(names, st.integers(1, 2**32), st.integers(1, 5), st.sampled_from(HOSTS))
def test_a_new_bouncer_takes_only_what_it_wins(
    bouncers: list[str], network: int, replicas: int, new: str
) -> None:
    old = [name for name in bouncers if name != new]
    before = placement.place_shards(network, old, shards=64, replicas=replicas)
    after = placement.place_shards(network, [*old, new], shards=64, replicas=replicas)
    for was, now in zip(before, after, strict=True):
        assert set(now) - set(was) <= {new}
        assert [name for name in now if name != new] == list(was[: len(now) - (new in now)])


def test_growing_from_two_bouncers_to_three_moves_a_third_of_the_shards() -> None:
    before = placement.place_shards(1, HOSTS[:2], shards=4096, replicas=1)
    after = placement.place_shards(1, HOSTS[:3], shards=4096, replicas=1)
    moved = sum(was != now for was, now in zip(before, after, strict=True))
    assert 0.30 < moved / 4096 < 0.37


def test_shards_spread_over_bouncers() -> None:
    holders = placement.place_shards(7, HOSTS[:10], shards=4096, replicas=2)
    held = Counter(name for names in holders for name in names)
    assert set(held) == set(HOSTS[:10])
    assert all(0.85 < count / (4096 * 2 / 10) < 1.15 for count in held.values())


def test_roles_spread_over_hosts() -> None:
    pool = placement.Pool(HOSTS)
    for role in (placement.BOUNCERS, placement.DIVIDERS):
        held = Counter(name for number in range(1, 2001) for name in pool.top(role, number, 2))
        assert all(0.6 < count / 100 < 1.4 for count in held.values())
        assert len(held) == len(HOSTS)


def test_with_as_many_replicas_as_bouncers_each_holds_everything() -> None:
    holders = placement.place_shards(3, HOSTS[:3], shards=8, replicas=3)
    assert all(set(names) == set(HOSTS[:3]) for names in holders)


def test_placement_is_the_same_in_every_process_and_version() -> None:
    """Frozen: a controller that places otherwise after an upgrade would move every shard of every network."""
    assert placement.Pool(["a", "b", "c", "d"]).top(placement.BOUNCERS, 1, 2) == ("c", "d")
    holders = placement.place_shards(1, ("a", "b", "c"), shards=16, replicas=1)
    assert "".join(name for (name,) in holders) == "abbaacbaaacacbcc"

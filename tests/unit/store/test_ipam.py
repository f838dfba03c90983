# SPDX-License-Identifier: Apache-2.0
"""Addresses are picked once, all of them can be, and none is lost."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from mizar.store import ipam


@st.composite
def runs(draw: st.DrawFn) -> list[ipam.Range]:
    """Disjoint ascending ranges."""
    made, start = [], 0
    shape = st.tuples(st.integers(1, 5), st.integers(0, 9))
    for gap, length in draw(st.lists(shape, min_size=1, max_size=4)):
        first = start + gap
        made.append((first, first + length))
        start = first + length
    return made


@hypothesis.settings(deadline=None, derandomize=True, database=None)
@hypothesis.given(runs(), st.sets(st.integers(0, 60)), st.integers(0, 70), st.integers(1, 40))
def test_picks_what_is_free_and_only_that(
    ranges: list[ipam.Range], taken: set[int], cursor: int, count: int
) -> None:
    free = [n for first, last in ranges for n in range(first, last + 1) if n not in taken]

    def used(first: int, last: int) -> list[int]:
        return sorted(n for n in taken if first <= n <= last)

    picked = ipam.pick(ranges, cursor=cursor, count=count, used=used)
    in_order = [n for n in free if n >= cursor] + [n for n in free if n < cursor]
    assert picked == in_order[:count]


def test_capacity_counts_all() -> None:
    assert ipam.capacity([(1, 6), (9, 9)]) == 7

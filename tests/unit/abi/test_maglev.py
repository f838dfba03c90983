# SPDX-License-Identifier: Apache-2.0
"""Properties of the tables by which bouncers choose backends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizar.abi import maglev

SEED = maglev.seed_of(7, 0x0A000064, 80, 6)

addresses = st.integers(1, (1 << 32) - 1)
backend_lists = st.dictionaries(addresses, st.integers(1, 100), min_size=1, max_size=40).map(
    lambda found: list(found.items())
)


def equal(count: int) -> list[tuple[int, int]]:
    """So many backends of weight 1, as IPAM gives out addresses."""
    return [(0x0A000000 + number, 1) for number in range(count)]


def places(backends: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Number of places by address."""
    owners, counts = np.unique(maglev.table(backends, SEED), return_counts=True)
    return dict(zip(owners.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("backends", "size"),
    [(0, 0), (1, 251), (2, 251), (3, 1021), (10, 1021), (11, 4093), (1000, 262139), (10_000, 262139)],
)
def test_size_is_the_smallest_with_a_hundred_places_each(backends: int, size: int) -> None:
    assert maglev.size_for(backends) == size
    assert len(maglev.table(equal(backends), SEED)) == size


@pytest.mark.parametrize("backends", [1, 2, 7, 40, 163, 1000, 2621])
def test_equal_backends_have_equal_shares_within_two_percent(backends: int) -> None:
    counts = np.array(list(places(equal(backends)).values()))
    fair = maglev.size_for(backends) / backends
    assert len(counts) == backends
    assert abs(counts - fair).max() <= 0.02 * fair


@settings(max_examples=50, deadline=None)
@given(backend_lists)
def test_share_is_the_weight_s_to_one_place(backends: list[tuple[int, int]]) -> None:
    counted, size = places(backends), maglev.size_for(len(backends))
    total = sum(weight for _, weight in backends)
    for address, weight in backends:
        assert abs(counted.get(address, 0) - size * weight / total) < 1


@settings(max_examples=30, deadline=None)
@given(backend_lists, st.randoms())
def test_order_of_the_list_does_not_matter(backends: list[tuple[int, int]], order: random.Random) -> None:
    shuffled = list(backends)
    order.shuffle(shuffled)
    assert (maglev.table(backends, SEED) == maglev.table(shuffled, SEED)).all()


@pytest.mark.parametrize("backends", [5, 10, 40, 100, 600])
def test_backend_that_goes_moves_its_own_share_and_little_more(backends: int) -> None:
    before = maglev.table(equal(backends), SEED)
    for gone in (0, backends // 2, backends - 1):
        left = equal(backends)
        address, _ = left.pop(gone)
        after = maglev.table(left, SEED)
        assert len(after) == len(before)
        moved = np.count_nonzero((before != after) & (before != address)) / len(before)
        assert moved <= 0.05


def test_another_service_spreads_the_same_backends_otherwise() -> None:
    other = maglev.seed_of(7, 0x0A000064, 443, 6)
    one, two = maglev.table(equal(10), SEED), maglev.table(equal(10), other)
    assert np.count_nonzero(one == two) < 0.2 * len(one)


def test_no_backend_has_no_place() -> None:
    assert len(maglev.table([], SEED)) == 0

# SPDX-License-Identifier: Apache-2.0
"""The cycle collector and very many objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mizar.model import bulk


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_the_collector_is_off_inside_and_on_again_after_the_outermost() -> None:
    with bulk.collector_paused():
        with bulk.collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_many_objects_are_made_of_is_out_of_its_sight() -> None:
    with bulk.collector_paused():
        made = [[number] for number in range(100_000)]
    assert gc.get_freeze_count() >= len(made)


def test_a_small_request_leaves_everything_in_its_sight() -> None:
    gc.collect()
    with bulk.collector_paused():
        made = [[number] for number in range(100)]
    assert made
    assert gc.get_freeze_count() == 0

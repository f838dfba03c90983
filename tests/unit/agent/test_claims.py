# SPDX-License-Identifier: Apache-2.0
"""Whatever is claimed and let go in whatever order, the rows are those of the claims that are left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizar import errors
from mizar.abi import layout
from mizar.agent import claims, writer
from mizar.dataplane import fake

OUTSIDE = layout.Table.OUTSIDE4

Wanted = dict[int, tuple[int, int]]
"""(rank, endpoint) by address."""

wanted = st.dictionaries(st.integers(1, 4), st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=3)
histories = st.lists(st.tuples(st.integers(0, 3), wanted), max_size=20)


def made(plane: fake.FakeDataPlane) -> claims.Claims:
    return claims.Claims(OUTSIDE, plane, writer.Writer(plane))


def rows_of(entries: Wanted) -> dict[bytes, claims.Claim]:
    return {
        np.array([address], dtype=layout.BE32).tobytes(): claims.Claim(
            rank, np.array([(endpoint, 0, 0)], dtype=layout.OUTSIDE4).tobytes()
        )
        for address, (rank, endpoint) in entries.items()
    }


def held(plane: fake.FakeDataPlane) -> dict[int, int]:
    keys, values = plane.dump(OUTSIDE)
    return dict(zip(keys.tolist(), values["endpoint"].tolist(), strict=True))


def expected(owners: dict[int, Wanted]) -> dict[int, int]:
    found: dict[int, tuple[int, int, int]] = {}
    for owner, entries in owners.items():
        for address, (rank, endpoint) in entries.items():
            claim = rank, owner, endpoint
            found[address] = min(found.get(address, claim), claim)
    return {address: endpoint for address, (_, _, endpoint) in found.items()}


@settings(max_examples=40, deadline=None)
@given(histories)
def test_rows_are_those_of_the_lowest_claims(history: list[tuple[int, Wanted]]) -> None:
    plane = fake.FakeDataPlane({OUTSIDE: 100})
    table, owners = made(plane), dict[int, Wanted]()
    for owner, entries in history:
        table.set((owner,), rows_of(entries))
        owners[owner] = entries
        assert held(plane) == expected(owners)
        assert len(table) == len(expected(owners))


@settings(max_examples=40, deadline=None)
@given(histories)
def test_set_that_finds_no_room_changes_nothing(history: list[tuple[int, Wanted]]) -> None:
    plane = fake.FakeDataPlane({OUTSIDE: 2})
    table, owners = made(plane), dict[int, Wanted]()
    for owner, entries in history:
        try:
            table.set((owner,), rows_of(entries))
        except errors.KernelError:
            pass
        else:
            owners[owner] = entries
        assert held(plane) == expected(owners)


def test_full_table_is_said() -> None:
    plane = fake.FakeDataPlane({OUTSIDE: 1})
    with pytest.raises(errors.KernelError, match="row 1 of 2 to map mz_outside4"):
        made(plane).set((1,), rows_of({1: (0, 0), 2: (0, 0)}))
    assert held(plane) == {}


def test_rows_of_a_former_process_stay_until_they_are_pruned() -> None:
    plane = fake.FakeDataPlane({OUTSIDE: 10})
    made(plane).set((1,), rows_of({1: (0, 7), 2: (0, 8)}))
    after = made(plane)
    after.set((1,), rows_of({1: (0, 7)}))
    assert held(plane) == {1: 7, 2: 8}
    after.prune()
    assert held(plane) == {1: 7}

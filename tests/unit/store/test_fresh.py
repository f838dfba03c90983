# SPDX-License-Identifier: Apache-2.0
"""The short way of endpoints that are all new leads where the long way leads."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mizar import errors
from mizar.model import kinds, objects, reading
from mizar.store import sqlite
from tests.unit.store import builders
from tests.unit.store.builders import endpoint, ref

WANTED = (
    endpoint("blue/a", "10.0.1.5", netns="pod", ifname="eth1"),
    endpoint("blue/b", "10.0.1.3"),
    reading.read(
        {
            "kind": "Endpoint",
            "metadata": {"name": "c", "vpc": "blue", "labels": {"tier": "1"}},
            "spec": {"network": "web", "host": "h2", "addresses": ["10.0.1.9"]},
        }
    ),
)
PICKED = (
    endpoint("blue/a"),
    endpoint("blue/b", network="any", host="h2"),
    endpoint("blue/c", netns="pod"),
)
REFS = (*(one.ref for one in WANTED), ref(kinds.NETWORK, "blue/web"), ref(kinds.HOST, "h1"))


@pytest.fixture
def stores(tmp_path: pathlib.Path) -> Iterator[list[sqlite.SqliteStore]]:
    """Two with the same in them."""
    made = [sqlite.SqliteStore(tmp_path / name, clock=lambda: 1.7e9) for name in ("one.db", "two.db")]
    for store in made:
        store.apply(builders.basics())
    yield made
    for store in made:
        store.close()


@pytest.mark.parametrize("wanted", [WANTED, PICKED], ids=["asked for", "picked"])
def test_both_ways_lead_to_the_same(
    stores: list[sqlite.SqliteStore], wanted: Sequence[objects.Declared]
) -> None:
    short, long = stores
    came = short.apply(wanted)
    # A host in the request sends it the long way; that it is as it was changes nothing.
    again = long.apply([builders.host("h1"), *wanted])
    assert came.results == again.results[1:]
    assert came.change == again.change
    assert came.revision == again.revision
    assert [_shown(short, one) for one in REFS] == [_shown(long, one) for one in REFS]
    more = [endpoint("blue/d"), endpoint("blue/e", network="any")]
    assert short.apply(more).change == long.apply(more).change


def _shown(store: sqlite.SqliteStore, one: kinds.Ref) -> dict[str, Any]:
    """An object but for its uid, of which each store has its own."""
    found = store.get(one)
    assert found is not None
    shown = objects.to_json(found)
    del shown["metadata"]["uid"]
    return shown


@pytest.mark.parametrize("address", ["10.0.1.9", "10.0.1.3"])
def test_taken_address_undoes_all_of_the_request(stores: list[sqlite.SqliteStore], address: str) -> None:
    store = stores[0]
    store.apply([endpoint("blue/owner", address)])
    revision = store.revision
    with pytest.raises(errors.ConflictError, match=f"{address} is in use by endpoint 'blue/owner'"):
        store.apply(WANTED)
    assert store.revision == revision
    assert store.count(kinds.ENDPOINT) == 1
    store.apply([endpoint("blue/next", "10.0.1.5")])
    assert store.revision == revision + 1


def test_request_with_something_known_changes_that_and_creates_the_rest(
    stores: list[sqlite.SqliteStore],
) -> None:
    store = stores[0]
    store.apply(WANTED[:2])
    outcomes = [str(one.outcome) for one in store.apply(WANTED).results]
    assert outcomes == ["unchanged", "unchanged", "created"]

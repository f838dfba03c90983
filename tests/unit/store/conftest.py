# SPDX-License-Identifier: Apache-2.0
"""Every backend in turn, behind the Store protocol."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from mizar.store import protocol, sqlite
from tests.unit.store import builders

NOW = 1_700_000_000.0


def _sqlite(directory: pathlib.Path) -> protocol.Store:
    return sqlite.SqliteStore(directory / "store.db", clock=lambda: NOW, events_kept=100)


BACKENDS: dict[str, Callable[[pathlib.Path], protocol.Store]] = {"sqlite": _sqlite}


@pytest.fixture(params=sorted(BACKENDS))
def reopen(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Callable[[], protocol.Store]:
    """Opens the store of this test; close it before opening it again."""
    return lambda: BACKENDS[request.param](tmp_path)


@pytest.fixture
def empty(reopen: Callable[[], protocol.Store]) -> Iterator[protocol.Store]:
    store = reopen()
    yield store
    store.close()


@pytest.fixture
def store(empty: protocol.Store) -> protocol.Store:
    """With `builders.basics` in it."""
    empty.apply(builders.basics())
    return empty

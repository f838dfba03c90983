# SPDX-License-Identifier: Apache-2.0
"""Objects for watchers are read once for as long as the store is not written."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mizar.controller import feed
from mizar.model import kinds, objects, reading
from mizar.store import protocol

REF = kinds.Ref(kinds.HOST, None, "h1")


class Store:
    """The part of a store that is asked."""

    def __init__(self) -> None:
        self.revision = 1
        self.reads = 0
        self.unschedulable: bool | None = False

    def get(self, ref: kinds.Ref) -> objects.Declared | None:
        self.reads += 1
        if self.unschedulable is None:
            return None
        spec: dict[str, Any] = {"addresses": ["192.0.2.1"], "agent": "unix:///a.sock"}
        spec["unschedulable"] = self.unschedulable
        return reading.read({"kind": "Host", "metadata": {"name": ref.name}, "spec": spec})


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def latest(store: Store) -> feed.Latest:
    return feed.Latest(cast(protocol.Store, store))


def test_object_is_read_once_while_nothing_is_written(store: Store, latest: feed.Latest) -> None:
    assert latest.get(REF) is latest.get(REF)
    assert store.reads == 1


def test_object_is_read_again_after_a_write(store: Store, latest: feed.Latest) -> None:
    latest.get(REF)
    store.revision, store.unschedulable = 2, True
    found = latest.get(REF)
    assert isinstance(found, objects.Host)
    assert found.spec.unschedulable


def test_object_that_has_gone_is_not_told_as_it_was(store: Store, latest: feed.Latest) -> None:
    latest.get(REF)
    store.revision, store.unschedulable = 2, None
    assert latest.get(REF) is None


def test_what_is_kept_is_bounded(store: Store, latest: feed.Latest) -> None:
    for number in range(3 * feed.KEPT):
        latest.get(kinds.Ref(kinds.HOST, None, f"h{number}"))
        assert len(latest) <= feed.KEPT

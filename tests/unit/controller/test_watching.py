# SPDX-License-Identifier: Apache-2.0
"""What a watcher has not read yet."""

from __future__ import annotations

import asyncio

from mizar.controller.watching import EventType, Watcher, Watchers
from mizar.model import kinds, objects

A = kinds.Ref(kinds.ENDPOINT, "blue", "a")
B = kinds.Ref(kinds.ENDPOINT, "blue", "b")
RED = kinds.Ref(kinds.ENDPOINT, "red", "a")
GONE = objects.Vpc.model_validate({"metadata": {"name": "x"}, "spec": {"cidrs": ["10.0.0.0/8"]}})


def read(watcher: Watcher) -> list[tuple[str, str]]:
    """All that is unread."""

    async def story() -> list[tuple[str, str]]:
        watcher.close()
        found = []
        while (entry := await watcher.next()) is not None:
            found.append((entry.type.value, entry.ref.name))
        return found

    return asyncio.run(story())


def test_changes_that_were_not_read_coalesce() -> None:
    watchers = Watchers()
    watcher = watchers.add(kinds.ENDPOINT, None)
    watchers.tell(EventType.ADDED, A)
    for _ in range(5):
        watchers.tell(EventType.MODIFIED, A)
        watchers.tell(EventType.MODIFIED, B)
    assert read(watcher) == [("ADDED", "a"), ("MODIFIED", "b")]


def test_a_deletion_is_kept_apart_from_what_comes_after() -> None:
    watchers = Watchers()
    watcher = watchers.add(kinds.ENDPOINT, None)
    watchers.tell(EventType.MODIFIED, A)
    watchers.tell(EventType.DELETED, A, gone=GONE)
    watchers.tell(EventType.ADDED, A)
    watchers.tell(EventType.MODIFIED, A)
    assert read(watcher) == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a")]


def test_what_was_read_is_told_again_when_it_changes() -> None:
    async def story() -> None:
        watchers = Watchers()
        watcher = watchers.add(kinds.ENDPOINT, None)
        for _ in range(3):
            watchers.tell(EventType.MODIFIED, A)
            entry = await watcher.next()
            assert entry is not None
            assert entry.ref == A

    asyncio.run(story())


def test_a_watcher_of_one_vpc_hears_of_no_other() -> None:
    watchers = Watchers()
    watcher = watchers.add(kinds.ENDPOINT, "red")
    watchers.tell(EventType.ADDED, A)
    watchers.tell(EventType.ADDED, RED)
    watchers.tell(EventType.ADDED, kinds.Ref(kinds.NETWORK, "red", "net"))
    assert read(watcher) == [("ADDED", "a")]


def test_a_removed_watcher_is_told_nothing() -> None:
    watchers = Watchers()
    watcher = watchers.add(kinds.ENDPOINT, None)
    watchers.remove(watcher)
    watchers.tell(EventType.ADDED, A)
    assert read(watcher) == []
    assert not watchers

# SPDX-License-Identifier: Apache-2.0
"""What is known of the health of backends on this host, and who wants to hear of it.

What holds:
 - A watcher is told everything that is known when it comes, then every change; a change that it has not
   taken yet is replaced by the next of the same check, so a slow watcher costs no more than all checks.
 - A check without a result yet, or one that has been forgotten, is not reported.

What does not belong here: finding out (checks.py). Safe for threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from mizar.rpc.gen.mizar.node.v1 import node_pb2


class Key(NamedTuple):
    """A check: a backend as one scaled endpoint wants it checked."""

    vpc: str
    endpoint: str
    service: str
    """vpc/name of the scaled endpoint."""

    def __str__(self) -> str:
        return f"{self.vpc}/{self.endpoint} for {self.service}"


class Result(NamedTuple):
    """What a check has found."""

    healthy: bool
    message: str = ""
    """One line, why not."""


def key_of(message: node_pb2.CheckKey) -> Key:
    return Key(message.endpoint.vpc, message.endpoint.name, message.service)


class Board:
    """All results."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[Key, Result] = {}
        self._watchers: set[Watcher] = set()

    def results(self) -> dict[Key, Result]:
        with self._lock:
            return dict(self._results)

    def report(self, key: Key, result: Result) -> None:
        """Keep a result and tell it, if it is news."""
        with self._lock:
            if self._results.get(key) == result:
                return
            self._results[key] = result
            for watcher in self._watchers:
                watcher.tell(key, result)

    def forget(self, key: Key) -> None:
        """The check is no more."""
        with self._lock:
            self._results.pop(key, None)
            for watcher in self._watchers:
                watcher.forget(key)

    def watch(self) -> Watcher:
        """From now on, beginning with all that is known. The watcher is to be closed."""
        with self._lock:
            watcher = Watcher(self, self._results)
            self._watchers.add(watcher)
            return watcher

    def leave(self, watcher: Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)


class Watcher:
    """Results for one listener, who iterates in a thread of its own until somebody closes it."""

    def __init__(self, board: Board, known: dict[Key, Result]) -> None:
        self._board = board
        self._news = dict(known)
        self._closed = False
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[tuple[Key, Result]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._closed)
                if self._closed:
                    return
                news, self._news = self._news, {}
            yield from news.items()

    def close(self) -> None:
        """End the iteration; from any thread, more than once."""
        self._board.leave(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # ------------------------------------------------------------ of the board

    def tell(self, key: Key, result: Result) -> None:
        with self._changed:
            self._news[key] = result
            self._changed.notify_all()

    def forget(self, key: Key) -> None:
        with self._changed:
            self._news.pop(key, None)

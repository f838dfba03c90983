# SPDX-License-Identifier: Apache-2.0
"""Results of checks and those who watch them."""

from __future__ import annotations

import itertools
import threading

from mizar.agent import health

KEY = health.Key("blue", "web-1", "blue/shop")
OTHER = health.Key("blue", "web-2", "blue/shop")
GOOD = health.Result(True)
BAD = health.Result(False, "connection refused")


def taken(watcher: health.Watcher, count: int) -> list[tuple[health.Key, health.Result]]:
    return list(itertools.islice(watcher, count))


def test_watcher_is_told_what_is_known_and_then_what_changes() -> None:
    board = health.Board()
    board.report(KEY, GOOD)
    watcher = board.watch()
    news = iter(watcher)
    assert next(news) == (KEY, GOOD)
    board.report(KEY, GOOD)
    board.report(OTHER, BAD)
    assert next(news) == (OTHER, BAD)


def test_slow_watcher_is_told_the_last_result_only() -> None:
    board = health.Board()
    watcher = board.watch()
    for result in (GOOD, BAD, GOOD, BAD):
        board.report(KEY, result)
    board.report(OTHER, GOOD)
    assert taken(watcher, 2) == [(KEY, BAD), (OTHER, GOOD)]


def test_what_is_forgotten_is_not_told() -> None:
    board = health.Board()
    board.report(KEY, BAD)
    watcher = board.watch()
    board.forget(KEY)
    board.report(OTHER, GOOD)
    assert taken(watcher, 1) == [(OTHER, GOOD)]
    assert board.results() == {OTHER: GOOD}


def test_closing_ends_a_watcher_that_waits() -> None:
    board = health.Board()
    watcher = board.watch()
    waiting = threading.Thread(target=lambda: list(watcher))
    waiting.start()
    watcher.close()
    waiting.join(10)
    assert not waiting.is_alive()
    board.report(KEY, GOOD)  # nobody is left to be told
    watcher.close()

# SPDX-License-Identifier: Apache-2.0
"""Which checks of backends this host has been told to make. Safe for threads.

What does not belong here: making them (checker.py), what they find (health.py).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Final

from mizar import errors
from mizar.agent import bell, health, journal, rows
from mizar.rpc.gen.mizar.node.v1 import node_pb2

MIN_INTERVAL_MS: Final = 100
"""Checks of a thousand endpoints more often than this would be a load of their own."""
_MAX_MS: Final = 3_600_000
_PATH: Final = re.compile(r"/[!-~]*")
"""What an HTTP request line can carry as it is: visible ASCII."""


class Checks:
    """All of them. `changed` rings when they are others."""

    def __init__(self, *, memory: journal.Journal, board: health.Board, changed: bell.Bell) -> None:
        self._journal = memory
        self._board = board
        self._changed = changed
        self._lock = threading.Lock()
        self._checks = {health.key_of(each.key): each for each in memory.checks()}

    def listed(self) -> dict[health.Key, node_pb2.Check]:
        with self._lock:
            return dict(self._checks)

    def put(self, checks: Iterable[node_pb2.Check]) -> list[node_pb2.EntryError]:
        """Insert or replace. The endpoint need not be here yet; without it the check fails."""
        failed: list[node_pb2.EntryError] = []
        new: dict[health.Key, node_pb2.Check] = {}
        with self._lock:
            for message in checks:
                key = health.key_of(message.key)
                try:
                    _check(message)
                except errors.InvalidError as failure:
                    failed.append(rows.error("checks", str(key), str(failure)))
                else:
                    new[key] = message
            new = {key: message for key, message in new.items() if self._checks.get(key) != message}
            self._checks.update(new)
            self._journal.put_checks(new.values())
        if new:
            self._changed.ring()
        return failed

    def drop(self, keys: Iterable[health.Key]) -> None:
        """Stop; the results are forgotten."""
        with self._lock:
            gone = [key for key in keys if self._checks.pop(key, None) is not None]
            self._journal.drop_checks(gone)
        if gone:
            self._changed.ring()
        for key in gone:
            self._board.forget(key)


def _check(message: node_pb2.Check) -> None:
    key = message.key
    if not key.endpoint.vpc or not key.endpoint.name or not key.service:
        raise errors.InvalidError("a check needs the names of an endpoint and of a scaled endpoint")
    if message.kind not in node_pb2.Check.Kind.values():
        raise errors.InvalidError(
            f"kind {message.kind}: must be one of {', '.join(node_pb2.Check.Kind.keys())}"
        )
    if message.kind != node_pb2.Check.UP:
        rows.check_port(message.port)
    if message.kind == node_pb2.Check.HTTP_GET and not _PATH.fullmatch(message.path):
        raise errors.InvalidError(f"path {message.path!r}: must begin with / and have no spaces")
    _check_number("interval", message.interval_ms, MIN_INTERVAL_MS, _MAX_MS)
    _check_number("timeout", message.timeout_ms, 1, _MAX_MS)
    _check_number("failures", message.failures, 1, 1000)
    _check_number("successes", message.successes, 1, 1000)


def _check_number(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        unit = " ms" if most == _MAX_MS else ""
        raise errors.InvalidError(f"{name} {value}{unit}: must be {least} to {most}")

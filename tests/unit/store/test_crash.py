# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any point: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys
import threading
from typing import Any

from mizar.model import kinds, objects
from mizar.store import sqlite
from tests.unit.store import builders
from tests.unit.store.test_history import check

ROUNDS = 6

# Endpoints as a client knows them: name to address; None while it is being deleted.
Known = dict[str, str | None]


def test_nothing_acknowledged_is_lost_by_kill(tmp_path: pathlib.Path) -> None:
    path, rng = tmp_path / "store.db", random.Random(7)
    _open_and_close(path)
    known: Known = {}
    for seed in range(ROUNDS):
        acknowledged, pending = _write_until_killed(path, seed, lines=rng.randint(1, 60))
        for did, done in acknowledged:
            _advance(known, did, done["done"])
        known = _check(path, known, pending)


def _open_and_close(path: pathlib.Path) -> None:
    store = sqlite.SqliteStore(path, clock=lambda: 0.0)
    store.apply(builders.basics())
    store.close()


def _write_until_killed(
    path: pathlib.Path, seed: int, *, lines: int
) -> tuple[list[tuple[Any, Any]], dict[str, Any] | None]:
    """Acknowledged transactions as (do, done), and the one that was under way.

    The kill comes a moment after that many lines, wherever the writer is then.
    """
    command = [sys.executable, "-m", "tests.unit.store.crash_writer", str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        killer = threading.Timer(random.Random(seed).uniform(0, 0.003), writer.kill)
        killer.start()
        said += writer.stdout.readlines()
        killer.join()
    whole = [json.loads(line) for line in said if line.endswith("\n")]
    return list(zip(whole[::2], whole[1::2], strict=False)), whole[-1] if len(whole) % 2 else None


def _advance(known: Known, did: dict[str, Any], addresses: dict[str, str]) -> None:
    match did["do"]:
        case "apply":
            known.update(addresses)
        case "delete":
            known.update(dict.fromkeys(did["names"]))
        case _:
            for name in did["names"]:
                del known[name]


def _check(path: pathlib.Path, known: Known, pending: dict[str, Any] | None) -> Known:
    """The store holds what is known, with the pending transaction as a whole or not at all."""
    store = sqlite.SqliteStore(path, clock=lambda: 0.0)
    check(store)
    found: Known = {}
    for obj in store.select(kinds.ENDPOINT):
        assert isinstance(obj, objects.Endpoint)
        assert obj.status is not None
        assert obj.status.addresses is not None
        alive = obj.metadata.deletion_timestamp is None
        found[obj.full_name] = obj.status.addresses[0] if alive else None
    store.close()
    if found != known and pending is not None:
        picked = {name: found.get(name) for name in pending["names"]} if pending["do"] == "apply" else {}
        _advance(known, pending, picked)  # type: ignore[arg-type]  # None shows in the comparison below
    assert found == known
    return found

# SPDX-License-Identifier: Apache-2.0
"""Writes to a store until it is killed, and says on stdout what it does. Run by test_crash.

    python -m tests.unit.store.crash_writer PATH SEED

Two JSON lines a transaction: before it `{"do": "apply|delete|remove", "names": [...]}`, and after it, which
acknowledges it, `{"done": {name: address}}` (addresses for apply only).
"""

from __future__ import annotations

import itertools
import json
import pathlib
import random
import sys
from typing import Any

from mizar.model import addresses, kinds
from mizar.store import sqlite
from tests.unit.store.builders import endpoint, ref


def main() -> None:
    path, rng = pathlib.Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    store = sqlite.SqliteStore(path, clock=lambda: 0.0)
    run = store.revision
    known: list[str] = []
    for number in itertools.count():
        names = [f"blue/e-{run}-{number}-{n}" for n in range(rng.randint(1, 20))]
        _say({"do": "apply", "names": names})
        facts = store.apply([endpoint(name, network="any") for name in names]).change.endpoints
        _say({"done": {f"blue/{fact.name}": addresses.to_text(fact.addresses[0]) for fact in facts}})
        known += names
        gone = [known.pop(rng.randrange(len(known))) for _ in range(rng.randint(1, len(names)))]
        for verb, write in (("delete", store.delete), ("remove", store.remove)):
            _say({"do": verb, "names": gone})
            write([ref(kinds.ENDPOINT, name) for name in gone])
            _say({"done": {}})


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

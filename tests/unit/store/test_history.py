# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked in whatever order, refused or not: no address twice, none lost, counts right."""

from __future__ import annotations

import contextlib
import pathlib
import random
import tempfile
from collections import Counter

import hypothesis
from hypothesis import strategies as st

from mizar import errors
from mizar.model import kinds, objects
from mizar.store import protocol, sqlite
from tests.unit.store import builders
from tests.unit.store.builders import endpoint, ref

NAMES = [f"blue/e{n}" for n in range(12)]
CAPACITY = 14


def step(store: protocol.Store, rng: random.Random) -> None:
    """One request, of which half are refused."""
    names = rng.sample(NAMES, rng.randint(1, 4))
    match rng.randrange(5):
        case 0 | 1:
            store.apply([_wanted(name, rng) for name in names])
        case 2:
            store.delete([ref(kinds.ENDPOINT, name) for name in names])
        case 3:
            store.remove([ref(kinds.ENDPOINT, name) for name in names])
        case _:
            with store.transaction() as tx:
                tx.apply([_wanted(name, rng) for name in names])
                raise errors.ConflictError("the caller thinks better of it")


def _wanted(name: str, rng: random.Random) -> objects.Declared:
    explicit = rng.sample(range(1, 15), rng.choice((0, 0, 1, 2)))
    addresses = [f"10.0.1.{n}" for n in explicit]
    return endpoint(name, *addresses, host=rng.choice(("h1", "h2")))


def check(store: protocol.Store) -> None:
    """What always holds."""
    found = [obj for obj in store.select(kinds.ENDPOINT) if isinstance(obj, objects.Endpoint)]
    used = [address for obj in found for address in (obj.status and obj.status.addresses) or ()]
    assert all((obj.status and obj.status.addresses) for obj in found)
    assert len(set(used)) == len(used)
    assert len({obj.status.mac for obj in found if obj.status}) == len(found)
    alive = [obj for obj in found if obj.metadata.deletion_timestamp is None]
    by_host = Counter(obj.spec.host for obj in alive if isinstance(obj.spec, objects.EndpointSpec))
    for host in store.select(kinds.HOST):
        assert objects.to_json(host)["status"]["endpoints"] == by_host[host.full_name]
    by_network = Counter(obj.spec.network for obj in alive)
    for network in store.select(kinds.NETWORK):
        assert objects.to_json(network)["status"]["endpoints"] == by_network[network.metadata.name]
    assert {fact.name for fact in store.everything().endpoints} == {obj.metadata.name for obj in alive}


@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_invariants_hold_after_any_requests(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        store = sqlite.SqliteStore(pathlib.Path(directory) / "store.db", clock=lambda: 0.0)
        store.apply(builders.basics())
        for _ in range(60):
            with contextlib.suppress(errors.MizarError):
                step(store, rng)
            check(store)
        _assert_nothing_leaked(store)
        store.close()


def _assert_nothing_leaked(store: protocol.Store) -> None:
    """When all is gone, every address can be had again."""
    refs = [obj.ref for obj in store.select(kinds.ENDPOINT)]
    store.delete(refs)
    store.remove(refs)
    committed = store.apply([endpoint(f"blue/full-{n}") for n in range(CAPACITY)])
    assert len({fact.addresses for fact in committed.change.endpoints}) == CAPACITY

# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked in whatever order: the changes that the planner was given add up to what there is, and
what there is keeps the rules."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from mizar import errors
from mizar.model import facts, kinds, objects
from mizar.plan import planner
from mizar.store import protocol, sqlite
from tests.unit.store import builders

KEYS: dict[str, Callable[[Any], Any]] = {
    "hosts": lambda fact: fact.name,
    "vpcs": lambda fact: fact.vni,
    "networks": lambda fact: fact.id,
    "endpoints": lambda fact: fact.id,
    "services": lambda fact: fact.id,
    "gateways": lambda fact: fact.id,
    "floating": lambda fact: fact.address,
    "forwards": lambda fact: (fact.address, fact.port, fact.protocol),
    "route_tables": lambda fact: (fact.vni, fact.name),
    "peerings": lambda fact: (fact.vni, fact.peer),
}
ADDRESSES = [f"198.51.100.{n}" for n in range(1, 6)]
VPCS = ("blue", "green", "red")


class Sum:
    """What a planner would have."""

    def __init__(self) -> None:
        self.known: dict[str, dict[Any, Any]] = {field: {} for field in KEYS}

    def add(self, change: planner.Change) -> None:
        for field, key in KEYS.items():
            came = {key(fact): fact for fact in getattr(change, field)}
            gone = getattr(change, f"gone_{field}")
            assert not came.keys() & set(gone), "one object once"
            for one in gone:
                del self.known[field][one]
            self.known[field].update(came)


def base() -> list[objects.Declared]:
    return [
        *builders.basics(),
        builders.vpc("green", cidrs=["10.8.0.0/16"]),
        builders.vpc("red", cidrs=["10.8.128.0/17"]),
        *(builders.endpoint(f"blue/fixed-{n}", forwarding=True) for n in range(2)),
    ]


def wanted(rng: random.Random) -> objects.Declared:
    """Any object; of the names and addresses that there are, some are used by others."""
    name, target = f"blue/x{rng.randrange(4)}", f"x{rng.randrange(4)}"
    address, app = rng.choice(ADDRESSES), rng.choice(["shop", "db"])
    match rng.randrange(9):
        case 0 | 1:
            return builders.labelled(name, host=rng.choice(["h1", "h2"]), app=app)
        case 2:
            return builders.scaled(f"blue/s{rng.randrange(3)}", backendSelector={"app": app})
        case 3:
            some = rng.sample(range(4), rng.randrange(3))
            backends = [{"name": f"x{n}", "weight": n + 1} for n in some]
            return builders.scaled(f"blue/s{rng.randrange(3)}", backends=backends)
        case 4:
            hosts = rng.sample(["h1", "h2"], rng.randint(1, 2))
            pool = rng.sample(ADDRESSES, rng.choice((0, len(hosts))))
            return builders.gateway(f"{rng.choice(VPCS)}/out", *hosts, addresses=pool)
        case 5:
            return builders.floating(f"blue/f{rng.randrange(3)}", address, target)
        case 6:
            target = rng.choice([target, f"s{rng.randrange(3)}"])
            return builders.forward(f"blue/p{rng.randrange(3)}", address, rng.randint(80, 82), target)
        case 7:
            one, other = rng.sample(VPCS, 2)
            return builders.peering(f"{one}/to-{other}", other)
        case _:
            networks = rng.choice([(), ("web",), ("any",)])
            route: dict[str, Any] = rng.choice(
                [{"gateway": "out"}, {"endpoint": "fixed-0"}, {"peer": "green"}, {"blackhole": True}]
            )
            return builders.routes(
                f"blue/t{rng.randrange(3)}", {"to": "0.0.0.0/0"} | route, networks=networks
            )


def step(store: protocol.Store, total: Sum, rng: random.Random) -> None:
    """One request, of which many are refused."""
    some = {obj.ref: obj for obj in (wanted(rng) for _ in range(rng.randint(1, 4)))}
    match rng.randrange(5):
        case 0 | 1 | 2:
            total.add(store.apply(list(some.values())).change)
        case 3:
            total.add(store.delete(list(some)).change)
        case _:
            total.add(store.remove(store.deleting()).change)


def check(store: protocol.Store, total: Sum) -> None:
    """What always holds."""
    everything = store.everything()
    for field, key in KEYS.items():
        there = {key(fact): fact for fact in getattr(everything, field)}
        known = total.known[field]
        if field == "services":
            assert {k: _unordered(v) for k, v in there.items()} == {
                k: _unordered(v) for k, v in known.items()
            }
        else:
            assert there == known, field
    _check_rules(everything)


def _unordered(fact: facts.ServiceFact) -> facts.ServiceFact:
    return fact._replace(backends=tuple(sorted(fact.backends)))


def _check_rules(everything: planner.Change) -> None:
    simple = {fact.id for fact in everything.endpoints}
    scaled = {fact.id for fact in everything.services}
    gateways = {fact.id for fact in everything.gateways}
    assert not simple & scaled
    for service in everything.services:
        assert {backend.endpoint for backend in service.backends} <= simple
    for floating in everything.floating:
        assert floating.endpoint in simple
        assert floating.gateway in gateways
    for forward in everything.forwards:
        assert forward.endpoint in simple | scaled
        assert forward.gateway in gateways
    assert {(fact.peer, fact.vni) for fact in everything.peerings} == set(everything.peerings)
    networks = [number for table in everything.route_tables for number in table.networks]
    assert max(Counter(networks).values(), default=1) == 1
    pools = [address for gateway in everything.gateways for _, own in gateway.hosts for address in own]
    whole = Counter([*pools, *(fact.address for fact in everything.floating)])
    assert max(whole.values(), default=1) == 1
    cidrs = {fact.vni: fact.cidrs for fact in everything.vpcs}
    for fact in everything.vpcs:
        group = [fact.vni, *(one.peer for one in everything.peerings if one.vni == fact.vni)]
        for one, other in itertools.combinations(group, 2):
            assert not any(a.overlaps(b) for a in cidrs[one] for b in cidrs[other])


@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_changes_add_up_to_what_there_is(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        store = sqlite.SqliteStore(pathlib.Path(directory) / "store.db", clock=lambda: 0.0)
        total = Sum()
        total.add(store.apply(base()).change)
        for _ in range(80):
            with contextlib.suppress(errors.MizarError):
                step(store, total, rng)
            check(store, total)
        _assert_nothing_leaked(store)
        store.close()


def _assert_nothing_leaked(store: protocol.Store) -> None:
    """All can be deleted at once, and every outside address is free again."""
    refs = [obj.ref for kind in kinds.KINDS if not kind.read_only for obj in store.select(kind)]
    store.delete(refs)
    store.remove(store.deleting())
    assert store.everything() == planner.Change()
    gone = (*kinds.FIXTURES, kinds.ENDPOINT, kinds.NETWORK, kinds.VPC, kinds.HOST)
    assert [store.count(kind) for kind in gone] == [0] * len(gone)
    store.apply([*builders.basics(), builders.gateway("blue/out", "h1", addresses=ADDRESSES)])

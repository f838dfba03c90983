# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints in a store: addresses, backends by name and by labels, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mizar import errors
from mizar.model import facts, kinds, objects, services
from mizar.store import protocol
from mizar.store.events import EventType
from mizar.store.protocol import Outcome
from tests.unit.store import builders
from tests.unit.store.builders import endpoint, labelled, ref, scaled

ADDRESS = 0x0A000105


def service(store: protocol.Store) -> facts.ServiceFact:
    """The only one."""
    (fact,) = store.everything().services
    return fact


def names(store: protocol.Store, fact: facts.ServiceFact) -> dict[str, int]:
    """Backends by name, with their weights."""
    known = {one.id: one.name for one in store.everything().endpoints}
    return {known[backend.endpoint]: backend.weight for backend in fact.backends}


def erase(store: protocol.Store, *endpoints: str) -> None:
    refs = [ref(kinds.ENDPOINT, name) for name in endpoints]
    store.delete(refs)
    store.remove(refs)


def test_fact_has_all_that_was_declared(store: protocol.Store) -> None:
    committed = store.apply(
        [
            endpoint("blue/a"),
            endpoint("blue/b", network="any"),
            scaled(
                "blue/shop",
                "10.0.1.5",
                ports=[{"port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}],
                backends=[{"name": "a", "weight": 3}, {"name": "b", "drain": True}],
                sessionAffinity={},
                healthCheck={"type": "http"},
            ),
        ]
    )
    (fact,) = committed.change.services
    assert fact == service(store)
    assert (fact.name, fact.address, fact.affinity) == ("shop", ADDRESS, 10_800)
    assert fact.ports == (facts.PortFact(80, 6, 8080), facts.PortFact(53, 17, 53))
    assert names(store, fact) == {"a": 3, "b": 0}
    assert fact.check == facts.CheckFact("http", 8080, "/", 2000, 1000, 2, 1)
    assert fact.id not in {one.id for one in store.everything().endpoints}
    assert len(committed.change.endpoints) == 2


def test_what_was_applied_is_read_back(store: protocol.Store) -> None:
    wanted = [endpoint("blue/a"), scaled("blue/shop", backends=[{"name": "a"}])]
    store.apply(wanted)
    obj = store.get(ref(kinds.ENDPOINT, "blue/shop"))
    assert isinstance(obj, objects.Endpoint)
    assert obj.spec == wanted[1].spec
    assert obj.status is not None
    assert (obj.status.addresses, obj.status.host, obj.status.mac) == (("10.0.1.2",), None, None)
    listed = [one.full_name for one in store.select(kinds.ENDPOINT)]
    assert listed == ["blue/a", "blue/shop"]
    (page,) = store.endpoint_texts("blue")
    assert [one.scaled == obj for one in page] == [False, True]
    again = store.apply([obj, wanted[0]])
    assert {result.outcome for result in again.results} == {Outcome.UNCHANGED}


def test_address_is_picked_from_the_network_and_kept(store: protocol.Store) -> None:
    store.apply([scaled(), endpoint("blue/a")])
    before = service(store).address
    store.apply([scaled(ports=[{"port": 81}])])
    assert service(store).address == before
    store.apply([endpoint(f"blue/e{n}") for n in range(12)])
    with pytest.raises(errors.ConflictError, match="all 14 of network 'blue/web' are in use"):
        store.apply([scaled("blue/other")])
    with pytest.raises(errors.ConflictError, match="is in use by endpoint 'blue/shop'"):
        store.apply([endpoint("blue/a", "10.0.1.1")])


def test_network_counts_it_and_no_host_does(store: protocol.Store) -> None:
    store.apply([scaled()])
    for kind, name, count in ((kinds.NETWORK, "blue/web", 1), (kinds.VPC, "blue", 1), (kinds.HOST, "h1", 0)):
        obj: Any = store.get(ref(kind, name))
        assert obj.status.endpoints == count
    with pytest.raises(errors.ConflictError, match="network 'blue/web' has 1 endpoint, such as 'blue/shop'"):
        store.delete([ref(kinds.NETWORK, "blue/web")])
    store.delete([ref(kinds.HOST, "h1")])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (scaled(backends=[{"name": "zz"}]), "endpoint 'blue/shop': endpoint 'blue/zz' does not exist"),
        (scaled(backends=[{"name": "vip"}]), "endpoint 'blue/vip' is scaled; it takes a simple one"),
        (scaled(backends=[{"name": "going"}]), "endpoint 'blue/going' is being deleted"),
        (scaled("blue/a"), "endpoint 'blue/a': type cannot change from 'simple' to 'scaled'"),
        (endpoint("blue/vip"), "endpoint 'blue/vip': type cannot change from 'scaled' to 'simple'"),
        (scaled("blue/vip", network="any"), "network cannot change from 'web' to 'any'"),
        (scaled("blue/x", "10.0.9.1"), "address 10.0.9.1 is outside network 'blue/web'"),
        (scaled("red/x"), "vpc 'red' does not exist"),
    ],
)
def test_refused(store: protocol.Store, wanted: objects.Declared, message: str) -> None:
    store.apply([endpoint("blue/a"), endpoint("blue/going"), scaled("blue/vip")])
    store.delete([ref(kinds.ENDPOINT, "blue/going")])
    before = store.everything()
    with pytest.raises(errors.MizarError, match=message):
        store.apply([wanted])
    assert store.everything() == before


def test_deleted_backends_leave_the_scaled_endpoint(store: protocol.Store) -> None:
    backends = [{"name": name} for name in "abc"]
    store.apply([*(endpoint(f"blue/{name}") for name in "abc"), scaled(backends=backends)])
    watch = store.watch(store.revision)
    committed = store.delete([ref(kinds.ENDPOINT, f"blue/{name}") for name in "ab"])
    assert [list(names(store, fact)) for fact in committed.change.services] == [["c"]]
    assert len(committed.change.gone_endpoints) == 2
    seen = [(event.type, event.ref.name) for event in watch.poll()]
    assert seen == [(EventType.MODIFIED, name) for name in ("a", "b", "shop")]
    obj = store.get(ref(kinds.ENDPOINT, "blue/shop"))
    assert isinstance(obj, objects.Endpoint)
    assert isinstance(obj.spec, services.ScaledSpec)
    assert [backend.name for backend in obj.spec.backends] == ["c"]
    assert obj.metadata.resource_version == store.revision


def test_all_backends_may_go_with_the_scaled_endpoint_itself(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a"), scaled(backends=[{"name": "a"}])])
    committed = store.delete([ref(kinds.ENDPOINT, "blue/a"), ref(kinds.ENDPOINT, "blue/shop")])
    assert committed.change.services == ()
    assert len(committed.change.gone_services) == 1
    store.remove([ref(kinds.ENDPOINT, "blue/shop"), ref(kinds.ENDPOINT, "blue/a")])
    assert store.count(kinds.ENDPOINT) == 0
    store.apply([endpoint("blue/shop")])  # the name may be anything again


# ----------------------------------------------------------------------------------------------- selectors


def selected(store: protocol.Store) -> set[str]:
    return set(names(store, service(store)))


def test_selector_takes_what_is_there_and_what_comes(store: protocol.Store) -> None:
    store.apply([labelled("blue/a", app="shop", tier="1"), labelled("blue/b", app="db"), endpoint("blue/c")])
    store.apply([scaled(backendSelector={"app": "shop"})])
    assert selected(store) == {"a"}
    committed = store.apply([labelled("blue/d", app="shop"), labelled("blue/e", app="db")])
    assert selected(store) == {"a", "d"}
    assert committed.change.services == (service(store),)
    assert {backend.weight for backend in service(store).backends} == {1}


def test_selector_and_its_backends_in_one_request(store: protocol.Store) -> None:
    store.apply([scaled(backendSelector={"app": "shop"}), labelled("blue/a", app="shop")])
    assert selected(store) == {"a"}


def test_selector_follows_labels_and_deletion(store: protocol.Store) -> None:
    store.apply([scaled(backendSelector={"app": "shop"}), labelled("blue/a"), labelled("blue/b", app="shop")])
    store.apply([labelled("blue/a", app="shop"), labelled("blue/b", app="db")])
    assert selected(store) == {"a"}
    revision = store.revision
    erase(store, "blue/a")
    assert selected(store) == set()
    store.apply([labelled("blue/a", app="shop")])
    assert selected(store) == {"a"}
    assert service(store).backends[0].endpoint in {one.id for one in store.everything().endpoints}
    assert store.revision > revision


def test_selector_is_changed(store: protocol.Store) -> None:
    store.apply([labelled("blue/a", app="shop"), labelled("blue/b", app="db")])
    store.apply([scaled(backendSelector={"app": "shop"})])
    store.apply([scaled(backendSelector={"app": "db"})])
    assert selected(store) == {"b"}
    store.apply([scaled(backends=[{"name": "a"}])])
    store.apply([labelled("blue/c", app="db")])
    assert selected(store) == {"a"}


def test_labels_of_another_vpc_are_not_selected(store: protocol.Store) -> None:
    store.apply([builders.vpc("red"), builders.network("red/web", "10.0.1.0/28")])
    store.apply([scaled(backendSelector={"app": "shop"}), labelled("red/a", app="shop")])
    assert selected(store) == set()


def test_endpoint_that_nothing_selects_changes_no_scaled_endpoint(store: protocol.Store) -> None:
    store.apply([scaled(backendSelector={"app": "shop"}), labelled("blue/a", app="shop")])
    committed = store.apply([endpoint("blue/x"), labelled("blue/a", host="h2", app="shop")])
    assert committed.change.services == ()
    assert len(committed.change.endpoints) == 2


def test_many_endpoints_are_selected_in_one_request(empty: protocol.Store) -> None:
    empty.apply([builders.host(), builders.vpc(), builders.network("blue/web", "10.0.0.0/20")])
    empty.apply([scaled(backendSelector={"app": "shop"})])
    some = [labelled(f"blue/e{n}", app="shop" if n % 2 else "db") for n in range(1000)]
    committed = empty.apply(some)
    assert [len(fact.backends) for fact in committed.change.services] == [500]
    gone = empty.delete([obj.ref for obj in some])
    assert [fact.backends for fact in gone.change.services] == [()]


def test_all_is_there_after_a_restart(reopen: Callable[[], protocol.Store]) -> None:
    store = reopen()
    store.apply(builders.basics())
    store.apply([labelled("blue/a", app="shop"), scaled(backendSelector={"app": "shop"})])
    before = store.everything()
    store.close()
    store = reopen()
    assert store.everything() == before
    store.apply([labelled("blue/b", app="shop")])
    assert selected(store) == {"a", "b"}
    store.close()

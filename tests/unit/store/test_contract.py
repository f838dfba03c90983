# SPDX-License-Identifier: Apache-2.0
"""What every store backend must do, written against the protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mizar import errors
from mizar.model import facts, kinds, objects
from mizar.plan import planner
from mizar.store import protocol
from mizar.store.events import EventType, GoneError
from mizar.store.protocol import Outcome
from tests.unit.store import builders
from tests.unit.store.builders import endpoint, host, network, ref, vpc


def status_of(store: protocol.Store, name: str) -> objects.EndpointStatus:
    obj = store.get(ref(kinds.ENDPOINT, name))
    assert isinstance(obj, objects.Endpoint)
    assert obj.status is not None
    return obj.status


def addresses_of(store: protocol.Store, name: str) -> tuple[str, ...]:
    return status_of(store, name).addresses or ()


# ------------------------------------------------------------------------------------------------ applying


def test_what_was_applied_is_read_back(store: protocol.Store) -> None:
    store.apply([endpoint("blue/web-1", "10.0.1.5", netns="pod", ifname="eth1")])
    obj = store.get(ref(kinds.ENDPOINT, "blue/web-1"))
    assert isinstance(obj, objects.Endpoint)
    assert obj.spec == endpoint("blue/web-1", "10.0.1.5", netns="pod", ifname="eth1").spec
    assert obj.metadata.creation_timestamp == "2023-11-14T22:13:20Z"
    assert objects.to_json(obj)["status"] == {
        "ready": False,
        "conditions": [],
        "addresses": ["10.0.1.5"],
        "mac": facts.mac_text(6),
        "host": "h1",
    }


def test_objects_of_all_kinds_in_any_order_in_one_request(empty: protocol.Store) -> None:
    wanted = [endpoint("blue/web-1"), network("blue/web", "10.0.1.0/28"), vpc(), host()]
    committed = empty.apply(wanted)
    assert [(str(r.ref), r.outcome) for r in committed.results] == [
        ("endpoint 'blue/web-1'", Outcome.CREATED),
        ("network 'blue/web'", Outcome.CREATED),
        ("vpc 'blue'", Outcome.CREATED),
        ("host 'h1'", Outcome.CREATED),
    ]


def test_applying_again_writes_nothing(store: protocol.Store) -> None:
    wanted = [*builders.basics(), endpoint("blue/web-1")]
    store.apply(wanted)
    revision, addresses = store.revision, addresses_of(store, "blue/web-1")
    committed = store.apply(wanted)
    assert {result.outcome for result in committed.results} == {Outcome.UNCHANGED}
    assert store.revision == revision
    assert committed.change == planner.Change()
    assert addresses_of(store, "blue/web-1") == addresses


def test_what_get_gave_may_be_applied(store: protocol.Store) -> None:
    store.apply([endpoint("blue/web-1", "10.0.1.5"), endpoint("blue/web-2")])
    for kind in (kinds.HOST, kinds.VPC, kinds.NETWORK, kinds.ENDPOINT):
        assert {r.outcome for r in store.apply(list(store.select(kind))).results} == {Outcome.UNCHANGED}


def test_change_made_on_something_older_is_refused(store: protocol.Store) -> None:
    before = store.get(ref(kinds.VPC, "blue"))
    store.apply([vpc(dividers=2)])
    assert before is not None
    with pytest.raises(errors.ConflictError, match="resourceVersion 1 is not the present 2"):
        store.apply([before])


def test_labels_are_kept_and_changed(store: protocol.Store) -> None:
    obj = store.get(ref(kinds.NETWORK, "blue/web"))
    assert isinstance(obj, objects.Network)
    metadata = obj.metadata.model_copy(update={"labels": {"tier": "front"}})
    assert (
        store.apply([obj.model_copy(update={"metadata": metadata})]).results[0].outcome is Outcome.CONFIGURED
    )
    again = store.get(ref(kinds.NETWORK, "blue/web"))
    assert isinstance(again, objects.Network)
    assert again.metadata.labels == {"tier": "front"}


def test_refused_request_changes_nothing(store: protocol.Store) -> None:
    revision = store.revision
    with pytest.raises(errors.NotFoundError, match="host 'h9' does not exist"):
        store.apply([endpoint("blue/web-1"), endpoint("blue/web-2", host="h9")])
    assert store.revision == revision
    assert list(store.select(kinds.ENDPOINT)) == []
    store.apply([endpoint("blue/web-2")])
    assert addresses_of(store, "blue/web-2") == ("10.0.1.1",)


def test_transaction_that_swallows_a_refusal_writes_nothing(store: protocol.Store) -> None:
    def swallow() -> None:
        with store.transaction() as tx:
            tx.apply([vpc("red")])
            with pytest.raises(errors.NotFoundError):
                tx.apply([endpoint("red/a")])

    with pytest.raises(errors.ConflictError, match="nothing was written"):
        swallow()
    assert store.get(ref(kinds.VPC, "red")) is None


def test_object_twice_in_a_request_is_refused(store: protocol.Store) -> None:
    with pytest.raises(errors.InvalidError, match="endpoint 'blue/a' is given twice"):
        store.apply([endpoint("blue/a"), endpoint("blue/a")])


def test_change_for_the_planner_has_facts(store: protocol.Store) -> None:
    change = store.apply([endpoint("blue/web-1", "10.0.1.5", host="h2")]).change
    (fact,) = change.endpoints
    assert (fact.name, fact.host, fact.addresses) == ("web-1", "h2", (0x0A000105,))
    assert store.everything().endpoints == (fact,)


def test_everything_is_what_the_changes_were(store: protocol.Store) -> None:
    all_of = store.everything()
    assert [h.name for h in all_of.hosts] == ["h1", "h2"]
    assert [v.name for v in all_of.vpcs] == ["blue"]
    assert sorted(n.name for n in all_of.networks) == ["any", "web"]
    ids = {n.id for n in all_of.networks} | {v.group for v in all_of.vpcs}
    assert len(ids) == 3


def test_host_takes_roles_once_it_has_joined(store: protocol.Store) -> None:
    assert not any(fact.takes_roles for fact in store.everything().hosts)
    (fact,) = store.join(["h2"]).change.hosts
    assert (fact.name, fact.takes_roles) == ("h2", True)
    assert [one.takes_roles for one in store.everything().hosts] == [False, True]
    store.apply([host("h2", unschedulable=True)])
    assert [(one.joined, one.takes_roles) for one in store.everything().hosts][1] == (True, False)
    revision = store.revision
    assert store.join(["h2", "nobody"]).change == planner.Change()
    assert store.revision == revision


def test_host_that_is_created_anew_has_to_join_again(store: protocol.Store) -> None:
    h1 = ref(kinds.HOST, "h1")
    store.join(["h1"])
    store.delete([h1])
    assert store.join(["h1"]).change == planner.Change()
    store.remove([h1])
    store.apply([host("h1")])
    assert not any(fact.joined for fact in store.everything().hosts)


# -------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            network("blue/db", "10.9.0.0/24", "10.1.0.0/24"),
            r"network 'blue/db': cidr 10.9.0.0/24 is outside VPC 'blue' \(10.0.0.0/16\)",
        ),
        (
            network("blue/db", "10.0.1.8/29"),
            r"network 'blue/db': cidr 10.0.1.8/29 overlaps network 'blue/web' \(10.0.1.0/28\)",
        ),
        (network("red/db", "10.0.0.0/24"), "network 'red/db': vpc 'red' does not exist"),
        (network("blu/db", "10.0.0.0/24"), "network 'blu/db': vpc 'blu' does not exist; did you mean 'blue'"),
        (
            network("blue/any2", shards=256),
            "network 'blue/any2': shards 256 differs from the 128 of 'blue/any'; group networks of a VPC",
        ),
        (network("blue/web", "10.0.1.0/28", shards=64), "shards cannot change from 128 to 64"),
        (network("blue/web"), "network 'blue/web' is a subnet and stays one"),
        (network("blue/any", "10.0.2.0/24"), "network 'blue/any' is a group network and stays one"),
        (endpoint("blue/x", network="wbe"), "network 'blue/wbe' does not exist; did you mean 'blue/web'"),
        (endpoint("blue/x", host="h7"), "endpoint 'blue/x': host 'h7' does not exist"),
        (endpoint("red/x"), "endpoint 'red/x': vpc 'red' does not exist"),
        (endpoint("blue/x", "10.1.0.1"), r"address 10.1.0.1 is outside VPC 'blue' \(10.0.0.0/16\)"),
        (endpoint("blue/x", "10.0.2.1"), r"address 10.0.2.1 is outside network 'blue/web' \(10.0.1.0/28\)"),
        (
            endpoint("blue/x", "10.0.1.0"),
            "address 10.0.1.0 is the network or broadcast address of 10.0.1.0/28",
        ),
        (endpoint("blue/x", "10.0.1.15"), "address 10.0.1.15 is the network or broadcast address"),
        (
            endpoint("blue/x", "10.0.1.5", network="any"),
            r"address 10.0.1.5 is inside network 'blue/web' \(10.0.1.0/28\)",
        ),
        (endpoint("blue/x", "10.0.1.4"), "address 10.0.1.4 is in use by endpoint 'blue/used'"),
        (network("blue/db", "10.0.9.0/24"), "covers 10.0.9.9 of endpoint 'blue/wide', which is in a group"),
        (network("blue/web", "10.0.1.8/29"), r"leave out endpoint 'blue/used' \(10.0.1.4\)"),
        (vpc(cidrs=["10.0.0.0/24"]), "leave out network 'blue/web'"),
        (vpc(cidrs=["10.0.1.0/24"]), "leave out endpoint 'blue/wide'"),
        (host("h1", addresses=["192.0.2.99"]), "addresses cannot change from 192.0.2.1 to 192.0.2.99"),
        (host("h3", addresses=["192.0.2.1"]), "address 192.0.2.1 is that of host 'h1'"),
        (endpoint("blue/used", network="any"), "network cannot change from 'web' to 'any'"),
    ],
)
def test_refused(store: protocol.Store, wanted: objects.Declared, message: str) -> None:
    store.apply([endpoint("blue/used", "10.0.1.4"), endpoint("blue/wide", "10.0.9.9", network="any")])
    before = store.everything()
    with pytest.raises(errors.MizarError, match=message) as caught:
        store.apply([wanted])
    assert "\n" not in str(caught.value)
    assert store.everything() == before


def test_vpcs_may_have_the_same_addresses(store: protocol.Store) -> None:
    store.apply([vpc("red"), network("red/web", "10.0.1.0/28")])
    store.apply([endpoint("blue/a", "10.0.1.5"), endpoint("red/a", "10.0.1.5")])
    assert addresses_of(store, "red/a") == addresses_of(store, "blue/a")


# ------------------------------------------------------------------------------------------------ allocation


def test_picked_addresses_skip_network_broadcast_and_used_ones(store: protocol.Store) -> None:
    store.apply([endpoint("blue/x", "10.0.1.2")])
    store.apply([endpoint(f"blue/a{n}") for n in range(13)])
    got = [addresses_of(store, f"blue/a{n}")[0] for n in range(13)]
    assert got == ["10.0.1.1", *(f"10.0.1.{n}" for n in range(3, 15))]
    with pytest.raises(errors.ConflictError, match="all 14 of network 'blue/web' are in use"):
        store.apply([endpoint("blue/one-more")])


def test_group_network_picks_outside_of_subnets(empty: protocol.Store) -> None:
    cidrs = ["10.0.0.0/29"]
    empty.apply([host(), vpc(cidrs=cidrs), network("blue/web", "10.0.0.0/30"), network("blue/any")])
    empty.apply([endpoint(f"blue/a{n}", network="any") for n in range(3)])
    assert [addresses_of(empty, f"blue/a{n}") for n in range(3)] == [
        ("10.0.0.4",),
        ("10.0.0.5",),
        ("10.0.0.6",),
    ]


def test_freed_address_is_not_picked_again_soon(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a")])
    first = addresses_of(store, "blue/a")
    _erase(store, "blue/a")
    store.apply([endpoint("blue/a")])
    assert addresses_of(store, "blue/a") != first


def test_moved_endpoint_keeps_address_and_mac(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a")])
    before = status_of(store, "blue/a")
    store.apply([endpoint("blue/a", host="h2")])
    after = status_of(store, "blue/a")
    assert (after.addresses, after.mac, after.host) == (before.addresses, before.mac, "h2")


def test_addresses_may_be_swapped_in_one_request(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a", "10.0.1.5"), endpoint("blue/b", "10.0.1.6")])
    store.apply([endpoint("blue/a", "10.0.1.6"), endpoint("blue/b", "10.0.1.5")])
    assert (addresses_of(store, "blue/a"), addresses_of(store, "blue/b")) == (("10.0.1.6",), ("10.0.1.5",))


def test_two_of_a_request_with_one_address_are_refused(store: protocol.Store) -> None:
    with pytest.raises(errors.ConflictError, match=r"10\.0\.1\.5 is in use by endpoint 'blue/a'"):
        store.apply([endpoint("blue/a", "10.0.1.5"), endpoint("blue/b", "10.0.1.5")])


def test_numbers_go_round(store: protocol.Store) -> None:
    seen = []
    for _ in range(3):
        store.apply([vpc("red")])
        obj = store.get(ref(kinds.VPC, "red"))
        assert isinstance(obj, objects.Vpc)
        assert obj.status is not None
        seen.append(obj.status.vni)
        store.delete([ref(kinds.VPC, "red")])
        store.remove([ref(kinds.VPC, "red")])
    assert seen == [2, 3, 4]


# -------------------------------------------------------------------------------------------------- deleting


def test_deleting_is_marked_then_removed(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a", "10.0.1.5")])
    serial = store.everything().endpoints[0].id
    committed = store.delete([ref(kinds.ENDPOINT, "blue/a")])
    assert [r.outcome for r in committed.results] == [Outcome.DELETED]
    assert committed.change.gone_endpoints == (serial,)
    assert store.everything().endpoints == ()
    assert store.deleting() == [ref(kinds.ENDPOINT, "blue/a")]
    marked = store.get(ref(kinds.ENDPOINT, "blue/a"))
    assert marked is not None
    assert marked.metadata.deletion_timestamp is not None
    with pytest.raises(errors.ConflictError, match="in use by endpoint 'blue/a'"):
        store.apply([endpoint("blue/b", "10.0.1.5")])
    with pytest.raises(errors.ConflictError, match="endpoint 'blue/a' is being deleted"):
        store.apply([endpoint("blue/a", "10.0.1.5")])
    store.remove([ref(kinds.ENDPOINT, "blue/a")])
    assert store.get(ref(kinds.ENDPOINT, "blue/a")) is None
    assert addresses_of_new(store, "blue/b", "10.0.1.5") == ("10.0.1.5",)


def addresses_of_new(store: protocol.Store, name: str, address: str) -> tuple[str, ...]:
    store.apply([endpoint(name, address)])
    return addresses_of(store, name)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (kinds.NETWORK, "blue/web", "network 'blue/web' has 2 endpoints, such as 'blue/a'"),
        (kinds.VPC, "blue", "vpc 'blue' has 2 networks, such as 'blue/any'"),
        (kinds.HOST, "h1", "host 'h1' has 2 endpoints, such as 'blue/a'"),
        (kinds.HOST, "h9", "host 'h9' does not exist"),
        (kinds.ENDPOINT, "blue/zz", "endpoint 'blue/zz' does not exist"),
        (kinds.BOUNCER, "blue/web/h1", "bouncers are read-only"),
    ],
)
def test_deleting_is_refused(store: protocol.Store, kind: kinds.Kind, name: str, message: str) -> None:
    store.apply([endpoint("blue/a"), endpoint("blue/b")])
    with pytest.raises(errors.MizarError, match=message):
        store.delete([ref(kind, name)])
    assert store.deleting() == []


def test_everything_is_deleted_and_removed_at_once_in_any_order(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a"), endpoint("blue/b", host="h2")])
    refs = [
        obj.ref
        for kind in (kinds.HOST, kinds.VPC, kinds.NETWORK, kinds.ENDPOINT)
        for obj in store.select(kind)
    ]
    store.delete(refs)
    assert store.everything() == planner.Change()
    assert set(store.deleting()) == set(refs)
    store.remove(refs)
    assert store.deleting() == []
    assert all(store.count(ref.kind) == 0 for ref in refs)


def test_what_is_not_marked_is_not_removed(store: protocol.Store) -> None:
    with pytest.raises(errors.ConflictError, match="not being deleted"):
        store.remove([ref(kinds.VPC, "blue")])


def test_new_things_in_what_is_being_deleted_are_refused(store: protocol.Store) -> None:
    store.delete([ref(kinds.NETWORK, "blue/web"), ref(kinds.HOST, "h2")])
    with pytest.raises(errors.ConflictError, match="network 'blue/web' is being deleted"):
        store.apply([endpoint("blue/a")])
    with pytest.raises(errors.ConflictError, match="host 'h2' is being deleted"):
        store.apply([endpoint("blue/a", network="any", host="h2")])


# ------------------------------------------------------------------------------------------- lists and watch


def test_lists_are_by_name_and_by_vpc(store: protocol.Store) -> None:
    store.apply([vpc("red"), network("red/web", "10.0.1.0/28")])
    store.apply([endpoint(f"{v}/e{n}") for v in ("red", "blue") for n in (3, 1, 2)])
    assert [o.full_name for o in store.select(kinds.ENDPOINT)] == [
        "blue/e1", "blue/e2", "blue/e3", "red/e1", "red/e2", "red/e3",
    ]  # fmt: skip
    assert [o.full_name for o in store.select(kinds.NETWORK, "red")] == ["red/web"]
    assert store.count(kinds.ENDPOINT) == 6
    with pytest.raises(errors.NotFoundError, match="vpc 'green' does not exist"):
        list(store.select(kinds.ENDPOINT, "green"))


def test_counts_in_status(store: protocol.Store) -> None:
    store.apply([endpoint("blue/a"), endpoint("blue/b", host="h2"), endpoint("blue/c", network="any")])
    store.delete([ref(kinds.ENDPOINT, "blue/b")])
    store.apply([endpoint("blue/c", network="any", host="h2")])
    counts = {}
    for kind in (kinds.HOST, kinds.VPC, kinds.NETWORK):
        for obj in store.select(kind):
            counts[obj.full_name] = objects.to_json(obj)["status"]["endpoints"]
    assert counts == {"h1": 1, "h2": 1, "blue": 2, "blue/any": 1, "blue/web": 1}


def test_watch_sees_every_change_once(store: protocol.Store) -> None:
    watch = store.watch(store.revision)
    store.apply([endpoint("blue/a")])
    store.apply([endpoint("blue/a", host="h2")])
    _erase(store, "blue/a")
    events = watch.poll()
    assert [(e.type, e.ref.full_name) for e in events] == [
        (EventType.ADDED, "blue/a"),
        (EventType.MODIFIED, "blue/a"),
        (EventType.MODIFIED, "blue/a"),
        (EventType.DELETED, "blue/a"),
    ]
    assert events[-1].last is not None
    assert [e.revision for e in events] == sorted({e.revision for e in events})
    assert watch.poll() == []


def test_watch_replays_since_a_revision(store: protocol.Store) -> None:
    since = store.revision
    store.apply([endpoint("blue/a")])
    assert [e.ref.full_name for e in store.watch(since).poll()] == ["blue/a"]
    assert store.watch(store.revision).poll() == []


def test_watch_from_too_long_ago_is_gone(store: protocol.Store) -> None:
    since = store.revision
    slow = store.watch(since)
    for n in range(120):
        store.apply([vpc("red", dividers=n % 2 + 1)])
    with pytest.raises(GoneError, match="list again"):
        store.watch(since)
    with pytest.raises(GoneError):
        slow.poll()


def test_watch_sees_nothing_of_a_refused_request(store: protocol.Store) -> None:
    watch = store.watch(store.revision)
    with pytest.raises(errors.NotFoundError):
        store.apply([vpc("red"), endpoint("blue/a", host="h9")])
    assert watch.poll() == []


# --------------------------------------------------------------------------------------------------- restart


def test_all_is_there_after_a_restart(reopen: Callable[[], protocol.Store]) -> None:
    store = reopen()
    store.apply(builders.basics())
    store.apply([endpoint("blue/a"), endpoint("blue/b")])
    store.delete([ref(kinds.ENDPOINT, "blue/b")])
    before = (store.revision, store.everything(), store.deleting())
    listed = [objects.to_json(obj) for obj in store.select(kinds.ENDPOINT)]
    store.close()
    store = reopen()
    assert (store.revision, store.everything(), store.deleting()) == before
    assert [objects.to_json(obj) for obj in store.select(kinds.ENDPOINT)] == listed
    with pytest.raises(GoneError):
        store.watch(store.revision - 1)
    store.close()


def test_second_process_is_kept_out(reopen: Callable[[], protocol.Store]) -> None:
    store = reopen()
    with pytest.raises(errors.UnavailableError, match="in use by another controller"):
        reopen()
    store.close()
    reopen().close()


def _erase(store: protocol.Store, name: str) -> None:
    store.delete([ref(kinds.ENDPOINT, name)])
    store.remove([ref(kinds.ENDPOINT, name)])

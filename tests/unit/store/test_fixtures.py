# SPDX-License-Identifier: Apache-2.0
"""Gateways, floating addresses, port forwards, route tables, peerings in a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mizar import errors
from mizar.model import facts, kinds, objects
from mizar.model.addresses import Prefix, parse
from mizar.plan import planner
from mizar.store import protocol
from mizar.store.events import EventType
from mizar.store.protocol import Outcome
from tests.unit.store import builders
from tests.unit.store.builders import (
    endpoint,
    floating,
    forward,
    gateway,
    host,
    network,
    peering,
    ref,
    routes,
    scaled,
    vpc,
)

BLACKHOLE = {"to": "10.9.0.0/16", "blackhole": True}
ANYWHERE = Prefix(0, 0)


@pytest.fixture
def world(store: protocol.Store) -> protocol.Store:
    """Besides the basics: an endpoint, a forwarding and a scaled one, VPCs green and red."""
    store.apply(
        [
            endpoint("blue/web-1"),
            endpoint("blue/web-2"),
            endpoint("blue/firewall", forwarding=True),
            scaled("blue/shop"),
            vpc("green", cidrs=["10.8.0.0/16"]),
            vpc("red", cidrs=["10.8.128.0/17"]),
        ]
    )
    return store


def serial(store: protocol.Store, name: str) -> int:
    change = store.everything()
    return next(one.id for one in change.endpoints if one.name == name)


def vni(store: protocol.Store, name: str) -> int:
    return next(one.vni for one in store.everything().vpcs if one.name == name)


def status(store: protocol.Store, kind: kinds.Kind, name: str) -> Any:
    obj: Any = store.get(ref(kind, name))
    return obj.status


ALL = [
    gateway("blue/out", "h1", "h2", addresses=["198.51.100.10", "198.51.100.11"], ports={"first": 2000}),
    floating(),
    forward(address="198.51.100.10", targetPort=22),
    peering("blue/to-green", "green"),
    peering("green/to-blue", "blue"),
    routes(
        "blue/main",
        {"to": "0.0.0.0/0", "gateway": "out"},
        {"to": "10.9.0.0/16", "endpoint": "firewall"},
        {"to": "10.8.0.0/17", "peer": "green"},
        {"to": "10.7.0.0/16", "blackhole": True},
    ),
    routes("blue/web", BLACKHOLE, networks=("web",)),
]


def test_facts_have_all_that_was_declared(world: protocol.Store) -> None:
    change = world.apply(list(reversed(ALL))).change
    (out,) = change.gateways
    web = next(one for one in world.everything().networks if one.name == "web")
    blue, green = vni(world, "blue"), vni(world, "green")
    assert out == facts.GatewayFact(
        id=out.id,
        vni=blue,
        name="out",
        hosts=(("h1", (parse("198.51.100.10"),)), ("h2", (parse("198.51.100.11"),))),
        first_port=2000,
        last_port=65535,
        destinations=(ANYWHERE,),
    )
    assert out.id not in {one.id for one in world.everything().networks}
    web_1, web_2 = serial(world, "web-1"), serial(world, "web-2")
    assert change.floating == (
        facts.FloatingFact(parse("198.51.100.20"), blue, "web-outside", out.id, web_1),
    )
    assert change.forwards == (
        facts.ForwardFact(parse("198.51.100.10"), 2222, 6, blue, "ssh", out.id, web_2, 22),
    )
    assert set(change.peerings) == {facts.PeeringFact(blue, green), facts.PeeringFact(green, blue)}
    tables = {table.name: table for table in change.route_tables}
    assert [(route.kind, route.target) for route in tables["main"].routes] == [
        ("gateway", out.id),
        ("endpoint", serial(world, "firewall")),
        ("peer", green),
        ("blackhole", 0),
    ]
    assert (tables["main"].networks, tables["web"].networks) == ((), (web.id,))


def facts_of(change: planner.Change) -> set[object]:
    return {
        *change.gateways,
        *change.floating,
        *change.forwards,
        *change.route_tables,
        *change.peerings,
    }


def test_everything_is_what_the_changes_were(world: protocol.Store) -> None:
    change = world.apply(ALL).change
    assert facts_of(world.everything()) == facts_of(change)
    assert len(facts_of(change)) == 7


def test_what_was_applied_is_read_back_and_changes_nothing(world: protocol.Store) -> None:
    created = world.apply(ALL)
    assert {result.outcome for result in created.results} == {Outcome.CREATED}
    revision = world.revision
    for wanted in ALL:
        obj = world.get(wanted.ref)
        assert obj is not None
        assert obj.spec == wanted.spec
        assert [result.outcome for result in world.apply([obj]).results] == [Outcome.UNCHANGED]
        assert obj in list(world.select(wanted.KIND, wanted.ref.vpc))
        assert world.count(wanted.KIND) >= 1
    assert world.revision == revision


def test_all_is_there_after_a_restart(reopen: Callable[[], protocol.Store]) -> None:
    store = reopen()
    store.apply([*builders.basics(), endpoint("blue/web-1"), gateway(), floating()])
    store.delete([ref(kinds.FLOATING_ADDRESS, "blue/web-outside")])
    before = (facts_of(store.everything()), store.deleting())
    store.close()
    store = reopen()
    assert (facts_of(store.everything()), store.deleting()) == before
    assert store.deleting() == [ref(kinds.FLOATING_ADDRESS, "blue/web-outside")]
    store.close()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (gateway("blue/other", "h9"), "gateway 'blue/other': host 'h9' does not exist"),
        (gateway("blu/out"), "vpc 'blu' does not exist; did you mean 'blue'"),
        (gateway("blue/other", "h2"), "destination 0.0.0.0/0 is that of gateway 'blue/out' already"),
        (
            gateway("blue/other", "h2", "h1", destinations=["192.0.2.0/24"]),
            "host 'h1' is in gateway 'blue/out' already; a host is in one gateway of a VPC at most",
        ),
        (
            gateway("blue/other", addresses=["198.51.100.20"], destinations=["192.0.2.0/24"]),
            "gateway 'blue/other': address 198.51.100.20 is in use by floatingaddress 'blue/web-outside'",
        ),
        (gateway("red/out", addresses=["198.51.100.10"]), "198.51.100.10 is in use by gateway 'blue/out'"),
        (
            gateway("red/out", addresses=["192.0.2.2"]),
            "address 192.0.2.2 is that of host 'h2'; take one that",
        ),
        (gateway("red/out", addresses=["10.8.128.9"]), r"is inside VPC 'red' \(10.8.128.0/17\); an outside"),
        (gateway("blue/out", hostMasquerade=True), "gateway 'blue/out' has hostMasquerade; addresses"),
        (floating("blue/x", gateway="up"), "gateway 'blue/up' does not exist"),
        (floating("blue/x", "198.51.100.21", "zz"), "endpoint 'blue/zz' does not exist"),
        (
            floating("blue/x", "198.51.100.21", "shop"),
            "endpoint 'blue/shop' is scaled; it takes a simple one",
        ),
        (floating("blue/x", "198.51.100.10", "firewall"), "198.51.100.10 is in use by gateway 'blue/out'"),
        (
            floating("blue/x", "198.51.100.30", "firewall"),
            "198.51.100.30 is in use by portforward 'blue/ssh'",
        ),
        (floating("blue/x", "198.51.100.21"), "'blue/web-1' has floatingaddress 'blue/web-outside' already"),
        (
            forward("blue/x", "198.51.100.20", endpoint="shop"),
            "is in use by floatingaddress 'blue/web-outside'",
        ),
        (forward("blue/x", endpoint="shop"), "198.51.100.30 port 2222 is in use by portforward 'blue/ssh'"),
        (
            forward("blue/x", "198.51.100.31"),
            "port 2222/TCP of endpoint 'blue/web-2' has portforward 'blue/ssh'",
        ),
        (forward("blue/x", "192.0.2.1", endpoint="shop"), "address 192.0.2.1 is that of host 'h1'"),
        (
            forward("blue/x", "198.51.100.31", endpoint="web-1"),
            "endpoint 'blue/web-1' has floatingaddress 'blue/web-outside' already; its answers",
        ),
        (
            floating("blue/x", "198.51.100.21", "web-2"),
            "endpoint 'blue/web-2' has portforward 'blue/ssh' alr",
        ),
        (routes("blue/x", {"to": "10.9.0.0/16", "gateway": "in"}), "gateway 'blue/in' does not exist"),
        (
            routes("blue/x", {"to": "10.9.0.0/16", "endpoint": "web-1"}, networks=("any",)),
            "endpoint 'blue/web-1' does not forward; set forwarding: true",
        ),
        (
            routes("blue/x", {"to": "10.9.0.0/16", "endpoint": "shop"}, networks=("any",)),
            "endpoint 'blue/shop' is scaled",
        ),
        (
            routes("blue/x", {"to": "10.8.0.0/16", "peer": "red"}, networks=("any",)),
            "routetable 'blue/x': vpc 'blue' has no peering with 'red'",
        ),
        (routes("blue/x", BLACKHOLE, networks=("wb",)), "network 'blue/wb' does not exist; did you mean"),
        (
            routes("blue/x", BLACKHOLE, networks=("any", "web")),
            "network 'blue/web' has route table 'blue/web'",
        ),
        (routes("blue/x", BLACKHOLE), "vpc 'blue' has route table 'blue/main' already"),
        (peering("blue/x", "blue"), "peer 'blue' is the VPC itself"),
        (peering("blue/x", "grey"), "vpc 'grey' does not exist"),
        (peering("blue/x", "green"), "vpc 'blue' has peering 'blue/to-green' with 'green' already"),
        (peering("blue/to-green", "red"), "peer cannot change from 'green' to 'red'"),
        (
            peering("blue/to-red", "red"),
            "10.8.0.0/16 of vpc 'green' overlaps 10.8.128.0/17 of vpc 'red'; addresses of a VPC and",
        ),
        (peering("yellow/to-blue", "blue"), "10.0.4.0/24 of vpc 'yellow' overlaps 10.0.0.0/16 of vpc 'blue'"),
        (
            vpc("green", cidrs=["10.8.0.0/16", "10.0.0.0/24"]),
            "10.0.0.0/24 of vpc 'green' overlaps 10.0.0.0/16",
        ),
        (
            vpc("blue", cidrs=["10.0.0.0/16", "198.51.100.0/24"]),
            "vpc 'blue': cidrs cover 198.51.100.10, the outside address of gateway 'blue/out'",
        ),
        (
            endpoint("blue/firewall"),
            "endpoint 'blue/firewall': forwarding cannot end while routetable 'blue/main'",
        ),
        (
            host("h3", addresses=["198.51.100.20"]),
            "is an outside address of floatingaddress 'blue/web-outside'",
        ),
    ],
)
def test_refused(world: protocol.Store, wanted: objects.Declared, message: str) -> None:
    world.apply(
        [
            gateway("blue/out", "h1", addresses=["198.51.100.10"]),
            *(obj for obj in ALL[1:] if obj.KIND is not kinds.PORT_FORWARD),
            forward(),
            vpc("yellow", cidrs=["10.0.4.0/24"]),
        ]
    )
    before = world.everything()
    with pytest.raises(errors.MizarError, match=message) as caught:
        world.apply([wanted])
    assert "\n" not in str(caught.value)
    assert world.everything() == before


# ------------------------------------------------------------------------------------------ outside addresses


def test_ports_of_one_address_are_shared_within_a_gateway(world: protocol.Store) -> None:
    world.apply([gateway("blue/out", "h1", addresses=["198.51.100.10"])])
    world.apply([forward("blue/a", "198.51.100.10", 80), forward("blue/b", "198.51.100.30", 81)])
    world.apply([forward("blue/c", "198.51.100.30", 82), forward("blue/d", "198.51.100.10", 83)])
    world.apply([forward("blue/u", "198.51.100.30", 82, endpoint="shop", protocol="UDP")])
    assert len(world.everything().forwards) == 5
    world.apply([gateway("red/out", "h1", addresses=["198.51.100.11"])])
    with pytest.raises(errors.ConflictError, match=r"198\.51\.100\.11 is in use by gateway 'red/out'"):
        world.apply([forward("blue/e", "198.51.100.11", 90)])


def test_own_addresses_of_gateway_hosts_may_be_forwarded_by_port(world: protocol.Store) -> None:
    """By several VPCs, as the hosts are theirs together."""
    world.apply([gateway("blue/out", "h1"), gateway("green/out", "h1"), network("green/n")])
    world.apply([endpoint("green/e", network="n"), forward("blue/a", "192.0.2.1", 80)])
    world.apply([forward("green/a", "192.0.2.1", 81, endpoint="e")])
    with pytest.raises(errors.ConflictError, match=r"192\.0\.2\.1 port 80 is in use by portforward 'blue/a'"):
        world.apply([forward("green/b", "192.0.2.1", 80, endpoint="e")])
    with pytest.raises(errors.ConflictError, match="is that of host 'h2'"):
        world.apply([forward("blue/c", "192.0.2.2", 80)])


def test_addresses_are_swapped_in_one_request(world: protocol.Store) -> None:
    world.apply([gateway(), floating("blue/a"), floating("blue/b", "198.51.100.21", "firewall")])
    change = world.apply(
        [floating("blue/a", "198.51.100.21"), floating("blue/b", endpoint="firewall")]
    ).change
    assert {fact.address: fact.name for fact in change.floating} == {
        parse("198.51.100.20"): "b",
        parse("198.51.100.21"): "a",
    }
    assert change.gone_floating == ()


def test_changed_address_is_gone_for_the_planner(world: protocol.Store) -> None:
    world.apply([gateway(), floating(), forward()])
    change = world.apply([floating(address="198.51.100.40"), forward(port=2223)]).change
    assert change.gone_floating == (parse("198.51.100.20"),)
    assert change.gone_forwards == ((parse("198.51.100.30"), 2222, 6),)
    assert [(fact.port, fact.target_port) for fact in change.forwards] == [(2223, 2223)]


def test_address_is_free_when_its_owner_is_removed(world: protocol.Store) -> None:
    world.apply([gateway(), floating()])
    gone = ref(kinds.FLOATING_ADDRESS, "blue/web-outside")
    assert world.delete([gone]).change.gone_floating == (parse("198.51.100.20"),)
    with pytest.raises(errors.ConflictError, match="'blue/web-outside', which is being deleted"):
        world.apply([floating("blue/x", endpoint="firewall")])
    with pytest.raises(errors.ConflictError, match="is being deleted"):
        world.apply([floating()])
    world.remove([gone])
    world.apply([floating("blue/x", endpoint="firewall")])


# ------------------------------------------------------------------------------------------------ deleting


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            kinds.GATEWAY,
            "blue/out",
            "is used by floatingaddress 'blue/web-outside', portforward 'blue/ssh', rou",
        ),
        (
            kinds.ENDPOINT,
            "blue/web-1",
            "endpoint 'blue/web-1' is used by floatingaddress 'blue/web-outside'; delete or",
        ),
        (kinds.ENDPOINT, "blue/firewall", "is used by routetable 'blue/main'"),
        (kinds.NETWORK, "blue/any", "network 'blue/any' is used by routetable 'blue/web'"),
        (kinds.HOST, "h2", "host 'h2' is used by gateway 'blue/out'; delete or change what uses it first"),
        (kinds.PEERING, "blue/to-green", "is used by routetable 'blue/main'"),
        (kinds.VPC, "green", "vpc 'green' has peering 'green/to-blue'; delete first what is in it"),
        (kinds.GATEWAY, "blue/zz", "gateway 'blue/zz' does not exist"),
    ],
)
def test_what_others_refer_to_is_not_deleted(
    world: protocol.Store, kind: kinds.Kind, name: str, message: str
) -> None:
    world.apply([*ALL[:-1], routes("blue/web", BLACKHOLE, networks=("any",))])
    with pytest.raises(errors.MizarError, match=message):
        world.delete([ref(kind, name)])
    assert world.deleting() == []


def test_vpc_that_another_has_a_peering_with_stays(world: protocol.Store) -> None:
    world.apply([peering("blue/to-green", "green")])
    with pytest.raises(errors.ConflictError, match="vpc 'green' is used by peering 'blue/to-green'"):
        world.delete([ref(kinds.VPC, "green")])


def test_everything_is_deleted_and_removed_at_once(world: protocol.Store) -> None:
    world.apply(ALL)
    some = [obj.ref for kind in kinds.KINDS if not kind.read_only for obj in world.select(kind)]
    change = world.delete(some).change
    assert (len(change.gone_gateways), len(change.gone_floating), len(change.gone_forwards)) == (1, 1, 1)
    assert (len(change.gone_route_tables), len(change.gone_peerings)) == (2, 2)
    assert world.everything() == planner.Change()
    assert set(world.deleting()) == set(some)
    world.remove(world.deleting())
    assert world.deleting() == []
    assert all(world.count(one.kind) == 0 for one in some)


def test_vpc_is_not_removed_before_its_fixtures(world: protocol.Store) -> None:
    world.apply([gateway("red/out", "h1")])
    some = [ref(kinds.GATEWAY, "red/out"), ref(kinds.VPC, "red")]
    world.delete(some)
    with pytest.raises(errors.ConflictError, match="vpc 'red' has gateway 'red/out'"):
        world.remove(some[1:])
    world.remove(some)


def test_number_of_a_gateway_goes_back(world: protocol.Store) -> None:
    first = world.apply([gateway("red/out", "h1")]).change.gateways[0]
    assert status(world, kinds.GATEWAY, "red/out").id == first.id
    out = ref(kinds.GATEWAY, "red/out")
    assert world.delete([out]).change.gone_gateways == (first.id,)
    world.remove([out])
    assert world.apply([gateway("red/out", "h1")]).change.gateways[0].id != first.id


def test_deleted_user_does_not_hold_what_it_used(world: protocol.Store) -> None:
    world.apply([gateway(), floating()])
    world.delete([ref(kinds.FLOATING_ADDRESS, "blue/web-outside")])
    world.delete([ref(kinds.ENDPOINT, "blue/web-1"), ref(kinds.GATEWAY, "blue/out")])


def test_forwarding_ends_when_no_route_leads_there_any_more(world: protocol.Store) -> None:
    world.apply([routes("blue/main", {"to": "10.9.0.0/16", "endpoint": "firewall"})])
    world.apply([endpoint("blue/firewall"), routes("blue/main", BLACKHOLE)])
    assert not any(one.forwarding for one in world.everything().endpoints)


# ------------------------------------------------------------------------------------------------- peering


def test_peering_is_a_fact_while_both_sides_are_there(world: protocol.Store) -> None:
    change = world.apply([peering("blue/to-green", "green")]).change
    assert change.peerings == ()
    assert status(world, kinds.PEERING, "blue/to-green").active is False
    watch = world.watch(world.revision)
    change = world.apply([peering("green/to-blue", "blue")]).change
    blue, green = vni(world, "blue"), vni(world, "green")
    assert set(change.peerings) == {(blue, green), (green, blue)}
    assert status(world, kinds.PEERING, "blue/to-green").active is True
    assert {(event.type, event.ref.full_name) for event in watch.poll()} == {
        (EventType.ADDED, "green/to-blue"),
        (EventType.MODIFIED, "blue/to-green"),
    }
    change = world.delete([ref(kinds.PEERING, "blue/to-green")]).change
    assert set(change.gone_peerings) == {(blue, green), (green, blue)}
    assert status(world, kinds.PEERING, "green/to-blue").active is False
    assert ref(kinds.PEERING, "green/to-blue") in {event.ref for event in watch.poll()}
    assert world.everything().peerings == ()


def test_peering_that_was_never_active_goes_without_a_fact(world: protocol.Store) -> None:
    world.apply([peering("blue/to-green", "green")])
    assert world.delete([ref(kinds.PEERING, "blue/to-green")]).change == planner.Change()


def test_both_sides_may_be_declared_at_once(world: protocol.Store) -> None:
    wanted = [peering("blue/to-green", "green"), peering("green/to-blue", "blue")]
    assert len(world.apply(wanted).change.peerings) == 2


def test_cidrs_that_no_peer_has_may_be_added(world: protocol.Store) -> None:
    world.apply([peering("blue/to-green", "green"), peering("green/to-blue", "blue")])
    world.apply([vpc("green", cidrs=["10.8.0.0/16", "172.16.0.0/12"])])


def test_events_of_fixtures(world: protocol.Store) -> None:
    watch = world.watch(world.revision)
    out = ref(kinds.GATEWAY, "red/out")
    world.apply([gateway("red/out", "h1")])
    world.apply([gateway("red/out", "h1", "h2")])
    world.delete([out])
    world.remove([out])
    seen = watch.poll()
    assert [(event.type, event.ref) for event in seen] == [
        (EventType.ADDED, out),
        (EventType.MODIFIED, out),
        (EventType.MODIFIED, out),
        (EventType.DELETED, out),
    ]
    assert isinstance(seen[-1].last, objects.Gateway)

# SPDX-License-Identifier: Apache-2.0
"""The way of a packet, told by counters: which divider and bouncer carried the first, that the rest went
direct, wherever client, divider, bouncer and server are."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Iterator

import pytest

from mizar.abi import hashes
from mizar.lab import config
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import counters, netns, tenants, traffic
from tests.support.labs import Labs, NewTenant, on_hook, tenant_name

_PINGS = 5


def test_endpoints_of_one_host_meet_without_bouncer_or_divider(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    neighbours = [
        tenant.endpoint("b", "web", "h1", "10.0.1.3"),
        tenant.endpoint("c", "db", "h1", "10.0.2.3"),
    ]
    tenant.ready()
    since = counters.Since(lab_on_both, vpc=tenant.name)
    for neighbour in neighbours:
        assert traffic.reaches(a, neighbour.address, count=_PINGS)
    assert since.roles() == {}
    assert since.verdicts("h1")["local"] == 2 * 2 * _PINGS


def test_first_packet_within_a_network_needs_a_bouncer_and_no_divider(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    (bouncer,) = tenant.bouncers("web")
    left, right = tenant.hosts_but(bouncer)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "web", right, "10.0.1.3")
    tenant.ready()
    since = counters.Since(lab_on_both, vpc=tenant.name)
    assert traffic.reaches(a, b.address, count=_PINGS)
    assert since.roles() == {f"bouncer web/{bouncer}": 1}


def test_first_packet_to_another_network_needs_a_divider_and_a_bouncer_of_that_network(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24")
    tenant.ready()
    (divider,), (bouncer,) = tenant.dividers(), tenant.bouncers("db")
    left, right = tenant.hosts_but(divider, bouncer)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "db", right, "10.0.2.3")
    tenant.ready()
    since = counters.Since(lab_on_both, vpc=tenant.name)
    assert traffic.reaches(a, b.address, count=_PINGS)
    assert since.roles() == {f"divider {divider}": 1, f"bouncer db/{bouncer}": 1}


def test_both_hosts_learn_from_one_packet_and_its_answer(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
    tenant.ready()
    assert tenant.knows(a, b.address) is None
    assert traffic.reaches(a, b.address)
    assert tenant.knows(a, b.address) == "h2"
    assert tenant.knows(b, a.address) == "h1"
    since = counters.Since(lab_on_both, vpc=tenant.name)
    assert traffic.reaches(b, a.address, count=_PINGS)
    assert since.roles() == {}


def test_one_way_flow_leaves_the_bouncer(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24")
    tenant.ready()
    left, right = tenant.hosts_but(*tenant.dividers(), *tenant.bouncers("db"))[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "db", right, "10.0.2.3")
    tenant.ready()
    since = counters.Since(lab_on_both, vpc=tenant.name)
    with traffic.Stream(a, b) as stream:
        tenant.until_host_of(a, b.address, right)
        stream.until_more(100)
        by_roles = since.roles()
        stream.until_more(100)
    assert stream.lost == []
    assert since.roles() == by_roles
    assert since.bouncers() >= 1
    assert since.verdicts(right)["delivered_here"] == since.bouncers()


# ---------------------------------------------------------------- every co-location of the roles

_ROLES = ("divider", "bouncer", "client", "server")


def _co_locations() -> list[tuple[int, ...]]:
    """Which of the roles share a host: a number for each, equal numbers share. All 15."""
    return [
        numbers
        for numbers in itertools.product(range(len(_ROLES)), repeat=len(_ROLES))
        if all(number <= max(numbers[:at], default=-1) + 1 for at, number in enumerate(numbers))
    ]


def _drawn(numbers: tuple[int, ...]) -> str:
    """divider+client|bouncer|server."""
    hosts = [
        "+".join(role for role, at in zip(_ROLES, numbers, strict=True) if at == number)
        for number in range(max(numbers) + 1)
    ]
    return "|".join(hosts)


@dataclasses.dataclass(frozen=True)
class _Board:
    """A client on every host, and on every host a server in a network whose bouncer is the VPC's divider and
    one in a network whose bouncer is not."""

    tenant: tenants.Tenant
    divider: str
    bouncers: dict[bool, tuple[str, str]]
    """By whether it shares the divider's host: the network and the bouncer's host."""
    ends: dict[tuple[str, str], tenants.End]
    """By network and host."""


@pytest.fixture(scope="module")
def board(labs: Labs, transit: config.Transit) -> Iterator[_Board]:
    lab = labs.running(on_hook(transit))
    with tenants.Tenant(lab, tenant_name()) as tenant:
        tenant.ready()
        (divider,) = tenant.dividers()
        bouncers: dict[bool, tuple[str, str]] = {}
        for number in range(64):
            tenant.network(f"n{number}", f"10.1.{number}.0/24")
            tenant.ready()
            (bouncer,) = tenant.bouncers(f"n{number}")
            bouncers.setdefault(bouncer == divider, (f"n{number}", bouncer))
            if len(bouncers) == 2:
                break
        tenant.network("clients", "10.2.0.0/24")
        ends = {
            (network, machine.name): tenant.endpoint(
                f"{network}-{machine.name}", network, machine.name, f"{prefix}.{number}"
            )
            for network, prefix in [
                ("clients", "10.2.0"),
                *((network, f"10.1.{network[1:]}") for network, _ in bouncers.values()),
            ]
            for number, machine in enumerate(lab.topology.hosts, start=2)
        }
        tenant.ready()
        yield _Board(tenant, divider, bouncers, ends)


@pytest.mark.parametrize("numbers", _co_locations(), ids=_drawn)
def test_first_packet_arrives_and_later_ones_go_direct_with(numbers: tuple[int, ...], board: _Board) -> None:
    network, bouncer = board.bouncers[numbers[1] == numbers[0]]
    taken = dict.fromkeys([board.divider, bouncer])
    others = [machine.name for machine in board.tenant.lab.topology.hosts if machine.name not in taken]
    hosts = [*taken, *others]
    client = board.ends["clients", hosts[numbers[2]]]
    server = board.ends[network, hosts[numbers[3]]]
    since = counters.Since(board.tenant.lab, vpc=board.tenant.name)
    carried = {}
    if client.host != server.host and board.divider != server.host:
        carried[f"divider {board.divider}"] = 1
    if client.host != server.host and bouncer != server.host:
        # The divider does not look whether the endpoint is on its own host: that is for the bouncer to know.
        carried = {f"divider {board.divider}": 1, f"bouncer {network}/{bouncer}": 1}
    assert traffic.reaches(client, server.address)
    assert since.roles() == carried
    assert traffic.reaches(client, server.address, count=_PINGS)
    assert traffic.reaches(server, client.address, count=_PINGS)
    assert since.roles() == carried


# ---------------------------------------------------------------- several bouncers, several dividers


def test_packet_goes_to_the_bouncer_that_holds_its_shard(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24", bouncers=3, shards=16)
    tenant.ready()
    (elsewhere,) = tenant.hosts_but(*tenant.bouncers("web"))
    client_host = min(tenant.bouncers("web"))
    a = tenant.endpoint("a", "web", client_host, "10.0.1.2")
    servers = [tenant.endpoint(f"s{n}", "web", elsewhere, f"10.0.1.{n}") for n in range(10, 22)]
    tenant.ready()
    number = lab_on_both.client.get(kinds.Ref(kinds.NETWORK, tenant.name, "web"))["status"]["id"]
    hosts = {machine.address: machine.name for machine in lab_on_both.topology.hosts}
    holders = {
        row["shard"]: [hosts[address] for address in row["hosts"]]
        for row in lab_on_both.client.table(client_host, "shards")
        if row["network"] == number
    }
    assert len(holders) == 16
    used = set()
    for server in servers:
        since = counters.Since(lab_on_both, vpc=tenant.name)
        assert traffic.reaches(a, server.address)
        (holder,) = holders[hashes.shard_of(tenants.number_of(server.address), 16)]
        assert since.roles() == {f"bouncer web/{holder}": 1}
        used.add(holder)
    assert len(used) > 1


def test_flows_spread_over_replicas_and_dividers_and_each_keeps_its_own(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both, dividers=2)
    tenant.network("web", "10.0.1.0/24")
    network, free = _network_that_leaves_a_host_free(tenant)
    (left, *_) = tenant.hosts_but(free, *tenant.dividers())
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", network, free, f"10.2.{network[1:]}.3")
    tenant.ready()
    forget = traffic.forgetter(tenant, a, b)
    ports = random.Random(1).sample(range(20000, 60000), 24)
    ways = [_way_of(tenant, a, b, port, forget=forget) for port in ports]
    assert {role for way in ways for role in way} == {
        *(f"divider {name}" for name in tenant.dividers()),
        *(f"bouncer {network}/{name}" for name in tenant.bouncers(network)),
    }
    assert [_way_of(tenant, a, b, port, forget=forget) for port in ports[:6]] == ways[:6]


def _network_that_leaves_a_host_free(tenant: tenants.Tenant) -> tuple[str, str]:
    """A network with two bouncers, and a host that is none of them and no divider: a role delivers what is
    for its own host, and then says nothing of the choice."""
    for number in range(64):
        name = f"n{number}"
        tenant.network(name, f"10.2.{number}.0/24", bouncers=2, replicas=2)
        tenant.ready()
        if free := tenant.hosts_but(*tenant.dividers(), *tenant.bouncers(name)):
            return name, free[0]
    raise AssertionError("every host has a role in each of 64 networks")


def _way_of(
    tenant: tenants.Tenant, a: tenants.End, b: tenants.End, port: int, *, forget: traffic.Forget
) -> set[str]:
    """Divider and bouncer of one datagram from this source port."""
    forget()
    tenant.until_host_of(a, b.address, None)
    since = counters.Since(tenant.lab, vpc=tenant.name)
    with traffic.listening(b) as at_b:
        traffic.send(a, b.address, b"which way", source_port=port)
        assert at_b.recv(100) == b"which way"
    assert sorted(since.roles().values()) == [1, 1]
    return set(since.roles())


# ---------------------------------------------------------------- group networks, tenants


def test_group_network_joins_addresses_from_no_common_subnet(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both, "10.0.0.0/8", "192.168.0.0/16")
    tenant.network("group", bouncers=2)
    tenant.network("other", bouncers=1)
    tenant.network("subnet", "10.7.0.0/24")
    members = [
        tenant.endpoint("a", "group", "h1", "10.1.2.3"),
        tenant.endpoint("b", "group", "h2", "192.168.200.7"),
        tenant.endpoint("c", "group", "h3", "10.255.0.1"),
        tenant.endpoint("d", "other", "h4", "10.1.2.4"),
        tenant.endpoint("e", "subnet", "h2", "10.7.0.5"),
    ]
    tenant.ready()
    for sender, receiver in itertools.permutations(members, 2):
        assert traffic.reaches(sender, receiver.address), f"{sender.name} to {receiver.name}"
    entries: collections.Counter[str] = collections.Counter()
    for bouncer in lab_on_both.client.list(kinds.BOUNCER, vpc=tenant.name):
        entries[bouncer["spec"]["network"]] += bouncer["spec"]["entries"]
    assert entries == {"group": 3, "other": 1, "subnet": 1}


def test_address_of_no_endpoint_is_dropped_with_the_reason(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab_on_both, "10.0.0.0/8")
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    tenant.ready()
    since = counters.Since(lab_on_both)

    def dropped(reason: str) -> int:
        return sum(since.verdicts(machine.name)[reason] for machine in lab_on_both.topology.hosts)

    for to, reason in (("10.0.1.77", "no_endpoint"), ("10.9.9.9", "no_network"), ("8.8.8.8", "no_route")):
        traffic.send(a, to, b"is anybody there")
        netns.until(lambda reason=reason: dropped(reason) == 1, f"{to} is dropped as {reason}")  # type: ignore[misc]


def test_tenants_with_the_same_addresses_never_hear_each_other(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    blue, red = new_tenant(lab_on_both), new_tenant(lab_on_both)
    ends = {}
    for tenant in (blue, red):
        tenant.network("web", "10.0.1.0/24")
        ends[tenant.name] = (
            tenant.endpoint("a", "web", "h1", "10.0.1.2"),
            tenant.endpoint("b", "web", "h2", "10.0.1.3"),
        )
        tenant.ready()
    (blue_a, blue_b), (red_a, red_b) = ends[blue.name], ends[red.name]
    with traffic.listening(blue_b) as at_blue, traffic.listening(red_b) as at_red:
        for number in range(20):
            traffic.send(blue_a, blue_b.address, f"blue {number}".encode())
            traffic.send(red_a, red_b.address, f"red {number}".encode())
        assert [at_blue.recv(100) for _ in range(20)] == [f"blue {n}".encode() for n in range(20)]
        assert [at_red.recv(100) for _ in range(20)] == [f"red {n}".encode() for n in range(20)]
        assert traffic.is_silent(at_blue)
        assert traffic.is_silent(at_red)


def test_address_that_only_another_tenant_has_does_not_answer(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant
) -> None:
    blue, red = new_tenant(lab_on_both), new_tenant(lab_on_both)
    for tenant in (blue, red):
        tenant.network("web", "10.0.1.0/24")
    a = blue.endpoint("a", "web", "h1", "10.0.1.2")
    blue.ready()
    red_a = red.endpoint("a", "web", "h1", "10.0.1.2")
    beside, far = (
        red.endpoint("beside", "web", "h1", "10.0.1.3"),
        red.endpoint("far", "web", "h2", "10.0.1.4"),
    )
    red.ready()
    for only_red in (beside, far):
        assert traffic.reaches(red_a, only_red.address)
        assert not traffic.reaches(a, only_red.address)

# SPDX-License-Identifier: Apache-2.0
"""Random but legal histories of objects: what the store would let through, and no more.

A `History` holds the facts as dicts; each step makes one legal change. The planner's change for any number
of steps is the difference between the facts before and after, so it may hold anything that a transaction may.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

from mizar.model import addresses, facts
from mizar.plan import planner

T = TypeVar("T")

WHOLE = addresses.parse_prefix("10.1.0.0/28")
"""A CIDR of a VPC that a network may take whole."""
_CIDRS = (addresses.parse_prefix("10.0.0.0/24"), WHOLE)
_SUBNETS = (*(addresses.Prefix(0x0A000000 + 16 * n, 28) for n in range(4)), WHOLE)
_GROUP_ADDRESSES = range(0x0A000080, 0x0A000090)
_ELSEWHERE = 0x00800000
"""VPC 3 has no address of the other two, which have the same."""


def cidrs_of(vni: int) -> tuple[addresses.Prefix, ...]:
    return _at(vni, _CIDRS)


def subnets_of(vni: int) -> tuple[addresses.Prefix, ...]:
    return _at(vni, _SUBNETS)


def _at(vni: int, prefixes: Sequence[addresses.Prefix]) -> tuple[addresses.Prefix, ...]:
    return tuple(addresses.Prefix(one.address + _ELSEWHERE * (vni == 3), one.length) for one in prefixes)


class History:
    """The facts of now."""

    vnis = (1, 2)

    def __init__(self) -> None:
        self.hosts: dict[str, facts.HostFact] = {}
        self.vpcs: dict[int, facts.VpcFact] = {}
        self.networks: dict[int, facts.NetworkFact] = {}
        self.endpoints: dict[int, facts.EndpointFact] = {}
        self._serial = 0

    def snapshot(self) -> Self:
        return copy.deepcopy(self)

    def change_since(self, before: Self) -> planner.Change:
        return planner.Change(
            hosts=changed(before.hosts, self.hosts),
            vpcs=changed(before.vpcs, self.vpcs),
            networks=changed(before.networks, self.networks),
            endpoints=changed(before.endpoints, self.endpoints),
            gone_hosts=gone(before.hosts, self.hosts),
            gone_vpcs=gone(before.vpcs, self.vpcs),
            gone_networks=gone(before.networks, self.networks),
            gone_endpoints=gone(before.endpoints, self.endpoints),
        )

    def step(self, rng: random.Random) -> None:
        """One legal operation, if the one chosen is possible now."""
        rng.choice(_OPERATIONS)(self, rng)

    def number(self) -> int:
        self._serial += 1
        return self._serial

    def reachable(self) -> set[tuple[int, int, int]]:
        """Addresses that endpoints of a VPC reach, with its number, and whose they are."""
        return {(one.vni, address, one.id) for one in self.endpoints.values() for address in one.addresses}

    def given_up_until(self, later: Self) -> set[tuple[int, int]]:
        """Addresses (with their VPC) that endpoints have now and no longer then, though they are there."""
        return {
            (one.vni, address)
            for serial, one in self.endpoints.items()
            if serial in later.endpoints
            for address in set(one.addresses) - set(later.endpoints[serial].addresses)
        }

    def free_addresses(self, network: facts.NetworkFact) -> list[int]:
        used = self.used_addresses(network.vni)
        group = [address + _ELSEWHERE * (network.vni == 3) for address in _GROUP_ADDRESSES]
        pool = [a for c in network.cidrs for a in range(c.address + 1, c.address + 5)] or group
        return [address for address in pool if address not in used]

    def used_addresses(self, vni: int) -> dict[int, int]:
        """Networks by the addresses that they have given to endpoints."""
        return {a: e.network for e in self.endpoints.values() if e.vni == vni for a in e.addresses}


def _add_host(now: History, rng: random.Random) -> None:
    number = rng.randint(1, 6)
    name = f"h{number}"
    fact = facts.HostFact(name, 0xC0000200 + number, f"unix:///{name}", rng.random() < 0.8)
    now.hosts.setdefault(name, fact)


def _toggle_host(now: History, rng: random.Random) -> None:
    for name in some(rng, now.hosts):
        fact = now.hosts[name]
        now.hosts[name] = fact._replace(schedulable=not fact.schedulable)


def _remove_host(now: History, rng: random.Random) -> None:
    for name in some(rng, now.hosts):
        if all(endpoint.host != name for endpoint in now.endpoints.values()):
            del now.hosts[name]


def _put_vpc(now: History, rng: random.Random) -> None:
    vni = rng.choice(now.vnis)
    fact = now.vpcs.get(vni) or facts.VpcFact(vni, f"v{vni}", cidrs_of(vni), 1, 0, group=1000 + vni)
    now.vpcs[vni] = fact._replace(dividers=rng.randint(1, 3), mtu=rng.choice((0, 1400)))


def _remove_vpc(now: History, rng: random.Random) -> None:
    for vni in some(rng, now.vpcs):
        if all(network.vni != vni for network in now.networks.values()):
            del now.vpcs[vni]


def _add_network(now: History, rng: random.Random) -> None:
    for vni in some(rng, now.vpcs):
        taken = {cidr for network in now.networks.values() if network.vni == vni for cidr in network.cidrs}
        cidr = rng.choice((None, *subnets_of(vni)))
        if cidr not in taken:
            bouncers = rng.randint(1, 3)
            number = now.number()
            now.networks[number] = facts.NetworkFact(
                number,
                vni,
                f"n{number}",
                (cidr,) if cidr else (),
                bouncers,
                rng.randint(1, bouncers),
                shards=8,
            )


def _change_network(now: History, rng: random.Random) -> None:
    for number in some(rng, now.networks):
        bouncers = rng.randint(1, 4)
        replicas = rng.randint(1, bouncers)
        now.networks[number] = now.networks[number]._replace(bouncers=bouncers, replicas=replicas)


def _change_cidrs(now: History, rng: random.Random) -> None:
    for number in some(rng, now.networks):
        fact = now.networks[number]
        others = [c for n in now.networks.values() if n.vni == fact.vni and n.id != number for c in n.cidrs]
        used = [a for a, network in now.used_addresses(fact.vni).items() if network == number]
        wanted = tuple(rng.sample(subnets_of(fact.vni), rng.randint(1, 2)))
        legal = not set(wanted) & set(others) and all(addresses.holder(wanted, a) for a in used)
        if fact.cidrs and legal:
            now.networks[number] = fact._replace(cidrs=wanted)


def _remove_network(now: History, rng: random.Random) -> None:
    for number in some(rng, now.networks):
        if all(endpoint.network != number for endpoint in now.endpoints.values()):
            del now.networks[number]


def _add_endpoints(now: History, rng: random.Random) -> None:
    for number in some(rng, now.networks):
        for host in some(rng, now.hosts):
            network = now.networks[number]
            for _ in range(rng.randint(1, 3)):
                free = now.free_addresses(network)[: rng.randint(1, 2)]
                name = rng.choice("abcdefgh")
                taken = any(e.vni == network.vni and e.name == name for e in now.endpoints.values())
                if free and not taken:
                    serial = now.number()
                    now.endpoints[serial] = facts.EndpointFact(
                        serial, network.vni, name, number, host, tuple(free), "", ""
                    )


def _move_endpoint(now: History, rng: random.Random) -> None:
    for serial in some(rng, now.endpoints):
        for host in some(rng, now.hosts):
            now.endpoints[serial] = now.endpoints[serial]._replace(host=host)


def _change_addresses(now: History, rng: random.Random) -> None:
    for serial in some(rng, now.endpoints):
        fact = now.endpoints[serial]
        free = now.free_addresses(now.networks[fact.network])
        if free:
            kept = fact.addresses if rng.random() < 0.5 else ()
            now.endpoints[serial] = fact._replace(addresses=(*kept, free[-1]))


def _change_attachment(now: History, rng: random.Random) -> None:
    for serial in some(rng, now.endpoints):
        now.endpoints[serial] = now.endpoints[serial]._replace(netns=rng.choice(("", "x", "y")))


def _remove_endpoint(now: History, rng: random.Random) -> None:
    for serial in some(rng, now.endpoints):
        del now.endpoints[serial]


_OPERATIONS: tuple[Callable[[History, random.Random], None], ...] = (
    _add_host,
    _add_host,
    _toggle_host,
    _remove_host,
    _put_vpc,
    _remove_vpc,
    _add_network,
    _add_network,
    _change_network,
    _change_cidrs,
    _remove_network,
    _add_endpoints,
    _add_endpoints,
    _add_endpoints,
    _move_endpoint,
    _change_addresses,
    _change_attachment,
    _remove_endpoint,
)


def some(rng: random.Random, known: Mapping[T, object]) -> list[T]:
    """One of what there is, or none."""
    return [rng.choice(list(known))] if known else []


def changed(before: Mapping[Any, T], after: Mapping[Any, T]) -> list[T]:
    return [value for key, value in after.items() if before.get(key) != value]


def gone(before: Mapping[T, object], after: Mapping[T, object]) -> list[T]:
    return [key for key in before if key not in after]

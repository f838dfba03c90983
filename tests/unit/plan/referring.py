# SPDX-License-Identifier: Apache-2.0
"""Histories with scaled endpoints, gateways, outside addresses, declared routes and peerings.

The store refuses to delete what something refers to. Here the referrer goes with it, in the same change: that
asks more of the planner, and histories do not get stuck.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Self

from mizar.model import addresses, facts
from mizar.plan import planner
from tests.unit.plan import history
from tests.unit.plan.history import some

TCP = 6
_DESTINATIONS = [addresses.parse_prefix(text) for text in ("0.0.0.0/0", "192.168.0.0/16", "10.0.0.0/8")]
_POOL = range(0xC6336400, 0xC6336410)
_FREE_OUTSIDE = range(0xC6336480, 0xC6336488)
_CHECK = facts.CheckFact("tcp", 80, "", 2000, 1000, 2, 1)


class History(history.History):
    """The facts of now."""

    vnis = (1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[int, facts.ServiceFact] = {}
        self.gateways: dict[int, facts.GatewayFact] = {}
        self.floating: dict[int, facts.FloatingFact] = {}
        self.forwards: dict[tuple[int, int, int], facts.ForwardFact] = {}
        self.tables: dict[tuple[int, str], facts.RouteTableFact] = {}
        self.peerings: dict[tuple[int, int], facts.PeeringFact] = {}
        self.health: dict[tuple[int, int], bool] = {}
        self.away: dict[str, bool] = {}

    def change_since(self, before: Self) -> planner.Change:
        known = {key: value for key, value in self.health.items() if before.health.get(key) != value}
        return dataclasses.replace(
            super().change_since(before),
            services=history.changed(before.services, self.services),
            gateways=history.changed(before.gateways, self.gateways),
            floating=history.changed(before.floating, self.floating),
            forwards=history.changed(before.forwards, self.forwards),
            route_tables=history.changed(before.tables, self.tables),
            peerings=history.changed(before.peerings, self.peerings),
            gone_services=history.gone(before.services, self.services),
            gone_gateways=history.gone(before.gateways, self.gateways),
            gone_floating=history.gone(before.floating, self.floating),
            gone_forwards=history.gone(before.forwards, self.forwards),
            gone_route_tables=history.gone(before.tables, self.tables),
            gone_peerings=history.gone(before.peerings, self.peerings),
            health=known,
            away={name: away for name, away in self.away.items() if before.away.get(name, False) != away},
        )

    def used_addresses(self, vni: int) -> dict[int, int]:
        scaled = {one.address: one.network for one in self.services.values() if one.vni == vni}
        return super().used_addresses(vni) | scaled

    def reachable(self) -> set[tuple[int, int, int]]:
        """Also scaled endpoints, and what is in peer VPCs."""
        own = super().reachable() | {(one.vni, one.address, one.id) for one in self.services.values()}
        return own | {
            (vni, address, of) for vni, peer in self.peerings for at, address, of in own if at == peer
        }

    def step(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            super().step(rng)
        else:
            rng.choice(_OPERATIONS)(self, rng)
        self._repair()

    def endpoints_of(self, vni: int) -> list[int]:
        return [serial for serial, fact in self.endpoints.items() if fact.vni == vni]

    # ------------------------------------------------------------ nothing refers to what is not there

    def _repair(self) -> None:
        self.services = {
            number: fact._replace(
                backends=tuple(one for one in fact.backends if one.endpoint in self.endpoints)
            )
            for number, fact in self.services.items()
            if fact.network in self.networks
        }
        self.gateways = dict(self._whole_gateways())
        self.floating = {
            key: fact
            for key, fact in self.floating.items()
            if fact.gateway in self.gateways and fact.endpoint in self.endpoints
        }
        self.forwards = {
            key: fact
            for key, fact in self.forwards.items()
            if fact.gateway in self.gateways and fact.endpoint in {*self.endpoints, *self.services}
        }
        self.peerings = {key: fact for key, fact in self.peerings.items() if self.vpcs.keys() >= set(key)}
        self.tables = {
            key: self._whole_table(fact) for key, fact in self.tables.items() if fact.vni in self.vpcs
        }
        self.away = {name: away for name, away in self.away.items() if name in self.hosts}
        self.health = {
            (service, serial): healthy
            for (service, serial), healthy in self.health.items()
            if service in self.services
            and self.services[service].check is not None
            and serial in {one.endpoint for one in self.services[service].backends}
        }

    def _whole_gateways(self) -> list[tuple[int, facts.GatewayFact]]:
        whole = []
        for number, fact in self.gateways.items():
            hosts = tuple((name, own) for name, own in fact.hosts if name in self.hosts)
            if fact.vni in self.vpcs and (hosts or fact.masquerades):
                whole.append((number, fact._replace(hosts=hosts)))
        return whole

    def _whole_table(self, fact: facts.RouteTableFact) -> facts.RouteTableFact:
        there = {
            "endpoint": {*self.endpoints},
            "gateway": {*self.gateways},
            "peer": {peer for vni, peer in self.peerings if vni == fact.vni},
            "blackhole": {0},
        }
        return fact._replace(
            networks=tuple(number for number in fact.networks if number in self.networks),
            routes=tuple(route for route in fact.routes if route.target in there[route.kind]),
        )


def _add_service(now: History, rng: random.Random) -> None:
    for number in some(rng, now.networks):
        network = now.networks[number]
        name = rng.choice(("shop", "mail", "a"))
        taken = {one.name for one in now.endpoints.values()} | {one.name for one in now.services.values()}
        free = now.free_addresses(network)
        if free and name not in taken:
            serial = now.number()
            fact = facts.ServiceFact(serial, network.vni, name, number, free[0], (), (), 0, None)
            now.services[serial] = _with_backends(now, rng, fact)


def _change_service(now: History, rng: random.Random) -> None:
    for number in some(rng, now.services):
        fact = now.services[number]
        free = now.free_addresses(now.networks[fact.network])
        if free and rng.random() < 0.2:
            fact = fact._replace(address=free[0])
        now.services[number] = _with_backends(now, rng, fact)


def _with_backends(now: History, rng: random.Random, fact: facts.ServiceFact) -> facts.ServiceFact:
    there = now.endpoints_of(fact.vni)
    chosen = rng.sample(there, rng.randint(0, min(3, len(there))))
    ports = rng.sample((80, 81), rng.randint(1, 2))
    return fact._replace(
        ports=tuple(facts.PortFact(port, TCP, 8000 + port) for port in ports),
        backends=tuple(facts.BackendFact(serial, rng.randint(0, 2)) for serial in chosen),
        check=rng.choice((None, _CHECK)),
    )


def _remove_service(now: History, rng: random.Random) -> None:
    for number in some(rng, now.services):
        del now.services[number]


def _fall_ill(now: History, rng: random.Random) -> None:
    for number in some(rng, now.services):
        fact = now.services[number]
        if fact.check is not None and fact.backends:
            now.health[number, rng.choice(fact.backends).endpoint] = rng.random() < 0.4


def _move_backend(now: History, rng: random.Random) -> None:
    """Nothing is known of it at its new host."""
    for serial in some(rng, now.endpoints):
        for host in some(rng, now.hosts):
            if now.endpoints[serial].host != host:
                now.endpoints[serial] = now.endpoints[serial]._replace(host=host)
                now.health = {key: value for key, value in now.health.items() if key[1] != serial}


def _put_gateway(now: History, rng: random.Random) -> None:
    for vni in some(rng, now.vpcs):
        known = [number for number, fact in now.gateways.items() if fact.vni == vni]
        number = rng.choice(known) if known and rng.random() < 0.6 else now.number()
        names = rng.sample(sorted(now.hosts), rng.randint(0, min(3, len(now.hosts))))
        own = rng.sample(_POOL, len(names)) if rng.random() < 0.7 else ()
        used = {
            a for fact in now.gateways.values() if fact.id != number for _, some in fact.hosts for a in some
        }
        hosts = tuple((name, (own[at],) if own else ()) for at, name in enumerate(names))
        if not used & set(own) and len(known) < 3:
            to = tuple(rng.sample(_DESTINATIONS, rng.randint(0, 2)))
            now.gateways[number] = facts.GatewayFact(number, vni, f"g{number}", hosts, 0, 0, to)


def _remove_gateway(now: History, rng: random.Random) -> None:
    for number in some(rng, now.gateways):
        del now.gateways[number]


def _put_floating(now: History, rng: random.Random) -> None:
    for number in some(rng, now.gateways):
        gateway = now.gateways[number]
        address = rng.choice(_FREE_OUTSIDE)
        for serial in some(rng, dict.fromkeys(now.endpoints_of(gateway.vni))):
            known = now.floating.get(address)
            if known is None or known.vni == gateway.vni:
                now.floating[address] = facts.FloatingFact(address, gateway.vni, "f", number, serial)


def _put_forward(now: History, rng: random.Random) -> None:
    for number in some(rng, now.gateways):
        gateway = now.gateways[number]
        own = [address for _, some in gateway.hosts for address in some] or [0xC63364F0]
        inside = [serial for serial, one in now.services.items() if one.vni == gateway.vni]
        for serial in some(rng, dict.fromkeys([*now.endpoints_of(gateway.vni), *inside])):
            key = (rng.choice((own[0], 0xC63364F0)), rng.choice((22, 23)), TCP)
            now.forwards[key] = facts.ForwardFact(*key, gateway.vni, "p", number, serial, 22)


def _remove_outside(now: History, rng: random.Random) -> None:
    for address in some(rng, now.floating):
        del now.floating[address]
    for key in some(rng, now.forwards):
        del now.forwards[key]


def _go_away(now: History, rng: random.Random) -> None:
    for name in some(rng, now.hosts):
        now.away[name] = not now.away.get(name, False)


def _put_table(now: History, rng: random.Random) -> None:
    for vni in some(rng, now.vpcs):
        name = rng.choice(("main", "some", "other"))
        free = {number for number, fact in now.networks.items() if fact.vni == vni}
        free -= {n for (_, other), fact in now.tables.items() if other != name for n in fact.networks}
        networks = () if name == "main" else tuple(rng.sample(sorted(free), rng.randint(0, len(free))))
        if name == "main" or networks:
            prefixes = [*_DESTINATIONS, *history.subnets_of(1), *history.cidrs_of(1), *history.subnets_of(3)]
            chosen = rng.sample(sorted(set(prefixes)), rng.randint(0, 4))
            routes = tuple(_route(now, rng, vni, prefix) for prefix in chosen)
            now.tables[vni, name] = facts.RouteTableFact(vni, name, networks, routes)


def _route(now: History, rng: random.Random, vni: int, to: addresses.Prefix) -> facts.RouteFact:
    kinds = {
        "endpoint": now.endpoints_of(vni),
        "gateway": [number for number, fact in now.gateways.items() if fact.vni == vni],
        "peer": [peer for own, peer in now.peerings if own == vni],
        "blackhole": [0],
    }
    kind = rng.choice([kind for kind, targets in kinds.items() if targets])
    return facts.RouteFact(to, kind, rng.choice(kinds[kind]))


def _remove_table(now: History, rng: random.Random) -> None:
    for key in some(rng, now.tables):
        del now.tables[key]


def _peer(now: History, rng: random.Random) -> None:
    if now.vpcs.keys() >= {1, 3}:
        for key in ((1, 3), (3, 1)):
            now.peerings[key] = facts.PeeringFact(*key)


def _unpeer(now: History, rng: random.Random) -> None:
    now.peerings.clear()


_OPERATIONS: tuple[Callable[[History, random.Random], None], ...] = (
    _add_service,
    _add_service,
    _change_service,
    _remove_service,
    _fall_ill,
    _fall_ill,
    _move_backend,
    _put_gateway,
    _put_gateway,
    _remove_gateway,
    _put_floating,
    _put_forward,
    _remove_outside,
    _go_away,
    _put_table,
    _put_table,
    _remove_table,
    _peer,
    _peer,
    _unpeer,
)

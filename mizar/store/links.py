# SPDX-License-Identifier: Apache-2.0
"""What a fixture is tied to: what it refers to, which outside addresses it has, the rules that it keeps with
others, and its fact.

One class a kind; `link` makes the right one. All of them look at the tables as they are when they are asked:
after all fixtures of the request were written.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from mizar.model import addresses, facts, kinds, parts, rules, service_rules
from mizar.model import services as model
from mizar.store import records
from mizar.store.protocol import Outcome

if TYPE_CHECKING:
    from mizar.store.transaction import SqliteTransaction


class Link(abc.ABC):
    """One fixture among the others."""

    def __init__(self, tx: SqliteTransaction, vpc: records.VpcRecord, record: records.FixtureRecord) -> None:
        self.tx = tx
        self.vpc = vpc
        self.record = record
        self.ref = kinds.Ref(kinds.find(record.kind), vpc.name, record.name)

    @abc.abstractmethod
    def targets(self) -> Iterable[int]:
        """Serial numbers of what it refers to. NotFoundError, ConflictError: it is not there."""

    def claims(self) -> Iterable[service_rules.Claim]:
        """Its outside addresses."""
        return ()

    def may_use_host(self, host: str) -> bool:
        """Whether it may claim a port of this host's own address."""
        return False

    @abc.abstractmethod
    def check(self, before: records.FixtureRecord | None) -> None:
        """Rules with others."""

    @abc.abstractmethod
    def put_fact(self) -> None:
        """Tell the planner."""

    @abc.abstractmethod
    def forget_fact(self) -> None:
        """The planner is to forget it as it is."""

    def spread(self) -> None:  # noqa: B027  most have none
        """It came or goes: turn the status of others that follows from it."""

    def status(self) -> dict[str, Any]:
        """What the store knows of its status."""
        return {}

    # ------------------------------------------------------------ what it may refer to

    def gateway(self, name: str) -> records.FixtureRecord:
        return self.tx.needed_fixture(self.ref, kinds.GATEWAY, self.vpc, name)

    def gateway_with_hosts(self, name: str) -> records.FixtureRecord:
        found = self.gateway(name)
        if found.declared.host_masquerade:
            raise service_rules.needs_hosts(self.ref, f"{self.vpc.name}/{name}")
        return found

    def endpoint(self, name: str) -> records.EndpointRecord:
        return self.tx.needed_endpoint(self.ref, self.vpc, name)

    def simple_endpoint(self, name: str) -> records.EndpointRecord:
        found = self.endpoint(name)
        if not found.host:
            raise service_rules.not_simple(self.ref, f"{self.vpc.name}/{name}")
        return found

    def others(self, kind: kinds.Kind) -> Iterator[records.FixtureRecord]:
        """Fixtures of a kind in the VPC, but for this one and those that are being deleted."""
        rows = self.tx.db.execute(
            "SELECT * FROM fixture WHERE vni = ? AND kind = ? AND serial != ? AND deleted IS NULL",
            (self.vpc.vni, kind.name, self.record.serial),
        )
        return (records.FixtureRecord(*row) for row in rows.fetchall())

    def others_with(self, target: int, kind: kinds.Kind | None = None) -> Iterator[records.FixtureRecord]:
        """Other fixtures that refer to the same, of this kind or another."""
        rows = self.tx.db.execute(
            "SELECT f.* FROM reference r JOIN fixture f ON f.serial = r.source"
            " WHERE r.target = ? AND f.kind = ? AND f.serial != ?",
            (target, kind.name if kind is not None else self.record.kind, self.record.serial),
        )
        return (records.FixtureRecord(*row) for row in rows.fetchall())

    def claim(self, text: str, *, gateway: int, port: int = 0, protocol: int = 0) -> service_rules.Claim:
        return service_rules.Claim(
            addresses.parse(text), port, protocol, gateway, self.record.serial, str(self.ref)
        )


class _Gateway(Link):
    @property
    def _spec(self) -> model.GatewaySpec:
        spec: model.GatewaySpec = self.record.declared
        return spec

    def targets(self) -> Iterable[int]:
        return [self.tx.needed_host(self.ref, name).serial for name in self._spec.hosts]

    def claims(self) -> Iterable[service_rules.Claim]:
        return [self.claim(text, gateway=self.record.serial) for text in self._spec.addresses]

    def check(self, before: records.FixtureRecord | None) -> None:
        others = [_gateway_fact(other) for other in self.others(kinds.GATEWAY)]
        service_rules.check_gateway(_gateway_fact(self.record), self.ref, self.vpc.name, others)
        if self._spec.host_masquerade and before is not None:
            self._check_outside_unused()

    def _check_outside_unused(self) -> None:
        """What has outside addresses of it needs its hosts."""
        row = self.tx.db.execute(
            "SELECT f.kind, f.name FROM outside o JOIN fixture f ON f.serial = o.fixture"
            " WHERE o.gateway = ? AND o.fixture != ? AND f.deleted IS NULL LIMIT 1",
            (self.record.serial, self.record.serial),
        ).fetchone()
        if row is not None:
            user = kinds.Ref(kinds.find(row[0]), self.vpc.name, row[1])
            raise service_rules.needs_hosts(user, self.ref.full_name)

    def put_fact(self) -> None:
        self.tx.put("gateway", self.record.number, _gateway_fact(self.record))

    def forget_fact(self) -> None:
        self.tx.gone("gateway", self.record.number)

    def status(self) -> dict[str, Any]:
        return {"id": self.record.number}


def _gateway_fact(record: records.FixtureRecord) -> facts.GatewayFact:
    spec: model.GatewaySpec = record.declared
    return facts.GatewayFact(
        id=record.number,
        vni=record.vni,
        name=record.name,
        hosts=tuple(
            (host, tuple(map(addresses.parse, texts))) for host, texts in spec.addresses_of().items()
        ),
        first_port=spec.ports.first if spec.ports else 0,
        last_port=spec.ports.last if spec.ports else 0,
        destinations=tuple(map(addresses.parse_prefix, spec.destinations)),
    )


class _FloatingAddress(Link):
    @property
    def _spec(self) -> model.FloatingAddressSpec:
        spec: model.FloatingAddressSpec = self.record.declared
        return spec

    def targets(self) -> Iterable[int]:
        spec = self._spec
        return self.gateway_with_hosts(spec.gateway).serial, self.simple_endpoint(spec.endpoint).serial

    def claims(self) -> Iterable[service_rules.Claim]:
        return [self.claim(self._spec.address, gateway=self.gateway(self._spec.gateway).serial)]

    def check(self, before: records.FixtureRecord | None) -> None:
        inside, name = self.endpoint(self._spec.endpoint).serial, f"{self.vpc.name}/{self._spec.endpoint}"
        for other in self.others_with(inside):
            raise service_rules.second_floating(self.ref, name, f"{self.vpc.name}/{other.name}")
        for other in self.others_with(inside, kinds.PORT_FORWARD):
            raise service_rules.floating_and_forward(self.ref, name, str(link(self.tx, self.vpc, other).ref))

    def put_fact(self) -> None:
        spec, gateway = self._spec, self.gateway(self._spec.gateway)
        fact = facts.FloatingFact(
            address=addresses.parse(spec.address),
            vni=self.vpc.vni,
            name=self.record.name,
            gateway=gateway.number,
            endpoint=self.endpoint(spec.endpoint).serial,
        )
        self.tx.put("floating", fact.address, fact)

    def forget_fact(self) -> None:
        self.tx.gone("floating", addresses.parse(self._spec.address))


class _PortForward(Link):
    @property
    def _spec(self) -> model.PortForwardSpec:
        spec: model.PortForwardSpec = self.record.declared
        return spec

    @property
    def _key(self) -> tuple[int, int, int]:
        spec = self._spec
        return addresses.parse(spec.address), spec.port, parts.PROTOCOLS[spec.protocol]

    def targets(self) -> Iterable[int]:
        spec = self._spec
        return self.gateway_with_hosts(spec.gateway).serial, self.endpoint(spec.endpoint).serial

    def claims(self) -> Iterable[service_rules.Claim]:
        spec = self._spec
        gateway, protocol = self.gateway(spec.gateway).serial, parts.PROTOCOLS[spec.protocol]
        return [self.claim(spec.address, gateway=gateway, port=spec.port, protocol=protocol)]

    def may_use_host(self, host: str) -> bool:
        """Hosts of a gateway that has no addresses of its own have theirs."""
        spec: model.GatewaySpec = self.gateway(self._spec.gateway).declared
        return host in spec.hosts and not spec.addresses

    def check(self, before: records.FixtureRecord | None) -> None:
        """Answers of one port inside have one address outside."""
        spec = self._spec
        inside, name = self.endpoint(spec.endpoint).serial, f"{self.vpc.name}/{spec.endpoint}"
        for other in self.others_with(inside, kinds.FLOATING_ADDRESS):
            raise service_rules.floating_and_forward(self.ref, name, str(link(self.tx, self.vpc, other).ref))
        for other in self.others_with(inside):
            theirs: model.PortForwardSpec = other.declared
            if (theirs.target, theirs.protocol) == (spec.target, spec.protocol):
                raise service_rules.second_forward(
                    self.ref,
                    name,
                    f"{spec.target}/{spec.protocol}",
                    f"{self.vpc.name}/{other.name}",
                )

    def put_fact(self) -> None:
        spec, gateway = self._spec, self.gateway(self._spec.gateway)
        fact = facts.ForwardFact(
            *self._key,
            vni=self.vpc.vni,
            name=self.record.name,
            gateway=gateway.number,
            endpoint=self.endpoint(spec.endpoint).serial,
            target_port=spec.target,
        )
        self.tx.put("forward", self._key, fact)

    def forget_fact(self) -> None:
        self.tx.gone("forward", self._key)


class _RouteTable(Link):
    @property
    def _spec(self) -> model.RouteTableSpec:
        spec: model.RouteTableSpec = self.record.declared
        return spec

    def targets(self) -> Iterable[int]:
        for name in self._spec.networks:
            yield self._network(name).serial
        for route in self._spec.routes:
            target = self._target(route)
            if target is not None:
                yield target.serial

    def _network(self, name: str) -> records.NetworkRecord:
        return self.tx.needed_network(self.ref, self.vpc, name)

    def _target(self, route: model.Route) -> records.EndpointRecord | records.FixtureRecord | None:
        match route.target:
            case "endpoint", name:
                found = self.simple_endpoint(name)
                text = f"{self.vpc.name}/{name}"
                service_rules.check_forwarding(self.ref, text, forwarding=bool(found.forwarding))
                return found
            case "gateway", name:
                return self.gateway(name)
            case "peer", name:
                return self._peering(name)
        return None

    def _peering(self, peer: str) -> records.FixtureRecord:
        """The VPC's peering with another."""
        known = {one.declared.peer: one for one in self.others(kinds.PEERING)}
        if peer not in known:
            raise service_rules.not_a_peer(self.ref, self.vpc.name, peer, known)
        return known[peer]

    def check(self, before: records.FixtureRecord | None) -> None:
        networks = set(self._spec.networks)
        for other in self.others(kinds.ROUTE_TABLE):
            theirs: model.RouteTableSpec = other.declared
            both = networks & set(theirs.networks)
            if both or not (networks or theirs.networks):
                what = f"network '{self.vpc.name}/{min(both)}'" if both else f"vpc {self.vpc.name!r}"
                raise service_rules.second_table(self.ref, what, f"{self.vpc.name}/{other.name}")

    def put_fact(self) -> None:
        fact = facts.RouteTableFact(
            vni=self.vpc.vni,
            name=self.record.name,
            networks=tuple(self._network(name).id for name in self._spec.networks),
            routes=tuple(self._route(route) for route in self._spec.routes),
        )
        self.tx.put("route_table", (fact.vni, fact.name), fact)

    def _route(self, route: model.Route) -> facts.RouteFact:
        to, (kind, name) = addresses.parse_prefix(route.to), route.target
        match kind:
            case "endpoint":
                return facts.RouteFact(to, kind, self.endpoint(name).serial)
            case "gateway":
                return facts.RouteFact(to, kind, self.gateway(name).number)
            case "peer":
                return facts.RouteFact(to, kind, self.tx.needed_vpc(self.ref, name).vni)
        return facts.RouteFact(to, kind, 0)

    def forget_fact(self) -> None:
        self.tx.gone("route_table", (self.record.vni, self.record.name))

    def status(self) -> dict[str, Any]:
        return {"routes": len(self._spec.routes)}


class _Peering(Link):
    @property
    def _peer(self) -> records.VpcRecord:
        service_rules.check_peer_is_other(self.ref, self.vpc.name, self.record.declared.peer)
        return self.tx.needed_vpc(self.ref, self.record.declared.peer)

    def targets(self) -> Iterable[int]:
        return [self._peer.serial]

    def check(self, before: records.FixtureRecord | None) -> None:
        if before is not None:
            rules.check_unchanged(self.ref, "peer", before.declared.peer, self.record.declared.peer)
        for other in self.others_with(self._peer.serial):
            if other.vni == self.vpc.vni:
                raise service_rules.second_peering(
                    self.ref, self.vpc.name, self._peer.name, f"{self.vpc.name}/{other.name}"
                )
        check_peers(self.tx, self.ref, self.vpc)

    def _reverse(self, peer: records.VpcRecord) -> records.FixtureRecord | None:
        """The other side's."""
        rows = self.tx.db.execute(
            "SELECT f.* FROM reference r JOIN fixture f ON f.serial = r.source"
            " WHERE r.target = ? AND f.vni = ?",
            (self.vpc.serial, peer.vni),
        )
        row = rows.fetchone()
        return records.FixtureRecord(*row) if row is not None else None

    def spread(self) -> None:
        reverse = self._reverse(self._peer)
        if reverse is None or reverse.revision == self.tx.revision:
            return
        self.tx.db.execute(
            "UPDATE fixture SET revision = ? WHERE serial = ?", (self.tx.revision, reverse.serial)
        )
        self.tx.note(kinds.Ref(kinds.PEERING, self._peer.name, reverse.name), Outcome.CONFIGURED)

    def put_fact(self) -> None:
        peer = self._peer
        if self._reverse(peer) is not None:
            for one, other in ((self.vpc.vni, peer.vni), (peer.vni, self.vpc.vni)):
                self.tx.put("peering", (one, other), facts.PeeringFact(one, other))

    def forget_fact(self) -> None:
        peer = self._peer
        if self._reverse(peer) is not None:
            self.tx.gone("peering", (self.vpc.vni, peer.vni))
            self.tx.gone("peering", (peer.vni, self.vpc.vni))

    def status(self) -> dict[str, Any]:
        peer = self.tx.vpc(self.record.declared.peer)
        live = peer is not None and self.record.deleted is None
        return {"active": live and peer is not None and self._reverse(peer) is not None}


_LINKS: Final[dict[str, type[Link]]] = {
    "Gateway": _Gateway,
    "FloatingAddress": _FloatingAddress,
    "PortForward": _PortForward,
    "RouteTable": _RouteTable,
    "Peering": _Peering,
}


def link(tx: SqliteTransaction, vpc: records.VpcRecord, record: records.FixtureRecord) -> Link:
    return _LINKS[record.kind](tx, vpc, record)


def check_peers(tx: SqliteTransaction, who: object, vpc: records.VpcRecord) -> None:
    """CIDRs of a VPC and of all that it has a peering with are disjoint."""
    rows = tx.db.execute(
        "SELECT v.name FROM fixture f JOIN reference r ON r.source = f.serial"
        " JOIN vpc v ON v.serial = r.target WHERE f.vni = ? AND f.kind = ? ORDER BY f.serial",
        (vpc.vni, kinds.PEERING.name),
    ).fetchall()
    peers = [peer.fact for (name,) in rows if (peer := tx.vpc(name)) is not None]
    service_rules.check_peers(who, vpc.fact, peers)


def check_cidrs(tx: SqliteTransaction, who: object, vpc: records.VpcRecord) -> None:
    """A VPC's CIDRs have changed: those of its peers, and outside addresses, are still others."""
    check_peers(tx, who, vpc)
    rows = tx.db.execute(
        "SELECT v.name FROM reference r JOIN fixture f ON f.serial = r.source JOIN vpc v ON v.vni = f.vni"
        " WHERE r.target = ? ORDER BY f.serial",
        (vpc.serial,),
    ).fetchall()
    for (name,) in rows:
        other = tx.vpc(name)
        if other is not None:
            check_peers(tx, who, other)
    claimed = tx.db.execute(
        "SELECT DISTINCT o.address, f.kind, f.name FROM outside o JOIN fixture f ON f.serial = o.fixture"
        " WHERE f.vni = ? ORDER BY o.address",
        (vpc.vni,),
    )
    for address, kind, name in claimed:
        if addresses.holder(vpc.fact.cidrs, address) is not None:
            raise service_rules.covers_outside(who, address, str(kinds.Ref(kinds.find(kind), vpc.name, name)))

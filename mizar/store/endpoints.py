# SPDX-License-Identifier: Apache-2.0
"""The bulk path of a transaction: any number of endpoints in a few statements.

One endpoint and a hundred thousand take the same way. Per VPC of the request: read what is there, decide,
give back addresses that are left, claim those that are asked for, pick those that are not, write the rows.
The table of addresses has the last word: an address is claimed by inserting it.

Scaled endpoints come along: they have a name, a network and an address like any other, no host, and what they
have besides is in `services`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mizar import errors
from mizar.model import addresses, facts, kinds, objects, rules
from mizar.model import services as model
from mizar.store import fixtures, ipam, records, services
from mizar.store.protocol import Outcome, Result

if TYPE_CHECKING:
    from mizar.store.transaction import SqliteTransaction

_COLUMNS = 14
_PUT = f"INSERT OR REPLACE INTO endpoint VALUES ({', '.join('?' * _COLUMNS)})"
_WHOLE = (
    "SELECT n.name, h.name, e.* FROM vpc v CROSS JOIN endpoint e INDEXED BY endpoint_name"
    " CROSS JOIN network n ON n.id = e.network LEFT JOIN host h ON h.serial = e.host"
    " WHERE v.name = ? AND e.vni = v.vni AND e.name = ?"
)
"""One endpoint with the names that its object has; a scaled one has no host."""

_BY_NAME = (
    "SELECT e.* FROM json_each(?) j CROSS JOIN endpoint e INDEXED BY endpoint_name"
    " WHERE e.vni = ? AND e.name = j.value"
)


@dataclass(slots=True, eq=False)
class _Put:
    """One endpoint that is to be written. `numbers`: its addresses, empty while they are to be picked. `host`
    of a simple one, `scaled` of a scaled one."""

    ref: kinds.Ref
    serial: int
    network: records.NetworkRecord
    host: records.HostRecord | None
    numbers: tuple[int, ...]
    automatic: bool
    netns: str
    ifname: str
    labels: str
    before: records.EndpointRecord | None
    forwarding: bool = False
    scaled: model.ScaledSpec | None = None

    @property
    def host_serial(self) -> int:
        return self.host.serial if self.host is not None else 0


Wanted = tuple[kinds.Ref, objects.Endpoint]


def apply(tx: SqliteTransaction, wanted: Sequence[Wanted]) -> list[Result]:
    """Create or change; results in the order of `wanted`."""
    by_vpc: dict[str, list[Wanted]] = {}
    for one in wanted:
        by_vpc.setdefault(one[1].metadata.vpc, []).append(one)
    results = {name: iter(_InVpc(tx, name, inside[0][0]).apply(inside)) for name, inside in by_vpc.items()}
    return [next(results[obj.metadata.vpc]) for _, obj in wanted]


def delete(tx: SqliteTransaction, refs: Sequence[kinds.Ref]) -> list[Result]:
    """Mark as being deleted."""
    found = dict(_find(tx, refs))
    absent = next((ref for ref in refs if ref not in found), None)
    if absent is not None:
        raise errors.NotFoundError(f"{absent} does not exist")
    fixtures.check_endpoints_unused(tx, {r.serial: ref for ref, r in found.items() if r.deleted is None})
    marked = [(tx.now, tx.revision, r.serial) for r in found.values() if r.deleted is None]
    tx.db.executemany("UPDATE endpoint SET deleted = ?, revision = ? WHERE serial = ?", marked)
    results = []
    for ref in refs:
        record = found[ref]
        if record.deleted is not None:
            results.append(Result(ref, Outcome.UNCHANGED))
            continue
        tx.count(network_of(tx, record), live=-1, total=0)
        if record.host:
            tx.count(host_of(tx, record), live=-1, total=0)
        tx.gone("endpoint" if record.host else "service", record.serial)
        results.append(tx.note(ref, Outcome.DELETED))
    by_vpc: dict[int, list[records.EndpointRecord]] = {}
    for record in found.values():
        if record.deleted is None:
            by_vpc.setdefault(record.vni, []).append(record)
    for vni, gone in by_vpc.items():
        services.forget(tx, vni, gone)
    return results


def remove(tx: SqliteTransaction, refs: Sequence[kinds.Ref]) -> None:
    """Take marked endpoints away and free their addresses."""
    gone = []
    for ref, record in _find(tx, refs):
        if record.deleted is None:
            raise errors.ConflictError(f"{ref} is not being deleted; delete it first")
        gone.append(record)
        tx.count(network_of(tx, record), live=0, total=-1)
        if record.host:
            tx.count(host_of(tx, record), live=0, total=-1)
        tx.removed(ref, _object(tx, record, ref.vpc or ""))
    services.remove(tx, [record.serial for record in gone if not record.host])
    tx.db.executemany("DELETE FROM endpoint WHERE serial = ?", [(record.serial,) for record in gone])
    tx.db.executemany(
        "DELETE FROM address WHERE vni = ? AND address = ?",
        [(record.vni, number) for record in gone for number in records.unpack(record.addresses)],
    )


def get(tx: SqliteTransaction, ref: kinds.Ref) -> objects.Endpoint | None:
    """In one statement: objects are asked for one by one all the time."""
    row = tx.db.execute(_WHOLE, (ref.vpc, ref.name)).fetchone()
    if row is None:
        return None
    network, host, *columns = row
    record, vpc = records.EndpointRecord(*columns), ref.vpc or ""
    if host is None:
        return services.get(tx, record, vpc)
    return records.endpoint(record, store=tx.store, vpc=vpc, network=network, host=host)


def page(tx: SqliteTransaction, vpc: records.VpcRecord, *, after: str, limit: int) -> list[objects.Endpoint]:
    """Endpoints by name, the first `limit` after a name."""
    return [_object(tx, record, vpc.name) for record in _page(tx, vpc, after, limit)]


def text_page(
    tx: SqliteTransaction, vpc: records.VpcRecord, *, after: str, limit: int
) -> list[records.EndpointText]:
    """The same as JSON."""
    return [_text(tx, record, vpc.name) for record in _page(tx, vpc, after, limit)]


def _text(tx: SqliteTransaction, record: records.EndpointRecord, vpc: str) -> records.EndpointText:
    if not record.host:
        return records.scaled_text(record, services.get(tx, record, vpc))
    network, host = network_of(tx, record).name, tx.host_name(record.host)
    return records.endpoint_text(record, store=tx.store, vpc=vpc, network=network, host=host)


def _page(
    tx: SqliteTransaction, vpc: records.VpcRecord, after: str, limit: int
) -> Iterator[records.EndpointRecord]:
    rows = tx.db.execute(
        "SELECT * FROM endpoint WHERE vni = ? AND name > ? ORDER BY name LIMIT ?", (vpc.vni, after, limit)
    )
    return (records.EndpointRecord(*row) for row in rows)


def example(tx: SqliteTransaction, record: records.HostRecord | records.NetworkRecord, *, live: bool) -> str:
    """Full name of one endpoint that is on the host or in the network. For error texts: not indexed."""
    column, number = (
        ("network", record.id) if isinstance(record, records.NetworkRecord) else ("host", record.serial)
    )
    row = tx.db.execute(
        f"SELECT v.name, e.name FROM endpoint e JOIN vpc v ON v.vni = e.vni"
        f" WHERE e.{column} = ? AND (e.deleted IS NULL OR NOT ?) LIMIT 1",
        (number, live),
    ).fetchone()
    return f"{row[0]}/{row[1]}"


def network_of(tx: SqliteTransaction, record: records.EndpointRecord) -> records.NetworkRecord:
    """The record that counts the endpoint in its network."""
    return tx.network_by_id(record.vni, record.network)


def host_of(tx: SqliteTransaction, record: records.EndpointRecord) -> records.HostRecord:
    """The record that counts the endpoint on its host."""
    name = tx.host_name(record.host)
    host = tx.host(name)
    assert host is not None  # a host with endpoints is never removed
    return host


def by_name(tx: SqliteTransaction, vni: int, name: str) -> records.EndpointRecord | None:
    row = tx.db.execute("SELECT * FROM endpoint WHERE vni = ? AND name = ?", (vni, name)).fetchone()
    return records.EndpointRecord(*row) if row is not None else None


def _object(tx: SqliteTransaction, record: records.EndpointRecord, vpc: str) -> objects.Endpoint:
    if not record.host:
        return services.get(tx, record, vpc)
    network, host = network_of(tx, record).name, tx.host_name(record.host)
    return records.endpoint(record, store=tx.store, vpc=vpc, network=network, host=host)


def _find(
    tx: SqliteTransaction, refs: Iterable[kinds.Ref]
) -> Iterator[tuple[kinds.Ref, records.EndpointRecord]]:
    """Those of the endpoints that exist."""
    by_vpc: dict[str, list[str]] = {}
    for ref in refs:
        by_vpc.setdefault(ref.vpc or "", []).append(ref.name)
    for vpc_name, names in by_vpc.items():
        vpc = tx.vpc(vpc_name)
        if vpc is not None:
            for row in tx.db.execute(_BY_NAME, (json.dumps(names), vpc.vni)).fetchall():
                record = records.EndpointRecord(*row)
                yield kinds.Ref(kinds.ENDPOINT, vpc_name, record.name), record


class _InVpc:
    """The endpoints of one VPC in one request."""

    def __init__(self, tx: SqliteTransaction, vpc: str, first: kinds.Ref) -> None:
        self._tx = tx
        self._vpc = tx.needed_vpc(first, vpc)
        self._rules: dict[str, tuple[records.NetworkRecord, rules.AddressRules]] = {}
        self._hosts: dict[str, records.HostRecord] = {}

    def apply(self, wanted: Sequence[Wanted]) -> list[Result]:
        names = json.dumps([ref.name for ref, _ in wanted])
        rows = self._tx.db.execute(_BY_NAME, (names, self._vpc.vni)).fetchall()
        known = {record.name: record for record in (records.EndpointRecord(*row) for row in rows)}
        serials = iter(self._tx.take_serials(len(wanted) - len(known)) if len(known) < len(wanted) else ())
        puts: list[_Put] = []
        results = []
        for ref, obj in wanted:
            before = known.get(ref.name)
            put = self._decide(ref, obj, before, next(serials) if before is None else before.serial)
            if put is None:
                results.append(Result(ref, Outcome.UNCHANGED))
                continue
            puts.append(put)
            results.append(self._tx.note(ref, Outcome.CREATED if before is None else Outcome.CONFIGURED))
        self._give_back(put for put in puts if put.before is not None)
        self._claim(puts)
        self._pick([put for put in puts if not put.numbers])
        self._write(puts)
        return results

    # ---------------------------------------------------------------------------------------- deciding

    def _decide(
        self, ref: kinds.Ref, obj: objects.Endpoint, before: records.EndpointRecord | None, serial: int
    ) -> _Put | None:
        """What is to be written for one object; None when nothing differs."""
        spec = obj.spec
        if isinstance(spec, model.ScaledSpec):
            return self._decide_scaled(ref, obj, spec, before, serial)
        network, allowed = self._rules.get(spec.network) or self._network(ref, spec.network)
        host = self._hosts.get(spec.host)
        if host is None:
            host = self._hosts[spec.host] = self._tx.needed_host(ref, spec.host)
        numbers = tuple(map(addresses.parse, spec.addresses))
        for number in numbers:
            allowed.check(ref, number)
        labels = obj.metadata.labels
        put = _Put(
            ref,
            serial,
            network,
            host,
            numbers,
            not numbers,
            spec.netns or "",
            spec.ifname or "",
            records.labels_text(labels) if labels else "",
            before,
            spec.forwarding,
        )
        return put if before is None or self._differs(put, obj, before) else None

    def _decide_scaled(
        self,
        ref: kinds.Ref,
        obj: objects.Endpoint,
        spec: model.ScaledSpec,
        before: records.EndpointRecord | None,
        serial: int,
    ) -> _Put | None:
        network, allowed = self._rules.get(spec.network) or self._network(ref, spec.network)
        numbers = tuple(map(addresses.parse, spec.addresses))
        for number in numbers:
            allowed.check(ref, number)
        labels = records.labels_text(obj.metadata.labels)
        put = _Put(ref, serial, network, None, numbers, not numbers, "", "", labels, before, scaled=spec)
        return put if before is None or self._differs(put, obj, before) else None

    def _differs(self, put: _Put, obj: objects.Endpoint, before: records.EndpointRecord) -> bool:
        if before.deleted is not None:
            raise rules.being_deleted(put.ref, put.ref)
        rules.check_version(put.ref, obj.metadata.resource_version, before.revision)
        if bool(before.host) != (put.scaled is None):
            rules.check_unchanged(
                put.ref, "type", *(("simple", "scaled") if before.host else ("scaled", "simple"))
            )
        old = network_of(self._tx, before)
        if old is not put.network:
            rules.check_unchanged(put.ref, "network", old.name, put.network.name)
        if put.automatic:
            put.numbers = records.unpack(before.addresses)  # what was picked once stays
        return (
            put.host_serial != before.host
            or records.pack(put.numbers) != before.addresses
            or put.automatic != bool(before.automatic)
            or (put.netns, put.ifname, put.labels) != (before.netns, before.ifname, before.labels)
            or put.forwarding != bool(before.forwarding)
            or (
                put.scaled is not None
                and records.spec_text(put.scaled) != services.spec_of(self._tx, before.serial)
            )
        )

    def _network(self, ref: kinds.Ref, name: str) -> tuple[records.NetworkRecord, rules.AddressRules]:
        record = self._tx.needed_network(ref, self._vpc, name)
        siblings = [other.fact for other in self._tx.networks(self._vpc.vni).values()]
        known = self._rules[name] = (record, rules.AddressRules(self._vpc.fact, record.fact, siblings))
        return known

    # --------------------------------------------------------------------------------------- addresses

    def _give_back(self, changed: Iterable[_Put]) -> None:
        left = [
            (self._vpc.vni, number)
            for put in changed
            if put.before is not None
            for number in records.unpack(put.before.addresses)
            if number not in put.numbers
        ]
        self._tx.db.executemany("DELETE FROM address WHERE vni = ? AND address = ?", left)

    def _claim(self, puts: Sequence[_Put]) -> None:
        """Take the addresses that were asked for, unless somebody has them."""
        claims: dict[int, _Put] = {}
        for put in puts:
            kept = records.unpack(put.before.addresses) if put.before is not None else ()
            for number in put.numbers:
                if number not in kept:
                    other = claims.setdefault(number, put)
                    if other is not put:
                        raise rules.address_in_use(put.ref, self._vpc.name, number, other.ref.name)
        if not claims:
            return
        taken = self._tx.db.execute(
            "SELECT j.value, e.name FROM json_each(?) j CROSS JOIN address a"
            " ON a.vni = ? AND a.address = j.value JOIN endpoint e ON e.serial = a.endpoint LIMIT 1",
            (json.dumps(list(claims)), self._vpc.vni),
        ).fetchone()
        if taken is not None:
            raise rules.address_in_use(claims[taken[0]].ref, self._vpc.name, taken[0], taken[1])
        self._record((number, put) for number, put in claims.items())

    def _record(self, claims: Iterable[tuple[int, _Put]]) -> None:
        vni = self._vpc.vni
        self._tx.db.executemany(
            "INSERT INTO address VALUES (?, ?, ?, ?)",
            sorted((vni, number, put.network.id, put.serial) for number, put in claims),
        )

    def _pick(self, puts: Sequence[_Put]) -> None:
        """Give an address to each that asked for none in particular."""
        by_network: dict[str, list[_Put]] = {}
        for put in puts:
            by_network.setdefault(put.network.name, []).append(put)
        for name, needy in by_network.items():
            network, allowed = self._rules[name]
            ranges = allowed.ranges()
            picked = ipam.pick(ranges, cursor=network.cursor, count=len(needy), used=self._used)
            if len(picked) < len(needy):
                self._refuse(needy[len(picked)], ranges)
            network.cursor = picked[-1] + 1
            self._tx.count(network, live=0, total=0)
            for put, number in zip(needy, picked, strict=True):
                put.numbers = (number,)
            self._record(zip(picked, needy, strict=True))

    def _used(self, first: int, last: int) -> Iterator[int]:
        return self._tx.used_addresses(self._vpc.vni, first, last)

    def _refuse(self, put: _Put, ranges: list[ipam.Range]) -> None:
        total = ipam.capacity(ranges)
        what = f"network '{self._vpc.name}/{put.network.name}'"
        raise errors.ConflictError(f"allocate address for {put.ref}: all {total} of {what} are in use")

    # ----------------------------------------------------------------------------------------- writing

    def _write(self, puts: Sequence[_Put]) -> None:
        tx = self._tx
        tx.put_many("endpoint", {put.serial: self._fact(put) for put in puts if put.scaled is None})
        tx.db.executemany(_PUT, [self._row(put) for put in puts])
        self._count(puts)
        scaled = [services.Scaled(put.ref, put.serial, put.scaled) for put in puts if put.scaled is not None]
        if scaled:
            services.write(tx, self._vpc, scaled)
        if tx.has_services(self._vpc.vni):
            services.follow(tx, self._vpc.vni, (_labelled(put) for put in puts if put.scaled is None))
        for put in puts:
            if put.before is not None and put.before.forwarding and not put.forwarding:
                tx.stopped_forwarding[put.serial] = put.ref

    def _fact(self, put: _Put) -> facts.EndpointFact:
        assert put.host is not None  # simple
        return facts.EndpointFact(
            put.serial,
            self._vpc.vni,
            put.ref.name,
            put.network.id,
            put.host.name,
            put.numbers,
            put.netns,
            put.ifname,
            put.forwarding,
        )

    def _row(self, put: _Put) -> tuple[int | str | bytes | None, ...]:
        """In the order of the columns."""
        return (
            put.serial,
            self._vpc.vni,
            put.ref.name,
            put.network.id,
            put.host_serial,
            records.pack(put.numbers),
            put.automatic,
            put.netns,
            put.ifname,
            put.labels,
            self._tx.revision,
            self._tx.now if put.before is None else put.before.created,
            None,
            put.forwarding,
        )

    def _count(self, puts: Sequence[_Put]) -> None:
        """What came to each network and host, and what left a host."""
        came: Counter[records.NetworkRecord | records.HostRecord] = Counter()
        came.update([put.network for put in puts if put.before is None])
        came.update([put.host for put in puts if put.before is None and put.host is not None])
        for put in puts:
            if put.before is not None and put.host is not None and put.before.host != put.host.serial:
                came[host_of(self._tx, put.before)] -= 1
                came[put.host] += 1
        for record, count in came.items():
            self._tx.count(record, live=count, total=count)


def _labelled(put: _Put) -> services.Labelled:
    return services.Labelled(put.serial, put.before.labels if put.before is not None else None, put.labels)

# SPDX-License-Identifier: Apache-2.0
"""What one transaction of the SQLite backend does.

Records of hosts, VPCs and networks are read once and counted in; `flush` writes back the dirty ones.
Endpoints go through `endpoints`, many at a time. Nothing here begins or commits: `sqlite` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from mizar import errors
from mizar.model import addresses, bulk, facts, kinds, objects, rules, service_rules
from mizar.plan import planner
from mizar.store import endpoints, events, fixtures, fresh, links, records, services
from mizar.store.events import EventType
from mizar.store.protocol import Committed, Outcome, Result

_HOSTS_BY_NAME = "SELECT h.* FROM json_each(?) j CROSS JOIN host h ON h.name = j.value"

_MAX_VNI = 2**24 - 1
_MAX_NETWORK = 2**30 - 1
"""So that MZ_TABLE_NETWORK | id is no VNI and no other id (abi.h)."""

_PLANNED: Final = {
    "host": "hosts",
    "vpc": "vpcs",
    "network": "networks",
    "endpoint": "endpoints",
    "service": "services",
    "gateway": "gateways",
    "floating": "floating",
    "forward": "forwards",
    "route_table": "route_tables",
    "peering": "peerings",
}
"""Tables of facts, and the fields of planner.Change that they become."""


class SqliteTransaction:
    """Between begin and commit. Also the view that the rules ask (`rules.View`)."""

    def __init__(self, db: sqlite3.Connection, *, store: bytes, now: int) -> None:
        self.db = db
        self.now = now
        self.committed = Committed()
        self.events: list[events.Event] = []
        self.failed = False
        self._store = store
        self._revision = 0
        self._hosts: dict[str, records.HostRecord | None] = {}
        self._host_names: dict[int, str] = {}
        self._vpcs: dict[str, records.VpcRecord | None] = {}
        self._networks: dict[int, dict[str, records.NetworkRecord]] = {}
        self._by_id: dict[int, records.NetworkRecord] = {}
        self._counted: dict[records.HostRecord | records.NetworkRecord, None] = {}
        self._put: dict[str, dict[Any, Any]] = {name: {} for name in _PLANNED}
        self._gone: dict[str, dict[Any, None]] = {name: {} for name in _PLANNED}
        self._vpc_names: dict[int, str] = {}
        self._has_services: dict[int, bool] = {}
        self._has_fixtures: dict[int, bool] = {}
        self._selectors: dict[int, dict[int, services.Selector]] = {}
        self._touched_services: dict[int, None] = {}
        self.stopped_forwarding: dict[int, kinds.Ref] = {}
        """Endpoints that forwarded before this request."""

    # ------------------------------------------------------------------------------------------ requests

    def apply(self, wanted: Sequence[objects.Declared]) -> list[Result]:
        try:
            with bulk.collector_paused():
                return self._apply(wanted)
        except BaseException:
            self.failed = True
            raise

    def delete(self, refs: Sequence[kinds.Ref]) -> list[Result]:
        try:
            return self._delete(refs)
        except BaseException:
            self.failed = True
            raise

    def remove(self, refs: Sequence[kinds.Ref]) -> None:
        try:
            self._remove(refs)
        except BaseException:
            self.failed = True
            raise

    def join(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                self._join(name)
        except BaseException:
            self.failed = True
            raise

    def get(self, ref: kinds.Ref) -> objects.Declared | None:
        match ref.kind:
            case kinds.HOST:
                host = self.host(ref.name)
                return records.host(host, store=self._store) if host is not None else None
            case kinds.VPC:
                vpc = self.vpc(ref.name)
                return self._vpc_object(vpc) if vpc is not None else None
            case kinds.NETWORK:
                vpc = self.vpc(ref.vpc or "")
                network = self.networks(vpc.vni).get(ref.name) if vpc is not None else None
                return (
                    records.network(network, store=self._store, vpc=ref.vpc or "")
                    if network is not None
                    else None
                )
            case kinds.ENDPOINT:
                return endpoints.get(self, ref)
        return fixtures.get(self, ref) if ref.kind in kinds.FIXTURES else None

    # ---------------------------------------------------------------------------------------- what there is

    def host(self, name: str) -> records.HostRecord | None:
        if name not in self._hosts:
            row = self.db.execute("SELECT * FROM host WHERE name = ?", (name,)).fetchone()
            self._hosts[name] = records.HostRecord(*row) if row else None
        return self._hosts[name]

    def hosts(self, names: Iterable[str]) -> dict[str, records.HostRecord | None]:
        """Many of them at once."""
        unknown = [name for name in names if name not in self._hosts]
        if len(unknown) > 1:
            self._hosts.update(dict.fromkeys(unknown))
            rows = self.db.execute(_HOSTS_BY_NAME, (json.dumps(unknown),))
            self._hosts.update((row[1], records.HostRecord(*row)) for row in rows)
        return {name: self.host(name) for name in names}

    def vpc(self, name: str) -> records.VpcRecord | None:
        if name not in self._vpcs:
            row = self.db.execute("SELECT * FROM vpc WHERE name = ?", (name,)).fetchone()
            self._vpcs[name] = records.VpcRecord(*row) if row else None
        return self._vpcs[name]

    def networks(self, vni: int) -> dict[str, records.NetworkRecord]:
        """All networks of a VPC by name, those being deleted too."""
        known = self._networks.get(vni)
        if known is None:
            rows = self.db.execute("SELECT * FROM network WHERE vni = ? ORDER BY name", (vni,))
            known = self._networks[vni] = {row[1]: records.NetworkRecord(*row) for row in rows}
        return known

    def network_by_id(self, vni: int, number: int) -> records.NetworkRecord:
        """The record of a network that is known to exist."""
        known = self._by_id.get(number)
        if known is None or self.networks(vni).get(known.name) is not known:
            known = next(network for network in self.networks(vni).values() if network.id == number)
            self._by_id[number] = known
        return known

    def host_name(self, serial: int) -> str:
        """Name of the host with this serial."""
        name = self._host_names.get(serial)
        if name is None:
            row = self.db.execute("SELECT name FROM host WHERE serial = ?", (serial,)).fetchone()
            name = self._host_names[serial] = str(row[0])
        return name

    def owner(self, vni: int, first: int, last: int, *, network: int | None = None) -> tuple[int, str] | None:
        row: tuple[int, str] | None = self.db.execute(
            "SELECT a.address, e.name FROM address a JOIN endpoint e ON e.serial = a.endpoint"
            " WHERE a.vni = ?1 AND a.address BETWEEN ?2 AND ?3 AND (?4 IS NULL OR a.network = ?4)"
            " ORDER BY a.address LIMIT 1",
            (vni, first, last, network),
        ).fetchone()
        return row

    def used_addresses(self, vni: int, first: int, last: int) -> Iterator[int]:
        """Addresses of a VPC from first to last that endpoints have, ascending."""
        rows = self.db.execute(
            "SELECT address FROM address WHERE vni = ? AND address BETWEEN ? AND ? ORDER BY address",
            (vni, first, last),
        )
        return (number for (number,) in rows)

    def needed_vpc(self, who: kinds.Ref, name: str) -> records.VpcRecord:
        """The VPC that something new or changed refers to."""
        vpc = self.vpc(name)
        if vpc is None:
            raise rules.missing(who, kinds.VPC, name, self._names("vpc"))
        if vpc.deleted is not None:
            raise rules.being_deleted(who, kinds.Ref(kinds.VPC, None, name))
        return vpc

    def needed_network(self, who: kinds.Ref, vpc: records.VpcRecord, name: str) -> records.NetworkRecord:
        known = self.networks(vpc.vni)
        network = known.get(name)
        if network is None:
            raise rules.missing(who, kinds.NETWORK, f"{vpc.name}/{name}", (f"{vpc.name}/{n}" for n in known))
        if network.deleted is not None:
            raise rules.being_deleted(who, kinds.Ref(kinds.NETWORK, vpc.name, name))
        return network

    def needed_host(self, who: kinds.Ref, name: str) -> records.HostRecord:
        host = self.host(name)
        if host is None:
            raise rules.missing(who, kinds.HOST, name, self._names("host"))
        if host.deleted is not None:
            raise rules.being_deleted(who, kinds.Ref(kinds.HOST, None, name))
        return host

    def needed_fixture(
        self, who: kinds.Ref, kind: kinds.Kind, vpc: records.VpcRecord, name: str
    ) -> records.FixtureRecord:
        return fixtures.needed_by(self, who, kind, vpc, name)

    def needed_endpoint(self, who: kinds.Ref, vpc: records.VpcRecord, name: str) -> records.EndpointRecord:
        found = endpoints.by_name(self, vpc.vni, name)
        ref = kinds.Ref(kinds.ENDPOINT, vpc.name, name)
        if found is None:
            raise rules.missing(who, kinds.ENDPOINT, ref.full_name, ())
        if found.deleted is not None:
            raise rules.being_deleted(who, ref)
        return found

    def vpc_name(self, vni: int) -> str:
        """Name of the VPC with this VNI."""
        name = self._vpc_names.get(vni)
        if name is None:
            row = self.db.execute("SELECT name FROM vpc WHERE vni = ?", (vni,)).fetchone()
            name = self._vpc_names[vni] = str(row[0])
        return name

    def has_services(self, vni: int) -> bool:
        """Whether the VPC has scaled endpoints, those that are being deleted too."""
        known = self._has_services.get(vni)
        if known is None:
            row = self.db.execute("SELECT 1 FROM service WHERE vni = ? LIMIT 1", (vni,)).fetchone()
            known = self._has_services[vni] = row is not None
        return known

    def has_fixtures(self, vni: int) -> bool:
        """Whether the VPC has fixtures, those that are being deleted too."""
        known = self._has_fixtures.get(vni)
        if known is None:
            row = self.db.execute("SELECT 1 FROM fixture WHERE vni = ? LIMIT 1", (vni,)).fetchone()
            known = self._has_fixtures[vni] = row is not None
        return known

    def selectors(self, vni: int) -> dict[int, services.Selector]:
        """Selectors of the VPC's scaled endpoints, by serial."""
        known = self._selectors.get(vni)
        if known is None:
            known = self._selectors[vni] = services.read_selectors(self, vni)
        return known

    def services_changed(self, vni: int) -> None:
        """Scaled endpoints came, went, or select otherwise."""
        self._selectors.pop(vni, None)
        self._has_services.pop(vni, None)

    def fixtures_changed(self, vni: int) -> None:
        """Fixtures came."""
        self._has_fixtures.pop(vni, None)

    def touch_service(self, serial: int) -> None:
        """A scaled endpoint, or what serves it, has changed."""
        self._touched_services[serial] = None

    def _names(self, table: str) -> list[str]:
        return [name for (name,) in self.db.execute(f"SELECT name FROM {table} WHERE deleted IS NULL")]

    # --------------------------------------------------------------------------------------------- noting

    @property
    def revision(self) -> int:
        """That of this transaction; taken when something is first written."""
        if not self._revision:
            self._revision = self.take("revision", 1)
        return self._revision

    @property
    def wrote(self) -> bool:
        return bool(self._revision)

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """What the block has written is undone when an index refuses some of it, and sqlite3.IntegrityError
        goes on. Only the tables and the revision are: the block must not do anything else."""
        before = self._revision
        self.db.execute("SAVEPOINT attempt")
        try:
            yield
        except sqlite3.IntegrityError:
            self.db.execute("ROLLBACK TO attempt")
            self._revision = before
            raise
        finally:
            self.db.execute("RELEASE attempt")

    def take(self, counter: str, count: int) -> int:
        """Advance a counter; the last of the `count` numbers that are now taken."""
        row = self.db.execute(
            "UPDATE counter SET value = value + ? WHERE name = ? RETURNING value", (count, counter)
        ).fetchone()
        return int(row[0])

    def take_serials(self, count: int) -> range:
        """Serials, which no object ever had before."""
        last = self.take("serial", count)
        if last - count < facts.ROUTER_SERIAL <= last:
            last = self.take("serial", count)
        if last > facts.MAX_SERIAL:
            raise errors.ConflictError(f"allocate MAC: all {facts.MAX_SERIAL} have been used")
        return range(last - count + 1, last + 1)

    def note(self, ref: kinds.Ref, outcome: Outcome) -> Result:
        """An outcome, and the event that it is to watchers."""
        if outcome is Outcome.CREATED:
            self.events.append(events.Event(EventType.ADDED, ref, self.revision))
        elif outcome is not Outcome.UNCHANGED:
            self.events.append(events.Event(EventType.MODIFIED, ref, self.revision))
        return Result(ref, outcome)

    def created(self, refs: Sequence[kinds.Ref]) -> list[Result]:
        """The same of many objects that are new."""
        added = bulk.tuples(events.Event, repeat(EventType.ADDED), refs, repeat(self.revision), repeat(None))
        self.events.extend(added)
        return bulk.tuples(Result, refs, repeat(Outcome.CREATED))

    def put(self, table: str, key: Any, fact: Any) -> None:
        """The planner is to know this fact."""
        self._put[table][key] = fact
        self._gone[table].pop(key, None)

    def put_many(self, table: str, known: dict[Any, Any]) -> None:
        """The same of many facts by their keys."""
        self._put[table].update(known)

    def gone(self, table: str, key: Any) -> None:
        """The planner is to forget this key."""
        self._put[table].pop(key, None)
        self._gone[table][key] = None

    def count(self, record: records.HostRecord | records.NetworkRecord, *, live: int, total: int) -> None:
        """Endpoints came to or left a host or network."""
        record.live += live
        record.total += total
        self._counted[record] = None

    def flush(self) -> None:
        """Write back what was counted; nothing may be done afterwards."""
        networks = [record for record in self._counted if isinstance(record, records.NetworkRecord)]
        hosts = [record for record in self._counted if isinstance(record, records.HostRecord)]
        self.db.executemany(
            "UPDATE network SET live = ?, total = ?, cursor = ? WHERE serial = ?",
            [(record.live, record.total, record.cursor, record.serial) for record in networks],
        )
        self.db.executemany(
            "UPDATE host SET live = ?, total = ? WHERE serial = ?",
            [(record.live, record.total, record.serial) for record in hosts],
        )
        services.finish(self, self._touched_services)
        self.committed.change = self.change()

    def change(self) -> planner.Change:
        """What the planner is to know and to forget."""
        fields: dict[str, Any] = {
            name: tuple(known.values()) for table, name in _PLANNED.items() if (known := self._put[table])
        }
        fields |= {
            f"gone_{name}": tuple(gone) for table, name in _PLANNED.items() if (gone := self._gone[table])
        }
        return planner.Change(**fields)

    # --------------------------------------------------------------------------------------------- applying

    def _apply(self, wanted: Sequence[objects.Declared]) -> list[Result]:
        made = fresh.create(self, wanted)
        results = made if made is not None else self._apply_any(wanted)
        self.committed.results.extend(results)
        return results

    def _apply_any(self, wanted: Sequence[objects.Declared]) -> list[Result]:
        refs = [obj.ref for obj in wanted]
        _check_once(refs)
        results: dict[int, Result] = {}
        few = [(index, obj) for index, obj in enumerate(wanted) if not isinstance(obj, objects.Endpoint)]
        attached: list[tuple[int, objects.Fixture]] = []
        for index, obj in sorted(few, key=lambda item: item[1].KIND.rank):
            match obj:
                case objects.Host():
                    results[index] = self._apply_host(obj)
                case objects.Vpc():
                    results[index] = self._apply_vpc(obj)
                case objects.Network():
                    results[index] = self._apply_network(obj)
                case _:
                    attached.append((index, obj))
        many = [
            (ref, obj) for ref, obj in zip(refs, wanted, strict=True) if isinstance(obj, objects.Endpoint)
        ]
        rest = iter(endpoints.apply(self, many))
        if attached:
            done = fixtures.apply(self, [obj for _, obj in attached])
            results.update({index: result for (index, _), result in zip(attached, done, strict=True)})
        if self.stopped_forwarding:
            fixtures.check_still_forwarding(self, self.stopped_forwarding)
        return [results.get(index) or next(rest) for index in range(len(wanted))]

    def _apply_host(self, obj: objects.Host) -> Result:
        ref, spec = obj.ref, records.spec_text(obj.spec)
        before = self.host(obj.metadata.name)
        numbers = [addresses.parse(text) for text in obj.spec.addresses]
        if before is None:
            rules.check_host_addresses(ref, obj.spec.addresses, self.underlay_owners(numbers))
            fixtures.check_not_outside(self, ref, numbers)
            serial = self.insert("host", obj, spec, joined=0)
            self.db.executemany("INSERT INTO host_address VALUES (?, ?)", [(n, serial) for n in numbers])
        else:
            rules.check_unchanged(ref, "addresses", tuple(before.wanted["addresses"]), obj.spec.addresses)
            if not self.update("host", before, obj, spec):
                return self.note(ref, Outcome.UNCHANGED)
        after = self._reread_host(obj.metadata.name)
        self.put("host", after.name, after.fact)
        return self.note(ref, Outcome.CONFIGURED if before else Outcome.CREATED)

    def _join(self, name: str) -> None:
        host = self.host(name)
        if host is None or host.deleted is not None or host.joined:
            return
        self.db.execute(
            "UPDATE host SET joined = 1, revision = ? WHERE serial = ?", (self.revision, host.serial)
        )
        self.put("host", name, self._reread_host(name).fact)
        self.note(kinds.Ref(kinds.HOST, None, name), Outcome.CONFIGURED)

    def _apply_vpc(self, obj: objects.Vpc) -> Result:
        ref, spec = obj.ref, records.spec_text(obj.spec)
        before = self.vpc(obj.metadata.name)
        if before is None:
            vni = self._take_round("vni", _MAX_VNI, "SELECT 1 FROM vpc WHERE vni = ?", str(ref))
            space = self.take_network_id(str(ref))
            self.insert("vpc", obj, spec, vni=vni, space=space)
        else:
            fact = records.vpc_fact(before.name, _plain(obj.spec), vni=before.vni, space=before.space)
            rules.check_vpc(fact, [n.fact for n in self.networks(before.vni).values()], self)
            if not self.update("vpc", before, obj, spec):
                return self.note(ref, Outcome.UNCHANGED)
        self._vpcs.pop(obj.metadata.name)
        after = self.vpc(obj.metadata.name)
        assert after is not None  # just written
        if before is not None and before.fact.cidrs != after.fact.cidrs:
            links.check_cidrs(self, ref, after)
        self.put("vpc", after.vni, after.fact)
        return self.note(ref, Outcome.CONFIGURED if before else Outcome.CREATED)

    def _apply_network(self, obj: objects.Network) -> Result:
        ref, spec = obj.ref, records.spec_text(obj.spec)
        vpc = self.needed_vpc(ref, obj.metadata.vpc)
        known = self.networks(vpc.vni)
        before = known.get(obj.metadata.name)
        number = before.id if before is not None else 0
        fact = records.network_fact(obj.metadata.name, _plain(obj.spec), vni=vpc.vni, number=number)
        siblings = [record.fact for record in known.values() if record is not before]
        rules.check_network(fact, before.fact if before is not None else None, vpc.fact, siblings, self)
        if before is None:
            fact = fact._replace(id=self.take_network_id(str(ref)))
            self.insert("network", obj, spec, vni=vpc.vni, id=fact.id)
        elif not self.update("network", before, obj, spec):
            return self.note(ref, Outcome.UNCHANGED)
        self._reread_network(vpc.vni, obj.metadata.name, before)
        self.put("network", fact.id, fact)
        return self.note(ref, Outcome.CONFIGURED if before else Outcome.CREATED)

    def insert(self, table: str, obj: objects.Declared, spec: str, **columns: int | str) -> int:
        serial = self.take_serials(1)[0]
        row = {
            "serial": serial,
            "name": obj.metadata.name,
            "spec": spec,
            "labels": records.labels_text(obj.metadata.labels),
            "revision": self.revision,
            "created": self.now,
            **columns,
        }
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        return serial

    def update(self, table: str, before: records.Record, obj: objects.Declared, spec: str) -> bool:
        """Write what differs; False when nothing does."""
        if before.deleted is not None:
            raise rules.being_deleted(obj.ref, obj.ref)
        rules.check_version(obj.ref, obj.metadata.resource_version, before.revision)
        labels = records.labels_text(obj.metadata.labels)
        if (spec, labels) == (before.spec, before.labels):
            return False
        self.db.execute(
            f"UPDATE {table} SET spec = ?, labels = ?, revision = ? WHERE serial = ?",
            (spec, labels, self.revision, before.serial),
        )
        return True

    def _reread_host(self, name: str) -> records.HostRecord:
        """The record as it is now; counts that are not written back yet stay."""
        before = self._hosts.pop(name)
        after = self.host(name)
        assert after is not None  # just written
        if before is not None and before in self._counted:
            after.live, after.total = before.live, before.total
            del self._counted[before]
            self._counted[after] = None
        return after

    def _reread_network(self, vni: int, name: str, before: records.NetworkRecord | None) -> None:
        row = self.db.execute("SELECT * FROM network WHERE vni = ? AND name = ?", (vni, name)).fetchone()
        after = self._networks[vni][name] = records.NetworkRecord(*row)
        if before is not None and before in self._counted:
            after.live, after.total, after.cursor = before.live, before.total, before.cursor
            del self._counted[before]
            self._counted[after] = None

    def underlay_owners(self, numbers: Iterable[int]) -> dict[int, str]:
        found = {}
        for number in numbers:
            row = self.db.execute(
                "SELECT h.name FROM host_address a JOIN host h ON h.serial = a.host WHERE a.address = ?",
                (number,),
            ).fetchone()
            if row is not None:
                found[number] = row[0]
        return found

    def take_network_id(self, who: str) -> int:
        number = self._take_round("network", _MAX_NETWORK, "SELECT 1 FROM network_id WHERE id = ?", who)
        self.db.execute("INSERT INTO network_id VALUES (?)", (number,))
        return number

    def _take_round(self, counter: str, most: int, taken: str, who: str) -> int:
        """The next free number, round robin: a number that was freed is not taken again soon."""
        start = int(self.db.execute("SELECT value FROM counter WHERE name = ?", (counter,)).fetchone()[0])
        for step in range(1, most + 1):
            number = (start + step - 1) % most + 1
            if self.db.execute(taken, (number,)).fetchone() is None:
                self.db.execute("UPDATE counter SET value = ? WHERE name = ?", (number, counter))
                return number
        raise errors.ConflictError(f"allocate {counter} number for {who}: all {most} are in use")

    # --------------------------------------------------------------------------------------------- deleting

    def _delete(self, refs: Sequence[kinds.Ref]) -> list[Result]:
        _check_once(refs)
        results: dict[int, Result] = {}
        many: list[tuple[int, kinds.Ref]] = []
        for index, ref in sorted(enumerate(refs), key=lambda item: -item[1].kind.rank):
            if ref.kind is kinds.ENDPOINT:
                many.append((index, ref))
                continue
            if many:
                results.update(self._delete_endpoints(many))
                many = []
            results[index] = self._delete_one(ref)
        if many:
            results.update(self._delete_endpoints(many))
        ordered = [results[index] for index in range(len(refs))]
        self.committed.results.extend(ordered)
        return ordered

    def _delete_endpoints(self, many: list[tuple[int, kinds.Ref]]) -> dict[int, Result]:
        outcomes = endpoints.delete(self, [ref for _, ref in many])
        return {index: result for (index, _), result in zip(many, outcomes, strict=True)}

    def _delete_one(self, ref: kinds.Ref) -> Result:
        if ref.kind in kinds.FIXTURES:
            return fixtures.delete(self, ref)
        record = self.present(ref)
        if record.deleted is not None:
            return Result(ref, Outcome.UNCHANGED)
        self._check_unused(ref, record, live=True)
        fixtures.check_unused(self, ref, record.serial)
        record.deleted, record.revision = self.now, self.revision
        self.db.execute(
            f"UPDATE {ref.kind.singular} SET deleted = ?, revision = ? WHERE serial = ?",
            (self.now, self.revision, record.serial),
        )
        self.gone(ref.kind.singular, _planner_key(record))
        return self.note(ref, Outcome.DELETED)

    def present(self, ref: kinds.Ref) -> records.HostRecord | records.VpcRecord | records.NetworkRecord:
        """The record of a host, VPC or network; NotFoundError."""
        record: records.HostRecord | records.VpcRecord | records.NetworkRecord | None = None
        if ref.kind is kinds.HOST:
            record = self.host(ref.name)
        elif ref.kind is kinds.VPC:
            record = self.vpc(ref.name)
        elif ref.kind is kinds.NETWORK:
            vpc = self.vpc(ref.vpc or "")
            record = self.networks(vpc.vni).get(ref.name) if vpc is not None else None
        else:
            raise errors.InvalidError(f"{ref.kind.plural} are read-only; they follow from other objects")
        if record is None:
            raise errors.NotFoundError(f"{ref} does not exist")
        return record

    def _check_unused(
        self,
        ref: kinds.Ref,
        record: records.HostRecord | records.VpcRecord | records.NetworkRecord,
        *,
        live: bool,
    ) -> None:
        """Refuse to delete what something is in. `live`: something that is being deleted does not count."""
        if isinstance(record, records.VpcRecord):
            inside = [n for n in self.networks(record.vni).values() if n.deleted is None or not live]
            if inside:
                raise rules.in_use(ref, len(inside), kinds.NETWORK, f"{record.name}/{inside[0].name}")
            attached = fixtures.inside(self, record.vni, live=live)
            if attached:
                raise service_rules.still_has(ref, attached)
            return
        count = record.live if live else record.total
        if count:
            raise rules.in_use(ref, count, kinds.ENDPOINT, endpoints.example(self, record, live=live))

    # --------------------------------------------------------------------------------------------- removing

    def _remove(self, refs: Sequence[kinds.Ref]) -> None:
        ordered = sorted(refs, key=lambda ref: -ref.kind.rank)
        endpoints.remove(self, [ref for ref in ordered if ref.kind is kinds.ENDPOINT])
        for ref in ordered:
            if ref.kind in kinds.FIXTURES:
                fixtures.remove(self, ref)
            elif ref.kind is not kinds.ENDPOINT:
                self._remove_one(ref)

    def _remove_one(self, ref: kinds.Ref) -> None:
        try:
            record = self.present(ref)
        except errors.NotFoundError:
            return
        if record.deleted is None:
            raise errors.ConflictError(f"{ref} is not being deleted; delete it first")
        self._check_unused(ref, record, live=False)
        last = self.get(ref)
        self._erase(record)
        self.events.append(events.Event(EventType.DELETED, ref, self.revision, last))

    def _erase(self, record: records.HostRecord | records.VpcRecord | records.NetworkRecord) -> None:
        if isinstance(record, records.HostRecord):
            self.db.execute("DELETE FROM host_address WHERE host = ?", (record.serial,))
            self.db.execute("DELETE FROM host WHERE serial = ?", (record.serial,))
            self._hosts[record.name] = None
            self._counted.pop(record, None)
        elif isinstance(record, records.VpcRecord):
            self.db.execute("DELETE FROM vpc WHERE serial = ?", (record.serial,))
            self.db.execute("DELETE FROM network_id WHERE id = ?", (record.space,))
            self._vpcs[record.name] = None
        else:
            self.db.execute("DELETE FROM network WHERE serial = ?", (record.serial,))
            self.db.execute("DELETE FROM network_id WHERE id = ?", (record.id,))
            del self._networks[record.vni][record.name]
            self._counted.pop(record, None)

    def removed(self, ref: kinds.Ref, last: objects.Declared) -> None:
        """An endpoint was taken away."""
        self.events.append(events.Event(EventType.DELETED, ref, self.revision, last))

    # ----------------------------------------------------------------------------------------------- objects

    @property
    def store(self) -> bytes:
        return self._store

    def everything(self) -> planner.Change:
        """All that is not being deleted."""
        db, alive, unpack = self.db, "WHERE deleted IS NULL", records.unpack
        hosts = [records.HostRecord(*row) for row in db.execute(f"SELECT * FROM host {alive}")]
        vpcs = [records.VpcRecord(*row) for row in db.execute(f"SELECT * FROM vpc {alive}")]
        networks = [records.NetworkRecord(*row) for row in db.execute(f"SELECT * FROM network {alive}")]
        # Endpoints share their host's name and the numbers of what they are in: a million of them are held.
        names = {host.serial: host.name for host in hosts}
        same = {number: number for record in networks for number in (record.id, record.vni)}
        return dataclasses.replace(
            fixtures.everything(self),
            hosts=tuple(record.fact for record in hosts),
            vpcs=tuple(record.fact for record in vpcs),
            networks=tuple(record.fact for record in networks),
            endpoints=tuple(
                facts.EndpointFact(
                    serial, same[vni], name, same[network], names[host], unpack(raw), netns, ifname, bool(fwd)
                )
                for serial, vni, name, network, host, raw, netns, ifname, fwd in db.execute(
                    "SELECT serial, vni, name, network, host, addresses, netns, ifname, forwarding"
                    f" FROM endpoint {alive} AND host != 0"
                )
            ),
            services=services.everything(self),
        )

    def deleting(self) -> list[kinds.Ref]:
        """All that is marked, in the order in which it may be removed."""
        refs = fixtures.deleting(self)
        for kind, names in (
            (kinds.ENDPOINT, "v.name, t.name FROM endpoint t JOIN vpc v ON v.vni = t.vni"),
            (kinds.NETWORK, "v.name, t.name FROM network t JOIN vpc v ON v.vni = t.vni"),
            (kinds.VPC, "NULL, t.name FROM vpc t"),
            (kinds.HOST, "NULL, t.name FROM host t"),
        ):
            rows = self.db.execute(f"SELECT {names} WHERE t.deleted IS NOT NULL")
            refs.extend(kinds.Ref(kind, vpc, name) for vpc, name in rows)
        return refs

    def endpoint_page(self, vpc: str, *, after: str, limit: int) -> list[objects.Endpoint]:
        """Endpoints of a VPC by name, the first `limit` after a name."""
        record = self.vpc(vpc)
        if record is None:
            return []
        return endpoints.page(self, record, after=after, limit=limit)

    def endpoint_texts(self, vpc: str, *, after: str, limit: int) -> list[records.EndpointText]:
        """The same, as the JSON that they will be."""
        record = self.vpc(vpc)
        if record is None:
            return []
        return endpoints.text_page(self, record, after=after, limit=limit)

    def fixture_page(self, kind: kinds.Kind, vpc: str, *, after: str, limit: int) -> list[objects.Fixture]:
        """Fixtures of a kind by name, the first `limit` after a name."""
        record = self.vpc(vpc)
        return fixtures.page(self, kind, record, after=after, limit=limit) if record is not None else []

    def _vpc_object(self, vpc: records.VpcRecord) -> objects.Vpc:
        inside = [network for network in self.networks(vpc.vni).values() if network.deleted is None]
        count = sum(network.live for network in self.networks(vpc.vni).values())
        return records.vpc(vpc, store=self._store, networks=len(inside), endpoints=count)


def _check_once(refs: Sequence[kinds.Ref]) -> None:
    if len(refs) > 1 and len(set(refs)) != len(refs):
        seen: set[kinds.Ref] = set()
        for ref in refs:
            if ref in seen:
                raise errors.InvalidError(f"{ref} is given twice; each object may be in a request once")
            seen.add(ref)


def _plain(spec: objects.Part) -> dict[str, Any]:
    return spec.model_dump(by_alias=True)


def _planner_key(record: records.HostRecord | records.VpcRecord | records.NetworkRecord) -> str | int:
    if isinstance(record, records.HostRecord):
        return record.name
    return record.vni if isinstance(record, records.VpcRecord) else record.id

# SPDX-License-Identifier: Apache-2.0
"""Fixtures of a VPC in a transaction: gateways, floating addresses, port forwards, peerings, route tables.

A request writes all its fixtures first and looks at them afterwards (`links`), when all that they refer to is
there: so their order means nothing, and two may swap addresses.

What holds: references and outside addresses are rows of their own, by serial numbers. The references of what
is being deleted are gone; its outside addresses are free when it is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mizar import errors
from mizar.model import kinds, objects, rules, service_rules
from mizar.plan import planner
from mizar.store import events, links, records
from mizar.store.protocol import Outcome, Result

if TYPE_CHECKING:
    from mizar.store.transaction import SqliteTransaction

_USERS = (
    "SELECT r.target, f.kind, v.name, f.name FROM json_each(?) j CROSS JOIN reference r ON r.target = j.value"
    " JOIN fixture f ON f.serial = r.source JOIN vpc v ON v.vni = f.vni ORDER BY r.target, f.serial"
)


# ------------------------------------------------------------------------------------------------- applying


def apply(tx: SqliteTransaction, wanted: Sequence[objects.Fixture]) -> list[Result]:
    """Create or change; results in the order of `wanted`."""
    results = []
    changed: list[tuple[links.Link, records.FixtureRecord | None]] = []
    for obj in wanted:
        vpc = tx.needed_vpc(obj.ref, obj.metadata.vpc)
        before = find(tx, obj.ref)
        if not _write(tx, obj, vpc, before):
            results.append(tx.note(obj.ref, Outcome.UNCHANGED))
            continue
        after = find(tx, obj.ref)
        assert after is not None  # just written
        changed.append((links.link(tx, vpc, after), before))
        results.append(tx.note(obj.ref, Outcome.CREATED if before is None else Outcome.CONFIGURED))
    _relink(tx, changed)
    return results


def _write(
    tx: SqliteTransaction,
    obj: objects.Fixture,
    vpc: records.VpcRecord,
    before: records.FixtureRecord | None,
) -> bool:
    """Write what differs; False when nothing does."""
    spec = records.spec_text(obj.spec)
    if before is not None:
        return tx.update("fixture", before, obj, spec)
    number = tx.take_network_id(str(obj.ref)) if isinstance(obj, objects.Gateway) else 0
    tx.insert("fixture", obj, spec, kind=obj.kind, vni=vpc.vni, number=number)
    tx.fixtures_changed(vpc.vni)
    return True


def _relink(
    tx: SqliteTransaction, changed: Sequence[tuple[links.Link, records.FixtureRecord | None]]
) -> None:
    """References, outside addresses and facts of what was written; then the rules."""
    for link, before in changed:
        if before is not None:
            _link(tx, before).forget_fact()
        _unlink(tx, link.record.serial)
        tx.db.execute("DELETE FROM outside WHERE fixture = ?", (link.record.serial,))
    for link, _ in changed:
        source = link.record.serial
        tx.db.executemany(
            "INSERT INTO reference VALUES (?, ?)", [(source, target) for target in set(link.targets())]
        )
    for link, _ in changed:
        for claim in link.claims():
            _claim(tx, link, claim)
    for link, before in changed:
        link.check(before)
        link.put_fact()
        if before is None:
            link.spread()


def _unlink(tx: SqliteTransaction, serial: int) -> None:
    tx.db.execute("DELETE FROM reference WHERE source = ?", (serial,))


def _claim(tx: SqliteTransaction, link: links.Link, claim: service_rules.Claim) -> None:
    ref = link.ref
    service_rules.check_outside(ref, claim.address, link.vpc.fact)
    owner = tx.underlay_owners([claim.address]).get(claim.address)
    if owner is not None and not link.may_use_host(owner):
        raise service_rules.is_host_address(ref, claim.address, owner)
    rows = tx.db.execute(
        "SELECT o.address, o.port, o.protocol, o.gateway, o.fixture, f.kind, v.name, f.name, f.deleted"
        " FROM outside o JOIN fixture f ON f.serial = o.fixture JOIN vpc v ON v.vni = f.vni"
        " WHERE o.address = ?",
        (claim.address,),
    )
    others = [
        service_rules.Claim(number, port, protocol, gateway, serial, _owner(kind, vpc, name, deleted))
        for number, port, protocol, gateway, serial, kind, vpc, name, deleted in rows
    ]
    if owner is not None:  # ports of a host's own address may be those of several VPCs
        others = [one for one in others if (one.port, one.protocol) == (claim.port, claim.protocol)]
    service_rules.check_claim(ref, claim, others)
    tx.db.execute("INSERT INTO outside VALUES (?, ?, ?, ?, ?)", (*claim[:3], claim.owner, claim.gateway))


def _owner(kind: str, vpc: str, name: str, deleted: int | None) -> str:
    text = _text(kind, vpc, name)
    return text if deleted is None else f"{text}, which is being deleted"


# ------------------------------------------------------------------------------------- deleting and removing


def delete(tx: SqliteTransaction, ref: kinds.Ref) -> Result:
    """Mark as being deleted."""
    record = needed(tx, ref)
    if record.deleted is not None:
        return Result(ref, Outcome.UNCHANGED)
    check_unused(tx, ref, record.serial)
    link = _link(tx, record)
    link.forget_fact()
    link.spread()
    _unlink(tx, record.serial)
    tx.db.execute(
        "UPDATE fixture SET deleted = ?, revision = ? WHERE serial = ?", (tx.now, tx.revision, record.serial)
    )
    return tx.note(ref, Outcome.DELETED)


def remove(tx: SqliteTransaction, ref: kinds.Ref) -> None:
    """Take a marked one away, and free its addresses."""
    record = find(tx, ref)
    if record is None:
        return
    if record.deleted is None:
        raise errors.ConflictError(f"{ref} is not being deleted; delete it first")
    last = get(tx, ref)
    tx.db.execute("DELETE FROM outside WHERE fixture = ?", (record.serial,))
    tx.db.execute("DELETE FROM fixture WHERE serial = ?", (record.serial,))
    if record.number:
        tx.db.execute("DELETE FROM network_id WHERE id = ?", (record.number,))
    tx.events.append(events.Event(events.EventType.DELETED, ref, tx.revision, last))


def check_unused(tx: SqliteTransaction, ref: kinds.Ref, serial: int) -> None:
    """Refuse to delete what a fixture refers to."""
    _check_unused(tx, {serial: ref})


def check_endpoints_unused(tx: SqliteTransaction, by_serial: Mapping[int, kinds.Ref]) -> None:
    """The same of many endpoints: one question for all, none where their VPCs have no fixtures."""
    some = {
        serial: ref
        for serial, ref in by_serial.items()
        if (vpc := tx.vpc(ref.vpc or "")) is not None and tx.has_fixtures(vpc.vni)
    }
    if some:
        _check_unused(tx, some)


def _check_unused(tx: SqliteTransaction, by_serial: Mapping[int, kinds.Ref]) -> None:
    users = users_of(tx, by_serial)
    if users:
        serial = next(iter(users))
        raise service_rules.used_by(by_serial[serial], users[serial])


def users_of(tx: SqliteTransaction, serials: Iterable[int]) -> dict[int, list[str]]:
    """What refers to each of these objects, as texts; those that nothing refers to are left out."""
    found: dict[int, list[str]] = {}
    for target, kind, vpc, name in tx.db.execute(_USERS, (json.dumps(list(serials)),)):
        found.setdefault(target, []).append(_text(kind, vpc, name))
    return found


def check_still_forwarding(tx: SqliteTransaction, stopped: Mapping[int, kinds.Ref]) -> None:
    """Endpoints that forward no longer are no route's target."""
    for serial, ref in stopped.items():
        routes = [
            user
            for user in users_of(tx, [serial]).get(serial, ())
            if user.startswith(kinds.ROUTE_TABLE.singular)
        ]
        if routes:
            raise service_rules.stops_forwarding(ref, routes)


def check_not_outside(tx: SqliteTransaction, ref: kinds.Ref, numbers: Iterable[int]) -> None:
    """A new host's addresses are no outside addresses."""
    for number in numbers:
        row = tx.db.execute(
            "SELECT f.kind, v.name, f.name FROM outside o JOIN fixture f ON f.serial = o.fixture"
            " JOIN vpc v ON v.vni = f.vni WHERE o.address = ? LIMIT 1",
            (number,),
        ).fetchone()
        if row is not None:
            raise service_rules.is_outside_address(ref, number, _text(*row))


def inside(tx: SqliteTransaction, vni: int, *, live: bool) -> list[str]:
    """Fixtures of a VPC as texts. `live`: not those that are being deleted."""
    rows = tx.db.execute(
        "SELECT f.kind, v.name, f.name FROM fixture f JOIN vpc v ON v.vni = f.vni"
        " WHERE f.vni = ? AND (f.deleted IS NULL OR NOT ?) ORDER BY f.serial",
        (vni, live),
    )
    return [_text(*row) for row in rows]


def _text(kind: str, vpc: str, name: str) -> str:
    return str(kinds.Ref(kinds.find(kind), vpc, name))


# -------------------------------------------------------------------------------------------------- reading


def find(tx: SqliteTransaction, ref: kinds.Ref) -> records.FixtureRecord | None:
    vpc = tx.vpc(ref.vpc or "")
    if vpc is None:
        return None
    row = tx.db.execute(
        "SELECT * FROM fixture WHERE vni = ? AND kind = ? AND name = ?", (vpc.vni, ref.kind.name, ref.name)
    ).fetchone()
    return records.FixtureRecord(*row) if row is not None else None


def needed(tx: SqliteTransaction, ref: kinds.Ref) -> records.FixtureRecord:
    record = find(tx, ref)
    if record is None:
        raise errors.NotFoundError(f"{ref} does not exist")
    return record


def get(tx: SqliteTransaction, ref: kinds.Ref) -> objects.Fixture | None:
    record = find(tx, ref)
    return _object(tx, record, ref.vpc or "") if record is not None else None


def page(
    tx: SqliteTransaction, kind: kinds.Kind, vpc: records.VpcRecord, *, after: str, limit: int
) -> list[objects.Fixture]:
    """Those of a kind by name, the first `limit` after a name."""
    rows = tx.db.execute(
        "SELECT * FROM fixture WHERE vni = ? AND kind = ? AND name > ? ORDER BY name LIMIT ?",
        (vpc.vni, kind.name, after, limit),
    )
    return [_object(tx, records.FixtureRecord(*row), vpc.name) for row in rows.fetchall()]


def _object(tx: SqliteTransaction, record: records.FixtureRecord, vpc: str) -> objects.Fixture:
    return records.fixture(record, store=tx.store, vpc=vpc, status=_link(tx, record).status())


def everything(tx: SqliteTransaction) -> planner.Change:
    """Facts of all fixtures that are not being deleted."""
    for record in _live(tx):
        _link(tx, record).put_fact()
    return tx.change()


def _link(tx: SqliteTransaction, record: records.FixtureRecord) -> links.Link:
    vpc = tx.vpc(tx.vpc_name(record.vni))
    assert vpc is not None  # a VPC with fixtures is never removed
    return links.link(tx, vpc, record)


def _live(tx: SqliteTransaction) -> Iterator[records.FixtureRecord]:
    rows = tx.db.execute("SELECT * FROM fixture WHERE deleted IS NULL").fetchall()
    return (records.FixtureRecord(*row) for row in rows)


def deleting(tx: SqliteTransaction) -> list[kinds.Ref]:
    """Those that are marked, in the order in which they may be removed."""
    rows = tx.db.execute(
        "SELECT f.kind, v.name, f.name FROM fixture f JOIN vpc v ON v.vni = f.vni WHERE f.deleted IS NOT NULL"
    )
    refs = [kinds.Ref(kinds.find(kind), vpc, name) for kind, vpc, name in rows]
    return sorted(refs, key=lambda ref: -ref.kind.rank)


def needed_by(
    tx: SqliteTransaction, who: kinds.Ref, kind: kinds.Kind, vpc: records.VpcRecord, name: str
) -> records.FixtureRecord:
    """A fixture of the VPC that `who` refers to."""
    ref = kinds.Ref(kind, vpc.name, name)
    record = find(tx, ref)
    if record is None:
        rows = tx.db.execute("SELECT name FROM fixture WHERE vni = ? AND kind = ?", (vpc.vni, kind.name))
        raise rules.missing(who, kind, ref.full_name, [f"{vpc.name}/{other}" for (other,) in rows])
    if record.deleted is not None:
        raise rules.being_deleted(who, ref)
    return record

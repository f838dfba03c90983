# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints: their specs, and which simple endpoints serve them.

Names, addresses and networks are those of any endpoint (`endpoints`); here is the rest. Backends are resolved
when they may have changed and kept by number (table `backend`): a VPC without scaled endpoints costs one
look a request, one with selectors a comparison of the labels of those endpoints that the request touches.

What holds: a change of the backends is a change of the scaled endpoint, with a revision and an event. Its
fact is made once a transaction, at the end (`finish`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mizar.model import facts, kinds, objects, rules, service_rules
from mizar.model import services as model
from mizar.store import records
from mizar.store.protocol import Outcome

if TYPE_CHECKING:
    from mizar.store.transaction import SqliteTransaction

Selector = Mapping[str, str]


class Labelled(NamedTuple):
    """A simple endpoint that was written, with its labels before (None: it is new) and now, as columns."""

    serial: int
    before: str | None
    labels: str


class Scaled(NamedTuple):
    """A scaled endpoint that was written."""

    ref: kinds.Ref
    serial: int
    spec: model.ScaledSpec


def spec_of(tx: SqliteTransaction, serial: int) -> str:
    """The spec of a scaled endpoint as it is kept."""
    return str(tx.db.execute("SELECT spec FROM service WHERE serial = ?", (serial,)).fetchone()[0])


def get(tx: SqliteTransaction, record: records.EndpointRecord, vpc: str) -> objects.Endpoint:
    return records.scaled_endpoint(record, spec_of(tx, record.serial), store=tx.store, vpc=vpc)


# ------------------------------------------------------------------------------------------------- writing


def write(tx: SqliteTransaction, vpc: records.VpcRecord, scaled: Sequence[Scaled]) -> None:
    """Keep the specs and resolve the backends; the endpoints of the request are there."""
    tx.db.executemany(
        "INSERT OR REPLACE INTO service VALUES (?, ?, ?, ?)",
        [
            (one.serial, vpc.vni, records.spec_text(one.spec), one.spec.backend_selector is not None)
            for one in scaled
        ],
    )
    for one in scaled:
        tx.db.execute("DELETE FROM backend WHERE service = ?", (one.serial,))
        tx.db.executemany(
            "INSERT INTO backend VALUES (?, ?, ?)",
            [(one.serial, serial, weight) for serial, weight in _backends(tx, vpc, one)],
        )
        tx.touch_service(one.serial)
    tx.services_changed(vpc.vni)


def _backends(tx: SqliteTransaction, vpc: records.VpcRecord, one: Scaled) -> Iterable[tuple[int, int]]:
    """Serial and weight of each backend of a spec."""
    if one.spec.backend_selector is not None:
        return ((serial, 1) for serial in _selected(tx, vpc.vni, one.spec.backend_selector))
    return _named(tx, vpc, one)


def _named(tx: SqliteTransaction, vpc: records.VpcRecord, one: Scaled) -> Iterator[tuple[int, int]]:
    wanted = json.dumps([backend.name for backend in one.spec.backends])
    rows = tx.db.execute(
        "SELECT e.name, e.serial, e.host, e.deleted FROM json_each(?) j CROSS JOIN endpoint e"
        " INDEXED BY endpoint_name WHERE e.vni = ? AND e.name = j.value",
        (wanted, vpc.vni),
    )
    known = {name: rest for name, *rest in rows}
    for backend in one.spec.backends:
        ref = kinds.Ref(kinds.ENDPOINT, vpc.name, backend.name)
        if backend.name not in known:
            raise rules.missing(one.ref, kinds.ENDPOINT, ref.full_name, ())
        serial, host, deleted = known[backend.name]
        if deleted is not None:
            raise rules.being_deleted(one.ref, ref)
        if not host:
            raise service_rules.not_simple(one.ref, ref.full_name)
        yield serial, 0 if backend.drain else backend.weight


def _selected(tx: SqliteTransaction, vni: int, selector: Selector) -> list[int]:
    """Serials of the simple endpoints with these labels. Looks at all that have any."""
    rows = tx.db.execute(
        "SELECT serial, labels FROM endpoint"
        " WHERE vni = ? AND labels != '' AND host != 0 AND deleted IS NULL",
        (vni,),
    )
    return [serial for serial, labels in rows if _matches(selector, labels)]


def _matches(selector: Selector, labels: str | None) -> bool:
    return bool(labels) and selector.items() <= json.loads(labels or "{}").items()


def follow(tx: SqliteTransaction, vni: int, changed: Iterable[Labelled]) -> None:
    """Simple endpoints were created or changed: keep those up that select by labels."""
    selectors = tx.selectors(vni)
    if not selectors:
        return
    for one in changed:
        if one.before == one.labels:
            continue
        for service, selector in selectors.items():
            was, now = _matches(selector, one.before), _matches(selector, one.labels)
            if was == now:
                continue
            if now:
                tx.db.execute("INSERT OR REPLACE INTO backend VALUES (?, ?, 1)", (service, one.serial))
            else:
                tx.db.execute("DELETE FROM backend WHERE service = ? AND endpoint = ?", (service, one.serial))
            tx.touch_service(service)


def read_selectors(tx: SqliteTransaction, vni: int) -> dict[int, Selector]:
    """Selectors of the scaled endpoints of a VPC, by serial."""
    rows = tx.db.execute("SELECT serial, spec FROM service WHERE vni = ? AND selects", (vni,))
    return {serial: json.loads(spec)["backendSelector"] for serial, spec in rows}


# ------------------------------------------------------------------------------------------------ deleting


def forget(tx: SqliteTransaction, vni: int, gone: Sequence[records.EndpointRecord]) -> None:
    """Endpoints are being deleted: what they served, and what served them."""
    if not tx.has_services(vni):
        return
    serials = json.dumps([record.serial for record in gone])
    own = [record.serial for record in gone if not record.host]
    tx.db.executemany("DELETE FROM backend WHERE service = ?", [(serial,) for serial in own])
    tx.db.executemany("UPDATE service SET selects = 0 WHERE serial = ?", [(serial,) for serial in own])
    rows = tx.db.execute(
        "DELETE FROM backend WHERE endpoint IN (SELECT value FROM json_each(?)) RETURNING service", (serials,)
    )
    losers = {service for (service,) in rows.fetchall()}
    names = {record.name for record in gone}
    for service in losers:
        _leave_out(tx, service, names)
        tx.touch_service(service)
    if own:
        tx.services_changed(vni)


def _leave_out(tx: SqliteTransaction, service: int, names: set[str]) -> None:
    """Backends that are being deleted leave the spec, if it names them."""
    spec = json.loads(spec_of(tx, service))
    left = [backend for backend in spec["backends"] if backend["name"] not in names]
    if len(left) < len(spec["backends"]):
        text = json.dumps(spec | {"backends": left}, sort_keys=True, separators=(",", ":"))
        tx.db.execute("UPDATE service SET spec = ? WHERE serial = ?", (text, service))


def remove(tx: SqliteTransaction, serials: Iterable[int]) -> None:
    tx.db.executemany("DELETE FROM service WHERE serial = ?", [(serial,) for serial in serials])


# --------------------------------------------------------------------------------------------------- facts


def finish(tx: SqliteTransaction, touched: Iterable[int]) -> None:
    """What has changed of these scaled endpoints gets its revision, its event and its fact."""
    for serial in touched:
        row = tx.db.execute("SELECT * FROM endpoint WHERE serial = ?", (serial,)).fetchone()
        record = records.EndpointRecord(*row)
        if record.deleted is not None:
            continue
        if record.revision != tx.revision:
            tx.db.execute("UPDATE endpoint SET revision = ? WHERE serial = ?", (tx.revision, serial))
            vpc = tx.vpc_name(record.vni)
            tx.note(kinds.Ref(kinds.ENDPOINT, vpc, record.name), Outcome.CONFIGURED)
        backends = tx.db.execute("SELECT endpoint, weight FROM backend WHERE service = ?", (serial,))
        tx.put("service", serial, records.service_fact(record, spec_of(tx, serial), backends.fetchall()))


def everything(tx: SqliteTransaction) -> tuple[facts.ServiceFact, ...]:
    """All that are not being deleted."""
    backends: dict[int, list[tuple[int, int]]] = {}
    for service, endpoint, weight in tx.db.execute("SELECT service, endpoint, weight FROM backend"):
        backends.setdefault(service, []).append((endpoint, weight))
    rows = tx.db.execute(
        "SELECT s.spec, e.* FROM service s JOIN endpoint e ON e.serial = s.serial WHERE e.deleted IS NULL"
    )
    return tuple(
        records.service_fact(records.EndpointRecord(*row), spec, backends.get(row[0], ()))
        for spec, *row in rows
    )

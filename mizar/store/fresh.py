# SPDX-License-Identifier: Apache-2.0
"""The short way for a request of simple endpoints of one VPC, all new: columns from request to tables.

What holds:
  - It does what `endpoints` does for such a request, or nothing: whatever is out of the ordinary (a name or
    an address that is taken, a host that is not there) sends the request the long way, which also finds the
    words for what is wrong.
  - The unique indexes say whether names and addresses are free, so nothing is looked up before.

A thing that is done to every endpoint by itself costs 0.1 us and more; to a column of them a third of that.
Objects of a large request are not in the processor's caches, so each is looked at once.
"""

from __future__ import annotations

import functools
import operator
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from mizar.model import addresses, bulk, facts, kinds, objects, rules
from mizar.store import ipam, records, services
from mizar.store.protocol import Result

if TYPE_CHECKING:
    from mizar.store.transaction import SqliteTransaction

_INSERT: Final = "INSERT INTO endpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0)"
_CLAIM: Final = "INSERT INTO address VALUES (?, ?, ?, ?)"

_SPEC: Final = operator.attrgetter("spec")
_FIELDS: Final = operator.attrgetter(
    "metadata.vpc",
    "metadata.name",
    "metadata.labels",
    "spec.network",
    "spec.host",
    "spec.addresses",
    "spec.netns",
    "spec.ifname",
    "spec.forwarding",
)


class _Columns(NamedTuple):
    """The endpoints of the request, each at the same place in every column."""

    vpc: records.VpcRecord
    names: Sequence[str]
    labels: Sequence[str]
    networks: Sequence[records.NetworkRecord]
    hosts: Sequence[records.HostRecord]
    given: _Addresses
    netns: Sequence[str]
    ifnames: Sequence[str]


class _Addresses(NamedTuple):
    """One address for each endpoint."""

    numbers: Sequence[int]
    raw: Sequence[bytes]
    """As the store keeps them."""
    cursors: Mapping[records.NetworkRecord, int]
    """Where to pick from next time; empty when the addresses were asked for and not picked."""


def create(tx: SqliteTransaction, wanted: Sequence[objects.Declared]) -> list[Result] | None:
    """Create all of them, or None when the request must go the long way."""
    columns = _read(tx, wanted) if set(map(type, wanted)) == {objects.Endpoint} else None
    if columns is None:
        return None
    try:
        with tx.attempt():
            serials = tx.take_serials(len(wanted))
            _write(tx, serials, columns)
    except sqlite3.IntegrityError:
        return None
    for network, cursor in columns.given.cursors.items():
        network.cursor = cursor
    tx.put_many("endpoint", dict(zip(serials, _facts(serials, columns), strict=True)))
    came: Counter[records.NetworkRecord | records.HostRecord] = Counter(columns.networks)
    came.update(columns.hosts)
    for record, count in came.items():
        tx.count(record, live=count, total=count)
    if any(columns.labels) and tx.selectors(columns.vpc.vni):
        new = bulk.tuples(services.Labelled, serials, repeat(None), columns.labels)
        services.follow(tx, columns.vpc.vni, new)
    return tx.created(bulk.tuples(kinds.Ref, repeat(kinds.ENDPOINT), repeat(columns.vpc.name), columns.names))


def _read(tx: SqliteTransaction, wanted: Sequence[objects.Declared]) -> _Columns | None:
    """The request as columns; None when something in it needs a closer look."""
    if set(map(type, map(_SPEC, wanted))) != {objects.EndpointSpec}:
        return None
    vpcs, names, labels, networks, hosts, given, netns, ifnames, forwarding = zip(
        *map(_FIELDS, wanted), strict=True
    )
    vpc = tx.vpc(vpcs[0])
    if vpc is None or vpc.deleted is not None or set(vpcs) != {vpc.name}:
        return None
    known_networks = _usable_networks(tx, vpc, networks)
    known_hosts = _usable_hosts(tx, hosts)
    if any(forwarding) or known_networks is None or known_hosts is None:
        return None
    joined = list(map(known_networks.__getitem__, networks))
    numbered = _addresses(tx, vpc, joined, given)
    if numbered is None:
        return None
    return _Columns(
        vpc,
        names,
        [records.labels_text(some) if some else "" for some in labels],
        joined,
        list(map(known_hosts.__getitem__, hosts)),
        numbered,
        [text or "" for text in netns],
        [text or "" for text in ifnames],
    )


def _usable_networks(
    tx: SqliteTransaction, vpc: records.VpcRecord, names: Iterable[str]
) -> Mapping[str, records.NetworkRecord] | None:
    """The networks by name, if they are there."""
    present, wanted = tx.networks(vpc.vni), set(names)
    known = {name: present[name] for name in wanted if name in present and present[name].deleted is None}
    return known if len(known) == len(wanted) else None


def _usable_hosts(tx: SqliteTransaction, names: Iterable[str]) -> Mapping[str, records.HostRecord] | None:
    """The hosts by name, if they are there."""
    found = tx.hosts(set(names))
    known = {name: host for name, host in found.items() if host is not None and host.deleted is None}
    return known if len(known) == len(found) else None


def _addresses(
    tx: SqliteTransaction,
    vpc: records.VpcRecord,
    networks: Sequence[records.NetworkRecord],
    given: Sequence[Sequence[str]],
) -> _Addresses | None:
    """What each asked for, or for all one that is picked; None when that is not right, or some ask and some
    do not."""
    counts = set(map(len, given))
    if counts not in ({0}, {1}):
        return None
    places: dict[records.NetworkRecord, list[int]] = {network: [] for network in networks}
    for place, network in enumerate(networks):
        places[network].append(place)
    siblings = [record.fact for record in tx.networks(vpc.vni).values()]
    allowed = {network: rules.AddressRules(vpc.fact, network.fact, siblings) for network in places}
    if counts == {0}:
        return _picked(tx, vpc, places, allowed)
    raw = addresses.packed(text for (text,) in given)
    numbers = addresses.numbers(raw)
    right = all(allowed[network].allow([numbers[at] for at in inside]) for network, inside in places.items())
    return _Addresses(numbers, raw, {}) if right else None


def _picked(
    tx: SqliteTransaction,
    vpc: records.VpcRecord,
    places: Mapping[records.NetworkRecord, Sequence[int]],
    allowed: Mapping[records.NetworkRecord, rules.AddressRules],
) -> _Addresses | None:
    numbers = [0] * sum(map(len, places.values()))
    cursors = {}
    for network, inside in places.items():
        ranges = allowed[network].ranges()
        used = functools.partial(tx.used_addresses, vpc.vni)
        picked = ipam.pick(ranges, cursor=network.cursor, count=len(inside), used=used)
        if len(picked) < len(inside):
            return None
        for at, number in zip(inside, picked, strict=True):
            numbers[at] = number
        cursors[network] = picked[-1] + 1
    return _Addresses(numbers, [number.to_bytes(4, "big") for number in numbers], cursors)


def _write(tx: SqliteTransaction, serials: Sequence[int], columns: _Columns) -> None:
    """sqlite3.IntegrityError: a name or an address is not free."""
    vnis = [columns.vpc.vni] * len(serials)
    networks = [network.id for network in columns.networks]
    tx.db.executemany(
        _INSERT,
        zip(
            serials,
            vnis,
            columns.names,
            networks,
            [host.serial for host in columns.hosts],
            columns.given.raw,
            repeat(bool(columns.given.cursors)),
            columns.netns,
            columns.ifnames,
            columns.labels,
            repeat(tx.revision),
            repeat(tx.now),
            strict=False,
        ),
    )
    # In the order of the table, whose rows then follow each other on its pages.
    tx.db.executemany(_CLAIM, sorted(zip(vnis, columns.given.numbers, networks, serials, strict=True)))


def _facts(serials: Sequence[int], columns: _Columns) -> list[facts.EndpointFact]:
    """A million of them are held, so they share the names of hosts and the numbers of networks."""
    return bulk.tuples(
        facts.EndpointFact,
        serials,
        repeat(columns.vpc.vni),
        columns.names,
        [network.id for network in columns.networks],
        [host.name for host in columns.hosts],
        zip(columns.given.numbers, strict=True),
        columns.netns,
        columns.ifnames,
        repeat(False),  # does not forward
    )

# SPDX-License-Identifier: Apache-2.0
"""What the kernel cannot remember for us: names, and which interface belongs to which endpoint.

Why SQLite: one row per change, atomic under kill -9, and nothing to rewrite when there are thousands.
Messages are kept as they came (protobuf), so that a newer agent reads what an older one wrote.

What holds:
 - Rows describe a running kernel. After a reboot they describe nothing and are dropped.
 - An endpoint is written before anything of it exists, with `made` false, and again when it is
   complete: what a crash left half made is found and taken away.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sqlite3
import threading
from collections.abc import Iterable
from typing import Any, Final

from mizar import errors
from mizar.rpc.gen.mizar.node.v1 import node_pb2

SCHEMA_VERSION: Final = 2

_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE hosts (address INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE vpcs (vni INTEGER PRIMARY KEY, slot INTEGER NOT NULL, message BLOB NOT NULL);
CREATE TABLE networks (id INTEGER PRIMARY KEY, slot INTEGER NOT NULL, message BLOB NOT NULL);
CREATE TABLE endpoints (
    vpc TEXT NOT NULL, name TEXT NOT NULL,
    slot INTEGER NOT NULL, ifindex INTEGER NOT NULL, cookie TEXT NOT NULL, mtu INTEGER NOT NULL,
    made INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (vpc, name)
) WITHOUT ROWID;
"""

_SERVICES: Final = """
CREATE TABLE services (
    vni INTEGER NOT NULL, address INTEGER NOT NULL, port INTEGER NOT NULL, protocol INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (vni, address, port, protocol)
) WITHOUT ROWID;
CREATE TABLE gateways (vni INTEGER PRIMARY KEY, slot INTEGER NOT NULL, message BLOB NOT NULL);
CREATE TABLE floating (address INTEGER PRIMARY KEY, message BLOB NOT NULL);
CREATE TABLE forwards (
    address INTEGER NOT NULL, port INTEGER NOT NULL, protocol INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (address, port, protocol)
) WITHOUT ROWID;
CREATE TABLE checks (
    vpc TEXT NOT NULL, endpoint TEXT NOT NULL, service TEXT NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (vpc, endpoint, service)
) WITHOUT ROWID;
"""
"""Since version 2."""

_BOOT_ID: Final = pathlib.Path("/proc/sys/kernel/random/boot_id")


@dataclasses.dataclass(frozen=True)
class EndpointRecord:
    """One endpoint as it was made, or is being made."""

    message: node_pb2.Endpoint
    slot: int
    mtu: int
    ifindex: int = 0
    """Host side; 0 until it exists, and after it has gone without us."""
    netns_cookie: int = 0
    made: bool = False


class Journal:
    """The file. Methods may be called from several threads."""

    def __init__(self, path: pathlib.Path) -> None:
        """Open or create; what was written before the last boot is dropped."""
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as failure:
            raise errors.UnavailableError(
                f"open journal {path}: {failure} (remove the file; the tables are in the kernel)"
            ) from failure

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ------------------------------------------------------------ facts

    def fact(self, name: str) -> str | None:
        rows = self._query("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", [(name, value)])

    # ------------------------------------------------------------ hosts, VPCs, networks

    def hosts(self) -> dict[int, str]:
        return dict(self._query("SELECT address, name FROM hosts"))

    def put_hosts(self, hosts: Iterable[tuple[int, str]]) -> None:
        self._write("INSERT OR REPLACE INTO hosts VALUES (?, ?)", hosts)

    def drop_hosts(self, addresses: Iterable[int]) -> None:
        self._write("DELETE FROM hosts WHERE address = ?", ((address,) for address in addresses))

    def vpcs(self) -> list[tuple[int, node_pb2.Vpc]]:
        """(slot, message)"""
        rows = self._query("SELECT slot, message FROM vpcs")
        return [(slot, node_pb2.Vpc.FromString(message)) for slot, message in rows]

    def put_vpcs(self, vpcs: Iterable[tuple[int, node_pb2.Vpc]]) -> None:
        rows = ((vpc.vni, slot, vpc.SerializeToString()) for slot, vpc in vpcs)
        self._write("INSERT OR REPLACE INTO vpcs VALUES (?, ?, ?)", rows)

    def drop_vpcs(self, vnis: Iterable[int]) -> None:
        self._write("DELETE FROM vpcs WHERE vni = ?", ((vni,) for vni in vnis))

    def networks(self) -> list[tuple[int, node_pb2.Network]]:
        """(slot, message)"""
        rows = self._query("SELECT slot, message FROM networks")
        return [(slot, node_pb2.Network.FromString(message)) for slot, message in rows]

    def put_networks(self, networks: Iterable[tuple[int, node_pb2.Network]]) -> None:
        rows = ((network.id, slot, network.SerializeToString()) for slot, network in networks)
        self._write("INSERT OR REPLACE INTO networks VALUES (?, ?, ?)", rows)

    def drop_networks(self, ids: Iterable[int]) -> None:
        self._write("DELETE FROM networks WHERE id = ?", ((number,) for number in ids))

    # ------------------------------------------------------------ endpoints

    def endpoints(self) -> list[EndpointRecord]:
        rows = self._query("SELECT message, slot, mtu, ifindex, cookie, made FROM endpoints")
        return [
            EndpointRecord(
                message=node_pb2.Endpoint.FromString(message),
                slot=slot,
                mtu=mtu,
                ifindex=ifindex,
                netns_cookie=int(cookie),
                made=bool(made),
            )
            for message, slot, mtu, ifindex, cookie, made in rows
        ]

    def put_endpoint(self, record: EndpointRecord) -> None:
        key = record.message.key
        body = record.message.SerializeToString()
        # A cookie has 64 bits without a sign, an SQLite integer has one.
        cookie = str(record.netns_cookie)
        row = (key.vpc, key.name, record.slot, record.ifindex, cookie, record.mtu, record.made, body)
        self._write("INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row])

    def drop_endpoint(self, vpc: str, name: str) -> None:
        self._write("DELETE FROM endpoints WHERE vpc = ? AND name = ?", [(vpc, name)])

    # ------------------------------------------------------------ services, gateways, checks

    def services(self) -> dict[tuple[int, int, int, int], str]:
        """Names by (VNI, address, port, protocol): all that the kernel does not have of them."""
        rows = self._query("SELECT vni, address, port, protocol, name FROM services")
        return {(vni, address, port, protocol): name for vni, address, port, protocol, name in rows}

    def put_service(self, key: tuple[int, int, int, int], name: str) -> None:
        self._write("INSERT OR REPLACE INTO services VALUES (?, ?, ?, ?, ?)", [(*key, name)])

    def drop_service(self, key: tuple[int, int, int, int]) -> None:
        self._write("DELETE FROM services WHERE vni = ? AND address = ? AND port = ? AND protocol = ?", [key])

    def gateways(self) -> list[tuple[int, node_pb2.Gateway]]:
        """(slot, message)"""
        rows = self._query("SELECT slot, message FROM gateways")
        return [(slot, node_pb2.Gateway.FromString(message)) for slot, message in rows]

    def put_gateway(self, slot: int, gateway: node_pb2.Gateway) -> None:
        row = (gateway.vni, slot, gateway.SerializeToString())
        self._write("INSERT OR REPLACE INTO gateways VALUES (?, ?, ?)", [row])

    def drop_gateway(self, vni: int) -> None:
        self._write("DELETE FROM gateways WHERE vni = ?", [(vni,)])

    def floating(self) -> list[node_pb2.FloatingAddress]:
        rows = self._query("SELECT message FROM floating")
        return [node_pb2.FloatingAddress.FromString(message) for (message,) in rows]

    def put_floating(self, entry: node_pb2.FloatingAddress) -> None:
        row = (entry.address, entry.SerializeToString())
        self._write("INSERT OR REPLACE INTO floating VALUES (?, ?)", [row])

    def drop_floating(self, address: int) -> None:
        self._write("DELETE FROM floating WHERE address = ?", [(address,)])

    def forwards(self) -> list[node_pb2.PortForward]:
        rows = self._query("SELECT message FROM forwards")
        return [node_pb2.PortForward.FromString(message) for (message,) in rows]

    def put_forward(self, entry: node_pb2.PortForward) -> None:
        key = entry.key
        row = (key.address, key.port, key.protocol, entry.SerializeToString())
        self._write("INSERT OR REPLACE INTO forwards VALUES (?, ?, ?, ?)", [row])

    def drop_forward(self, address: int, port: int, protocol: int) -> None:
        where = "address = ? AND port = ? AND protocol = ?"
        self._write(f"DELETE FROM forwards WHERE {where}", [(address, port, protocol)])

    def checks(self) -> list[node_pb2.Check]:
        rows = self._query("SELECT message FROM checks")
        return [node_pb2.Check.FromString(message) for (message,) in rows]

    def put_checks(self, checks: Iterable[node_pb2.Check]) -> None:
        rows = (
            (each.key.endpoint.vpc, each.key.endpoint.name, each.key.service, each.SerializeToString())
            for each in checks
        )
        self._write("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)", rows)

    def drop_checks(self, keys: Iterable[tuple[str, str, str]]) -> None:
        """Keys as (VPC, endpoint, service)."""
        self._write("DELETE FROM checks WHERE vpc = ? AND endpoint = ? AND service = ?", keys)

    # ------------------------------------------------------------ SQL

    def _query(self, sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, arguments).fetchall()

    def _write(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        # No rows are no transaction: most messages change one table.
        if listed := list(rows):
            with self._lock, self._db:
                self._db.executemany(sql, listed)


def _open(path: pathlib.Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    boot = _BOOT_ID.read_text().strip()
    version = db.execute("PRAGMA user_version").fetchone()[0]
    with db:
        if version not in (1, SCHEMA_VERSION) or not _is_of_boot(db, boot):
            _recreate(db, boot)
        elif version == 1:
            _run(db, _SERVICES)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return db


def _is_of_boot(db: sqlite3.Connection, boot: str) -> bool:
    row = db.execute("SELECT value FROM facts WHERE name = 'boot'").fetchone()
    return row is not None and row[0] == boot


def _recreate(db: sqlite3.Connection, boot: str) -> None:
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f'DROP TABLE "{table}"')
    _run(db, _SCHEMA + _SERVICES)
    db.execute("INSERT INTO facts VALUES ('boot', ?)", (boot,))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        db.execute(statement)

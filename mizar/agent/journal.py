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

SCHEMA_VERSION: Final = 1

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

    # ------------------------------------------------------------ SQL

    def _query(self, sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, arguments).fetchall()

    def _write(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        with self._lock, self._db:
            self._db.executemany(sql, rows)


def _open(path: pathlib.Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    boot = _BOOT_ID.read_text().strip()
    if not _is_current(db, boot):
        with db:
            _recreate(db, boot)
    return db


def _is_current(db: sqlite3.Connection, boot: str) -> bool:
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        return False
    row = db.execute("SELECT value FROM facts WHERE name = 'boot'").fetchone()
    return row is not None and row[0] == boot


def _recreate(db: sqlite3.Connection, boot: str) -> None:
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f'DROP TABLE "{table}"')
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO facts VALUES ('boot', ?)", (boot,))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

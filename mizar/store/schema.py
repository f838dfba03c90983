# SPDX-License-Identifier: Apache-2.0
"""Tables of the SQLite backend, and how an older file is brought up to date.

Small kinds keep their spec as JSON. *Fixtures* are what a VPC has besides networks and endpoints: gateways,
floating addresses, port forwards, route tables, peerings; they share a table. Endpoints, of which there may
be a million, are columns: some 130 bytes each with their indexes. Numbers join the tables, never names.

Unique indexes hold what must be unique whatever the code above does: names, VNIs, network ids, addresses. An
endpoint's MAC is its serial, which is the primary key.
"""

from __future__ import annotations

import sqlite3

from mizar import errors

_V1 = """
-- Counters that never go back: revision, serial; cursors that go round: vni, network.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('revision', 0), ('serial', 0), ('vni', 0), ('network', 0);

-- Random number of this store, the first half of every uid.
CREATE TABLE identity (store BLOB NOT NULL);
INSERT INTO identity VALUES (randomblob(8));

-- live: endpoints that are not being deleted; total: all.
CREATE TABLE host (
    serial INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, labels TEXT NOT NULL,
    revision INTEGER NOT NULL, created INTEGER NOT NULL, deleted INTEGER,
    live INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE host_address (address INTEGER PRIMARY KEY, host INTEGER NOT NULL REFERENCES host (serial));

CREATE TABLE vpc (
    serial INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, labels TEXT NOT NULL,
    revision INTEGER NOT NULL, created INTEGER NOT NULL, deleted INTEGER,
    vni INTEGER NOT NULL UNIQUE, space INTEGER NOT NULL REFERENCES network_id (id)
);

-- Ids of networks and of the VPCs' group spaces.
CREATE TABLE network_id (id INTEGER PRIMARY KEY);
CREATE TABLE network (
    serial INTEGER PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, labels TEXT NOT NULL,
    revision INTEGER NOT NULL, created INTEGER NOT NULL, deleted INTEGER,
    live INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
    vni INTEGER NOT NULL REFERENCES vpc (vni), id INTEGER NOT NULL UNIQUE REFERENCES network_id (id),
    cursor INTEGER NOT NULL DEFAULT 0, UNIQUE (vni, name)
);

-- addresses: four bytes each; automatic: they were picked, spec has none. labels: JSON, empty for none.
CREATE TABLE endpoint (
    serial INTEGER PRIMARY KEY, vni INTEGER NOT NULL, name TEXT NOT NULL, network INTEGER NOT NULL,
    host INTEGER NOT NULL, addresses BLOB NOT NULL, automatic INTEGER NOT NULL, netns TEXT NOT NULL,
    ifname TEXT NOT NULL, labels TEXT NOT NULL, revision INTEGER NOT NULL, created INTEGER NOT NULL,
    deleted INTEGER
);
CREATE UNIQUE INDEX endpoint_name ON endpoint (vni, name);
CREATE INDEX endpoint_deleted ON endpoint (deleted) WHERE deleted IS NOT NULL;
CREATE TABLE address (
    vni INTEGER NOT NULL, address INTEGER NOT NULL, network INTEGER NOT NULL, endpoint INTEGER NOT NULL,
    PRIMARY KEY (vni, address)
) WITHOUT ROWID;
"""

_V2 = """
-- joined: its agent has been reached once. Hosts of older files have served already.
ALTER TABLE host ADD COLUMN joined INTEGER NOT NULL DEFAULT 1;
"""

_V3 = """
ALTER TABLE endpoint ADD COLUMN forwarding INTEGER NOT NULL DEFAULT 0;

-- Scaled endpoints are rows of `endpoint` with host 0; the rest of their spec is here. selects: they choose
-- their backends by labels.
CREATE TABLE service (
    serial INTEGER PRIMARY KEY, vni INTEGER NOT NULL, spec TEXT NOT NULL, selects INTEGER NOT NULL
);
CREATE INDEX service_vni ON service (vni);
-- weight 0: drains. Rows of scaled endpoints that are being deleted are gone.
CREATE TABLE backend (
    service INTEGER NOT NULL, endpoint INTEGER NOT NULL, weight INTEGER NOT NULL,
    PRIMARY KEY (service, endpoint)
) WITHOUT ROWID;
CREATE INDEX backend_endpoint ON backend (endpoint);

-- number: network id of a gateway, 0 of others.
CREATE TABLE fixture (
    serial INTEGER PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, labels TEXT NOT NULL,
    revision INTEGER NOT NULL, created INTEGER NOT NULL, deleted INTEGER,
    kind TEXT NOT NULL, vni INTEGER NOT NULL REFERENCES vpc (vni), number INTEGER NOT NULL,
    UNIQUE (vni, kind, name)
);
CREATE INDEX fixture_kind ON fixture (kind);
-- Who needs what, by serials; none of what is being deleted itself.
CREATE TABLE reference (
    source INTEGER NOT NULL, target INTEGER NOT NULL, PRIMARY KEY (source, target)
) WITHOUT ROWID;
CREATE INDEX reference_target ON reference (target);
-- Outside addresses: whole ones (port 0) of gateways and floating addresses, ports of port forwards.
-- gateway: serial of the gateway that it belongs to.
CREATE TABLE outside (
    address INTEGER NOT NULL, port INTEGER NOT NULL, protocol INTEGER NOT NULL,
    fixture INTEGER NOT NULL REFERENCES fixture (serial), gateway INTEGER NOT NULL,
    PRIMARY KEY (address, port, protocol)
) WITHOUT ROWID;
CREATE INDEX outside_fixture ON outside (fixture);
"""

MIGRATIONS = (_V1, _V2, _V3)
"""Statements that lead from one version to the next; a file's version is how many of them it has seen."""


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to this version, all or nothing."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise errors.UnavailableError(
            f"the store has version {version}, this controller knows {len(MIGRATIONS)} at most; upgrade it"
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {number}; COMMIT;")

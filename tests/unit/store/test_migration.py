# SPDX-License-Identifier: Apache-2.0
"""Files of older versions are brought up to date with all that is in them."""

from __future__ import annotations

import pathlib
import sqlite3

import pytest

from mizar import errors
from mizar.model import kinds, objects
from mizar.store import schema, sqlite
from tests.unit.store.builders import endpoint, gateway, ref, scaled

_OLD = """
INSERT INTO host (serial, name, spec, labels, revision, created)
    VALUES (1, 'h1', '{"addresses":["192.0.2.1"],"agent":"unix:///h1","unschedulable":false}', '', 1, 0);
INSERT INTO host_address VALUES (3221225985, 1);
INSERT INTO network_id VALUES (1), (2);
INSERT INTO vpc (serial, name, spec, labels, revision, created, vni, space)
    VALUES (2, 'blue', '{"cidrs":["10.0.0.0/16"],"dividers":1}', '', 1, 0, 1, 1);
INSERT INTO network (serial, name, spec, labels, revision, created, live, total, vni, id) VALUES
    (3, 'web', '{"bouncers":1,"cidrs":["10.0.1.0/24"],"replicas":1,"shards":128}', '', 1, 0, 1, 1, 1, 2);
INSERT INTO endpoint (serial, vni, name, network, host, addresses, automatic, netns, ifname, labels,
    revision, created) VALUES (4, 1, 'web-1', 2, 1, x'0a000105', 0, '', '', '{"app":"shop"}', 1, 0);
INSERT INTO address VALUES (1, 167772421, 2, 4);
UPDATE counter SET value = CASE name WHEN 'serial' THEN 4 WHEN 'network' THEN 2 ELSE 1 END;
"""


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_older_file_is_opened_with_all_that_is_in_it(tmp_path: pathlib.Path, version: int) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path, isolation_level=None) as old:
        for statements in schema.MIGRATIONS[:version]:
            old.executescript(statements)
        old.executescript(_OLD)
        old.execute(f"PRAGMA user_version = {version}")
    old.close()
    store = sqlite.SqliteStore(path, clock=lambda: 0.0)
    (fact,) = store.everything().endpoints
    assert (fact.id, fact.name, fact.host, fact.addresses, fact.forwarding) == (
        4,
        "web-1",
        "h1",
        (0x0A000105,),
        False,
    )
    obj = store.get(ref(kinds.ENDPOINT, "blue/web-1"))
    assert isinstance(obj, objects.Endpoint)
    assert obj.metadata.labels == {"app": "shop"}
    committed = store.apply([scaled(backendSelector={"app": "shop"}), endpoint("blue/web-2"), gateway()])
    assert [backend.endpoint for backend in committed.change.services[0].backends] == [4]
    assert committed.change.gateways[0].id == 3
    store.close()
    store = sqlite.SqliteStore(path, clock=lambda: 0.0)
    assert len(store.everything().endpoints) == 2
    store.close()


def test_file_of_a_newer_version_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    newer.close()
    with pytest.raises(errors.UnavailableError, match="this controller knows 3 at most; upgrade it"):
        sqlite.SqliteStore(path, clock=lambda: 0.0)

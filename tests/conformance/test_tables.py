# SPDX-License-Identifier: Apache-2.0
"""What a DataPlane promises of its tables and counters, whichever it is."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import protocol

from .conftest import SIZES

TABLES = layout.TABLES
LOCATIONS = TABLES[layout.Table.LOCATIONS4]
ROUTES = TABLES[layout.Table.ROUTES4]


def locations(n: int, *, vni: int = 7) -> tuple[layout.Rows, layout.Rows]:
    keys, values = LOCATIONS.keys(n), LOCATIONS.values(n)
    keys["vni"], keys["addr"] = vni, 0x0A000000 + np.arange(n)
    values["host"], values["slot"] = 0xAC100001, np.arange(n) % 32
    return keys, values


def routes(*prefixes: tuple[int, int, int]) -> tuple[layout.Rows, layout.Rows]:
    """Routes of VNI 7: (address, length, network)."""
    keys, values = ROUTES.keys(len(prefixes)), ROUTES.values(len(prefixes))
    keys["vni"] = 7
    for i, (address, length, network) in enumerate(prefixes):
        keys[i]["addr"], keys[i]["mask"] = address, layout.mask4(length)
        values[i]["network"] = network
    return keys, values


def flows(n: int, *, vni: int = 7) -> tuple[layout.Rows, layout.Rows]:
    spec = TABLES[layout.Table.FLOWS4]
    keys, values = spec.keys(n), spec.values(n)
    keys["vni"], keys["src"], keys["sport"], keys["proto"] = vni, 0x0A000001, np.arange(n), 6
    values["seen"] = 1 + np.arange(n)
    return keys, values


def rows(plane: protocol.DataPlane, table: str) -> dict[bytes, bytes]:
    keys, values = plane.dump(table)
    return {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}


def test_it_is_a_data_plane(plane: protocol.DataPlane) -> None:
    assert isinstance(plane, protocol.DataPlane)


@pytest.mark.parametrize("table", [t for t, spec in TABLES.items() if not spec.type.is_array])
def test_new_table_is_empty(plane: protocol.DataPlane, table: str) -> None:
    keys, values = plane.dump(table)
    assert (len(keys), len(values), plane.count(table)) == (0, 0, 0)
    assert (keys.dtype, values.dtype) == (TABLES[table].key, TABLES[table].value)


def test_rows_come_back_byte_for_byte(plane: protocol.DataPlane) -> None:
    keys, values = locations(3000)
    plane.update("mz_locations4", keys, values)
    found = rows(plane, "mz_locations4")
    assert found == {k.tobytes(): v.tobytes() for k, v in zip(keys, values, strict=True)}
    assert plane.count("mz_locations4") == 3000


def test_update_replaces_and_is_idempotent(plane: protocol.DataPlane) -> None:
    keys, values = locations(10)
    plane.update("mz_locations4", keys, values)
    values["host"] = 0xAC100002
    plane.update("mz_locations4", keys, values)
    plane.update("mz_locations4", keys, values)
    assert set(plane.dump("mz_locations4")[1]["host"]) == {0xAC100002}
    assert plane.count("mz_locations4") == 10


def test_delete_counts_what_was_there(plane: protocol.DataPlane) -> None:
    keys, values = locations(100)
    plane.update("mz_locations4", keys[::2], values[::2])
    assert plane.delete("mz_locations4", keys) == 50
    assert plane.delete("mz_locations4", keys) == 0
    assert plane.delete("mz_locations4", keys[:0]) == 0
    assert plane.count("mz_locations4") == 0


def test_empty_update_is_nothing(plane: protocol.DataPlane) -> None:
    plane.update("mz_locations4", *locations(0))
    assert plane.count("mz_locations4") == 0


def test_lookup_takes_numbers_tuples_and_rows(plane: protocol.DataPlane) -> None:
    keys, values = locations(2)
    plane.update("mz_locations4", keys, values)
    for key in (keys[1], (7, 0x0A000001)):
        found = plane.lookup("mz_locations4", key)
        assert found is not None
        assert found == values[1]
    assert plane.lookup("mz_locations4", (8, 0x0A000001)) is None
    hosts = TABLES[layout.Table.HOSTS].values(1)
    hosts["flags"] = layout.HostFlags.SELF
    plane.update("mz_hosts", np.array([0xAC100001]), hosts)
    for host in (0xAC100001, np.uint32(0xAC100001)):
        found = plane.lookup("mz_hosts", host)
        assert found is not None
        assert found["flags"] == layout.HostFlags.SELF


def test_overlapping_tenants_have_rows_of_their_own(plane: protocol.DataPlane) -> None:
    for vni in (7, 8):
        keys, values = locations(5, vni=vni)
        values["host"] = vni
        plane.update("mz_locations4", keys, values)
    assert plane.count("mz_locations4") == 10
    found = plane.lookup("mz_locations4", (8, 0x0A000003))
    assert found is not None
    assert found["host"] == 8


def test_full_table_tells_how_far_it_came(plane: protocol.DataPlane) -> None:
    spec, room = TABLES[layout.Table.HOSTS], SIZES["mz_hosts"]
    with pytest.raises(protocol.PartialUpdateError) as caught:
        plane.update("mz_hosts", np.arange(1, 20), spec.values(19))
    assert (caught.value.applied, caught.value.errno) == (room, errno.E2BIG)
    assert plane.count("mz_hosts") == room
    plane.update("mz_hosts", np.arange(1, room + 1), spec.values(room))  # replacing needs no room


def test_routes_are_found_dumped_and_deleted_as_written(plane: protocol.DataPlane) -> None:
    keys, values = routes((0x0A000000, 8, 1), (0x0A010000, 16, 2), (0x0A010203, 32, 3))
    plane.update("mz_routes4", keys, values)
    assert rows(plane, "mz_routes4").keys() == {key.tobytes() for key in keys}
    assert plane.count("mz_routes4") == 3
    assert plane.delete("mz_routes4", keys[1:2]) == 1
    assert plane.lookup("mz_routes4", keys[1]) is None
    found = plane.lookup("mz_routes4", keys[0])
    assert found is not None
    assert found["network"] == 1


def test_learnt_rows_never_fill_up(plane: protocol.DataPlane) -> None:
    spec = TABLES[layout.Table.DIRECT4]
    keys = spec.keys(500)
    keys["vni"], keys["addr"] = 7, np.arange(500)
    plane.update("mz_direct4", keys, spec.values(500))
    assert SIZES["mz_direct4"] / 2 < plane.count("mz_direct4") <= plane.capacity("mz_direct4") < 500


def test_config_is_one_row_that_always_exists(plane: protocol.DataPlane) -> None:
    empty = plane.lookup("mz_config", 0)
    assert empty is not None
    assert empty["flags"] == 0
    values = TABLES[layout.Table.CONFIG].values(1)
    values["underlay_addr"] = 0xAC100001
    plane.update("mz_config", np.array([0]), values)
    assert plane.dump("mz_config")[1]["underlay_addr"].tolist() == [0xAC100001]
    assert plane.count("mz_config") == 1
    with pytest.raises(errors.KernelError):
        plane.update("mz_config", np.array([1]), values)
    with pytest.raises(errors.KernelError):
        plane.delete("mz_config", np.array([0]))


def test_counters_begin_at_zero_in_the_order_asked(plane: protocol.DataPlane) -> None:
    assert plane.verdicts().shape == (layout.VERDICT_MAX,)
    assert plane.verdicts()["packets"].sum() == 0
    assert plane.stats().shape == (SIZES["mz_stats"],)
    assert plane.stats([5, 3]).dtype == layout.STATS
    assert len(plane.stats([5, 3, 5])) == 3
    plane.clear_stats([5, 3])
    plane.clear_stats([])
    with pytest.raises(errors.KernelError):
        plane.update("mz_stats", np.array([1]), TABLES[layout.Table.STATS].values(1))


def test_slot_that_is_cleared_watches_nobody(plane: protocol.DataPlane) -> None:
    values = TABLES[layout.Table.WATCHED].values(2)
    values["sources"] = 0xFF
    plane.update("mz_watched", np.array([3, 5]), values)
    plane.clear_stats([5])
    watched = plane.dump("mz_watched")[1]["sources"]
    assert len(watched) == plane.count("mz_stats")
    assert (int(watched[3]), int(watched[5])) == (0xFF, 0)


def test_rows_of_another_layout_are_refused(plane: protocol.DataPlane) -> None:
    keys, _ = locations(1)
    with pytest.raises(TypeError):
        plane.update("mz_locations4", keys, np.zeros(1, dtype=layout.DIRECT))
    with pytest.raises(ValueError, match="1 keys but 2 values"):
        plane.update("mz_locations4", keys, LOCATIONS.values(2))


@pytest.mark.parametrize("table", ["mz_locations4", "mz_flows4"])
def test_scan_gives_every_row_once_in_batches(plane: protocol.DataPlane, table: str) -> None:
    spec = TABLES[table]
    keys, values = spec.keys(3000), spec.values(3000)
    keys["vni"], keys[spec.key.names[1]] = 7, np.arange(1, 3001)  # type: ignore[index]
    plane.update(table, keys, values)
    pages = [page for page, _ in plane.scan(table, 256)]
    assert len(pages) >= 3000 // 256
    assert max(len(page) for page in pages) <= 512
    assert sorted(key.tobytes() for page in pages for key in page) == sorted(key.tobytes() for key in keys)


def test_rows_may_be_deleted_while_they_are_scanned(plane: protocol.DataPlane) -> None:
    plane.update("mz_flows4", *flows(3000))
    assert sum(plane.delete("mz_flows4", keys) for keys, _ in plane.scan("mz_flows4", 256)) == 3000
    assert plane.count("mz_flows4") == 0


def test_many_keys_are_looked_up_at_once(plane: protocol.DataPlane) -> None:
    for table, (keys, values) in (
        ("mz_locations4", locations(100)),
        ("mz_flows4", flows(100)),
        ("mz_routes4", routes(*((number << 8, 24, number) for number in range(1, 9)))),
    ):
        plane.update(table, keys[::2], values[::2])
        found, held = plane.lookup_each(table, keys)
        assert found.tolist() == [at % 2 == 0 for at in range(len(keys))]
        assert held[::2].tobytes() == values[::2].tobytes()
        assert not any(held[1::2].tobytes())
        assert len(plane.lookup_each(table, keys[:0])[0]) == 0


def test_capacity_is_what_was_asked_for(plane: protocol.DataPlane) -> None:
    for table in ("mz_hosts", "mz_routes4", "mz_locations4", "mz_stats"):
        assert plane.capacity(table) == SIZES[table]


def test_unknown_table_is_refused(plane: protocol.DataPlane) -> None:
    with pytest.raises(errors.InvalidError, match="mz_hosts"):
        plane.dump("hosts")


def test_destroy_forgets_all_rows(plane: protocol.DataPlane) -> None:
    plane.update("mz_locations4", *locations(10))
    plane.destroy()
    if hasattr(plane, "process"):  # the kernel's is closed for good
        assert plane.count("mz_locations4") == 0

# SPDX-License-Identifier: Apache-2.0
"""The small pure parts: slots, comparison, peers' rows, probe rounds, names, events."""

from __future__ import annotations

import dataclasses
import pathlib
import sqlite3
import struct

import numpy as np
import pytest

from mizar import errors
from mizar.abi import layout
from mizar.agent import attachment, config, journal, netlink, peers, prober, slots, underlay, writer
from mizar.rpc.gen.mizar.node.v1 import node_pb2

# ---------------------------------------------------------------- slots


def test_slots_are_unique_and_never_zero() -> None:
    made = slots.Slots(5, taken={2})
    assert [made.take() for _ in range(3)] == [1, 3, 4]
    with pytest.raises(errors.ConflictError, match="all 4 are in use"):
        made.take()


def test_freed_slot_waits_behind_the_unused() -> None:
    made = slots.Slots(4)
    first = made.take()
    made.free(first)
    made.free(first)
    assert [made.take() for _ in range(3)] == [2, 3, first]


def test_slot_that_was_taken_before_us_can_be_freed() -> None:
    made = slots.Slots(3, taken={2})
    made.free(2)
    assert sorted([made.take(), made.take()]) == [1, 2]


# ---------------------------------------------------------------- comparison


@pytest.mark.parametrize("table", [layout.Table.ROUTES4, layout.Table.SHARDS, layout.Table.LOCATIONS4])
def test_baseline_finds_exactly_the_rows_that_differ(table: layout.Table) -> None:
    spec = layout.TABLES[table]
    generator = np.random.default_rng(1)
    size = 500
    raw = generator.integers(0, 3, size * spec.key.itemsize, dtype="u1")
    keys = np.unique(np.frombuffer(raw.tobytes(), dtype=spec.key))
    values = np.frombuffer(generator.bytes(len(keys) * spec.value.itemsize), dtype=spec.value).copy()
    base = writer.Baseline(keys[::2], values[::2])
    asked = values.copy()
    asked.view("u1").reshape(len(keys), -1)[10, -1] ^= 1
    expected = np.arange(len(keys)) % 2 == 1
    expected[10] = True
    assert (base.differing(keys, asked) == expected).all()
    assert (base.differing(keys, values) == expected).all(), "what was written once is compared no more"


def test_written_rows_are_all_but_refused_and_untried_ones() -> None:
    assert writer.written(6, [writer.Refusal(1, ""), writer.Refusal(3, "", more=2)]) == [0, 2]


# ---------------------------------------------------------------- peers


MAC = b"\x02\x00\x00\x00\x00\x01"


def test_mac_is_renewed_only_when_it_runs_out() -> None:
    hop = underlay.Hop(1, MAC)
    row = peers.Row().with_hop(hop, 100.0)
    assert (row.nexthop, row.mac, row.mac_until) == (1, MAC, 160)
    assert row.with_hop(hop, 129.0) is row
    assert row.with_hop(hop, 131.0).mac_until == 191


def test_new_next_hop_forgets_the_mac_of_the_old() -> None:
    row = peers.Row().with_hop(underlay.Hop(1, MAC), 100.0)
    assert row.with_hop(underlay.Hop(2, None), 101.0) == peers.Row(nexthop=2)


def test_lost_neighbour_keeps_its_mac_until_it_runs_out() -> None:
    row = peers.Row(is_self=False, down=True).with_hop(underlay.Hop(1, MAC), 100.0)
    assert row.with_hop(underlay.Hop(1, None), 101.0) is row
    assert row.down


# ---------------------------------------------------------------- probes


def test_three_missed_rounds_make_a_host_down_and_one_answer_up() -> None:
    rounds = prober.Rounds()
    found = [rounds.begin({1, 2}, nonce) for nonce in range(4)]
    assert found == [{}, {}, {}, {1: True, 2: True}]
    assert rounds.answered(1, 3)
    assert rounds.begin({1, 2}, 4) == {2: True}


def test_host_that_dies_right_after_an_answer_is_down_within_three_seconds() -> None:
    assert (prober.MISSES + 1) * prober.INTERVAL <= 3


def test_late_and_foreign_answers_do_not_count() -> None:
    rounds = prober.Rounds()
    rounds.begin({1}, 10)
    rounds.begin({1}, 11)
    assert not rounds.answered(1, 10)
    assert not rounds.answered(2, 11)


def test_host_that_is_no_longer_asked_is_forgotten() -> None:
    rounds = prober.Rounds()
    for nonce in range(3):
        rounds.begin({1}, nonce)
    rounds.begin(set(), 3)
    assert rounds.begin({1}, 4) == {}


# ---------------------------------------------------------------- names


def test_host_side_names_are_short_stable_and_different() -> None:
    names = [attachment.host_ifname(f"{'v' * 63}/{'n' * 60}{number}") for number in range(1000)]
    assert len(set(names)) == 1000
    assert all(attachment.HOST_IFNAME.fullmatch(name) and len(name) <= 15 for name in names)
    assert attachment.host_ifname("blue/web-1") == "mzbe7eefe186bd"


# ---------------------------------------------------------------- events


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (24, b"", underlay.Change.ROUTES),
        (20, b"", underlay.Change.ROUTES),
        (16, struct.pack("=BxHiII", 0, 0, 2, 0, 0), underlay.Change.ROUTES),
        (16, struct.pack("=BxHiII", 0, 0, 9, 0, 0), underlay.Change(0)),
        (17, struct.pack("=BxHiII", 0, 0, 9, 0, 0), underlay.Change.LINK_GONE),
        (28, struct.pack("=BxxxIHBB", 2, 2, 0, 0, 0), underlay.Change.NEIGHBOURS),
        (28, struct.pack("=BxxxIHBB", 2, 9, 0, 0, 0), underlay.Change(0)),
        (999, b"", underlay.Change(0)),
    ],
)
def test_events_are_sorted_by_what_they_change(kind: int, body: bytes, expected: underlay.Change) -> None:
    assert netlink.classify(message(kind, body), 2) == expected


def test_several_events_in_one_datagram_count_together() -> None:
    data = message(24, b"abc") + b"\0" + message(28, struct.pack("=BxxxIHBB", 2, 2, 0, 0, 0))
    assert netlink.classify(data, 2) == underlay.Change.ROUTES | underlay.Change.NEIGHBOURS


# ---------------------------------------------------------------- journal


def test_journal_remembers_cookies_of_64_bits(tmp_path: pathlib.Path) -> None:
    record = journal.EndpointRecord(
        message=node_pb2.Endpoint(key=node_pb2.EndpointKey(vpc="blue", name="a")),
        slot=1,
        mtu=1436,
        ifindex=5,
        netns_cookie=(1 << 64) - 1,
        made=True,
    )
    opened = journal.Journal(tmp_path / "agent.db")
    opened.put_endpoint(record)
    opened.close()
    assert journal.Journal(tmp_path / "agent.db").endpoints() == [record]


def test_journal_of_another_boot_is_dropped(tmp_path: pathlib.Path) -> None:
    opened = journal.Journal(tmp_path / "agent.db")
    opened.put_hosts([(1, "h1")])
    opened.set_fact("boot", "another")
    opened.close()
    assert journal.Journal(tmp_path / "agent.db").hosts() == {}


def test_journal_of_the_version_before_is_kept(tmp_path: pathlib.Path) -> None:
    opened = journal.Journal(tmp_path / "agent.db")
    opened.put_hosts([(1, "h1")])
    opened.close()
    with sqlite3.connect(tmp_path / "agent.db") as old:
        for table in ("services", "gateways", "floating", "forwards", "checks"):
            old.execute(f"DROP TABLE {table}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    renewed = journal.Journal(tmp_path / "agent.db")
    renewed.put_service((5, 1, 80, 6), "blue/shop")
    assert (renewed.hosts(), renewed.services()) == ({1: "h1"}, {(5, 1, 80, 6): "blue/shop"})


def test_damaged_journal_says_what_to_do(tmp_path: pathlib.Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no database" * 1000)
    with pytest.raises(errors.UnavailableError, match="remove the file"):
        journal.Journal(tmp_path / "agent.db")


def test_journal_is_readable_while_it_is_written(tmp_path: pathlib.Path) -> None:
    journal.Journal(tmp_path / "agent.db").put_hosts([(1, "h1")])
    with sqlite3.connect(tmp_path / "agent.db") as reader:
        assert reader.execute("SELECT name FROM hosts").fetchall() == [("h1",)]


# ---------------------------------------------------------------- configuration


def test_default_socket_and_pins_follow_state_directory_and_name() -> None:
    made = config.AgentConfig(name="h1", state_dir=pathlib.Path("/run/x"))
    assert made.targets == ("unix:///run/x/agent.sock",)
    assert made.pins == pathlib.Path("/sys/fs/bpf/mizar/h1")
    assert dataclasses.replace(made, listen_insecure=("127.0.0.1:1",)).targets == ()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"log_level": "loud"}, "log level 'loud'"),
        ({"map_sizes": {"arp": 1}}, "table 'arp': must be one of config, hosts"),
        ({"map_sizes": {"hosts": 0}}, "size 0 of table hosts"),
    ],
)
def test_wrong_configuration_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(errors.InvalidError, match=says):
        config.AgentConfig(**wrong)  # type: ignore[arg-type]


def test_direct_paths_are_confirmed_before_they_are_forgotten() -> None:
    with pytest.raises(errors.InvalidError, match="ages of direct paths 9 and 8 ms"):
        config.DirectAges(soft=9, hard=8)

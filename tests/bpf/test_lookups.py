# SPDX-License-Identifier: Apache-2.0
"""Programs find what user space has put into buckets and routes, all of it and nothing else."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Final
from unittest import mock

import numpy as np
import pytest

from mizar.abi import hashes, layout
from mizar.abi.layout import Hop, RouteKind, Table
from mizar.abi.verdicts import Verdict
from mizar.dataplane import parts, programs, protocol, tables
from tests.bpf import world
from tests.support import netns
from tests.support.machine import LOOPBACK, SIZES, Hook, Machine, number

_ROWS: Final = SIZES[Table.HOSTS]
_BUCKETS: Final = parts.largest(layout.MAPS[Table.HOSTS].entries(_ROWS))
_ROOM: Final = layout.BUCKET_ROWS * layout.BUCKET_REACH
_PEERS: Final = itertools.count(number("198.18.0.1"))


def _is_peer(machine: Machine, address: int) -> bool:
    """Does the program take this host's packets?"""
    frame = world.arrived(src=str(_text(address)))
    return machine.run(Hook.XDP, frame).verdict is not Verdict.DROP_FOREIGN_PEER


def _text(address: int) -> str:
    return ".".join(str(octet) for octet in address.to_bytes(4, "big"))


def _home(address: int) -> int:
    """As a big-endian field of the key is a number to the program."""
    number = int.from_bytes(address.to_bytes(4, "big"), "little")
    return hashes.bucket_of(number, layout.BUCKET_FACTOR, _BUCKETS)


def _neighbours(home: int, n: int) -> list[int]:
    """Addresses that all have the same home."""
    return list(itertools.islice((a for a in _PEERS if _home(a) == home), n))


def _list(machine: Machine, address: int) -> None:
    machine.host(_text(address), nexthop=_text(address))


def test_a_full_table_is_found_to_the_last_row(machine: Machine) -> None:
    machine.config(world.US)
    listed = random.Random(7).sample(range(number("198.18.0.1"), number("198.19.255.255")), _ROWS)
    for address in listed:
        _list(machine, address)
    assert all(_is_peer(machine, address) for address in listed)
    keys, _ = machine.tables[Table.HOSTS].dump()
    assert sorted(keys.tolist()) == sorted(listed)
    with pytest.raises(protocol.PartialUpdateError):
        _list(machine, number("198.51.100.1"))


def test_keys_of_one_home_go_on_into_the_next_buckets(machine: Machine) -> None:
    machine.config(world.US)
    listed = _neighbours(_BUCKETS - 1, _ROOM)  # the last bucket, so that the first one is next
    for address in listed:
        _list(machine, address)
    assert all(_is_peer(machine, address) for address in listed)
    (stranger,) = _neighbours(_BUCKETS - 1, 1)
    assert not _is_peer(machine, stranger)
    with pytest.raises(protocol.PartialUpdateError):
        _list(machine, stranger)


@pytest.mark.parametrize("gone", [0, 3, 4, _ROOM - 1])
def test_a_deleted_key_hides_no_other_and_leaves_its_place(machine: Machine, gone: int) -> None:
    machine.config(world.US)
    listed = _neighbours(5, _ROOM)
    for address in listed:
        _list(machine, address)
    deleted = listed.pop(gone)
    assert machine.tables[Table.HOSTS].delete([deleted]) == 1
    assert machine.tables[Table.HOSTS].delete([deleted]) == 0
    assert not _is_peer(machine, deleted)
    assert all(_is_peer(machine, address) for address in listed)
    (another,) = _neighbours(5, 1)
    _list(machine, another)
    assert _is_peer(machine, another)
    assert machine.tables[Table.HOSTS].count() == _ROOM


def test_free_and_deleted_rows_are_nobody_s(machine: Machine) -> None:
    """What marks them can come from the wire as an address, or as a VNI."""
    machine.config(world.US)
    for address in _neighbours(0, layout.BUCKET_ROWS):
        _list(machine, address)
    machine.tables[Table.HOSTS].delete(machine.tables[Table.HOSTS].dump()[0])
    for address in (0, 0xFFFFFFFF):
        assert not _is_peer(machine, address)
        assert machine.tables[Table.HOSTS].lookup(address) is None
    with pytest.raises(protocol.PartialUpdateError):
        _list(machine, 0)


def test_a_new_value_replaces_the_old_one(machine: Machine) -> None:
    world.hosts(machine)
    assert _is_peer(machine, number(world.H2))
    machine.host(world.H2, flags=layout.HostFlags.SELF)
    assert not _is_peer(machine, number(world.H2))


# ---------------------------------------------------------------- growing


_MANY: Final = 16 * 1024


@pytest.fixture
def roomy(loopback: netns.Namespace) -> Iterator[Machine]:
    """Hosts in a table that is worth growing: parts of 512, 2048 and 8192 buckets."""
    with mock.patch.dict(SIZES, {Table.HOSTS: _MANY}), loopback.entered(), Machine() as found:
        found.config(world.US)
        yield found


def _list_many(machine: Machine, addresses: list[int]) -> None:
    spec = layout.TABLES[Table.HOSTS]
    machine.tables[Table.HOSTS].update(np.array(addresses, dtype=spec.key), spec.values(len(addresses)))


def _part(machine: Machine) -> int:
    row = machine.maps[layout.PARTS].lookup(0)
    assert row is not None
    return int(row[Table.HOSTS]) >> 32


def test_programs_find_all_rows_of_a_table_that_has_grown(roomy: Machine) -> None:
    listed = random.Random(3).sample(range(number("198.18.0.1"), number("198.19.255.255")), _MANY + 50)
    strangers, sizes, done = listed[_MANY:], [], 0
    for count in (10, 512, 513, 1000, 5000, _MANY):
        _list_many(roomy, listed[done:count])
        done = count
        sizes.append(_part(roomy))
        some = (*listed[:count][:50], *listed[:count][-50:])
        assert all(_is_peer(roomy, address) for address in some)
        assert not any(_is_peer(roomy, address) for address in strangers)
        assert sorted(roomy.tables[Table.HOSTS].dump()[0].tolist()) == sorted(listed[:count])
    assert sizes == [512, 512, 2048, 2048, 8192, 8192]
    heir = tables.over(roomy.maps)[Table.HOSTS]
    assert heir.count() == _MANY
    with pytest.raises(protocol.PartialUpdateError):
        heir.update([strangers[0]], layout.TABLES[Table.HOSTS].values(1))


def test_no_packet_misses_a_row_while_its_table_grows(roomy: Machine) -> None:
    """Packets of the first host arrive without a pause; XDP leaves them as they are."""
    first, *listed = random.Random(5).sample(range(number("198.18.0.1"), number("198.19.255.255")), _MANY)
    _list_many(roomy, [first])
    frame, done = world.arrived(src=str(_text(first))), threading.Event()
    context = programs.xdp_context(len(frame), ifindex=LOOPBACK)
    verdict, before = roomy.run(Hook.XDP, frame).verdict, roomy.verdicts()

    def send() -> int:
        sent = 0
        while not done.is_set():
            roomy.programs[Hook.XDP].test_run(frame, context=context, repeat=10_000)
            sent += 10_000
        return sent

    with futures.ThreadPoolExecutor() as pool:
        sending = pool.submit(send)
        try:
            for start in range(0, len(listed), 100):
                _list_many(roomy, listed[start : start + 100])
        finally:
            done.set()
        sent = sending.result()
    assert _part(roomy) == _MANY // layout.BUCKET_SHARE
    assert roomy.verdicts() == before | {verdict: before[verdict] + sent}


# ---------------------------------------------------------------- routes


def _divided_to(machine: Machine, address: str) -> Verdict:
    frame = world.arrived(world.rts(Hop.DIVIDER), content=world.inner(dst=address))
    return machine.run(Hook.XDP, frame).verdict


def test_longest_prefix_wins_whatever_the_order_of_writing(machine: Machine) -> None:
    world.hosts(machine)
    machine.vpc(world.VNI, flags=layout.VpcFlags.DIVIDER)
    machine.shards(world.NETWORK, world.SHARDS, [world.H2])
    inside = {"network": world.NETWORK, "shards": world.SHARDS}
    machine.route(world.VNI, "10.0.1.0/24", RouteKind.NETWORK, **inside)
    machine.route(world.VNI, "0.0.0.0/0", RouteKind.NETWORK, **inside)
    machine.route(world.VNI, "10.0.1.7/32", RouteKind.NONE)
    machine.route(world.VNI, "10.0.0.0/16", RouteKind.NONE)
    expected = {
        "10.0.1.6": Verdict.DIVIDED,
        "10.0.1.7": Verdict.DROP_NO_NETWORK,
        "10.0.2.6": Verdict.DROP_NO_NETWORK,
        "172.16.0.1": Verdict.DIVIDED,
    }
    assert {address: _divided_to(machine, address) for address in expected} == expected


def test_every_length_can_be_used_at_once(machine: Machine) -> None:
    world.hosts(machine)
    machine.vpc(world.VNI, flags=layout.VpcFlags.DIVIDER)
    for length in range(33):
        address = number(world.B) & layout.mask4(length)
        machine.route(world.VNI, f"{_text(address)}/{length}", RouteKind.NONE)
    keys, _ = machine.tables[Table.ROUTES4].dump()
    for _ in range(33):
        assert _divided_to(machine, world.B) is Verdict.DROP_NO_NETWORK
        longest = keys[np.argmax(keys["mask"])]
        machine.tables[Table.ROUTES4].delete(np.array([longest]))
        keys = keys[keys != longest]
    assert _divided_to(machine, world.B) is Verdict.DROP_NO_ROUTE


def test_another_vpc_s_routes_are_left_alone(machine: Machine) -> None:
    world.hosts(machine)
    machine.vpc(world.VNI, flags=layout.VpcFlags.DIVIDER)
    for vni in (world.VNI, world.OTHER_VNI):
        machine.route(vni, "10.0.0.0/16", RouteKind.NONE)
    machine.tables[Table.ROUTES4].delete(
        np.array([(world.OTHER_VNI, number("10.0.0.0"), layout.mask4(16))], dtype=layout.ROUTE_KEY4)
    )
    assert _divided_to(machine, world.B) is Verdict.DROP_NO_NETWORK

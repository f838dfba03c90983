# SPDX-License-Identifier: Apache-2.0
"""The cache of direct paths, which programs fill: sets of six places, and nobody waits for a lock."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from typing import Any, Final

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st

from mizar.abi import layout
from mizar.abi.geneve import Forget, Here
from mizar.abi.layout import Table
from mizar.abi.verdicts import Verdict
from mizar.dataplane import maps, programs, sets
from tests.bpf import world
from tests.support import machine as machines
from tests.support.machine import Hook, Machine, number

_ROOM: Final = layout.DIRECT_ROWS * layout.DIRECT_LINES
_OUTER_DST: Final = slice(30, 34)
_OFTEN: Final = 20_000
_ENOUGH: Final = 200
"""Times that the place has changed hands; how long that takes is the scheduler's choice."""
_ROUNDS: Final = 5000


@pytest.fixture
def sender(machine: Machine) -> Machine:
    """A's host, which has learnt nothing, and whose network is all of the VPC."""
    world.endpoint_host(machine)
    machine.port(
        world.PORT,
        vni=world.VNI,
        addr=world.A,
        mac=world.A_MAC,
        mtu=world.MTU,
        network=world.NETWORK,
        shards=world.SHARDS,
        onlink=["10.0.0.0/16"],
    )
    return machine


def _home(machine: Machine, addr: str) -> int:
    table = machine.tables[Table.DIRECT4]
    assert isinstance(table, sets.SetTable)
    return table.home((world.VNI, number(addr)))


def _neighbours(machine: Machine, n: int) -> list[str]:
    """Addresses of A's network that share a set."""
    candidates = (f"10.0.{10 + i % 100}.{1 + i // 100}" for i in range(20_000))
    home = _home(machine, next(candidates))
    return list(itertools.islice((addr for addr in candidates if _home(machine, addr) == home), n))


def _here(machine: Machine, addr: str, host: str) -> Verdict:
    frame = world.control(Here(number(addr)), src=host)
    return machine.run(Hook.TC, frame).verdict


def _way(machine: Machine, addr: str) -> Verdict:
    return machine.run(Hook.ENDPOINT, world.sent(dst=addr)).verdict


def _lines(machine: Machine) -> npt.NDArray[Any]:
    lines: npt.NDArray[Any] = maps.mapped(machine.maps[Table.DIRECT4])["lines"]
    return lines


def test_six_of_one_set_are_all_known(sender: Machine) -> None:
    addresses = _neighbours(sender, _ROOM)
    for addr in addresses:
        assert _here(sender, addr, world.H4) is Verdict.LEARNT
    assert {_way(sender, addr) for addr in addresses} == {Verdict.DIRECT}
    assert sender.tables[Table.DIRECT4].count() == _ROOM


@pytest.mark.parametrize("oldest", range(_ROOM))
def test_the_next_one_takes_the_place_of_the_oldest(sender: Machine, oldest: int) -> None:
    *addresses, another = _neighbours(sender, _ROOM + 1)
    for at, addr in enumerate(addresses):
        sender.direct(world.VNI, addr, world.H4, age_ms=4000 if at == oldest else 100 * at)
    _here(sender, another, world.H3)
    gone = addresses.pop(oldest)
    assert _way(sender, gone) is Verdict.TO_BOUNCER
    assert {_way(sender, addr) for addr in (*addresses, another)} == {Verdict.DIRECT}


def test_a_free_place_is_taken_before_anybody_s(sender: Machine) -> None:
    *addresses, another = _neighbours(sender, _ROOM + 1)
    for addr in addresses:
        sender.direct(world.VNI, addr, world.H4, age_ms=machines.HARD_MS - 1000)
    gone = addresses.pop(2)
    frame = world.control(Forget(number(gone)), src=world.H4)
    assert sender.run(Hook.TC, frame).verdict is Verdict.FORGOT
    _here(sender, another, world.H4)
    assert {sender.direct_host(world.VNI, addr) for addr in (*addresses, another)} == {world.H4}
    assert sender.direct_host(world.VNI, gone) is None


def test_another_host_takes_the_same_place(sender: Machine) -> None:
    for host in (world.H4, world.H3):
        _here(sender, world.B, host)
        assert sender.direct_host(world.VNI, world.B) == host
    assert sender.tables[Table.DIRECT4].count() == 1


def test_what_is_being_written_is_neither_read_nor_waited_for(sender: Machine) -> None:
    addr, other = _neighbours(sender, 2)
    _here(sender, addr, world.H4)
    lines = _lines(sender)
    home = _home(sender, addr)
    assert lines[home, 0]["version"] % 2 == 0
    lines[home, 0]["version"] += 1
    assert _way(sender, addr) is Verdict.TO_BOUNCER
    assert _here(sender, other, world.H4) is Verdict.LEARNT
    lines[home, 0]["version"] += 1
    assert _way(sender, addr) is Verdict.DIRECT
    assert _way(sender, other) is Verdict.TO_BOUNCER


def test_every_writing_leaves_another_version(sender: Machine) -> None:
    home = _home(sender, world.B)
    seen = []
    for host in (world.H4, world.H3, world.H4):
        _here(sender, world.B, host)
        seen.append(int(_lines(sender)[home, 0]["version"]))
    assert len(set(seen)) == len(seen)
    assert all(version % 2 == 0 for version in seen)


def test_no_packet_goes_by_the_path_of_another(sender: Machine) -> None:
    """Two processors teach two endpoints, each on a host of its own, which put out each other time and again.
    What a sender reads meanwhile may be half written."""
    *settled, left, right = _neighbours(sender, _ROOM + 1)
    hosts = {left: world.H3, right: world.H4}
    done = threading.Event()

    def teach(addr: str) -> None:
        frame, context = world.control(Here(number(addr)), src=hosts[addr]), programs.skb_context()
        while not done.is_set():
            sender.programs[Hook.TC].test_run(frame, context=context, repeat=_OFTEN)

    ways: set[tuple[str, str]] = set()
    home = _home(sender, left)
    before = int(_lines(sender)[home, 0]["version"])

    def written() -> int:
        return (int(_lines(sender)[home, 0]["version"]) - before) // 2

    seen = {world.H2, *hosts.values()}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        teachers = [pool.submit(teach, addr) for addr in hosts]
        try:
            for _ in range(_ROUNDS):
                for addr in settled:  # the youngest: the two only have each other's place
                    sender.direct(world.VNI, addr, world.H2, age_ms=-900)
                ways |= {(addr, _sent_to(sender, addr)) for _ in range(5) for addr in hosts}
                if written() > _ENOUGH and {host for _, host in ways} == seen:
                    break
        finally:
            done.set()
    assert [teacher.result() for teacher in teachers] == [None, None]
    assert {(addr, host) for addr, host in ways if host != world.H2} == set(hosts.items())
    assert {host for _, host in ways} == seen
    assert written() > _ENOUGH


def test_rows_are_read_while_programs_write(sender: Machine) -> None:
    frames = [world.control(option(number(world.B)), src=world.H4) for option in (Here, Forget)]
    done = threading.Event()

    def run(frame: bytes) -> None:
        while not done.is_set():
            sender.programs[Hook.TC].test_run(frame, context=programs.skb_context(), repeat=_OFTEN)

    table = sender.tables[Table.DIRECT4]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(run, frame) for frame in frames]
        try:
            counts = {len(table.dump()[0]) for _ in range(20_000)}
        finally:
            done.set()
    assert [writer.result() for writer in writers] == [None, None]
    assert counts <= {0, 1}


def _sent_to(machine: Machine, addr: str) -> str:
    """The host to which A's host sends: the bouncer, H2, or straight to another."""
    frame = (
        machine.programs[Hook.ENDPOINT].test_run(world.sent(dst=addr), context=programs.skb_context()).data
    )
    return ".".join(str(octet) for octet in frame[_OUTER_DST])


# ---------------------------------------------------------------- from user space

_KEYS: Final = st.tuples(st.integers(1, 3), st.integers(0, 40))
_STEPS: Final = st.lists(st.tuples(st.booleans(), st.lists(_KEYS, min_size=1, max_size=20)), max_size=20)


@hypothesis.given(_STEPS)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_are_those_written_or_fewer(machine: Machine, steps: list[tuple[bool, list[Any]]]) -> None:
    """A dict, of which a cache may have forgotten some."""
    table = machine.tables[Table.DIRECT4]
    table.delete(table.dump()[0])
    wanted: dict[tuple[int, int], int] = {}
    spec = layout.TABLES[Table.DIRECT4]
    for serial, (is_update, listed) in enumerate(steps, start=1):
        keys = np.array(listed, dtype=spec.key)
        before = table.count()
        if is_update:
            values = spec.values(len(keys))
            values["host"], values["confirmed"] = np.arange(len(keys)) + 100 * serial, serial
            table.update(keys, values)
            wanted |= dict(zip(listed, values["host"].tolist(), strict=True))
            # What was written last has put out others, not itself.
            assert table.lookup_each(keys[-1:])[0].all()
        else:
            deleted = table.delete(keys)
            assert table.count() == before - deleted
            assert not table.lookup_each(keys)[0].any()
            for key in listed:
                wanted.pop(key, None)
        found_keys, found = table.dump()
        rows = dict(zip(found_keys.tolist(), found["host"].tolist(), strict=True))
        assert len(rows) == len(found_keys) == table.count() <= table.capacity
        assert rows.items() <= wanted.items()
        assert sorted(rows) == sorted(key for page, _ in table.scan(12) for key in page.tolist())

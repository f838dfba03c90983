# SPDX-License-Identifier: Apache-2.0
"""When entries of the connection table are dead, and how they are taken away."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mizar.abi import hashes, layout
from mizar.agent import collector, flows
from mizar.dataplane import fake

NOW = 100_000
STATE = layout.FlowState
KIND = layout.FlowKind
TCP, UDP, ICMP, SCTP, GRE = 6, 17, 1, 132, 47


def entry(
    number: int,
    *,
    proto: int = TCP,
    state: int = 0,
    idle: int = 0,
    kind: KIND = KIND.SERVICE,
    asked: int = 0,
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A client's port `number` to a service, as key and value; the opposite is other()."""
    key = (7, 1, 2, number, 80, proto, (0, 0, 0))
    value = (1, 3, number, 8080, 7, 0, NOW - idle & 0xFFFFFFFF, asked, state, int(kind), 0)
    return key, value


def other(number: int, **fields: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The entry of the answers to entry()."""
    (vni, src, dst, sport, dport, proto, pad), value = entry(number, **fields)
    key = (vni, value[1], value[0], value[3], value[2], proto, pad)
    return key, (dst, src, dport, sport, *value[4:8], value[8] | STATE.REVERSE, *value[9:])


def columns(*entries: tuple[tuple[Any, ...], tuple[Any, ...]]) -> tuple[layout.Rows, layout.Rows]:
    keys = np.array([key for key, _ in entries], dtype=layout.FLOW_KEY4)
    return keys, np.array([value for _, value in entries], dtype=layout.FLOW4)


def is_dead(**fields: Any) -> bool:
    return bool(flows.dead(*columns(entry(1, **fields)), NOW)[0])


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP, SCTP, GRE])
def test_times_are_those_of_the_programs(protocol: int) -> None:
    for state in range(16):
        limit = hashes.flow_timeout(protocol, state)
        assert not is_dead(proto=protocol, state=state, idle=limit)
        assert is_dead(proto=protocol, state=state | STATE.REVERSE, idle=limit + 1)


def test_stamp_ahead_of_the_clock_or_across_its_turn_is_young() -> None:
    assert not is_dead(proto=UDP, idle=-2)
    keys, values = columns(entry(1, proto=UDP))
    values["seen"] = 0xFFFFFFFE
    assert not flows.dead(keys, values, 5)[0]
    assert flows.dead(keys, values, 40)[0]


def test_affinity_lasts_as_long_as_it_was_asked_for() -> None:
    assert not is_dead(kind=KIND.AFFINITY, asked=10_800, idle=10_800)
    assert is_dead(kind=KIND.AFFINITY, asked=10, idle=11)


@pytest.mark.parametrize(
    ("state", "idle", "expected"),
    [
        (0, 7, True),
        (0, 6, False),
        (STATE.REPLIED, 7000, False),
        (STATE.REPLIED | STATE.CLOSED, 2, True),
        (STATE.REPLIED | STATE.FIN_ORIG | STATE.FIN_REPLY, 13, True),
        (STATE.REPLIED | STATE.FIN_ORIG, 500, False),
    ],
)
def test_crowded_table_spares_only_what_is_in_use(state: int, idle: int, expected: bool) -> None:
    found = flows.dead(*columns(entry(1, state=int(state), idle=idle)), NOW, hurried=True)
    assert bool(found[0]) is expected


def test_each_direction_follows_from_the_other() -> None:
    there, back = columns(entry(5)), columns(other(5))
    assert flows.opposites(*there).tobytes() == back[0].tobytes()
    assert flows.opposites(*back).tobytes() == there[0].tobytes()
    alone = columns(entry(5, kind=KIND.VIA), entry(6, kind=KIND.AFFINITY))
    assert len(flows.opposites(*alone)) == 0


# ---------------------------------------------------------------- collecting


def plane_with(*entries: tuple[tuple[Any, ...], tuple[Any, ...]], room: int = 100_000) -> fake.FakeDataPlane:
    plane = fake.FakeDataPlane({"mz_flows4": room})
    plane.update("mz_flows4", *columns(*entries))
    return plane


def sweep(plane: fake.FakeDataPlane, *, times: int = 1) -> collector.Collector:
    made = collector.Collector(plane, clock=lambda: NOW)

    async def run() -> None:
        for _ in range(times):
            await made.sweep()

    asyncio.run(run())
    return made


def ports(plane: fake.FakeDataPlane) -> list[int]:
    keys, _ = plane.dump("mz_flows4")
    return sorted(keys["sport"].tolist())


def test_dead_entries_go_and_live_ones_stay() -> None:
    dead = [make(number, idle=61) for number in range(2000, 5000) for make in (entry, other)]
    live = [make(number, idle=60) for number in range(1, 11) for make in (entry, other)]
    plane = plane_with(*dead, *live)
    assert sweep(plane).collected == 6000
    assert ports(plane) == [*range(1, 11), *[8080] * 10]


def test_entry_whose_opposite_lives_goes_alone() -> None:
    plane = plane_with(entry(1, idle=61), other(1, idle=3))
    sweep(plane)
    assert ports(plane) == [8080]


class Reviving(fake.FakeDataPlane):
    """A packet comes between the sweep and the deletion."""

    def lookup_each(self, table: str, keys: layout.Rows) -> Any:
        self.update("mz_flows4", *columns(entry(1), other(1)))
        return super().lookup_each(table, keys)


def test_flow_that_comes_to_life_again_is_kept() -> None:
    plane = Reviving({"mz_flows4": 100})
    plane.update("mz_flows4", *columns(entry(1, idle=61), other(1, idle=61)))
    assert sweep(plane).collected == 0
    assert plane.count("mz_flows4") == 2


def test_crowded_table_is_swept_harder() -> None:
    vain = [make(number, idle=30) for number in range(46) for make in (entry, other)]
    plane = plane_with(*vain, room=100)
    assert sweep(plane).collected == 0
    assert sweep(plane, times=2).collected == 92


def test_table_that_is_not_crowded_is_left_its_time() -> None:
    plane = plane_with(*[make(number, idle=30) for number in range(45) for make in (entry, other)], room=100)
    assert sweep(plane, times=2).collected == 0

# SPDX-License-Identifier: Apache-2.0
"""Which way a flow takes is a number, and the programs and Python agree on it."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from scapy.layers import inet, sctp

from mizar.abi import hashes
from mizar.abi.layout import Hop, HostFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.rows import BOTH
from tests.support import packets
from tests.support.machine import Hook, Machine, number

_NO_PORTS: Final = 0
_PORTS: Final = 1000 << 16 | 2000


def _hosts(machine: Machine, n: int) -> list[str]:
    found = [f"192.0.2.{100 + i}" for i in range(n)]
    for addr in found:
        machine.host(addr, nexthop=addr, mac="02:aa:00:00:00:99")
    return found


def _flow(proto: int, ports: int, dst: str = world.B) -> int:
    return hashes.flow_hash(number(world.A), number(dst), proto, ports)


@pytest.mark.parametrize(
    ("payload", "fields", "flow"),
    [
        (packets.udp(), {}, _flow(17, _PORTS)),
        (packets.tcp(), {}, _flow(6, _PORTS)),
        (sctp.SCTP(sport=1000, dport=2000), {}, _flow(132, _PORTS)),
        (packets.icmp(), {}, _flow(1, _NO_PORTS)),
        (packets.udp(), {"options": [inet.IPOption_NOP()] * 40}, _flow(17, _PORTS)),
        (packets.udp(), {"flags": "MF"}, _flow(17, _NO_PORTS)),
        (packets.udp(), {"flags": "MF", "frag": 185}, _flow(17, _NO_PORTS)),
        (packets.udp(), {"flags": "", "frag": 185}, _flow(17, _NO_PORTS)),
        (b"\x03\xe8\x07", {"proto": 17}, _flow(17, _NO_PORTS)),
        (bytes(20), {"proto": 47}, _flow(47, _NO_PORTS)),
    ],
    ids=["udp", "tcp", "sctp", "icmp", "ip options", "first", "middle", "last fragment", "cut udp", "gre"],
)
def test_outer_port_is_the_flows_hash(
    machine: Machine, payload: Any, fields: dict[str, Any], flow: int
) -> None:
    world.endpoint_host(machine)
    run = machine.run(Hook.ENDPOINT, world.sent(payload, **fields))
    assert packets.open_tunnel(run.frame).sport == hashes.source_port_of(flow)


@pytest.mark.parametrize("n", [1, 2, 3, 15])
def test_bouncer_is_picked_by_shard_and_flow(machine: Machine, n: int) -> None:
    world.endpoint_host(machine)
    replicas = {shard: _hosts(machine, n)[shard % n :] for shard in range(world.SHARDS)}
    for shard, hosts in replicas.items():
        machine.shard(world.NETWORK, shard, hosts)
    source = random.Random(1)
    for _ in range(100):
        dst, sport = f"10.0.1.{source.randrange(3, 250)}", source.randrange(1 << 16)
        run = machine.run(Hook.ENDPOINT, world.sent(packets.udp(sport=sport), dst=dst))
        outer = hashes.source_port_of(_flow(17, sport << 16 | 2000, dst))
        hosts = replicas[hashes.shard_of(number(dst), world.SHARDS)]
        assert packets.open_tunnel(run.frame).dst == hosts[hashes.pick_replica(outer, len(hosts))]


@pytest.mark.parametrize("n", [1, 2, 16])
def test_divider_is_picked_by_flow(machine: Machine, n: int) -> None:
    world.endpoint_host(machine)
    dividers = _hosts(machine, n)
    machine.vpc(world.VNI, dividers=dividers)
    for sport in range(100):
        run = machine.run(Hook.ENDPOINT, world.sent(packets.udp(sport=sport), dst=world.C))
        outer = hashes.source_port_of(_flow(17, sport << 16 | 2000, world.C))
        assert packets.open_tunnel(run.frame).dst == dividers[hashes.pick_divider(outer, n)]


@pytest.mark.parametrize("hook", BOTH)
def test_divider_picks_the_bouncer_by_the_outer_port(machine: Machine, hook: Hook) -> None:
    world.divider_host(machine)
    bouncers = _hosts(machine, 7)
    machine.shards(world.NETWORK, world.SHARDS, bouncers)
    for sport in range(0x8000, 0x10000, 331):
        run = machine.run(hook, world.arrived(world.rts(Hop.DIVIDER), sport=sport))
        assert packets.open_tunnel(run.frame).dst == bouncers[hashes.pick_replica(sport, len(bouncers))]


@pytest.mark.parametrize("hook", BOTH)
def test_every_bouncer_but_one_is_down(machine: Machine, hook: Hook) -> None:
    """Wherever the pick falls, the one that is up gets it."""
    world.divider_host(machine)
    bouncers = _hosts(machine, 15)
    machine.shards(world.NETWORK, world.SHARDS, bouncers)
    for up in bouncers:
        for addr in bouncers:
            flags = 0 if addr == up else HostFlags.DOWN
            machine.host(addr, nexthop=addr, mac="02:aa:00:00:00:99", flags=flags)
        for sport in (0x8000, 0xA123, 0xFFFF):
            run = machine.run(hook, world.arrived(world.rts(Hop.DIVIDER), sport=sport))
            assert run.verdict is Verdict.DIVIDED
            assert packets.open_tunnel(run.frame).dst == up


def test_every_divider_but_one_is_down(machine: Machine) -> None:
    world.endpoint_host(machine)
    dividers = _hosts(machine, 16)
    machine.vpc(world.VNI, dividers=dividers)
    for up in dividers:
        for addr in dividers:
            machine.host(addr, nexthop=addr, flags=0 if addr == up else HostFlags.DOWN)
        run = machine.run(Hook.ENDPOINT, world.sent(dst=world.C))
        assert packets.open_tunnel(run.frame).dst == up

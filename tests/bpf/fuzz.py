# SPDX-License-Identifier: Apache-2.0
"""Mutated packets through all programs: `python -m tests.bpf.fuzz --seconds 60 [--seed N]`.

The seeds are the frames of the packet table. Every packet must
 - be counted once, under one verdict (Machine.run),
 - leave with the action that the verdict stands for,
 - if it goes to another host, go to a listed one, in an envelope whose lengths and checksum are right,
 - if it comes from an endpoint, carry nothing but that endpoint's address,
 - if it is delivered, have come from a listed host.
A run is repeated by its seed; a failure prints the seed, the turn and the packet.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import struct
import sys
import time
from collections import Counter
from typing import Final

from scapy import utils

from mizar.abi import layout, macs
from mizar.abi.layout import ConfigFlags, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import DROP_FIRST, Verdict
from tests.bpf import (
    endpoint_rows,
    gateway_rows,
    named_rows,
    route_rows,
    rows,
    scaled_rows,
    transit_rows,
    world,
)
from tests.support import netns, packets
from tests.support.machine import Hook, Machine, Run, number

_LONGEST: Final = 3000

_FORWARDED: Final = {
    Verdict.DIRECT,
    Verdict.DIRECT_PROBE,
    Verdict.TO_BOUNCER,
    Verdict.TO_DIVIDER,
    Verdict.TO_ENDPOINT_HOST,
    Verdict.DELIVERED_HERE,
    Verdict.DIVIDED,
    Verdict.BOUNCED,
    Verdict.STALE,
    Verdict.REDIRECTED,
    Verdict.TO_GATEWAY,
}
_DELIVERED: Final = {Verdict.DELIVERED, Verdict.DELIVERED_HERE}
_FORGETS: Final = {
    Verdict.DROP_UNKNOWN_VNI,
    Verdict.DROP_NO_ROUTE,
    Verdict.DROP_NO_NETWORK,
    Verdict.DROP_NO_DIVIDER,
    Verdict.DROP_NO_BOUNCER,
    Verdict.DROP_NO_ENDPOINT,
    Verdict.DROP_UNKNOWN_HOST,
    Verdict.DROP_NOT_HERE,
    Verdict.DROP_NO_GATEWAY,
}
"""Drops of stale packets, which may leave as a message."""

_LISTED: Final = {number(addr) for addr in (world.H2, world.H3, world.H4)}
_OUTSIDE: Final = {number(addr) for addr in (gateway_rows.O, gateway_rows.F)}
_OUR_ADDRESSES: Final = {number(addr) for addr in (world.A, world.A2)}


def prepare(machine: Machine, *, routed: bool) -> None:
    """We are everything at once, so that every branch can be reached. `routed`: A forwards, follows routes
    of its own, and has peers."""
    machine.clear()
    world.endpoint_host(machine)
    world.divider(machine)
    dividers = [world.H3, world.US]
    machine.vpc(world.VNI, dividers=dividers, flags=VpcFlags.DIVIDER, slot=world.DIVIDER_SLOT)
    machine.route(world.VNI, "10.0.4.0/24", RouteKind.DIVIDER)
    machine.shards(world.NETWORK, world.SHARDS, [world.H2, world.US])
    machine.location(world.VNI, world.B, world.H4, slot=world.BOUNCER_SLOT)
    machine.endpoint(world.VNI, world.C, ifindex=99, mac=world.LOCAL_MAC, slot=world.LOCAL_SLOT)
    scaled_rows.served(machine, backends=(world.A, world.B, world.C))
    machine.location(world.VNI, scaled_rows.V, "0.0.0.0", slot=world.BOUNCER_SLOT)
    scaled_rows.known(machine, proto=17)
    _be_gateway(machine)
    if routed:
        route_rows.everything(machine)


def _be_gateway(machine: Machine) -> None:
    """Of the VPC too, beside H2; O is forwarded to A, to the scaled endpoint and to nobody."""
    machine.config(world.US, mac=world.NIC_MAC, flags=ConfigFlags.GATEWAY)
    flags = VpcFlags.DIVIDER | VpcFlags.ENDPOINTS | VpcFlags.GATEWAY
    machine.vpc(world.VNI, dividers=[world.H3, world.US], flags=flags, slot=world.DIVIDER_SLOT)
    machine.route(world.VNI, "0.0.0.0/0", RouteKind.GATEWAY, network=gateway_rows.GATEWAYS)
    machine.shard(gateway_rows.GATEWAYS, 0, [world.H2, world.US])
    machine.gateway(world.VNI, [gateway_rows.O], slot=gateway_rows.GATEWAY_SLOT)
    machine.floating(world.VNI, world.B, gateway_rows.F)
    for port, inside in ((2222, (world.A, 22)), (2223, (world.A, 22)), (8000, (scaled_rows.V, 80))):
        machine.forward((gateway_rows.O, port), world.VNI, inside)
    gateway_rows.session()(machine)


def corpus() -> dict[Hook, list[bytes]]:
    """Frames to begin with, by program."""
    found: dict[Hook, list[bytes]] = {hook: [] for hook in Hook}
    tables = (
        endpoint_rows.ROWS,
        transit_rows.ROWS,
        named_rows.ROWS,
        route_rows.ROWS,
        scaled_rows.ROWS,
        gateway_rows.ROWS,
    )
    for row in itertools.chain.from_iterable(tables):
        for hook in row.hooks:
            found[hook].append(row.frame)
    return found


# ---------------------------------------------------------------- mutation


def _flip(frame: bytearray, source: random.Random) -> None:
    at = source.randrange(len(frame))
    frame[at] ^= 1 << source.randrange(8)


def _overwrite(frame: bytearray, source: random.Random) -> None:
    at = source.randrange(len(frame))
    frame[at] = source.choice([0, 1, 0x45, 0x7F, 0x80, 0xFF, source.randrange(256)])


def _cut(frame: bytearray, source: random.Random) -> None:
    del frame[source.randrange(len(frame)) :]


def _append(frame: bytearray, source: random.Random) -> None:
    frame += source.randbytes(source.choice([1, 4, 60, 1000]))


def _repeat(frame: bytearray, source: random.Random) -> None:
    at, n = source.randrange(len(frame)), source.randrange(1, 65)
    frame[at:at] = frame[at : at + n]


def _remove(frame: bytearray, source: random.Random) -> None:
    at, n = source.randrange(len(frame)), source.randrange(1, 33)
    del frame[at : at + n]


_MUTATIONS: Final = (_flip, _flip, _overwrite, _overwrite, _cut, _append, _repeat, _remove)


def repair(frame: bytearray) -> None:
    """Make the outer lengths and checksum right again, so that what is inside gets looked at."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00":
        return
    frame[14] = 0x45
    struct.pack_into(">H", frame, 16, len(frame) - 14)
    if frame[23] == 17:
        struct.pack_into(">H", frame, 38, len(frame) - 34)
    frame[24:26] = b"\0\0"
    struct.pack_into(">H", frame, 24, utils.checksum(bytes(frame[14:34])))


def _shortest(frame: bytes, hook: Hook) -> int:
    """Bytes that BPF_PROG_TEST_RUN wants: to make an skb, the whole IP header."""
    if hook is Hook.XDP:
        return packets.ETHER
    return 54 if frame[12:14] == b"\x86\xdd" else 34


def mutate(frame: bytes, hook: Hook, source: random.Random) -> bytes:
    found = bytearray(frame)
    for _ in range(source.randrange(1, 5)):
        if found:
            source.choice(_MUTATIONS)(found, source)
    if source.random() < 0.7:
        repair(found)
    return bytes(found[:_LONGEST]).ljust(_shortest(bytes(found), hook), b"\0")


# ---------------------------------------------------------------- what must hold


def check(hook: Hook, frame: bytes, run: Run) -> None:
    _check_action(hook, run)
    if run.verdict in _DELIVERED:
        assert hook is Hook.TC
        assert int.from_bytes(frame[26:30], "big") in _LISTED, "delivered from a stranger"
    left = run.action in (rows.REDIRECT, rows.XDP_TX)
    if left and (run.verdict in _FORWARDED or run.verdict in _FORGETS):
        _check_envelope(hook, run)
    if run.verdict in (Verdict.NAT_OUT, Verdict.ICMP_OUTSIDE):
        assert int.from_bytes(run.frame[26:30], "big") in _OUTSIDE, "an inside address has left"
    if run.verdict is Verdict.NAT_IN:
        _check_entered(run)
    assert run.counted == len(frame)


def _check_entered(run: Run) -> None:
    """In an envelope it says that it came in; else it is delivered here."""
    if run.frame[6:12] == layout.ROUTER_MAC:
        return
    _check_envelope(Hook.TC, run)
    inner = packets.OPTIONS + (run.frame[42] & 0x3F) * 4
    assert run.frame[inner + 6 : inner + 12] == macs.GATEWAY, "comes as an endpoint's"


def _check_action(hook: Hook, run: Run) -> None:
    drop, gone = (rows.XDP_DROP, rows.XDP_TX) if hook is Hook.XDP else (rows.SHOT, rows.REDIRECT)
    kept = rows.XDP_PASS if hook is Hook.XDP else rows.UNSPEC
    if run.verdict in (Verdict.PASS, Verdict.TO_TC):
        assert run.action == kept
    elif run.verdict in (Verdict.LEARNT, Verdict.FORGOT):
        assert run.action == drop
    elif run.verdict >= DROP_FIRST:
        assert run.action == drop or (hook is Hook.TC and run.verdict in _FORGETS)
    else:
        assert run.action == gone


def _check_envelope(hook: Hook, run: Run) -> None:
    frame = run.frame
    total = int.from_bytes(frame[16:18], "big")
    options = (frame[42] & 0x3F) * 4
    assert utils.checksum(frame[14:34]) == 0, "IPv4 checksum"
    assert frame[14] == 0x45
    assert total <= len(frame) - 14
    assert int.from_bytes(frame[38:40], "big") == total - 20
    assert int.from_bytes(frame[36:38], "big") == layout.GENEVE_PORT
    assert int.from_bytes(frame[26:30], "big") == number(world.US), "outer source"
    assert int.from_bytes(frame[30:34], "big") in _LISTED, "sent to a stranger"
    assert packets.OPTIONS + options <= len(frame)
    if hook is Hook.ENDPOINT:
        inner = frame[packets.OPTIONS + options :]
        _check_source(int.from_bytes(frame[46:49], "big"), inner)
        assert int.from_bytes(inner[16:18], "big") == len(inner) - 14


def _check_source(vni: int, inner: bytes) -> None:
    """Whoever receives it knows from which VPC it comes, and learns no address that is not A's."""
    spoofed = int.from_bytes(inner[26:30], "big") not in _OUR_ADDRESSES
    if vni == world.VNI:
        assert not spoofed or inner[6:12] == macs.via(number(world.A)), "spoofed"
    else:
        assert vni == named_rows.PEER_VNI
        assert inner[6:12] == macs.peer(world.VNI, forwarded=spoofed), "spoofed"


# ---------------------------------------------------------------- running


def run(
    machine: Machine, *, seed: int, seconds: float = math.inf, turns: float = math.inf
) -> Counter[Verdict]:
    """Mutate until time or turns are over; the verdicts that were met. AssertionError names the packet."""
    source, frames = random.Random(seed), corpus()
    met: Counter[Verdict] = Counter()
    deadline, turn = time.monotonic() + seconds, 0
    while turn < turns and time.monotonic() < deadline:
        if turn % 1000 == 0:
            prepare(machine, routed=turn % 2000 == 1000)
        if turn % 10 == 0:
            machine.direct(world.VNI, "10.0.1.5", world.H4, age_ms=source.choice([0, 6000]))
        hook = source.choice(list(Hook))
        frame = mutate(source.choice(frames[hook]), hook, source)
        try:
            result = machine.run(hook, frame)
            check(hook, frame, result)
        except AssertionError as failure:
            raise AssertionError(
                f"seed {seed}, turn {turn}, {hook.name}: {failure}: {frame.hex()}"
            ) from failure
        met[result.verdict] += 1
        turn += 1
    assert machine.tables[Table.HOSTS].count() == len(_LISTED) + 1
    return met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bpf.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with netns.namespace("fuzz") as space, space.entered(), Machine() as machine:
        met = run(machine, seconds=options.seconds, seed=options.seed)
    for verdict, n in sorted(met.items()):
        print(f"{n:9} {verdict.name.lower()}")
    print(f"{met.total():9} packets, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())

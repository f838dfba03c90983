# SPDX-License-Identifier: Apache-2.0
"""Packets that end too early: at every byte of every header, with lengths that say so and that do not."""

from __future__ import annotations

import random
from typing import Final

import pytest
from scapy.layers import inet

from mizar.abi import geneve, layout
from mizar.abi.geneve import Here
from mizar.abi.layout import Hop
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.rows import BOTH, SHOT, XDP_DROP
from tests.support import packets
from tests.support.machine import Hook, Machine, number

SHORTEST: Final = packets.ETHER + 1
SHORTEST_IP: Final = packets.ETHER + 20
"""BPF_PROG_TEST_RUN makes no shorter skb, nor one of IPv4 without a whole header; shorter ones go
over a real interface in tests/netns."""

UDP_END: Final = packets.ETHER + 28
GENEVE_END: Final = UDP_END + 8


def dropped(action: int) -> bool:
    return action in (SHOT, XDP_DROP)


@pytest.mark.parametrize("options", [[], [inet.IPOption_NOP()] * 40], ids=["plain", "60 byte header"])
def test_endpoint_packet_cut_anywhere_is_malformed(machine: Machine, options: list[object]) -> None:
    world.endpoint_host(machine)
    frame = world.sent(packets.tcp(), options=options)
    for length in range(SHORTEST_IP, len(frame)):
        run = machine.run(Hook.ENDPOINT, frame[:length])
        assert (run.verdict, dropped(run.action)) == (Verdict.DROP_MALFORMED_IP, True), length


def test_arp_cut_anywhere_is_malformed(machine: Machine) -> None:
    world.endpoint_host(machine)
    frame = packets.arp(sender_mac=world.A_MAC, sender=world.A, target=world.B)
    for length in range(SHORTEST, len(frame)):
        assert machine.run(Hook.ENDPOINT, frame[:length]).verdict is Verdict.DROP_MALFORMED_ARP, length


@pytest.mark.parametrize("proto", [1, 6, 17, 132, 255])
def test_cut_transport_header_is_the_receivers_matter(machine: Machine, proto: int) -> None:
    world.endpoint_host(machine)
    for length in range(24):
        frame = world.sent(bytes(length), proto=proto)
        assert machine.run(Hook.ENDPOINT, frame).verdict is Verdict.TO_BOUNCER, length


@pytest.mark.parametrize("hook", BOTH)
def test_tunnel_packet_cut_anywhere(machine: Machine, hook: Hook) -> None:
    """Too short for the port to be read it may be anybody's; from there on it is ours and wrong."""
    world.bouncer_host(machine)
    frame = world.arrived(world.rts(Hop.BOUNCER))
    for length in range(SHORTEST if hook is Hook.XDP else SHORTEST_IP, len(frame)):
        run = machine.run(hook, frame[:length])
        expected = Verdict.PASS if length < UDP_END else Verdict.DROP_OUTER_MALFORMED
        assert run.verdict is expected, length


@pytest.mark.parametrize("hook", BOTH)
@pytest.mark.parametrize("control", [False, True], ids=["data", "control"])
def test_tunnel_packet_that_ends_anywhere(machine: Machine, hook: Hook, control: bool) -> None:
    """The outer lengths are right; what they hold is not."""
    world.bouncer_host(machine)
    options = (*world.rts(Hop.BOUNCER), Here(number(world.B)))
    payload = geneve.pack(geneve.Header(world.VNI, control, options), world.inner())
    inner_at = 8 + 24
    for length in range(len(payload)):
        frame = packets.raw_tunnel(payload[:length], src=world.H2, dst=world.US)
        if length < inner_at:
            expected = Verdict.DROP_GENEVE_TRUNCATED
        else:
            expected = Verdict.LEARNT if control else Verdict.DROP_INNER_MALFORMED
        assert machine.run(hook, frame).verdict is expected, length


def _random_option(source: random.Random) -> bytes:
    opt_class = source.choice([layout.OPT_CLASS, layout.OPT_CLASS, 0x0102])
    kind = source.choice([*layout.OptType, *layout.OptType, 0x05, 0x11, 0x85, 0x91])
    data = source.randbytes(4 * source.choice([0, 1, 2, 2, 2, 2, 3, 31]))
    if opt_class == layout.OPT_CLASS and kind == layout.OptType.RTS and len(data) == 8:
        data = number(world.H2).to_bytes(4, "big") + bytes((Hop.BOUNCER, 0, 0, 0))
    return packets.option(opt_class, kind, data)


def _random_options(source: random.Random) -> bytes:
    found = b"".join(_random_option(source) for _ in range(source.randrange(6)))[: 4 * 63]
    if source.random() < 0.2:
        found = found[: 4 * source.randrange(len(found) // 4 + 1)]
    return found


def _judged(header: geneve.Header) -> set[Verdict]:
    """What becomes of a packet that nobody can find fault with."""
    if header.first(geneve.Rts) is not None:
        return {Verdict.BOUNCED}
    if header.first(geneve.Redirect) is not None:
        return {Verdict.TO_TC, Verdict.DROP_NOT_CLIENT}
    return {Verdict.TO_TC, Verdict.STALE, Verdict.DROP_NO_ROUTE}


@pytest.mark.parametrize("hook", BOTH)
def test_options_are_judged_as_user_space_judges_them(machine: Machine, hook: Hook) -> None:
    world.bouncer_host(machine)
    source = random.Random(8926)
    for _ in range(500):
        options = _random_options(source)
        payload = packets.with_options(options, world.inner(), vni=world.VNI)
        try:
            header, _ = geneve.parse(payload)
        except geneve.GeneveError as fault:
            expected = {fault.verdict}
        else:
            expected = _judged(header)
        run = machine.run(hook, packets.raw_tunnel(payload, src=world.H2, dst=world.US))
        assert run.verdict in expected, options.hex()

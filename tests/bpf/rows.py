# SPDX-License-Identifier: Apache-2.0
"""What a row of the packet table is: tables and a packet in, a verdict and a packet out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from mizar.abi.verdicts import DROP_FIRST, Verdict
from tests.support import machine, packets
from tests.support.machine import Hook, Machine
from tests.support.packets import Tunnel

UNSPEC, SHOT, REDIRECT = -1, 2, 7
"""TC_ACT_*."""

XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3

_XDP_SENDS: Final = (Verdict.DIVIDED, Verdict.BOUNCED, Verdict.ECHO, Verdict.REDIRECTED)
_TC_ENDS: Final = (Verdict.LEARNT, Verdict.FORGOT)

BOTH: Final = (Hook.TC, Hook.XDP)
TC_ONLY: Final = (Hook.TC,)
ENDPOINT: Final = (Hook.ENDPOINT,)

Setup = Callable[[Machine], None]


@dataclasses.dataclass(frozen=True)
class Sent:
    """The tunnel packet that is expected out; None: whatever."""

    dst: str
    options: tuple[object, ...] = ()
    inner: bytes | None = None
    control: bool = False
    tos: int | None = None
    vni: int | None = None
    """Where it is not the row's own VPC."""

    def check(self, found: Tunnel, *, src: str, vni: int) -> None:
        assert (found.src, found.dst) == (src, self.dst)
        assert (found.header.vni, found.header.control) == (
            vni if self.vni is None else self.vni,
            self.control,
        )
        assert found.header.options == self.options
        assert self.inner is None or found.inner == self.inner
        assert self.tos is None or found.tos == self.tos


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    setup: tuple[Setup, ...]
    frame: bytes
    verdict: Verdict
    hooks: tuple[Hook, ...]
    out: Sent | Callable[[bytes], None] | None = None
    after: Setup | None = None
    """Checks what the packet has done to the tables."""
    gso_size: int = 0
    at_xdp: Verdict | None = None
    """Verdict of the XDP program where that is another one."""
    action: int | None = None
    """Return code where it is not the verdict's usual one."""

    def expected(self, hook: Hook) -> Verdict:
        return self.at_xdp if hook is Hook.XDP and self.at_xdp is not None else self.verdict

    def expected_action(self, hook: Hook) -> int:
        verdict = self.expected(hook)
        if hook is Hook.XDP:
            if verdict in _XDP_SENDS:
                return XDP_TX
            return XDP_PASS if verdict in (Verdict.PASS, Verdict.TO_TC) else XDP_DROP
        if self.action is not None:
            return self.action
        if verdict is Verdict.PASS:
            return UNSPEC
        return SHOT if verdict >= DROP_FIRST or verdict in _TC_ENDS else REDIRECT


def check_out(row: Row, frame: bytes, *, src: str, vni: int) -> None:
    if isinstance(row.out, Sent):
        row.out.check(packets.open_tunnel(frame), src=src, vni=vni)
    elif row.out is not None:
        row.out(frame)


def stats_are(slot: int, *, tx: int = 0, rx: int = 0) -> Setup:
    """So many packets in a slot, and nothing counted in the direction that is not named."""

    def check(machine: Machine) -> None:
        found = machine.stats(slot)
        assert (found[0], found[2]) == (tx, rx)
        assert (found[1] > 0, found[3] > 0) == (tx > 0, rx > 0)

    return check


def all_of(*checks: Setup) -> Setup:
    def check(machine: Machine) -> None:
        for one in checks:
            one(machine)

    return check


def direct_is(vni: int, addr: str, host: str | None, *, own_vni: int | None = None) -> Setup:
    """The direct path to `addr` leads to `host`, confirmed just now; None: there is none.
    `own_vni`: VPC of the endpoint, if it is not `vni`."""

    def check(found: Machine) -> None:
        assert found.direct_host(vni, addr) == host
        if host is not None:
            assert found.direct_vni(vni, addr) == (vni if own_vni is None else own_vni)
            assert (found.direct_age_ms(vni, addr) or 0) < machine.SOFT_MS // 5

    return check

# SPDX-License-Identifier: Apache-2.0
"""Several machines, and packets that travel between them: one program's output is the next one's input.

    steps = cluster.send(US, frame)
    assert [step.verdict for step in steps] == [Verdict.TO_DIVIDER, Verdict.DIVIDED, ...]

What holds:
 - Every packet that leaves a program is followed: what it redirects, and the clones it sends.
 - The wire keeps order and loses nothing.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Final

from scapy.layers import inet

from mizar.abi import layout
from mizar.abi.verdicts import DROP_FIRST, Verdict
from tests.bpf import clones
from tests.bpf.rows import REDIRECT, XDP_TX
from tests.support import packets
from tests.support.machine import Hook, Machine, Run

ENDLESS: Final = 50
"""Steps after which a packet is taken to be in a loop."""

_INTO_ENDPOINT: Final = (
    Verdict.LOCAL,
    Verdict.DELIVERED,
    Verdict.ARP_REPLY,
    Verdict.ICMP_REPLY,
    Verdict.REFUSED,
)


@dataclasses.dataclass(frozen=True)
class Step:
    """One packet's run through one host."""

    host: str
    verdict: Verdict
    control: bool
    """It was a control message that came."""
    frame: bytes
    """What came out."""


def _tunnel_ends(frame: bytes) -> tuple[str, str] | None:
    """Outer source and destination, if it is a tunnel packet."""
    found = packets.dissect(frame)
    if inet.UDP not in found or found[inet.UDP].dport != layout.GENEVE_PORT:
        return None
    return found[inet.IP].src, found[inet.IP].dst


class Cluster:
    """Hosts by underlay address."""

    def __init__(self, machines: Mapping[str, Machine], hook: Hook, tap: clones.Tap) -> None:
        self.machines = machines
        self._hook = hook
        self._tap = tap

    def send(self, host: str, frame: bytes) -> list[Step]:
        """An endpoint of `host` sends."""
        run = self.machines[host].run(Hook.ENDPOINT, frame)
        return [Step(host, run.verdict, False, run.frame), *self._follow(self._outputs(run))]

    def outside(self, host: str, frame: bytes) -> list[Step]:
        """A plain packet comes to `host` from outside."""
        run = self._arrive(self.machines[host], frame)
        return [Step(host, run.verdict, False, run.frame), *self._follow(self._outputs(run))]

    def inject(self, frame: bytes) -> list[Step]:
        """A tunnel packet is on the wire."""
        return self._follow([frame])

    # ------------------------------------------------------------ how

    def _follow(self, frames: list[bytes]) -> list[Step]:
        steps: list[Step] = []
        queue = deque(frames)
        while queue:
            frame = queue.popleft()
            ends = _tunnel_ends(frame)
            if ends is None or ends[1] not in self.machines:
                continue
            assert len(steps) < ENDLESS, "a packet is in a loop"
            run = self._arrive(self.machines[ends[1]], frame)
            control = bool(frame[packets.OPTIONS - 7] & layout.GeneveFlags.CONTROL)
            steps.append(Step(ends[1], run.verdict, control, run.frame))
            queue.extend(self._outputs(run))
        return steps

    def _arrive(self, machine: Machine, frame: bytes) -> Run:
        if self._hook is Hook.XDP:
            run = machine.run(Hook.XDP, frame)
            if run.verdict not in (Verdict.TO_TC, Verdict.PASS):
                return run
        return machine.run(Hook.TC, frame)

    def _outputs(self, run: Run) -> list[bytes]:
        """Tunnel packets that this run put on the wire."""
        found = [frame for frame in self._tap.frames() if _tunnel_ends(frame) is not None]
        if run.action in (REDIRECT, XDP_TX) and run.verdict not in _INTO_ENDPOINT:
            found.append(run.frame)
        return found


def is_lost(steps: list[Step]) -> bool:
    """The data packet ended in a drop."""
    return any(step.verdict >= DROP_FIRST for step in steps if not step.control)

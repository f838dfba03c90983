# SPDX-License-Identifier: Apache-2.0
"""A short run of the fuzzer, always the same one."""

from __future__ import annotations

from mizar.abi.verdicts import Verdict
from tests.bpf import fuzz
from tests.support.machine import Machine


def test_mutated_packets_break_no_rule(machine: Machine) -> None:
    met = fuzz.run(machine, seed=1, turns=4000)
    reached = {Verdict.BOUNCED, Verdict.STALE, Verdict.TO_BOUNCER, Verdict.LOCAL, Verdict.DROP_GENEVE_OPTION}
    assert reached <= met.keys()
    assert met.total() == 4000

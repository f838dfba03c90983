# SPDX-License-Identifier: Apache-2.0
"""Every row of the packet table, on every hook that it is for."""

from __future__ import annotations

from typing import Final

import pytest

from mizar.abi.verdicts import Verdict
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
from tests.bpf.rows import Row
from tests.support.machine import Hook, Machine

ROWS: Final = (
    *endpoint_rows.ROWS,
    *transit_rows.ROWS,
    *gateway_rows.ROWS,
    *named_rows.ROWS,
    *route_rows.ROWS,
    *scaled_rows.ROWS,
)

UNREACHABLE: Final = {Verdict.DROP_MALFORMED_ETH}
"""The kernel hands no program a frame that is shorter than its Ethernet header, not even a test's."""

CASES: Final = [pytest.param(row, hook, id=f"{hook.name}-{row.name}") for row in ROWS for hook in row.hooks]


@pytest.mark.parametrize(("row", "hook"), CASES)
def test_row(machine: Machine, row: Row, hook: Hook) -> None:
    for setup in row.setup:
        setup(machine)
    run = machine.run(hook, row.frame, gso_size=row.gso_size)
    assert run.verdict == row.expected(hook)
    assert run.action == row.expected_action(hook)
    assert run.counted == len(row.frame)
    if run.verdict != row.verdict:  # XDP has left it to tcx: untouched
        assert run.frame == row.frame
        return
    rows.check_out(row, run.frame, src=world.US, vni=world.VNI)
    if row.after is not None:
        row.after(machine)


def test_names_of_rows_are_unique() -> None:
    names = [(row.name, hook) for row in ROWS for hook in row.hooks]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("verdict", [v for v in Verdict if v not in UNREACHABLE], ids=lambda v: v.name)
def test_verdict_has_a_row(verdict: Verdict) -> None:
    assert any(row.expected(hook) is verdict for row in ROWS for hook in row.hooks)

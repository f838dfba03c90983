# SPDX-License-Identifier: Apache-2.0
"""Cases of the program suite, and the comparison with the baseline. Pure: nothing is loaded."""

from __future__ import annotations

import numpy as np

from bench.programs import baseline, cases, frames, tables
from mizar.abi import geneve, layout
from mizar.abi.verdicts import Verdict

# Not reachable by TEST_RUN: it takes no frame below an Ethernet header, and no helper fails on purpose.
UNREACHABLE = {Verdict.DROP_MALFORMED_ETH, Verdict.DROP_HELPER}
OF_SERVICES = {verdict for verdict in Verdict if verdict >= Verdict.DROP_NO_BACKEND}
"""Off the plain path: the suite `services` measures flows instead."""


def test_every_drop_reason_is_timed() -> None:
    timed = {case.verdict for case in cases.all_cases()}
    assert {verdict for verdict in Verdict if verdict.is_drop} - timed == UNREACHABLE | OF_SERVICES


def test_names_are_unique() -> None:
    names = [case.name for case in cases.all_cases()]
    assert len(names) == len(set(names))


def test_destination_is_where_the_case_says() -> None:
    for case in cases.all_cases():
        if case.grows is not None:
            drawn = case.frame[case.offset : case.offset + 4]
            assert drawn == tables.FIRST.to_bytes(4, "big"), case.name


def test_restored_frames_are_long_enough_for_the_harness() -> None:
    for case in cases.all_cases():
        if case.method is not cases.Method.SINGLE:
            assert len(case.frame) >= 128, case.name


def test_tunnel_frames_parse() -> None:
    case = next(case for case in cases.all_cases() if case.name == "transit.bounce.xdp")
    at = frames.ETH_BYTES + frames.IP_BYTES + frames.UDP_BYTES
    header, inner = geneve.parse(case.frame[at:])
    assert header.options == (geneve.Rts(host=tables.CLIENT, hop=layout.Hop.BOUNCER),)
    assert frames.checksum(inner[frames.ETH_BYTES : frames.ETH_BYTES + frames.IP_BYTES]) == 0


def test_growing_tables_have_as_many_distinct_rows_as_asked() -> None:
    for table in tables.GROWING:
        fill = tables.growing(table, 1000, now_ms=5)
        assert len(np.unique(fill.keys)) == 1000


def measured(size: int, ratio: float) -> baseline.Measured:
    return baseline.Measured(sizes={"mz_endpoint": {"xlated": size}}, ratios={"transit.bounce.xdp": ratio})


def test_growth_by_over_a_tenth_fails() -> None:
    before = measured(1000, 4.0)
    assert not any(one.fails for one in baseline.compare(before, measured(1100, 4.0)))
    assert [one.name for one in baseline.compare(before, measured(1101, 4.0)) if one.fails] == ["mz_endpoint"]


def test_time_never_fails() -> None:
    assert not any(one.fails for one in baseline.compare(measured(1000, 4.0), measured(1000, 40.0)))


def test_new_program_has_nothing_to_be_compared_with() -> None:
    fresh = baseline.Measured(sizes={}, ratios={})
    assert not any(one.fails for one in baseline.compare(fresh, measured(1000, 4.0)))

# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios inside repetitions, and targets."""

from __future__ import annotations

import pytest

from bench.core import samples, targets

OURS = samples.Key("rate", "mizar", "gso")
THEIRS = samples.Key("rate", "vxlan", "gso")


def taken(ours: list[float], theirs: list[float]) -> samples.Samples:
    result = samples.Samples()
    for key, values in ((OURS, ours), (THEIRS, theirs)):
        for repetition, value in enumerate(values):
            result.add(key, repetition=repetition, value=value)
    return result


def test_ratio_is_taken_inside_repetitions_so_a_slow_moment_cancels_out() -> None:
    result = taken([10.0, 1.0, 10.0], [5.0, 0.5, 5.0])
    assert result.ratio(OURS, THEIRS) == 2.0


def test_ratio_needs_a_repetition_that_has_both() -> None:
    assert taken([10.0], []).ratio(OURS, THEIRS) is None


def test_spread_is_relative_to_the_median() -> None:
    assert taken([8.0, 10.0, 12.0], []).spread(OURS) == pytest.approx(0.2)
    assert taken([8.0], []).spread(OURS) is None


def test_percentile_is_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert samples.percentile(values, 0.5) == 50.0
    assert samples.percentile(values, 0.99) == 99.0
    assert samples.percentile([7.0], 0.99) == 7.0


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        samples.percentile([], 0.5)


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [(2.0, targets.Outcome.MET), (2.1, targets.Outcome.NOT_MET)],
)
def test_target_against_a_peer(factor: float, outcome: targets.Outcome) -> None:
    target = targets.Target(key=OURS, relation=targets.Relation.AT_LEAST, factor=factor, peer=THEIRS)
    assert targets.evaluate(target, taken([10.0], [5.0])).outcome is outcome


def test_target_without_peer_is_a_limit() -> None:
    target = targets.Target(key=OURS, relation=targets.Relation.AT_MOST, factor=10.0)
    assert targets.evaluate(target, taken([10.0], [])).outcome is targets.Outcome.MET
    assert target.text() == "<= 10"


def test_target_whose_peer_is_missing_is_open() -> None:
    target = targets.Target(key=OURS, relation=targets.Relation.AT_LEAST, factor=1.0, peer=THEIRS)
    evaluation = targets.evaluate(target, taken([10.0], []))
    assert evaluation.outcome is targets.Outcome.NOT_MEASURED
    assert evaluation.measured is None

# SPDX-License-Identifier: Apache-2.0
"""What is to be reached, and whether it was. Pure.

A target compares one key with a factor of another key of the same run (`1.1 x vxlan`) or with a plain
number (`100 ns`). A target whose sides were not measured is open, not met.
"""

from __future__ import annotations

import dataclasses
import enum

from bench.core import samples


class Relation(enum.Enum):
    AT_LEAST = ">="
    AT_MOST = "<="

    def holds(self, value: float, limit: float) -> bool:
        return value >= limit if self is Relation.AT_LEAST else value <= limit


class Outcome(enum.Enum):
    MET = "met"
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """`key` `relation` `factor` x `peer`; without a peer the factor is the limit, in the figure's unit."""

    key: samples.Key
    relation: Relation
    factor: float
    peer: samples.Key | None = None

    def text(self) -> str:
        if self.peer is None:
            return f"{self.relation.value} {self.factor:g}"
        other = self.peer.subject if self.peer.subject != self.key.subject else self.peer.condition
        if self.peer.figure != self.key.figure:
            other = self.peer.figure
        return f"{self.relation.value} {self.factor:g} x {other}"


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """A target beside what was measured: a ratio to the peer, or the value itself."""

    target: Target
    outcome: Outcome
    measured: float | None


def evaluate(target: Target, taken: samples.Samples) -> Evaluation:
    measured = taken.median(target.key) if target.peer is None else taken.ratio(target.key, target.peer)
    if measured is None:
        return Evaluation(target=target, outcome=Outcome.NOT_MEASURED, measured=None)
    met = target.relation.holds(measured, target.factor)
    return Evaluation(target=target, outcome=Outcome.MET if met else Outcome.NOT_MET, measured=measured)

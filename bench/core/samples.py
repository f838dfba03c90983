# SPDX-License-Identifier: Apache-2.0
"""Samples and what is read from them. Pure.

A sample is one number for one figure of one subject under one condition (the wire, the table size) in
one repetition. Medians are taken over repetitions. Ratios are taken inside each repetition first, so that
drift of the machine cancels out, and then their median.
"""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Iterable, Iterator, Mapping


class Better(enum.Enum):
    """Which way a figure improves."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """What is measured."""

    name: str
    title: str
    unit: str
    better: Better


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """What a number is about."""

    figure: str
    subject: str
    condition: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One number of one repetition."""

    key: Key
    repetition: int
    value: float


class Samples:
    """All numbers of one suite, in the order in which they were taken."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._samples: list[Sample] = list(samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, key: Key, *, repetition: int, value: float) -> None:
        self._samples.append(Sample(key=key, repetition=repetition, value=value))

    def values(self, key: Key) -> list[float]:
        return [sample.value for sample in self._samples if sample.key == key]

    def keys(self) -> list[Key]:
        """Every key once, in order of first appearance."""
        return list(dict.fromkeys(sample.key for sample in self._samples))

    def median(self, key: Key) -> float | None:
        values = self.values(key)
        return statistics.median(values) if values else None

    def spread(self, key: Key) -> float | None:
        """Half the distance from the lowest to the highest value, relative to the median."""
        values = self.values(key)
        middle = self.median(key)
        if len(values) < 2 or not middle:
            return None
        return (max(values) - min(values)) / 2 / abs(middle)

    def ratio(self, of: Key, to: Key) -> float | None:
        """Median over repetitions of `of / to`; None where no repetition has both."""
        peers = self._by_repetition(to)
        ratios = [
            value / peers[repetition]
            for repetition, value in self._by_repetition(of).items()
            if peers.get(repetition)
        ]
        return statistics.median(ratios) if ratios else None

    def _by_repetition(self, key: Key) -> Mapping[int, float]:
        return {sample.repetition: sample.value for sample in self._samples if sample.key == key}


def percentile(values: Iterable[float], fraction: float) -> float:
    """The value below which `fraction` of `values` lie, nearest rank. Raises ValueError if there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("percentile of no values")
    return ordered[min(len(ordered) - 1, max(0, round(fraction * len(ordered)) - 1))]

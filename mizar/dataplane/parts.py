# SPDX-License-Identifier: Apache-2.0
"""The part of a bucket table that is in use: which ones there are, where a key is in one, mapping it.

A table uses only as much of its array as its rows need, or few rows would be spread over as many pages and
cache lines. Parts are a ladder: the largest takes the first four fifths of the array, each smaller one is a
quarter of the next, and they lie in turns at the array's beginning and behind the largest. So a part and the
next on the ladder have no bucket in common: all rows are written to the next while nobody looks there.

What holds:
 - The ladder follows from the size of the array alone.
 - A key is in its home bucket or in one of the next, BUCKET_REACH in all; after the last comes the first.
 - A bucket whose last row is free has never been full.

What does not belong here: who writes when, and what programs may see meanwhile (buckets.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mizar.abi import hashes, layout
from mizar.dataplane import maps

Numbers = npt.NDArray[np.uint64]
"""Keys as programs compare them: their bytes as one native number."""

Places = npt.NDArray[np.int64]
"""Rows of a part: bucket times BUCKET_ROWS plus row; NOWHERE for none."""

NOWHERE: Final = -1

SMALLEST: Final = 256
"""Buckets; a smaller part would save nothing. Another number is another layout: layout.ABI_VERSION."""

_MARKS: Final = (0, layout.BUCKET_GONE)
"""Of rows that have no key."""

_FEW: Final = 8
"""Keys that are looked at one by one: setting up work on columns takes longer than the work."""

_WORD: Final = 32
"""Bits of mz_parts that are the first bucket; the rest is the number of buckets."""


class Span(NamedTuple):
    """Buckets of an array."""

    first: int
    size: int

    @property
    def word(self) -> int:
        """As in mz_parts."""
        return self.size << _WORD | self.first


def largest(entries: int) -> int:
    """Buckets of the largest part of an array; layout.MapSpec.entries the other way round."""
    return max(1, entries * layout.BUCKET_SPARE // (layout.BUCKET_SPARE + 1))


def ladder(entries: int) -> tuple[Span, ...]:
    """Parts of an array, the smallest first."""
    sizes = [largest(entries)]
    while sizes[-1] >= layout.BUCKET_SPARE * SMALLEST:
        sizes.append(sizes[-1] // layout.BUCKET_SPARE)
    spans = [Span(sizes[0] if rung % 2 else 0, size) for rung, size in enumerate(sizes)]
    return tuple(reversed(spans))


class Part:
    """One span of `array`, mapped into this process."""

    def __init__(self, array: maps.Map, span: Span, factor: np.uint64) -> None:
        self.span = span
        self._factor = factor
        rows = maps.mapped(array, first=span.first, count=span.size)
        self.keys: npt.NDArray[np.uint64] = rows["keys"]
        self.values: npt.NDArray[Any] = rows["values"]

    @property
    def size(self) -> int:
        return self.span.size

    def used(self, buckets: slice = slice(None)) -> tuple[npt.NDArray[np.intp], ...]:
        """Indexes of the rows in these buckets."""
        return np.nonzero(is_key(self.keys[buckets]))

    def find(self, numbers: Numbers) -> Places:
        """As programs do."""
        if len(numbers) <= _FEW:
            return np.array([self.find_one(number) for number in numbers.tolist()], dtype=np.int64)
        found = np.full(len(numbers), NOWHERE, dtype=np.int64)
        left = np.flatnonzero(is_key(numbers))
        for step in range(layout.BUCKET_REACH):
            buckets = self._reach(numbers[left], step)
            keys = self.keys[buckets]
            hit, row = np.nonzero(keys == numbers[left, None])
            found[left[hit]] = buckets[hit] * layout.BUCKET_ROWS + row
            further = keys[:, -1] != 0
            further[hit] = False
            left = left[further]
            if not len(left):
                break
        return found

    def give(self, numbers: Numbers) -> Places:
        """Free rows, nearest to home and the last row of a bucket last; nothing is written."""
        if len(numbers) <= _FEW:
            return self._give_few(numbers.tolist())
        given = np.full(len(numbers), NOWHERE, dtype=np.int64)
        taken = np.zeros(
            self.size * layout.BUCKET_ROWS, dtype=np.bool_
        )  # most of its pages are never touched
        left = np.arange(len(numbers))
        for step in range(layout.BUCKET_REACH):
            for row in range(layout.BUCKET_ROWS):
                places = self._reach(numbers[left], step) * layout.BUCKET_ROWS + row
                at = np.divmod(places, layout.BUCKET_ROWS)
                free = np.flatnonzero(~(is_key(self.keys[at]) | taken[places]))
                chosen, first = np.unique(places[free], return_index=True)
                winners = free[first]
                given[left[winners]] = chosen
                taken[chosen] = True
                left = np.delete(left, winners)
                if not len(left):
                    return given
        return given

    def write(self, places: Places, numbers: Numbers, values: npt.NDArray[Any]) -> None:
        """Keys last: with them a row appears."""
        at = np.divmod(places, layout.BUCKET_ROWS)
        self.values[at] = values
        self.keys[at] = numbers

    def find_one(self, number: int) -> int:
        if number in _MARKS:
            return NOWHERE
        for bucket in self._reach_of(number):
            keys: list[int] = self.keys[bucket].tolist()
            if number in keys:
                return bucket * layout.BUCKET_ROWS + keys.index(number)
            if not keys[-1]:
                break
        return NOWHERE

    def give_one(self, number: int) -> int:
        """NOWHERE for what is no key."""
        return NOWHERE if number in _MARKS else next(self._free(number), NOWHERE)

    def write_one(self, place: int, number: int, value: npt.NDArray[Any]) -> None:
        bucket, row = divmod(place, layout.BUCKET_ROWS)
        self.values[bucket, row] = value[0]
        self.keys[bucket, row] = number

    def clear(self) -> None:
        """For a part that nobody reads."""
        self.keys[:] = 0

    def _give_few(self, numbers: list[int]) -> Places:
        given: list[int] = []
        for number in numbers:
            given.append(next((place for place in self._free(number) if place not in given), NOWHERE))
        return np.array(given, dtype=np.int64)

    def _free(self, number: int) -> Iterator[int]:
        """Free rows within reach, nearest to home first."""
        for bucket in self._reach_of(number):
            for row, key in enumerate(self.keys[bucket].tolist()):
                if key in _MARKS:
                    yield bucket * layout.BUCKET_ROWS + row

    def _reach_of(self, number: int) -> Iterator[int]:
        home = hashes.bucket_of(number, int(self._factor), self.size)
        return ((home + step) % self.size for step in range(layout.BUCKET_REACH))

    def _reach(self, numbers: Numbers, step: int) -> Places:
        """Buckets, `step` beyond the home."""
        home = hashes.buckets_of(numbers, self._factor, self.size)
        return (home.astype(np.int64) + step) % self.size


def is_key(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which are keys, and not the marks of rows that have none."""
    found: npt.NDArray[np.bool_] = (numbers != 0) & (numbers != np.uint64(layout.BUCKET_GONE))
    return found


def words(parts: maps.Map) -> npt.NDArray[Any]:
    """The one row of mz_parts itself."""
    return maps.mapped(parts)

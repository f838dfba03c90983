# SPDX-License-Identifier: Apache-2.0
"""A cache that programs fill themselves, in an array map: the direct paths that a host has learnt.

bpf/include/maps/direct4.h is the reader and the writer, and says what holds. User space looks, and may take
rows away at any time. It can also put rows there, but only while no program runs that would do so too: a
test, a benchmark.

What does not belong here: which tables are kept this way (abi.layout), opening them (tables.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar.abi import hashes, layout
from mizar.dataplane import maps, parts
from mizar.dataplane.parts import Numbers, Places

_ROWS: Final = layout.DIRECT_ROWS * layout.DIRECT_LINES
"""Places of one set."""

_SLICE: Final = 4 * 1024
"""Sets that are looked at at once."""


class SetTable:
    """Rows with keys of this dtype, eight bytes, kept in `array`, which stays its owner's.

    A place is a set times _ROWS plus row, the rows of the first line first.

    `word`: what programs are told of it in mz_parts, an array of one.
    """

    def __init__(
        self, array: maps.Map, word: npt.NDArray[np.uint64], *, key: np.dtype[Any], factor: int
    ) -> None:
        self._sets = array.max_entries
        word[0] = parts.Span(0, self._sets).word
        self._key = key
        self._factor = np.uint64(factor)
        lines = maps.mapped(array)["lines"]
        self._keys, self._values = lines["keys"], lines["values"]

    # ------------------------------------------------------------ rows

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        found, values = self.lookup_each(key)
        value: np.void = values[0]
        return value if found[0] else None

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        places = self._find(_numbers(keys, self._key))
        found = places != parts.NOWHERE
        values = np.zeros(len(places), dtype=self._values.dtype)
        values[found] = self._values[_at(places[found])]
        return found, values

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Full sets forget the rows that were confirmed longest ago."""
        numbers, column = _numbers(keys, self._key), layout.column(values, self._values.dtype)
        if len(numbers) != len(column):
            raise ValueError(f"{len(numbers)} keys but {len(column)} values")
        # One set takes one row at a time: as many rounds as rows share a set.
        left = np.arange(len(numbers))
        while len(left):
            first = np.unique(self._homes(numbers[left]), return_index=True)[1]
            self._put(numbers[left[first]], column[left[first]])
            left = np.delete(left, first)

    def delete(self, keys: npt.ArrayLike) -> int:
        places = self._find(np.unique(_numbers(keys, self._key)))
        places = places[places != parts.NOWHERE]
        self._keys[_at(places)] = 0
        return len(places)

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self._dump(slice(None))

    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        for part in self._slices(max(1, batch // _ROWS)):
            keys, values = self._dump(part)
            if len(keys):
                yield keys, values

    @property
    def capacity(self) -> int:
        return self._sets * _ROWS

    def count(self) -> int:
        """In slices: temporaries as large as the table would stay in the process's memory."""
        return sum(int(np.count_nonzero(self._keys[part])) for part in self._slices(_SLICE))

    def home(self, key: npt.ArrayLike) -> int:
        """Index in its map of the set in which a key may be."""
        return int(self._homes(_numbers(key, self._key))[0])

    # ------------------------------------------------------------ how

    def _dump(self, part: slice) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        keys = self._keys[part].copy()  # programs write meanwhile, which numpy does not expect
        used = np.nonzero(keys)
        return keys[used].view(self._key), self._values[part][used]

    def _slices(self, step: int) -> Iterator[slice]:
        return (slice(start, start + step) for start in range(0, self._sets, step))

    def _homes(self, numbers: Numbers) -> Places:
        return hashes.buckets_of(numbers, self._factor, self._sets).astype(np.int64)

    def _find(self, numbers: Numbers) -> Places:
        homes = self._homes(numbers)
        hits = (self._keys[homes].reshape(-1, _ROWS) == numbers[:, None]) & (numbers != 0)[:, None]
        return np.where(hits.any(axis=1), homes * _ROWS + hits.argmax(axis=1), parts.NOWHERE)

    def _put(self, numbers: Numbers, values: npt.NDArray[Any]) -> None:
        """Keys of distinct sets."""
        places, homes = self._find(numbers), self._homes(numbers)
        fresh = places == parts.NOWHERE
        keys = self._keys[homes].reshape(-1, _ROWS)
        # Ages are compared as the programs do, modulo 2^32; whatever is newer than `values` is of no age.
        ages = (values["confirmed"][:, None] - self._values[homes].reshape(-1, _ROWS)["confirmed"]).view("i4")
        victims = np.where(keys == 0, np.iinfo(np.int64).max, ages.astype(np.int64)).argmax(axis=1)
        places[fresh] = (homes * _ROWS + victims)[fresh]
        at = _at(places)
        self._keys[at] = 0
        self._values[at] = values
        self._keys[at] = numbers


def _numbers(keys: npt.ArrayLike, dtype: np.dtype[Any]) -> Numbers:
    return layout.column(keys, dtype).view(np.uint64)


def _at(places: Places) -> tuple[npt.NDArray[np.int64], ...]:
    """Indexes of set, line, and row in the line."""
    homes, rows = np.divmod(places, _ROWS)
    return homes, *np.divmod(rows, layout.DIRECT_ROWS)

# SPDX-License-Identifier: Apache-2.0
"""Hash tables that programs read without calling the kernel: buckets in an array map.

bpf/include/buckets.h is the reader, this is the only writer. To the rest of user space such a table has keys
and values like any other. The array is mapped into this process, so that rows are read and written as
columns, a million at a time, without a system call.

What holds:
 - A key is in its home bucket or in one of the next, BUCKET_REACH in all. A bucket whose last row is free
   has never been full, which tells programs that they need not look further; once used it is not freed.
 - A row appears when its key is written, after its value, and disappears with its key. A new value for a
   known key is written in place, in words of eight bytes: a packet may see half of it.
 - A freed row is filled again only when every program that may still be reading it has ended.
 - One process writes, from any of its threads; others may read.

What does not belong here: which tables are kept this way (abi.layout), opening them (tables.py).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import hashes, layout
from mizar.dataplane import maps, protocol

_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
_GLOBAL: Final = 1
"""MEMBARRIER_CMD_GLOBAL of linux/membarrier.h."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

_HINTS: Final = {errno.E2BIG: " (the table is full)", errno.EINVAL: " (not a key)"}

Numbers = npt.NDArray[np.uint64]
"""Keys as programs compare them: their bytes as one native number."""

Places = npt.NDArray[np.int64]
"""Rows of the whole table: bucket times BUCKET_ROWS plus row; _NOWHERE for none."""

_NOWHERE: Final = -1

_SLICE: Final = 16 * 1024
"""Buckets that are looked at at once."""

_FEW: Final = 4096
"""Freed places that are remembered, in the hope that none is filled soon."""


def _grace_period() -> None:
    """Returns when all programs that run now have ended: the call is the kernel's synchronize_rcu()."""
    number = _SYS_MEMBARRIER.get(platform.machine())
    if number is None or _libc.syscall(number, _GLOBAL, 0) != 0:
        raise errors.KernelError("wait for running programs: this kernel has no membarrier(2)")


class BucketTable:
    """Rows of these dtypes, kept in `array`, which stays its owner's. A key has four or eight bytes."""

    def __init__(
        self,
        array: maps.Map,
        *,
        key: np.dtype[Any],
        value: np.dtype[Any],
        factor: int = layout.BUCKET_FACTOR,
    ) -> None:
        self._name = array.name
        self._buckets = array.max_entries
        self._capacity = self._buckets * layout.BUCKET_SHARE
        self._key = key
        self._value = value
        self._factor = np.uint64(factor)
        buckets = maps.mapped(array)
        self._keys, self._values = buckets["keys"], buckets["values"]
        self._writing = threading.Lock()
        self._freed: set[int] = set()
        """Places whose key was deleted since the last grace period."""
        self._used: int | None = None
        """Number of rows, once somebody has written."""

    # ------------------------------------------------------------ rows

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        place = int(self._find(self._numbers(key))[0])
        if place == _NOWHERE:
            return None
        value: np.void = self._values[divmod(place, layout.BUCKET_ROWS)].copy()
        return value

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        places = self._find(self._numbers(keys))
        found = places != _NOWHERE
        values = np.zeros(len(places), dtype=self._value)
        values[found] = self._values[np.divmod(places[found], layout.BUCKET_ROWS)]
        return found, values

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        numbers, column = self._numbers(keys), layout.column(values, self._value)
        if len(numbers) != len(column):
            raise ValueError(f"{len(numbers)} keys but {len(column)} values")
        with self._writing:
            # What is not known yet is at most once in a batch, or it would get two rows.
            last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
            if len(last) < len(numbers):
                last.sort()
                numbers, column = numbers[last], column[last]
            self._put(numbers, column)

    def delete(self, keys: npt.ArrayLike) -> int:
        with self._writing:
            places = self._find(self._numbers(keys))
            places = np.unique(places[places != _NOWHERE])
            buckets, rows = np.divmod(places, layout.BUCKET_ROWS)
            self._keys[buckets, rows] = np.where(rows == layout.BUCKET_ROWS - 1, layout.BUCKET_GONE, 0)
            self._forget(places)
            self._used = None if self._used is None else self._used - len(places)
        return len(places)

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self._dump(slice(None))

    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        for part in self._slices(max(1, batch // layout.BUCKET_ROWS)):
            keys, values = self._dump(part)
            if len(keys):
                yield keys, values

    def _dump(self, buckets: slice) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        used = np.nonzero(_is_key(self._keys[buckets]))
        width = np.dtype(f"=u{self._key.itemsize}")
        return self._keys[buckets][used].astype(width).view(self._key), self._values[buckets][used]

    @property
    def capacity(self) -> int:
        return self._capacity

    def count(self) -> int:
        """In slices: temporaries as large as a table would stay in the process's memory."""
        return sum(int(np.count_nonzero(_is_key(self._keys[part]))) for part in self._slices(_SLICE))

    def _slices(self, step: int) -> Iterator[slice]:
        """All buckets, so many at a time."""
        return (slice(start, start + step) for start in range(0, self._buckets, step))

    # ------------------------------------------------------------ finding

    def _numbers(self, keys: npt.ArrayLike) -> Numbers:
        column = layout.column(keys, self._key)
        return column.view(f"=u{self._key.itemsize}").astype(np.uint64)

    def _reach(self, numbers: Numbers, step: int) -> Places:
        """Buckets, `step` beyond the home."""
        home = hashes.buckets_of(numbers, self._factor, self._buckets)
        return (home.astype(np.int64) + step) % self._buckets

    def _find(self, numbers: Numbers) -> Places:
        found = np.full(len(numbers), _NOWHERE, dtype=np.int64)
        left = np.flatnonzero(_is_key(numbers))
        for step in range(layout.BUCKET_REACH):
            buckets = self._reach(numbers[left], step)
            keys = self._keys[buckets]
            hit, row = np.nonzero(keys == numbers[left, None])
            found[left[hit]] = buckets[hit] * layout.BUCKET_ROWS + row
            further = keys[:, -1] != 0
            further[hit] = False
            left = left[further]
            if not len(left):
                break
        return found

    # ------------------------------------------------------------ writing

    def _put(self, numbers: Numbers, values: npt.NDArray[Any]) -> None:
        """Distinct keys. PartialUpdateError at the first that is refused, after all before it."""
        places = self._find(numbers)
        fresh = np.flatnonzero(places == _NOWHERE)
        stop, refusal = self._refusal(numbers, fresh)
        fresh = fresh[fresh < stop]
        places[fresh] = self._give_places(numbers[fresh])
        homeless = fresh[places[fresh] == _NOWHERE]
        if len(homeless):
            stop, refusal = int(homeless[0]), errno.E2BIG
            fresh = fresh[fresh < stop]
        self._settle(places[fresh])
        at = np.divmod(places[:stop], layout.BUCKET_ROWS)
        self._values[at] = values[:stop]
        self._keys[at] = numbers[:stop]
        self._used = None if self._used is None else self._used + len(fresh)
        if refusal:
            what = f"write row {stop} of {len(numbers)} to map {self._name}"
            cause = f"{os.strerror(refusal).lower()}{_HINTS.get(refusal, '')}"
            raise protocol.PartialUpdateError(f"{what}: {cause}", applied=stop, errno=refusal)

    def _refusal(self, numbers: Numbers, fresh: Places) -> tuple[int, int]:
        """Index of the first row that cannot be written, and its errno; their number and 0 if all can."""
        refusals = [(len(numbers), 0)]
        refusals += [(int(index), errno.EINVAL) for index in np.flatnonzero(~_is_key(numbers))[:1]]
        if len(fresh):
            # There are more rows than the capacity says, so that those find a place.
            if self._used is None:
                self._used = self.count()
            room = max(0, self._capacity - self._used)
            refusals += [(int(index), errno.E2BIG) for index in fresh[room : room + 1]]
        return min(refusals)

    def _give_places(self, numbers: Numbers) -> Places:
        """Free rows, nearest to home and the last row of a bucket last; nothing is written."""
        given = np.full(len(numbers), _NOWHERE, dtype=np.int64)
        taken = np.zeros(0, dtype=np.int64)
        left = np.arange(len(numbers))
        for step in range(layout.BUCKET_REACH):
            for row in range(layout.BUCKET_ROWS):
                places = self._reach(numbers[left], step) * layout.BUCKET_ROWS + row
                at = np.divmod(places, layout.BUCKET_ROWS)
                is_free = ~_is_key(self._keys[at])
                free = np.flatnonzero(is_free & ~np.isin(places, taken) if len(taken) else is_free)
                chosen, first = np.unique(places[free], return_index=True)
                winners = free[first]
                given[left[winners]] = chosen
                taken = np.concatenate((taken, chosen))
                left = np.delete(left, winners)
                if not len(left):
                    return given
        return given

    def _forget(self, places: Places) -> None:
        """Remember which places were freed; many are not worth remembering."""
        if len(places) + len(self._freed) <= _FEW:
            self._freed.update(places.tolist())
        else:
            _grace_period()
            self._freed.clear()

    def _settle(self, places: Places) -> None:
        """Wait until nobody reads the rows that were on these places."""
        if not self._freed.isdisjoint(places.tolist()):
            _grace_period()
            self._freed.clear()


def _is_key(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which are keys, and not the marks of rows that have none."""
    is_key: npt.NDArray[np.bool_] = (numbers != 0) & (numbers != np.uint64(layout.BUCKET_GONE))
    return is_key

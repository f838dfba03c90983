# SPDX-License-Identifier: Apache-2.0
"""Hash tables that programs read without calling the kernel: buckets in an array map.

bpf/include/buckets.h is the reader, this is the only writer. To the rest of user space such a table has keys
and values like any other.

What holds:
 - A key is in its home bucket or in one of the next, BUCKET_REACH in all. The last row of a bucket is filled
   last and never becomes free again, which tells programs to look further.
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
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import hashes, layout
from mizar.dataplane import maps, protocol

_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
_GLOBAL: Final = 1
"""MEMBARRIER_CMD_GLOBAL of linux/membarrier.h."""

_NO_KEYS: Final = (0, layout.BUCKET_GONE)
"""What marks a row that has none."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _grace_period() -> None:
    """Returns when all programs that run now have ended: the call is the kernel's synchronize_rcu()."""
    number = _SYS_MEMBARRIER.get(platform.machine())
    if number is None or _libc.syscall(number, _GLOBAL, 0) != 0:
        raise errors.KernelError("wait for running programs: this kernel has no membarrier(2)")


class _Place(NamedTuple):
    """A row: the number of its bucket, what is in that, and which row of it."""

    at: int
    bucket: np.void
    row: int


class BucketTable:
    """Rows of these dtypes, kept in `array`, which stays its owner's. A key has up to eight bytes."""

    def __init__(
        self,
        array: maps.Map,
        *,
        key: np.dtype[Any],
        value: np.dtype[Any],
        factor: int = layout.BUCKET_FACTOR,
    ) -> None:
        self._array = array
        self._factor = factor
        self._key = key
        self._value = value
        self._writing = threading.Lock()
        self._freed: set[tuple[int, int]] = set()
        """Rows (bucket, row) whose key was deleted since the last grace period."""
        self._used: int | None = None
        """Number of rows, once somebody has written."""

    # ------------------------------------------------------------ rows

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        place = self._find(_numbers(layout.column(key, self._key))[0])
        if place is None:
            return None
        value: np.void = place.bucket["values"][place.row]
        return value

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        columns = layout.column(keys, self._key), layout.column(values, self._value)
        if len(columns[0]) != len(columns[1]):
            raise ValueError(f"{len(columns[0])} keys but {len(columns[1])} values")
        with self._writing:
            for i, number in enumerate(_numbers(columns[0])):
                refusal = self._put(number, columns[1][i])
                if refusal:
                    what = f"write row {i} of {len(columns[0])} to map {self._array.name}"
                    cause = f"{os.strerror(refusal).lower()}{_HINTS.get(refusal, '')}"
                    raise protocol.PartialUpdateError(f"{what}: {cause}", applied=i, errno=refusal)

    def delete(self, keys: npt.ArrayLike) -> int:
        with self._writing:
            return sum(self._remove(number) for number in _numbers(layout.column(keys, self._key)))

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        buckets = self._array.dump()[1]
        used = (buckets["keys"] != 0) & (buckets["keys"] != layout.BUCKET_GONE)
        numbers, values = buckets["keys"][used], buckets["values"][used]
        width = np.dtype(f"=u{self._key.itemsize}")
        return numbers.astype(width).view(self._key), values

    def count(self) -> int:
        return len(self.dump()[0])

    # ------------------------------------------------------------ how

    def _reach(self, number: int) -> Iterator[tuple[int, np.void]]:
        """Number and content of the buckets that may hold a key, the home first."""
        buckets = self._array.max_entries
        home = hashes.bucket_of(number, self._factor, buckets)
        for step in range(min(layout.BUCKET_REACH, buckets)):
            index = (home + step) % buckets
            bucket = self._array.lookup(index)
            assert bucket is not None  # all indexes of an array exist
            yield index, bucket

    def _find(self, number: int) -> _Place | None:
        if number in _NO_KEYS:
            return None
        for index, bucket in self._reach(number):
            (rows,) = np.nonzero(bucket["keys"] == number)
            if len(rows):
                return _Place(index, bucket, int(rows[0]))
            if not bucket["keys"][-1]:
                break
        return None

    def _free(self, number: int) -> _Place | None:
        """A row on which a key can be put; of the rows in a bucket the last one last."""
        for index, bucket in self._reach(number):
            (rows,) = np.nonzero((bucket["keys"] == 0) | (bucket["keys"] == layout.BUCKET_GONE))
            if len(rows):
                row = min(rows.tolist(), key=lambda row: ((index, row) in self._freed, row))
                return _Place(index, bucket, row)
        return None

    def _put(self, number: int, value: np.void) -> int:
        """0, or the errno of the refusal."""
        if number in _NO_KEYS:
            return errno.EINVAL
        known = self._find(number)
        if known is not None:
            known.bucket["values"][known.row] = value
            self._write(known)
            return 0
        place = self._free(number) if self._has_room() else None
        if place is None:
            return errno.E2BIG
        self._settle(place)
        place.bucket["values"][place.row] = value
        self._write(place)
        place.bucket["keys"][place.row] = number
        self._write(place)
        self._count(1)
        return 0

    def _remove(self, number: int) -> bool:
        place = self._find(number)
        if place is None:
            return False
        last = place.row == layout.BUCKET_ROWS - 1
        place.bucket["keys"][place.row] = layout.BUCKET_GONE if last else 0
        self._write(place)
        self._freed.add((place.at, place.row))
        self._count(-1)
        return True

    def _has_room(self) -> bool:
        """The array has four rows for each that may be used, so that those find a place."""
        if self._used is None:
            self._used = self.count()
        return self._used < self._array.max_entries

    def _count(self, rows: int) -> None:
        if self._used is not None:
            self._used += rows

    def _settle(self, place: _Place) -> None:
        """Wait until nobody reads the row that was on this place."""
        if (place.at, place.row) in self._freed:
            _grace_period()
            self._freed.clear()

    def _write(self, place: _Place) -> None:
        self._array.update(place.at, np.array([place.bucket], dtype=self._array.value))


_HINTS: Final = {errno.E2BIG: " (the table is full)", errno.EINVAL: " (not a key)"}


def _numbers(keys: npt.NDArray[Any]) -> list[int]:
    """Keys as programs compare them: their bytes as one native number."""
    numbers: list[int] = keys.view(f"=u{keys.dtype.itemsize}").tolist()
    return numbers

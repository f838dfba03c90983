# SPDX-License-Identifier: Apache-2.0
"""Hash tables that programs read without calling the kernel: buckets in an array map.

bpf/include/buckets.h is the reader, this is the only writer. To the rest of user space such a table has keys
and values like any other. The array is mapped into this process, so that rows are read and written as
columns, a million at a time, without a system call.

What holds:
 - All rows are in the part of the array that mz_parts names (parts.py). Growing writes them to a part where
   nobody looks, then names that one in a single store: a program finds every row before, while and after.
   Who dies before the store has changed nothing, and what he wrote is cleared before it is used.
 - A bucket whose last row is free has never been full, which tells programs that they need not look
   further; once used it is not freed.
 - A row appears when its key is written, after its value, and disappears with its key. A new value for a
   known key is written in place, in words of eight bytes: a packet may see half of it.
 - A freed row is filled again, and a part that was left is used again, only when every program that may
   still be reading it has ended.
 - One process writes, from any of its threads; others may read.

What does not belong here: which tables are kept this way (abi.layout), opening them (tables.py).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import maps, parts, protocol
from mizar.dataplane.parts import Numbers, Part, Places

_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
_GLOBAL: Final = 1
"""MEMBARRIER_CMD_GLOBAL of linux/membarrier.h."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

_HINTS: Final = {errno.E2BIG: " (the table is full)", errno.EINVAL: " (not a key)"}

_T = TypeVar("_T")

_WANTED: Final = 1
"""Rows for each bucket of a part before it grows; the largest takes layout.BUCKET_SHARE. With fewer, rows are
spread over more of the cache; with more, keys have their home less often for themselves."""

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
    """Rows of these dtypes, kept in `array`, which stays its owner's. A key has four or eight bytes.

    `word` is the table's own in mz_parts, mapped: an array of one.
    """

    def __init__(
        self,
        array: maps.Map,
        word: npt.NDArray[np.uint64],
        *,
        key: np.dtype[Any],
        value: np.dtype[Any],
        factor: int = layout.BUCKET_FACTOR,
    ) -> None:
        self._array = array
        self._ladder = parts.ladder(array.max_entries)
        self._capacity = parts.largest(array.max_entries) * layout.BUCKET_SHARE
        self._key = key
        self._value = value
        self._factor = np.uint64(factor)
        self._writing = threading.Lock()
        self._freed: set[int] = set()
        """Places of the part in use whose key was deleted since the last grace period."""
        self._used: int | None = None
        """Number of rows, once somebody has written."""
        self._word = word
        self._left = bool(word[0])
        """A part was left, and no grace period has passed since, as far as we know."""
        rung = self._rung()
        self._part = self._map(self._ladder[rung or 0])
        if rung is None:  # new, or an array of another size than the one whose pin was lost
            self._part.clear()
            self._word[0] = self._part.span.word

    # ------------------------------------------------------------ rows

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        found, values = self.lookup_each(key)
        value: np.void | None = values[0] if found[0] else None
        return value

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        numbers = self._numbers(keys)

        def look(part: Part) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
            places = part.find(numbers)
            found = places != parts.NOWHERE
            values = np.zeros(len(places), dtype=self._value)
            values[found] = part.values[np.divmod(places[found], layout.BUCKET_ROWS)]
            return found, values

        return self._read(look)

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        numbers, column = self._numbers(keys), layout.column(values, self._value)
        if len(numbers) != len(column):
            raise ValueError(f"{len(numbers)} keys but {len(column)} values")
        with self._writing:
            # What is not known yet is at most once in a batch, or it would get two rows.
            if len(numbers) > 1:
                last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
                if len(last) < len(numbers):
                    last.sort()
                    numbers, column = numbers[last], column[last]
            if len(numbers) != 1 or not self._put_one(int(numbers[0]), column):
                self._put(numbers, column)

    def delete(self, keys: npt.ArrayLike) -> int:
        with self._writing:
            part = self._in_use()
            places = part.find(self._numbers(keys))
            places = np.unique(places[places != parts.NOWHERE])
            buckets, rows = np.divmod(places, layout.BUCKET_ROWS)
            part.keys[buckets, rows] = np.where(rows == layout.BUCKET_ROWS - 1, layout.BUCKET_GONE, 0)
            self._forget(places)
            self._used = None if self._used is None else self._used - len(places)
        return len(places)

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self._read(lambda part: self._dump(part, slice(None)))

    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """From the beginning if the table grows meanwhile: rows may come twice then."""
        part, start, step = self._in_use(), 0, max(1, batch // layout.BUCKET_ROWS)
        while start < part.size:
            keys, values = self._dump(part, slice(start, start + step))
            if part is not self._in_use():
                part, start = self._in_use(), 0
                continue
            start += step
            if len(keys):
                yield keys, values

    def _dump(self, part: Part, buckets: slice) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        used = part.used(buckets)
        width = np.dtype(f"=u{self._key.itemsize}")
        return part.keys[buckets][used].astype(width).view(self._key), part.values[buckets][used]

    @property
    def capacity(self) -> int:
        return self._capacity

    def count(self) -> int:
        return self._read(_count)

    def _numbers(self, keys: npt.ArrayLike) -> Numbers:
        column = layout.column(keys, self._key)
        return column.view(f"=u{self._key.itemsize}").astype(np.uint64)

    # ------------------------------------------------------------ the part in use

    def _rung(self) -> int | None:
        """Of the ladder: the part that mz_parts names, None if it is none of this array."""
        word = int(self._word[0])
        return next((rung for rung, span in enumerate(self._ladder) if span.word == word), None)

    def _in_use(self) -> Part:
        """The part that programs look at; mapped anew if another process has made the table grow."""
        if int(self._word[0]) != self._part.span.word:
            rung = self._rung()
            assert rung is not None
            self._part = self._map(self._ladder[rung])
        return self._part

    def _map(self, span: parts.Span) -> Part:
        return Part(self._array, span, self._factor)

    def _read(self, look: Callable[[Part], _T]) -> _T:
        """Rows stay where they were when the table grows; but if it grows twice, something else is there."""
        while True:
            part = self._in_use()
            found = look(part)
            if part is self._in_use():
                return found

    # ------------------------------------------------------------ writing

    def _put_one(self, number: int, value: npt.NDArray[Any]) -> bool:
        """The most usual of what `_put` does, without columns: one key into a part that has room for it.
        False if it is not that; nothing is done then."""
        part = self._in_use()
        place = part.find_one(number)
        if place == parts.NOWHERE:
            if self._used is None or self._used >= self._room(part):
                return False
            place = part.give_one(number)
            if place == parts.NOWHERE:
                return False
            if place in self._freed:
                self._wait()
            self._used += 1
        part.write_one(place, number, value)
        return True

    def _room(self, part: Part) -> int:
        """Rows that a part takes before it grows, or is full."""
        return self._capacity if part.span == self._ladder[-1] else part.size * _WANTED

    def _put(self, numbers: Numbers, values: npt.NDArray[Any]) -> None:
        """Distinct keys. PartialUpdateError at the first that is refused, after all before it."""
        places = self._in_use().find(numbers)
        fresh = np.flatnonzero(places == parts.NOWHERE)
        stop, refusal = self._refusal(numbers, fresh)
        fresh = fresh[fresh < stop]
        part = self._place(numbers, places, fresh)
        homeless = fresh[places[fresh] == parts.NOWHERE]
        if len(homeless):
            stop, refusal = int(homeless[0]), errno.E2BIG
            fresh = fresh[fresh < stop]
        self._settle(places[fresh])
        part.write(places[:stop], numbers[:stop], values[:stop])
        self._used = None if self._used is None else self._used + len(fresh)
        if refusal:
            what = f"write row {stop} of {len(numbers)} to map {self._array.name}"
            cause = f"{os.strerror(refusal).lower()}{_HINTS.get(refusal, '')}"
            raise protocol.PartialUpdateError(f"{what}: {cause}", applied=stop, errno=refusal)

    def _refusal(self, numbers: Numbers, fresh: Places) -> tuple[int, int]:
        """Index of the first row that cannot be written, and its errno; their number and 0 if all can."""
        refusals = [(len(numbers), 0)]
        refusals += [(int(index), errno.EINVAL) for index in np.flatnonzero(~parts.is_key(numbers))[:1]]
        if len(fresh):
            # There are more rows than the capacity says, so that those find a place.
            if self._used is None:
                self._used = self.count()
            room = max(0, self._capacity - self._used)
            refusals += [(int(index), errno.E2BIG) for index in fresh[room : room + 1]]
        return min(refusals)

    def _place(self, numbers: Numbers, places: Places, fresh: Places) -> Part:
        """Give places to the fresh keys, NOWHERE where there is none, in a part that has grown for them.

        That part is the one in use then, and the known keys' places are in it.
        """
        known = np.flatnonzero(places != parts.NOWHERE)
        part = self._in_use()
        larger = self._grown(part, (self._used or 0) + len(fresh)) if len(fresh) else part
        while True:
            if larger is not part:
                part = larger
                places[known] = part.find(numbers[known])
            places[fresh] = part.give(numbers[fresh])
            if (places[fresh] != parts.NOWHERE).all():
                return part
            larger = self._grown(part, part.size * _WANTED + 1)
            if larger is part:
                return part

    def _forget(self, places: Places) -> None:
        """Remember which places were freed; many are not worth remembering."""
        if len(places) + len(self._freed) <= _FEW:
            self._freed.update(places.tolist())
        else:
            self._wait()

    def _settle(self, places: Places) -> None:
        """Wait until nobody reads the rows that were on these places."""
        if self._freed and not self._freed.isdisjoint(places.tolist()):
            self._wait()

    def _wait(self) -> None:
        _grace_period()
        self._freed.clear()
        self._left = False

    # ------------------------------------------------------------ growing

    def _grown(self, part: Part, rows: int) -> Part:
        """The part that so many rows want: this one, or a larger one, by now in use."""
        rung = self._ladder.index(part.span)
        target = rung
        while target + 1 < len(self._ladder) and self._ladder[target].size * _WANTED < rows:
            target += 1
        # Every other part overlaps with this one: to such a one by way of the one before it.
        way = range(target - (target - rung + 1) % 2, target + 1) if target > rung else ()
        for step in way:
            larger = self._moved(part, self._ladder[step])
            if larger is None:
                break
            part = larger
        return part

    def _moved(self, part: Part, span: parts.Span) -> Part | None:
        """Go over to a part that has no bucket in common with this one; None if some row finds no place."""
        if self._left:
            self._wait()
        larger = self._map(span)
        larger.clear()
        at = part.used()
        places = larger.give(part.keys[at])
        if (places == parts.NOWHERE).any():
            return None
        larger.write(places, part.keys[at], part.values[at])
        self._word[0] = span.word
        self._part = larger
        self._left = True
        self._freed.clear()  # in the part that was left
        return larger


def _count(part: Part) -> int:
    """In slices: temporaries as large as a table would stay in the process's memory."""
    slices = (slice(start, start + _SLICE) for start in range(0, part.size, _SLICE))
    return sum(int(np.count_nonzero(parts.is_key(part.keys[buckets]))) for buckets in slices)

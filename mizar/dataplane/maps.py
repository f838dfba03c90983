# SPDX-License-Identifier: Apache-2.0
"""Maps of the kernel, read and written as numpy columns.

What holds:
 - Keys and values are arrays of the map's dtypes. A structured array of another dtype is
   refused: numpy would convert it field by field, by position.
 - A batch goes to the kernel as one call; where the map type has no batch calls (tries and
   per-CPU arrays of older kernels), as one call a row.
 - Values of per-CPU maps are the sum over CPUs when read; zero is all that is ever written.

What does not belong here: which maps there are (abi.layout), where they are pinned (kernel.py).
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import capi, protocol

lib: Final = capi.lib
ffi: Final = capi.ffi

_NO_BATCH: Final = (-errno.EOPNOTSUPP, -524)
"""What a map type without batch calls answers; 524 is the kernel's internal ENOTSUPP."""

_FULL: Final = (-errno.E2BIG, -errno.ENOSPC)
"""What hashes and tries answer when there is no room for another row."""

_CHUNK_BYTES: Final = 4 << 20
"""Room for the values of one read, whatever the number of CPUs."""


def _pointer(array: npt.NDArray[Any]) -> Any:
    """Address of a contiguous array, which the caller keeps alive during the call."""
    return ffi.cast("void *", array.ctypes.data)


class Map(capi.Handle):
    """One map; owns a descriptor of its own."""

    def __init__(
        self, fd: int, *, key: np.dtype[Any] | None = None, value: np.dtype[Any] | None = None
    ) -> None:
        """Takes over `fd`. Without dtypes keys and values are opaque ("V4" and the like)."""
        super().__init__(fd)
        info = capi.info(fd, "mz_map_info", "map")
        self.name: str = ffi.string(info.name).decode()
        self.id: int = info.id
        self.type: int = info.type
        self.max_entries: int = info.max_entries
        self.key = np.dtype(f"V{info.key_size}") if key is None else key
        self.value = np.dtype(f"V{info.value_size}") if value is None else value
        if (self.key.itemsize, self.value.itemsize) != (info.key_size, info.value_size):
            raise errors.KernelError(
                f"open map {self.name}: rows are {info.key_size} + {info.value_size} bytes, "
                f"not {self.key.itemsize} + {self.value.itemsize} (made by another version)"
            )
        self._cpus = capi.possible_cpus() if self.type == layout.MapType.PERCPU_ARRAY else 0
        # The kernel hands out per-CPU values padded to 8 bytes; all of ours are multiples.
        if self._cpus and self.value.itemsize % 8:
            raise errors.KernelError(f"open map {self.name}: per-CPU values must be multiples of 8 bytes")

    @classmethod
    def pinned(
        cls,
        path: os.PathLike[str] | str,
        *,
        key: np.dtype[Any] | None = None,
        value: np.dtype[Any] | None = None,
    ) -> Map:
        return cls(capi.open_pin(path), key=key, value=value)

    @classmethod
    def by_id(cls, map_id: int) -> Map:
        return cls(capi.check(lib.bpf_map_get_fd_by_id(map_id), f"open map with id {map_id}"))

    # ------------------------------------------------------------ rows

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        """The value, or None; of a per-CPU map the sum over CPUs."""
        column = layout.column(key, self.key)
        room = self._room(1)
        code = lib.bpf_map_lookup_elem(self.fd, _pointer(column), _pointer(room))
        if code == -errno.ENOENT:
            return None
        capi.check(code, f"read map {self.name}")
        value: np.void = self._summed(room)[0]
        return value

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        """Which keys have values, and those, zero where there is none. One call a key: there is no batch."""
        column = layout.column(keys, self.key)
        found, room = np.zeros(len(column), dtype=np.bool_), self._room(len(column))
        key_at, value_at = column.ctypes.data, room.ctypes.data
        value_size = self.value.itemsize * max(self._cpus, 1)
        for i in range(len(column)):
            key = ffi.cast("void *", key_at + i * self.key.itemsize)
            code = lib.bpf_map_lookup_elem(self.fd, key, ffi.cast("void *", value_at + i * value_size))
            if code != -errno.ENOENT:
                capi.check(code, f"read map {self.name}")
                found[i] = True
        return found, self._summed(room)

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Insert or replace rows in their order; stops at the first that is refused (PartialUpdateError)."""
        columns = layout.column(keys, self.key), layout.column(values, self.value)
        if len(columns[0]) != len(columns[1]):
            raise ValueError(f"{len(columns[0])} keys but {len(columns[1])} values")
        if self._cpus:
            raise errors.KernelError(f"write map {self.name}: counters can only be cleared")
        self._write(*columns)

    def delete(self, keys: npt.ArrayLike) -> int:
        """Delete rows, skipping absent ones; returns how many were there."""
        column = layout.column(keys, self.key)
        deleted, at = 0, 0
        while at < len(column):
            count = ffi.new("__u32 *", len(column) - at)
            code = lib.bpf_map_delete_batch(self.fd, _pointer(column[at:]), count, ffi.NULL)
            if code in _NO_BATCH:
                return deleted + sum(self._delete_one(column[i : i + 1]) for i in range(at, len(column)))
            if code not in (0, -errno.ENOENT):
                capi.check(code, f"delete from map {self.name}")
            deleted += count[0]
            at += count[0] + 1  # the batch stops at an absent key: skip it
        return deleted

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """All keys and values. Not a snapshot: rows that change meanwhile may be seen either way."""
        pages = list(self._read(self._chunk()))
        if not pages:
            return np.zeros(0, dtype=self.key), np.zeros(0, dtype=self.value)
        # Without the dtype numpy would turn big-endian fields into native ones.
        return (
            np.concatenate([keys for keys, _ in pages], dtype=self.key),
            np.concatenate([values for _, values in pages], dtype=self.value),
        )

    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """The same in pages of about so many rows."""
        return self._read(min(batch, self._chunk()))

    @property
    def capacity(self) -> int:
        return self.max_entries

    def count(self) -> int:
        """Number of rows. The kernel keeps no such number: it reads them all."""
        if self.type in (layout.MapType.ARRAY, layout.MapType.PERCPU_ARRAY):
            return self.max_entries
        return sum(len(keys) for keys, _ in self._read(self._chunk()))

    def clear(self, keys: npt.ArrayLike) -> None:
        """Write zero values at `keys`, on all CPUs."""
        column = layout.column(keys, self.key)
        step = self._chunk()
        for at in range(0, len(column), step):
            part = column[at : at + step]
            self._write(part, self._room(len(part)))

    # ------------------------------------------------------------ how

    def _chunk(self) -> int:
        """Rows that one read asks for."""
        row = self.value.itemsize * max(self._cpus, 1)
        return max(1, min(self.max_entries, _CHUNK_BYTES // row))

    def _room(self, n: int) -> npt.NDArray[Any]:
        """Zeroed room for `n` values as the kernel gives them: one per CPU in a per-CPU map."""
        return np.zeros((n, self._cpus) if self._cpus else n, dtype=self.value)

    def _summed(self, room: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not self._cpus:
            return room
        total = np.zeros(len(room), dtype=self.value)
        for name in self.value.names or ():
            total[name] = room[name].sum(axis=1)
        return total

    def _write(self, keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        count = ffi.new("__u32 *", len(keys))
        code = lib.bpf_map_update_batch(self.fd, _pointer(keys), _pointer(values), count, ffi.NULL)
        if code in _NO_BATCH:
            code, count[0] = self._write_each(keys, values)
        if code < 0:
            # An error before the first row leaves the count as it was.
            applied = 0 if count[0] == len(keys) else count[0]
            what = f"write row {applied} of {len(keys)} to map {self.name}"
            cause = capi.failure(what, -code, hint="the table is full" if code in _FULL else "")
            raise protocol.PartialUpdateError(str(cause), applied=applied, errno=-code)

    def _write_each(self, keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[int, int]:
        """Code of the first row that was refused (or 0), and the number of rows written."""
        for i in range(len(keys)):
            code = lib.bpf_map_update_elem(self.fd, _pointer(keys[i:]), _pointer(values[i:]), 0)
            if code < 0:
                return code, i
        return 0, len(keys)

    def _delete_one(self, key: npt.NDArray[Any]) -> bool:
        code = lib.bpf_map_delete_elem(self.fd, _pointer(key))
        if code != -errno.ENOENT:
            capi.check(code, f"delete from map {self.name}")
        return bool(code == 0)

    def _read(self, room: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Pages of keys and values, with room for so many rows each."""
        cursor = ffi.new("char[]", max(4, self.key.itemsize))  # a bucket's number, or a key
        position, code = ffi.NULL, 0
        while code == 0:
            keys, values = np.zeros(room, dtype=self.key), self._room(room)
            count = ffi.new("__u32 *", room)
            code = lib.bpf_map_lookup_batch(
                self.fd, position, cursor, _pointer(keys), _pointer(values), count, ffi.NULL
            )
            if code in _NO_BATCH:
                yield from self._read_each()
                return
            if code == -errno.ENOSPC:  # one bucket holds more than there is room
                room, code = room * 2, 0
                continue
            if code != -errno.ENOENT:  # the end
                capi.check(code, f"read map {self.name}")
            yield keys[: count[0]], self._summed(values[: count[0]])
            position = cursor

    def _read_each(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """The same, a row a page."""
        for key in self._walk():
            value = self.lookup(key)
            if value is not None:
                yield np.array([key], dtype=self.key), np.array([value], dtype=self.value)

    def _walk(self) -> npt.NDArray[Any]:
        """All keys, one call each."""
        found: list[bytes] = []
        key = np.zeros(1, dtype=self.key)
        code = lib.bpf_map_get_next_key(self.fd, ffi.NULL, _pointer(key))
        while code == 0:
            found.append(key.tobytes())
            code = lib.bpf_map_get_next_key(self.fd, _pointer(key.copy()), _pointer(key))
        return np.frombuffer(b"".join(found), dtype=self.key)


def contents(table: Map) -> bytes:
    """All of a small map as bytes; closes it."""
    with table:
        keys, values = table.dump()
    return keys.tobytes() + values.tobytes()


def mapped(array: Map, *, first: int = 0, count: int | None = None) -> npt.NDArray[Any]:
    """Entries of an array map themselves, all if not said otherwise; no system calls. They outlive `array`.

    Only their pages are mapped, as all that is mapped counts as this process's memory.
    """
    n = array.max_entries if count is None else count
    begin, end = first * array.value.itemsize, (first + n) * array.value.itemsize
    page = begin - begin % mmap.ALLOCATIONGRANULARITY
    try:
        memory = mmap.mmap(array.fd, end - page, offset=page)
    except OSError as failure:
        raise errors.KernelError(f"map {array.name} into memory: {failure.strerror}") from failure
    return np.frombuffer(memory, dtype=array.value, count=n, offset=begin - page)

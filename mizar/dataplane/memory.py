# SPDX-License-Identifier: Apache-2.0
"""Maps of the kernel, imitated in memory: the rows behind FakeDataPlane.

What holds:
 - A table answers as the kernel's map of its type does: capacity, errors.
 - Rows are kept as bytes, so a million of them is a dict and not a million objects.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import protocol


def _raw(rows: npt.NDArray[Any]) -> list[bytes]:
    """Each row as bytes."""
    view = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize)))
    return [bytes(row) for row in view.tolist()]


class Table:
    """A hash or an array."""

    def __init__(self, spec: layout.TableSpec, capacity: int) -> None:
        self.spec = spec
        self.capacity = capacity
        self._rows: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return self.capacity if self.spec.type.is_array else len(self._rows)

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        columns = layout.column(keys, self.spec.key), layout.column(values, self.spec.value)
        if len(columns[0]) != len(columns[1]):
            raise ValueError(f"{len(columns[0])} keys but {len(columns[1])} values")
        if self.spec.type.per_cpu:
            raise errors.KernelError(f"write map {self.spec.name}: counters can only be cleared")
        for i, (key, value) in enumerate(zip(_raw(columns[0]), _raw(columns[1]), strict=True)):
            refusal = self._refusal(key)
            if refusal:
                what = f"write row {i} of {len(columns[0])} to map {self.spec.name}"
                cause = os.strerror(refusal).lower()
                raise protocol.PartialUpdateError(f"{what}: {cause}", applied=i, errno=refusal)
            self._put(key, value)

    def delete(self, keys: npt.ArrayLike) -> int:
        if self.spec.type.is_array:
            raise errors.KernelError(f"delete from map {self.spec.name}: an array", errno=errno.EINVAL)
        return sum(self._remove(key) for key in _raw(layout.column(keys, self.spec.key)))

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if self.spec.type.is_array:
            return self._dump_array()
        keys = np.frombuffer(b"".join(self._rows.keys()), dtype=self.spec.key).copy()
        return keys, np.frombuffer(b"".join(self._rows.values()), dtype=self.spec.value).copy()

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        column = layout.column(key, self.spec.key)
        if self.spec.type.is_array and int(column[0]) >= self.capacity:
            return None
        raw = column.tobytes()
        found = self._rows.get(raw)
        if found is None and not self.spec.type.is_array:
            return None
        row: np.void = np.frombuffer(found or bytes(self.spec.value.itemsize), dtype=self.spec.value).copy()[
            0
        ]
        return row

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        column = layout.column(keys, self.spec.key)
        rows = [self.lookup(column[at : at + 1]) for at in range(len(column))]
        values = self.spec.values(len(rows))
        for at, row in enumerate(rows):
            if row is not None:
                values[at] = row
        return np.array([row is not None for row in rows], dtype=np.bool_), values

    def add(self, index: int, **amounts: int) -> None:
        """Count: add to fields of one row of an array."""
        if index >= self.capacity:
            return
        row = self.lookup(index)
        assert row is not None  # every index below the capacity exists
        for field, amount in amounts.items():
            row[field] += np.uint64(amount)
        self._rows[np.array([index], dtype=self.spec.key).tobytes()] = row.tobytes()

    def clear(self, keys: npt.ArrayLike) -> None:
        for key in _raw(layout.column(keys, self.spec.key)):
            self._rows.pop(key, None)

    # ------------------------------------------------------------ how

    def _refusal(self, key: bytes) -> int:
        """The errno with which the kernel would refuse to write `key`; 0 if it would not."""
        match self.spec.type:
            case layout.MapType.ARRAY:
                return errno.E2BIG if int.from_bytes(key, sys.byteorder) >= self.capacity else 0
            case layout.MapType.LRU_HASH:
                return 0
        full = len(self._rows) >= self.capacity and key not in self._rows
        return errno.E2BIG if full else 0

    def _put(self, key: bytes, value: bytes) -> None:
        if self.spec.type is layout.MapType.LRU_HASH:
            self._rows.pop(key, None)
            if len(self._rows) >= self.capacity:
                del self._rows[next(iter(self._rows))]  # written longest ago
        self._rows[key] = value

    def _remove(self, key: bytes) -> bool:
        return self._rows.pop(key, None) is not None

    def _dump_array(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        values = self.spec.values(self.capacity)
        for key, value in self._rows.items():
            index = int(np.frombuffer(key, dtype=self.spec.key)[0])
            values[index] = np.frombuffer(value, dtype=self.spec.value)[0]
        return np.arange(self.capacity, dtype=self.spec.key), values

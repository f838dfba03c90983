# SPDX-License-Identifier: Apache-2.0
"""Rows into the kernel: a refused row never takes the rest of its batch along.

And what a table held before, so that a snapshot writes only the rows that differ.

What holds:
 - Every write of table rows goes through here, so `rows_written` and `rows_removed` are the whole truth about
   what a reconciliation changed.
 - Rows stay columns: nothing here looks at rows one by one, but at those that the kernel refused.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import protocol

REFUSALS_SHOWN: Final = 100
"""A full table refuses every new row: after so many of one batch, the rest is reported as one."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Row `index` of a batch was not written; `more` others after it were not tried."""

    index: int
    message: str
    more: int = 0


def written(count: int, refused: list[Refusal]) -> list[int]:
    """Indexes of the rows of a batch of `count` that are in the table."""
    missing = {refusal.index for refusal in refused}
    end = count - sum(refusal.more for refusal in refused)
    return [index for index in range(end) if index not in missing]


class Writer:
    """The agent's only way to change table rows."""

    def __init__(self, data_plane: protocol.DataPlane) -> None:
        self._data_plane = data_plane
        self.rows_written = 0
        self.rows_removed = 0
        self._lock = threading.Lock()

    def put(self, table: str, keys: layout.Rows, values: layout.Rows) -> list[Refusal]:
        """Insert or replace; what was refused, by index."""
        refused: list[Refusal] = []
        start = 0
        while start < len(keys):
            try:
                self._data_plane.update(table, keys[start:], values[start:])
            except protocol.PartialUpdateError as failure:
                self._count(written=failure.applied)
                start += failure.applied + 1
                full = len(refused) + 1 >= REFUSALS_SHOWN
                more = len(keys) - start if full else 0
                refused.append(Refusal(start - 1, str(failure), more))
                if full:
                    return refused
            else:
                self._count(written=len(keys) - start)
                return refused
        return refused

    def put_one(self, table: str, key: int, value: npt.NDArray[Any]) -> None:
        """One row whose key is a number; KernelError if refused."""
        keys = np.array([key], dtype=layout.TABLES[table].key)
        refused = self.put(table, keys, value)
        if refused:
            raise errors.KernelError(refused[0].message)

    def remove(self, table: str, keys: layout.Rows) -> int:
        """Delete; absent rows are no error. Returns how many there were."""
        removed = self._data_plane.delete(table, keys) if len(keys) else 0
        self._count(removed=removed)
        return removed

    def _count(self, *, written: int = 0, removed: int = 0) -> None:
        with self._lock:
            self.rows_written += written
            self.rows_removed += removed


def sortable(rows: layout.Rows) -> npt.NDArray[Any]:
    """The same rows as scalars that numpy sorts and searches quickly; the order itself means nothing."""
    size = rows.dtype.itemsize
    packed = np.ascontiguousarray(rows)
    # Equal lengths make the bytes type's blindness for trailing zeros harmless.
    return packed.view({4: "u4", 8: "u8"}.get(size, f"S{size}"))


class Baseline:
    """What a table held when a snapshot began, to find the rows that must be written.

    A row that was found to differ counts as different from then on, because it is written.
    """

    def __init__(self, keys: layout.Rows, values: layout.Rows) -> None:
        packed = sortable(keys)
        order = np.argsort(packed)
        self._keys = packed[order]
        self._values = sortable(values)[order]
        self._written = np.zeros(len(keys), dtype=np.bool_)

    def differing(self, keys: layout.Rows, values: layout.Rows) -> npt.NDArray[np.bool_]:
        """Mask of the rows that are absent from the table, or have or had another value there."""
        if not len(self._keys):
            return np.ones(len(keys), dtype=np.bool_)
        wanted = sortable(keys)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        absent = self._keys[at] != wanted
        differ: npt.NDArray[np.bool_] = absent | (self._values[at] != sortable(values)) | self._written[at]
        self._written[at[differ & ~absent]] = True
        return differ

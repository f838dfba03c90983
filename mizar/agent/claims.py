# SPDX-License-Identifier: Apache-2.0
"""Rows that several entries may want: an outside address is a gateway's and two port forwards' at once.

What holds:
 - A row is there while anybody claims it; of several claims the lowest decides its value, so that it does not
   depend on which came first.
 - A row is written only where it differs. Rows that nobody claims, left by a journal that was lost,
   stay until prune().

What does not belong here: what the rows mean (gateways.py). Callers come one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from mizar import errors
from mizar.abi import layout
from mizar.agent import writer
from mizar.dataplane import protocol

Owner: TypeAlias = tuple[Any, ...]
"""Kind of entry and its key; owners of one table compare with each other."""


class Claim(NamedTuple):
    """A value that an owner wants. A lower rank wins."""

    rank: int
    value: bytes


class Claims:
    """One table."""

    def __init__(self, table: layout.Table, data_plane: protocol.DataPlane, output: writer.Writer) -> None:
        self._spec: Final = layout.TABLES[table]
        self._writer = output
        keys, values = data_plane.dump(table)
        self._rows = dict(zip(_raw(keys), _raw(values), strict=True))
        self._claims: dict[bytes, dict[Owner, Claim]] = {}
        self._owned: dict[Owner, set[bytes]] = {}

    def __len__(self) -> int:
        """Rows in the table."""
        return len(self._rows)

    def rows(self) -> tuple[layout.Rows, layout.Rows]:
        """What is in the table."""
        return _joined(self._rows, self._spec.key), _joined(self._rows.values(), self._spec.value)

    def set(self, owner: Owner, wanted: Mapping[bytes, Claim]) -> None:
        """All that `owner` claims from now on; KernelError if there is no room, and nothing is changed."""
        before = {key: self._claims[key][owner] for key in self._owned.get(owner, ())}
        self._change(owner, before, wanted)
        try:
            self._put(wanted)
        except errors.KernelError:
            self._change(owner, wanted, before)
            self._put(before)
            self._remove(wanted.keys() - before.keys())
            raise
        self._remove(before.keys() - wanted.keys())

    def drop(self, owner: Owner) -> None:
        self.set(owner, {})

    def prune(self) -> None:
        """Remove what nobody claims."""
        self._remove(set(self._rows))

    # ------------------------------------------------------------ how

    def _change(self, owner: Owner, before: Iterable[bytes], wanted: Mapping[bytes, Claim]) -> None:
        for key in before:
            del self._claims[key][owner]
            if not self._claims[key]:
                del self._claims[key]
        for key, claim in wanted.items():
            self._claims.setdefault(key, {})[owner] = claim
        if wanted:
            self._owned[owner] = set(wanted)
        else:
            self._owned.pop(owner, None)

    def _value(self, key: bytes) -> bytes:
        _, (_, value) = min(self._claims[key].items(), key=lambda item: (item[1].rank, item[0]))
        return value

    def _put(self, keys: Iterable[bytes]) -> None:
        """Bring claimed rows to the value that they should have."""
        new = {key: value for key in keys if self._rows.get(key) != (value := self._value(key))}
        if not new:
            return
        columns = _joined(new, self._spec.key), _joined(new.values(), self._spec.value)
        refused = self._writer.put(self._spec.name, *columns)
        listed = list(new)
        for index in writer.written(len(listed), refused):
            self._rows[listed[index]] = new[listed[index]]
        if refused:
            raise errors.KernelError(refused[0].message)

    def _remove(self, keys: Iterable[bytes]) -> None:
        """Delete rows that nobody claims; others get the value of who is left."""
        keys = [key for key in keys if key in self._rows]
        self._put(key for key in keys if key in self._claims)
        gone = [key for key in keys if key not in self._claims]
        self._writer.remove(self._spec.name, _joined(gone, self._spec.key))
        for key in gone:
            del self._rows[key]


def _raw(rows: layout.Rows) -> list[bytes]:
    """Each row as bytes; a scalar would be of native byte order."""
    packed: list[bytes] = np.ascontiguousarray(rows).view(f"V{rows.dtype.itemsize}").tolist()
    return packed


def _joined(rows: Iterable[bytes], dtype: np.dtype[Any]) -> layout.Rows:
    return np.frombuffer(b"".join(rows), dtype=dtype)

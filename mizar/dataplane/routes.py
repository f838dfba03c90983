# SPDX-License-Identifier: Apache-2.0
"""Routes: rows by exact prefix, and for programs the lengths of a VPC's prefixes.

A program finds the longest match by one look-up for each length in mz_lengths4, longest first
(bpf/include/maps/routes4.h). To it a prefix is a number. Who writes routes need not know either.

What holds:
 - A length is listed before the first route of that length is written, and as long as there is one.
 - One that was left over by a crash costs a look-up and nothing else, until a route of the VPC goes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar.abi import hashes, layout
from mizar.dataplane import buckets

_ADDRESS_BITS: Final = 32


class RouteTable:
    """The rows of mz_routes4 in `routes`, and of mz_lengths4 in `lengths`; both stay their owner's."""

    def __init__(self, routes: buckets.BucketTable, lengths: buckets.BucketTable) -> None:
        self._routes = routes
        self._lengths = lengths
        self._writing = threading.Lock()

    def lookup(self, key: npt.ArrayLike) -> np.void | None:
        return self._routes.lookup(_numbers(layout.column(key, layout.ROUTE_KEY4)))

    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        return self._routes.lookup_each(_numbers(layout.column(keys, layout.ROUTE_KEY4)))

    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None:
        column = layout.column(keys, layout.ROUTE_KEY4)
        with self._writing:
            for vni, fresh in _lengths_by_vni(column).items():
                known = self._listed(vni)
                if fresh & ~known:
                    self._list(vni, known | fresh)
            self._routes.update(_numbers(column), values)

    def delete(self, keys: npt.ArrayLike) -> int:
        column = layout.column(keys, layout.ROUTE_KEY4)
        with self._writing:
            deleted = self._routes.delete(_numbers(column))
            if deleted:
                self._list_again(np.unique(column["vni"]))
        return deleted

    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        numbers, values = self._routes.dump()
        return _keys(numbers), values

    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        for numbers, values in self._routes.scan(batch):
            yield _keys(numbers), values

    def count(self) -> int:
        return self._routes.count()

    @property
    def capacity(self) -> int:
        return self._routes.capacity

    # ------------------------------------------------------------ how

    def _list_again(self, vnis: npt.NDArray[Any]) -> None:
        """What is left of these VPCs."""
        left = self.dump()[0]
        lengths = _lengths_by_vni(left[np.isin(left["vni"], vnis)])
        for vni in vnis.tolist():
            if vni in lengths:
                self._list(vni, lengths[vni])
            else:
                self._lengths.delete(vni)

    def _listed(self, vni: int) -> int:
        row = self._lengths.lookup(vni)
        return 0 if row is None else int(row["host_bits"])

    def _list(self, vni: int, host_bits: int) -> None:
        self._lengths.update(vni, (host_bits,))


def _numbers(keys: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    return hashes.route_numbers(keys["vni"], keys["addr"], keys["mask"])


def _keys(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    keys = np.zeros(len(numbers), dtype=layout.ROUTE_KEY4)
    keys["vni"], keys["addr"], keys["mask"] = hashes.routes_of(numbers)
    return keys


def _lengths_by_vni(keys: npt.NDArray[Any]) -> dict[int, int]:
    """Of each VPC, a number with one bit for each length: that of the prefix's host bits."""
    found: dict[int, int] = {}
    pairs: Iterable[tuple[int, int]] = np.unique(keys[["vni", "mask"]]).tolist()
    for vni, mask in pairs:
        found[vni] = found.get(vni, 0) | 1 << (_ADDRESS_BITS - mask.bit_count())
    return found

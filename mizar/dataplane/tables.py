# SPDX-License-Identifier: Apache-2.0
"""Tables as user space knows them, over the maps in which the kernel keeps them.

Most tables are their maps; buckets.py, routes.py and sets.py say what holds for those that are not.

What does not belong here: loading, pinning (kernel.py); what rows mean (agent).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mizar.abi import layout
from mizar.dataplane import buckets, maps, routes, sets


class Rows(Protocol):
    """One table. See protocol.DataPlane for what each does."""

    def lookup(self, key: npt.ArrayLike) -> np.void | None: ...
    def update(self, keys: npt.ArrayLike, values: npt.ArrayLike) -> None: ...
    def delete(self, keys: npt.ArrayLike) -> int: ...
    def dump(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...
    def scan(self, batch: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]: ...
    def lookup_each(self, keys: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]: ...
    def count(self) -> int: ...

    @property
    def capacity(self) -> int: ...


def over(kept: Mapping[str, maps.Map]) -> dict[str, Rows]:
    """The tables whose maps are among `kept`; those stay the caller's to close."""
    return {name: _table(spec, kept) for name, spec in layout.TABLES.items() if name in kept}


def _table(spec: layout.TableSpec, kept: Mapping[str, maps.Map]) -> Rows:
    array = kept[spec.name]
    if spec.form is layout.Form.PLAIN:
        return array
    factor = _factor(kept[layout.FACTOR]) if spec.secret else layout.BUCKET_FACTOR
    if spec.form is layout.Form.SETS:
        return sets.SetTable(array, key=spec.key, factor=factor)
    if spec.name == layout.Table.ROUTES4:
        return routes.RouteTable(
            buckets.BucketTable(array, key=layout.U64, value=spec.value, factor=factor),
            buckets.BucketTable(kept[layout.LENGTHS], key=layout.U32, value=layout.LENGTHS4),
        )
    return buckets.BucketTable(array, key=spec.key, value=spec.value, factor=factor)


def _factor(secret: maps.Map) -> int:
    """Of this machine; drawn when it is first asked for, so before there is a row that depends on it."""
    row = secret.lookup(0)
    assert row is not None  # all indexes of an array exist
    if not row["factor"]:
        row["factor"] = secrets.randbits(64) | 1
        secret.update(0, np.array([row], dtype=layout.SECRET))
    return int(row["factor"])

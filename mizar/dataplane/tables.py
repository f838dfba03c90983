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
from mizar.dataplane import buckets, maps, parts, routes, sets


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
    in_use = _parts(kept[layout.PARTS]) if layout.PARTS in kept else None
    return {name: _table(spec, kept, in_use) for name, spec in layout.TABLES.items() if name in kept}


def _table(spec: layout.TableSpec, kept: Mapping[str, maps.Map], in_use: npt.NDArray[Any] | None) -> Rows:
    if spec.form is layout.Form.PLAIN:
        return kept[spec.name]
    assert in_use is not None  # programs that know this table have that map
    factor = int(in_use["factor"][0]) if spec.secret else layout.BUCKET_FACTOR
    if spec.form is layout.Form.SETS:
        return sets.SetTable(kept[spec.name], in_use[spec.name], key=spec.key, factor=factor)
    if spec.name == layout.Table.ROUTES4:
        return routes.RouteTable(
            _buckets(spec.name, kept, in_use, key=layout.U64, value=spec.value, factor=factor),
            _buckets(layout.LENGTHS, kept, in_use, key=layout.U32, value=layout.LENGTHS4),
        )
    return _buckets(spec.name, kept, in_use, key=spec.key, value=spec.value, factor=factor)


def _buckets(
    name: str,
    kept: Mapping[str, maps.Map],
    in_use: npt.NDArray[Any],
    *,
    key: np.dtype[Any],
    value: np.dtype[Any],
    factor: int = layout.BUCKET_FACTOR,
) -> buckets.BucketTable:
    return buckets.BucketTable(kept[name], in_use[name], key=key, value=value, factor=factor)


def _parts(kept: maps.Map) -> npt.NDArray[Any]:
    """mz_parts, with the factor of this machine: drawn when first asked for, before a row depends on it."""
    in_use = parts.words(kept)
    if not in_use["factor"][0]:
        in_use["factor"] = secrets.randbits(64) | 1
    return in_use

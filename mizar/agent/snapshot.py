# SPDX-License-Identifier: Apache-2.0
"""What a snapshot named: the rows that it need not write, and those that PRUNE may remove.

What holds:
 - `named` only grows: with what the snapshot and every later delta upserts.
 - Tables that the agent knows row by row (hosts, VPCs, networks, endpoints) are sets of keys; the large ones
   (routes, shards, locations) are arrays and compared as arrays.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mizar.abi import layout
from mizar.agent import gateways, health, services, writer
from mizar.dataplane import protocol

CheckKey: TypeAlias = health.Key
ForwardKey: TypeAlias = gateways.ForwardKey
ServiceKey: TypeAlias = services.Key


@dataclasses.dataclass
class Named:
    """Keys of the small tables."""

    hosts: set[int] = dataclasses.field(default_factory=set)
    vpcs: set[int] = dataclasses.field(default_factory=set)
    networks: set[int] = dataclasses.field(default_factory=set)
    services: set[ServiceKey] = dataclasses.field(default_factory=set)
    gateways: set[int] = dataclasses.field(default_factory=set)
    floating: set[int] = dataclasses.field(default_factory=set)
    forwards: set[ForwardKey] = dataclasses.field(default_factory=set)
    endpoints: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    checks: set[CheckKey] = dataclasses.field(default_factory=set)


class Snapshot:
    """One snapshot, from SNAPSHOT_BEGIN to PRUNE."""

    def __init__(self, data_plane: protocol.DataPlane) -> None:
        self.named = Named()
        self.comparing = True
        self._data_plane = data_plane
        self._rows: dict[str, list[npt.NDArray[Any]]] = {}
        self._baselines: dict[str, writer.Baseline] = {}

    def to_write(self, table: str, keys: layout.Rows, values: layout.Rows) -> tuple[layout.Rows, layout.Rows]:
        """The rows that the kernel does not hold as they are; all of them while not comparing."""
        if not self.comparing:
            return keys, values
        if table not in self._baselines:
            self._baselines[table] = writer.Baseline(*self._data_plane.dump(table))
        differ = self._baselines[table].differing(keys, values)
        return keys[differ], values[differ]

    def stop_comparing(self) -> None:
        """Deltas come in between: what was dumped no longer tells what is there."""
        self.comparing = False
        self._baselines.clear()

    def name_rows(self, table: str, keys: layout.Rows) -> None:
        """Remember rows of a large table."""
        self._rows.setdefault(table, []).append(writer.sortable(keys))

    def unnamed_rows(self, table: str) -> layout.Rows:
        """Keys that the kernel holds and nobody named."""
        keys, _ = self._data_plane.dump(table)
        named = self._rows.get(table)
        if not named or not len(keys):
            return keys
        return keys[~np.isin(writer.sortable(keys), np.concatenate(named))]

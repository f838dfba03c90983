# SPDX-License-Identifier: Apache-2.0
"""Deletes dead entries of the connection table, some at a time, so that nothing else has to wait.

What holds:
 - Programs treat a dead entry as absent already: collecting makes room, it does not decide.
 - What looked dead is looked at once more, with its opposite, right before it is deleted: a flow that has
   come to life again meanwhile stays, and so do both of its entries.
 - A crowded table is swept again at once, and harder.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import numpy as np

from mizar import errors
from mizar.abi import layout
from mizar.agent import flows, peers
from mizar.dataplane import protocol

INTERVAL: Final = 5.0
"""Seconds from one sweep to the next."""
BATCH: Final = 4096
"""Entries read at once."""
CROWDED: Final = 0.9
"""Part of the table's capacity from which on it is in a hurry."""

_PAUSE: Final = 0.005
"""Seconds for others, after each batch."""
_DELETED_AT_ONCE: Final = 256
_log: Final = logging.getLogger(__name__)


class Collector:
    """Sweeps one table."""

    def __init__(
        self, data_plane: protocol.DataPlane, *, clock: Callable[[], float] = peers.boot_seconds
    ) -> None:
        """`clock`: that of the programs, in seconds."""
        self._data_plane = data_plane
        self._clock = clock
        self._is_crowded = False
        self.collected = 0
        """Entries deleted so far."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            was_crowded = self._is_crowded
            try:
                await self.sweep()
            except errors.MizarError as failure:
                _log.warning("collect dead flows: %s", failure)
            if self._is_crowded and not was_crowded:
                _log.warning("connection table is over %d %% full", CROWDED * 100)
                continue
            await asyncio.sleep(INTERVAL)

    async def sweep(self) -> int:
        """Once through the table; how many entries were deleted."""
        seen, collected = 0, 0
        for keys, values in self._data_plane.scan(layout.Table.FLOWS4, BATCH):
            seen += len(keys)
            is_dead = self._dead(keys, values)
            await asyncio.sleep(_PAUSE)
            dead = keys[is_dead], values[is_dead]
            for at in range(0, len(dead[0]), _DELETED_AT_ONCE):
                part = slice(at, at + _DELETED_AT_ONCE)
                collected += self._collect(dead[0][part], dead[1][part])
                await asyncio.sleep(_PAUSE)
        self.collected += collected
        room = self._data_plane.capacity(layout.Table.FLOWS4)
        self._is_crowded = seen - collected > CROWDED * room
        return collected

    def _collect(self, keys: layout.Rows, values: layout.Rows) -> int:
        """Delete those that are still dead, and their opposites if those are too."""
        candidates = np.concatenate((keys, flows.opposites(keys, values)), dtype=layout.FLOW_KEY4)
        found, held = self._data_plane.lookup_each(layout.Table.FLOWS4, candidates)
        still = found & self._dead(candidates, held)
        return self._data_plane.delete(layout.Table.FLOWS4, candidates[still])

    def _dead(self, keys: layout.Rows, values: layout.Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return flows.dead(keys, values, int(self._clock()), hurried=self._is_crowded)

# SPDX-License-Identifier: Apache-2.0
"""The row of mz_config: what programs know of the machine. Written only when it changes."""

from __future__ import annotations

import threading

import numpy as np

from mizar.abi import layout
from mizar.agent import config, underlay, writer
from mizar.dataplane import protocol


class Machine:
    """The underlay interface, the ages of direct paths, and whether there are addresses outside."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        ages: config.DirectAges,
        nic: underlay.Nic,
    ) -> None:
        """Writes the row. A host that was a gateway stays one until somebody says otherwise."""
        self._data_plane = data_plane
        self._writer = output
        self._ages = ages
        self._lock = threading.Lock()
        self._nic = nic
        self._is_gateway = bool(data_plane.count(layout.Table.OUTSIDE4))
        self._write()

    def follow(self, nic: underlay.Nic) -> None:
        """The interface has changed."""
        with self._lock:
            self._nic = nic
            self._write()

    def set_gateway(self, is_gateway: bool) -> None:
        """Whether mz_outside4 has rows: without any, programs pass by what is not of the tunnel."""
        with self._lock:
            self._is_gateway = is_gateway
            self._write()

    def _write(self) -> None:
        row = np.zeros(1, dtype=layout.CONFIG)
        row["underlay_addr"] = self._nic.address
        row["underlay_ifindex"] = self._nic.ifindex
        row["soft_ms"], row["hard_ms"] = self._ages.soft, self._ages.hard
        row["underlay_mac"] = list(self._nic.mac)
        flags = layout.ConfigFlags.READY
        row["flags"] = flags | layout.ConfigFlags.GATEWAY if self._is_gateway else flags
        held = self._data_plane.lookup(layout.Table.CONFIG, 0)
        if held is None or held.tobytes() != row.tobytes():
            self._writer.put_one(layout.Table.CONFIG, 0, row)

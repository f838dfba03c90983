# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory, with the tables and the decisions of the real one.

For tests of what drives a data plane (a thousand agents in one process), and as the second opinion
on the programs: process() judges a frame by the same tables and must come to the same verdict
and the same bytes (tests/conformance).

What holds:
 - It passes the tests that KernelDataPlane passes; neither interfaces nor root are needed.
 - process() sees no GSO and does no I/O; time is an argument.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar.abi import layout
from mizar.dataplane import memory
from mizar.dataplane.evaluation import first_hop, outcome, tables, transit
from mizar.dataplane.evaluation.outcome import Outcome, Program
from mizar.dataplane.protocol import Hook, Key, TransitMode, TransitStatus

_CLOCK: Final = 0xFFFFFFFF
"""The programs' clock: milliseconds modulo 2^32."""


class FakeDataPlane:
    """See protocol.DataPlane."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        """`sizes`: capacity by table, as of KernelDataPlane."""
        sizes = layout.with_slots(sizes or {})
        for table in sizes.keys() - layout.TABLES.keys():
            raise layout.no_such_table(table)
        self._lock = threading.RLock()
        self._tables = {
            name: memory.Table(spec, sizes.get(name, spec.max_entries))
            for name, spec in layout.TABLES.items()
        }
        self._endpoints: set[int] = set()
        self._transit: tuple[int, TransitStatus] | None = None

    # ------------------------------------------------------------ tables

    def update(self, table: str, keys: layout.Rows, values: layout.Rows) -> None:
        with self._lock:
            self._table(table).update(keys, values)

    def delete(self, table: str, keys: layout.Rows) -> int:
        with self._lock:
            return self._table(table).delete(keys)

    def dump(self, table: str) -> tuple[layout.Rows, layout.Rows]:
        with self._lock:
            return self._table(table).dump()

    def scan(self, table: str, batch: int) -> Iterator[tuple[layout.Rows, layout.Rows]]:
        keys, values = self.dump(table)
        for start in range(0, len(keys), batch):
            yield keys[start : start + batch], values[start : start + batch]

    def lookup(self, table: str, key: Key) -> np.void | None:
        with self._lock:
            return self._table(table).lookup(key)

    def lookup_each(self, table: str, keys: layout.Rows) -> tuple[npt.NDArray[np.bool_], layout.Rows]:
        with self._lock:
            return self._table(table).lookup_each(keys)

    def count(self, table: str) -> int:
        with self._lock:
            return len(self._table(table))

    def capacity(self, table: str) -> int:
        return self._table(table).capacity

    # ------------------------------------------------------------ counters

    def verdicts(self) -> npt.NDArray[Any]:
        return self.dump(layout.Table.VERDICTS)[1]

    def stats(self, slots: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        values = self.dump(layout.Table.STATS)[1]
        return values if slots is None else values[np.asarray(slots, dtype=np.uint32)]

    def clear_stats(self, slots: npt.ArrayLike) -> None:
        with self._lock:
            for table in layout.SLOTTED:
                self._table(table).clear(np.asarray(slots, dtype=np.uint32))

    # ------------------------------------------------------------ attachments

    @property
    def endpoint_hook(self) -> Hook:
        return Hook.TCX

    def attach_endpoint(self, ifindex: int) -> None:
        with self._lock:
            self._endpoints.add(ifindex)

    def detach_endpoint(self, ifindex: int) -> None:
        with self._lock:
            self._endpoints.discard(ifindex)

    def attached_endpoints(self) -> set[int]:
        with self._lock:
            return set(self._endpoints)

    def attach_transit(self, ifindex: int, mode: TransitMode) -> TransitStatus:
        hook = Hook.XDP if mode is TransitMode.XDP else Hook.TCX
        status = TransitStatus(hook, "in memory: any hook will do")
        with self._lock:
            self._transit = ifindex, status
        return status

    def detach_transit(self) -> None:
        with self._lock:
            self._transit = None

    # ------------------------------------------------------------ packets

    def process(self, program: Program, ifindex: int, frame: bytes, now_ms: int) -> Outcome:
        """Run one program on a frame that is on `ifindex`, at `now_ms` of the monotonic clock.

        What the run learns, forgets and counts is in the tables afterwards.
        """
        with self._lock:
            view = tables.Tables(self.lookup)
            if program is Program.ENDPOINT:
                result = first_hop.evaluate(view, ifindex, frame, now_ms)
            else:
                at_xdp = program is Program.TRANSIT_XDP
                result = transit.evaluate(view, frame, now_ms, at_xdp=at_xdp)
            for effect in result.effects:
                self._apply(effect, now_ms)
            self._table(layout.Table.VERDICTS).add(int(result.verdict), packets=1, bytes=len(frame))
            return result

    def _apply(self, effect: outcome.Effect, now_ms: int) -> None:
        match effect:
            case outcome.Learn(vni, address, host, own_vni):
                row = np.array([(host, now_ms & _CLOCK, own_vni)], dtype=layout.DIRECT)
                self._table(layout.Table.DIRECT4).update((vni, address), row)
            case outcome.Forget(vni, address):
                self._table(layout.Table.DIRECT4).delete((vni, address))
            case outcome.CountTx(slot, size) if slot:
                self._table(layout.Table.STATS).add(slot, tx_packets=1, tx_bytes=size)
            case outcome.CountRx(slot, size) if slot:
                self._table(layout.Table.STATS).add(slot, rx_packets=1, rx_bytes=size)

    # ------------------------------------------------------------ life

    def close(self) -> None:
        """Nothing to let go: the rows stay as long as the object."""

    def destroy(self) -> None:
        with self._lock:
            self._endpoints.clear()
            self._transit = None
            for name, table in self._tables.items():
                self._tables[name] = memory.Table(table.spec, table.capacity)

    # ------------------------------------------------------------ how

    def _table(self, name: str) -> memory.Table:
        try:
            return self._tables[name]
        except KeyError:
            raise layout.no_such_table(name) from None

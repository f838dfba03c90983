# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of a data plane, and nothing about how it is done.

Two implementations pass the same tests (tests/conformance): KernelDataPlane (kernel.py), the real
one, and FakeDataPlane (fake.py), which holds the same tables in memory.

What holds:
 - Tables are named by mizar.abi.layout.Table (or its str) and exchanged as numpy arrays
   of the table's dtypes (layout.TABLES[table].key / .value): columns, not objects.
 - Writes are idempotent: updating an equal row and deleting an absent one are no-ops.
 - A row is written atomically, a batch is not: packets may see its first half.
 - Attaching is idempotent and never interrupts what runs already.
 - Interfaces are looked up in the network namespace of the calling thread.
 - All methods may be called from several threads.
 - An interface that is gone takes its attachment along; detaching it is a no-op.

Failures are KernelError with one line; a batch that stops half way raises PartialUpdateError.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout

Key: TypeAlias = int | tuple[int, ...] | np.generic
"""One key: a number, or for a table with a structured key the fields in their order, or a row of keys."""


class TransitMode(enum.StrEnum):
    """Where the transit program is wanted."""

    AUTO = "auto"
    """XDP native where the driver has it; tcx on a veth, which would lose GSO and copy every packet."""
    XDP = "xdp"
    """XDP: native, else generic."""
    TCX = "tcx"
    """tc only."""


class Hook(enum.StrEnum):
    """Where a program really runs."""

    XDP = "xdp"
    XDP_GENERIC = "xdp-generic"
    TCX = "tcx"
    CLSACT = "clsact"
    """tc on kernels before 6.6."""


@dataclasses.dataclass(frozen=True)
class TransitStatus:
    """Where the transit program runs, and why there, in one line for `mizar get host`."""

    hook: Hook
    reason: str


class PartialUpdateError(errors.KernelError):
    """A batch stopped half way: rows [0, applied) are written, row `applied` was refused, no more tried."""

    def __init__(self, message: str, *, applied: int, errno: int = 0) -> None:
        super().__init__(message, errno=errno)
        self.applied = applied


@runtime_checkable
class DataPlane(Protocol):
    """Tables, counters and attachments of one host."""

    # ------------------------------------------------------------ tables

    def update(self, table: str, keys: layout.Rows, values: layout.Rows) -> None:
        """Insert or replace rows. A full table or a bad key raises PartialUpdateError (see there)."""
        ...

    def delete(self, table: str, keys: layout.Rows) -> int:
        """Delete rows; absent ones are skipped. Returns how many were there. Not for arrays."""
        ...

    def dump(self, table: str) -> tuple[layout.Rows, layout.Rows]:
        """All rows, in no order. Rows that change meanwhile may be seen either way.

        Array tables give every index; per-CPU ones the sum over CPUs.
        """
        ...

    def scan(self, table: str, batch: int) -> Iterator[tuple[layout.Rows, layout.Rows]]:
        """All rows as dump() gives them, about `batch` at a time; rows may be deleted between batches."""
        ...

    def lookup(self, table: str, key: Key) -> np.void | None:
        """One value, or None."""
        ...

    def lookup_each(self, table: str, keys: layout.Rows) -> tuple[npt.NDArray[np.bool_], layout.Rows]:
        """Which keys have rows, and their values, zero for those that have none."""
        ...

    def count(self, table: str) -> int:
        """Number of rows; of an array, its capacity."""
        ...

    def capacity(self, table: str) -> int:
        """Number of rows that there is room for."""
        ...

    # ------------------------------------------------------------ counters

    def verdicts(self) -> npt.NDArray[Any]:
        """layout.COUNT[layout.VERDICT_MAX], summed over CPUs, since the data plane was first loaded."""
        ...

    def stats(self, slots: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        """layout.STATS, one per given slot in the order given (None: all slots), summed over CPUs."""
        ...

    def clear_stats(self, slots: npt.ArrayLike) -> None:
        """Empty the given slots, counters and what programs note, before they are handed out again."""
        ...

    # ------------------------------------------------------------ attachments

    @property
    def endpoint_hook(self) -> Hook:
        """Where endpoint programs run on this kernel: TCX or CLSACT."""
        ...

    def attach_endpoint(self, ifindex: int) -> None:
        """Run the endpoint program for packets that arrive on the host side of an attachment."""
        ...

    def detach_endpoint(self, ifindex: int) -> None: ...

    def attached_endpoints(self) -> set[int]:
        """Interfaces that exist and on which the endpoint program runs."""
        ...

    def attach_transit(self, ifindex: int, mode: TransitMode) -> TransitStatus:
        """Run the transit program on the underlay NIC; changes over without a gap if another mode ran."""
        ...

    def detach_transit(self) -> None: ...

    # ------------------------------------------------------------ life

    def close(self) -> None:
        """Let go. Everything stays pinned and running, for the next one to adopt."""
        ...

    def destroy(self) -> None:
        """Detach everything, unpin everything, forget all rows."""
        ...

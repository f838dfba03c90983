# SPDX-License-Identifier: Apache-2.0
"""A bouncer's table in the kernel: how fast rows go from the message into it, and what a row costs there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Final

from bench.core import results, world
from bench.path import agents
from bench.provision import figures
from mizar.abi import layout
from mizar.agent import rows
from mizar.dataplane import kernel
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_NETWORK: Final = 1
_VNI: Final = 7
_HOST: Final = 0xC000_0202
_FIRST: Final = 0x0A00_0001


def measure(result: results.Result, *, entries: int, repetitions: int) -> None:
    """Fill an empty table with `entries` rows, again and again."""
    where = figures.ONE_HOST
    messages = [part.SerializeToString() for part in _messages(entries)]
    for repetition in range(repetitions):
        with _data_plane(entries) as plane:
            begun = time.perf_counter()
            for message in messages:
                _apply(plane, message)
            seconds = time.perf_counter() - begun
            used = _kernel_memory(layout.MAPS[layout.Table.LOCATIONS4].entries(entries))
        result.taken.add(figures.at("load", where), repetition=repetition, value=entries / seconds)
        result.taken.add(figures.at("load_memory", where), repetition=repetition, value=used / entries)


def _messages(entries: int) -> Iterator[node_pb2.SyncRequest]:
    """As a controller sends them: runs of rows of one network."""
    for first in range(_FIRST, _FIRST + entries, wire.CHUNK_ROWS):
        count = min(wire.CHUNK_ROWS, _FIRST + entries - first)
        part = node_pb2.LocationSet(
            vni=_VNI, network=_NETWORK, addresses=range(first, first + count), hosts=[_HOST] * count
        )
        yield node_pb2.SyncRequest(revision=1, upsert=node_pb2.Tables(locations=[part]))


def _apply(plane: kernel.KernelDataPlane, message: bytes) -> None:
    """What the agent does with it: parse, make columns, one batch into the kernel."""
    request = node_pb2.SyncRequest.FromString(message)
    batch = rows.locations(request.upsert.locations, slots={_NETWORK: 1})
    plane.update(batch.table, batch.keys, batch.values)


@contextlib.contextmanager
def _data_plane(entries: int) -> Iterator[kernel.KernelDataPlane]:
    pins = agents.PIN_ROOT / f"{world.PREFIX}-{os.getpid()}-load"
    plane = kernel.KernelDataPlane(pins, {layout.Table.LOCATIONS4: entries})
    try:
        yield plane
    finally:
        plane.destroy()
        shutil.rmtree(pins, ignore_errors=True)


def _kernel_memory(capacity: int) -> int:
    """Bytes of the maps with this capacity that this process has open, as the kernel accounts for them."""
    found: dict[str, int] = {}
    for path in pathlib.Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a descriptor that was closed meanwhile
            fields = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines())
            if "map_id" in fields and int(fields["max_entries"]) == capacity:
                found[fields["map_id"]] = int(fields["memlock"])
    return sum(found.values())

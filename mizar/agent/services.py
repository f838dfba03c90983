# SPDX-License-Identifier: Apache-2.0
"""Services of which this host is a bouncer: rows of mz_services4, mz_maglev4 and mz_backends4.

What holds:
 - Rows of the Maglev table and of backends are there before the row of the service that leads to them,
   and go after it. A table of another size gets an id of its own: no packet looks a place up in half of it.
 - Of a table that keeps its size, only the rows that differ are written.
 - Ids are this host's own. The kernel's rows are the memory: a restart takes ids, slots and backends from
   there, the journal has names only.
 - A service that came from a former process is compared with the kernel's rows when it is named again.

Safe for threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import decode, hashes, layout, maglev
from mizar.agent import journal, roles, rows, slots, writer
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

MAX_WEIGHT: Final = 100
MAX_AFFINITY_SECONDS: Final = 0x7FFF * 60
"""What fits in a REDIRECT."""


class Key(NamedTuple):
    """A port of a scaled endpoint."""

    vni: int
    address: int
    port: int
    protocol: int

    def __str__(self) -> str:
        name = decode.PROTOCOLS.get(self.protocol, str(self.protocol))
        return f"{self.vni}/{decode.address4(self.address)}:{self.port}/{name}"

    @property
    def row(self) -> layout.Rows:
        """As the key of a table."""
        return np.array([(*self, 0)], dtype=layout.SERVICE_KEY4)


class Counted(NamedTuple):
    """Where the flows of a service are counted."""

    vni: int
    name: str
    slot: int


@dataclasses.dataclass(frozen=True)
class _Service:
    """One service as the kernel has it."""

    name: str
    id: int
    port: int
    affinity: int
    """As in the row."""
    slot: int
    backends: Mapping[int, int]
    """Weight by address; 0: it drains, and has no place in the table."""
    size: int
    is_sure: bool = True
    """Its rows were written, or looked at, by this process."""

    def row(self) -> layout.Rows:
        values = (self.id, self.size, self.port, self.affinity, self.slot)
        return np.array([values], dtype=layout.SERVICE4)


def key_of(message: node_pb2.ServiceKey) -> Key:
    return Key(message.vni, message.address, message.port, message.protocol)


class Services:
    """All services of this host."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        memory: journal.Journal,
        allocator: slots.Slots,
        vpcs: roles.Roles,
    ) -> None:
        self._data_plane = data_plane
        self._writer = output
        self._journal = memory
        self._slots = allocator
        self._vpcs = vpcs
        self._lock = threading.RLock()
        self._services: dict[Key, _Service] = {}
        self._next_id = 1
        self._adopt()

    # ------------------------------------------------------------ calls

    def put(self, services: Iterable[node_pb2.Service]) -> list[node_pb2.EntryError]:
        """Insert or replace; the VPC must be known."""
        failed: list[node_pb2.EntryError] = []
        for message in services:
            key = key_of(message.key)
            try:
                self._check(message)
                with self._lock:
                    self._put(key, message)
            except errors.MizarError as failure:
                failed.append(rows.error("services", str(key), str(failure)))
        return failed

    def drop(self, keys: Iterable[Key]) -> None:
        with self._lock:
            for key in keys:
                known = self._services.pop(key, None)
                if known is not None:
                    self._writer.remove(layout.Table.SERVICES4, key.row)
                    self._clear(known)
                    self._slots.free(known.slot)
                    self._journal.drop_service(key)

    def keys(self) -> set[Key]:
        with self._lock:
            return set(self._services)

    def counted(self) -> list[Counted]:
        with self._lock:
            return [Counted(key.vni, each.name, each.slot) for key, each in self._services.items()]

    # ------------------------------------------------------------ one service

    def _check(self, message: node_pb2.Service) -> None:
        key = message.key
        rows.check_vni(key.vni)
        rows.check_protocol(key.protocol)
        rows.check_port(key.port)
        rows.check_port(message.target_port, "target port")
        if not key.address:
            raise errors.InvalidError("address 0.0.0.0 is no scaled endpoint's")
        if message.affinity_seconds > MAX_AFFINITY_SECONDS:
            raise errors.InvalidError(
                f"affinity of {message.affinity_seconds} s: at most {MAX_AFFINITY_SECONDS}"
            )
        _check_backends(message.backends)
        self._vpcs.check_known(key.vni)

    def _put(self, key: Key, message: node_pb2.Service) -> None:
        known = self._services.get(key)
        backends = {each.address: each.weight for each in message.backends}
        with contextlib.ExitStack() as undo:
            wanted = self._wanted(known, message, backends, undo)
            if known == wanted:
                return
            if known is None or known.name != wanted.name:
                self._journal.put_service(key, wanted.name)
            self._write(key, known, wanted, undo)
            undo.pop_all()
        self._services[key] = wanted

    def _wanted(
        self,
        known: _Service | None,
        message: node_pb2.Service,
        backends: Mapping[int, int],
        undo: contextlib.ExitStack,
    ) -> _Service:
        size = maglev.size_for(sum(weight > 0 for weight in backends.values()))
        if known is None:
            slot = self._slots.take()
            undo.callback(self._slots.free, slot)
            self._data_plane.clear_stats([slot])
        else:
            slot = known.slot
        return _Service(
            name=message.name,
            id=known.id if known is not None and known.size == size else self._take_id(),
            port=message.target_port,
            affinity=hashes.affinity_code(message.affinity_seconds),
            slot=slot,
            backends=backends,
            size=size,
        )

    def _write(self, key: Key, known: _Service | None, wanted: _Service, undo: contextlib.ExitStack) -> None:
        """First what the service leads to, then the service, then nothing leads to the rest."""
        replaces = known is not None and known.id == wanted.id
        if replaces:
            # Half of it may be there if something is refused: the next message looks again.
            undo.callback(self._doubt, key)
        else:
            undo.callback(self._clear, wanted)
        same = replaces and known is not None and known.is_sure and known.backends == wanted.backends
        if not same:
            self._put_rows(layout.Table.BACKENDS4, *_backend_rows(wanted))
            self._put_rows(layout.Table.MAGLEV4, *_maglev_rows(key, wanted))
        self._put_rows(layout.Table.SERVICES4, key.row, wanted.row())
        if known is None or same:
            return
        if replaces:
            gone = known.backends.keys() - wanted.backends.keys()
            self._writer.remove(layout.Table.BACKENDS4, _backend_keys(wanted.id, gone))
        else:
            self._clear(known)

    def _put_rows(self, table: layout.Table, keys: layout.Rows, values: layout.Rows) -> None:
        """Those that the kernel does not hold as they are; KernelError if one is refused."""
        found, held = self._data_plane.lookup_each(table, keys)
        differ = ~found | (writer.sortable(held) != writer.sortable(values))
        refused = self._writer.put(table, keys[differ], values[differ])
        if refused:
            raise errors.KernelError(refused[0].message)

    def _doubt(self, key: Key) -> None:
        self._services[key] = dataclasses.replace(self._services[key], is_sure=False)

    def _clear(self, service: _Service) -> None:
        """Take away what a service led to."""
        self._writer.remove(layout.Table.MAGLEV4, _maglev_keys(service.id, service.size))
        self._writer.remove(layout.Table.BACKENDS4, _backend_keys(service.id, service.backends))

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # ------------------------------------------------------------ restart

    def _adopt(self) -> None:
        """What the kernel has, and out with rows that no service leads to: a crash left them."""
        names = self._journal.services()
        backend_keys, backends = self._data_plane.dump(layout.Table.BACKENDS4)
        weights: dict[int, dict[int, int]] = {}
        for (service, address), (weight,) in zip(backend_keys.tolist(), backends.tolist(), strict=True):
            weights.setdefault(service, {})[address] = weight
        for held, value in zip(*self._data_plane.dump(layout.Table.SERVICES4), strict=True):
            key = Key(*held.tolist()[:4])
            number, size, port, affinity, slot = value.tolist()
            self._services[key] = _Service(
                name=names.get(key, ""),
                id=number,
                port=port,
                affinity=affinity,
                slot=slot,
                backends=weights.get(number, {}),
                size=size,
                is_sure=False,
            )
        for name in names.keys() - self._services.keys():
            self._journal.drop_service(name)
        used = np.array([each.id for each in self._services.values()], dtype=np.uint32)
        self._next_id = int(used.max(initial=0)) + 1
        for table in (layout.Table.MAGLEV4, layout.Table.BACKENDS4):
            keys, _ = self._data_plane.dump(table)
            self._writer.remove(table, keys[~np.isin(keys["service"], used)])


def _check_backends(backends: Iterable[node_pb2.Backend]) -> None:
    seen: set[int] = set()
    for each in backends:
        text = decode.address4(each.address)
        if not each.address:
            raise errors.InvalidError("backend 0.0.0.0: is no endpoint's address")
        if each.weight > MAX_WEIGHT:
            raise errors.InvalidError(f"weight {each.weight} of backend {text}: must be 0 to {MAX_WEIGHT}")
        if each.address in seen:
            raise errors.InvalidError(f"backend {text} is listed twice")
        seen.add(each.address)


# ---------------------------------------------------------------- rows


def _maglev_keys(service: int, size: int) -> layout.Rows:
    keys = np.zeros(-(-size // layout.MAGLEV_ROW), dtype=layout.MAGLEV_KEY4)
    keys["service"] = service
    keys["row"] = np.arange(len(keys))
    return keys


def _maglev_rows(key: Key, service: _Service) -> tuple[layout.Rows, layout.Rows]:
    keys = _maglev_keys(service.id, service.size)
    places = np.zeros(len(keys) * layout.MAGLEV_ROW, dtype=">u4")
    given_out = [(address, weight) for address, weight in service.backends.items() if weight]
    places[: service.size] = maglev.table(given_out, maglev.seed_of(*key))
    return keys, places.view(layout.MAGLEV4)


def _backend_keys(service: int, addresses: Iterable[int]) -> layout.Rows:
    return np.array([(service, address) for address in addresses], dtype=layout.BACKEND_KEY4)


def _backend_rows(service: _Service) -> tuple[layout.Rows, layout.Rows]:
    weights: npt.NDArray[Any] = np.zeros(len(service.backends), dtype=layout.BACKEND4)
    weights["weight"] = list(service.backends.values())
    return _backend_keys(service.id, service.backends), weights

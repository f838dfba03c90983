# SPDX-License-Identifier: Apache-2.0
"""The data plane of this machine: maps, programs and links of the kernel.

Everything lives below PIN_ROOT/v<ABI>: maps/, progs/, links/. The process may end at any point: packets
go on, and the next KernelDataPlane of the same root adopts what it finds.

Adopting, in this order:
 1. pinned maps are opened and their type and row sizes checked, missing ones made;
 2. the programs are loaded on those maps; one that equals the pinned one is let go again;
 3. every link that runs another program than the chosen one is switched over, atomically.
Nothing is ever detached on the way. A map keeps the capacity it was made with.

What does not belong here: what the rows mean (agent), how packets are judged (bpf/).
"""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import attachments, bpffs, capi, libbpf, links, maps, nic, programs, tables
from mizar.dataplane.attachments import Attachment, Role
from mizar.dataplane.protocol import Hook, Key, TransitMode, TransitStatus

ENDPOINT: Final = "mz_endpoint"
TRANSIT_TC: Final = "mz_transit_tc"
TRANSIT_XDP: Final = "mz_transit_xdp"

_OBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "endpoint.bpf.o": (ENDPOINT,),
    "transit.bpf.o": (TRANSIT_TC, TRANSIT_XDP),
}
PROGRAMS: Final = tuple(name for names in _OBJECTS.values() for name in names)
_XDP_HOOKS: Final = (Hook.XDP, Hook.XDP_GENERIC)

_FEW_SLOTS: Final = 1024
"""Up to here single look-ups are cheaper than reading the whole counter array."""


class KernelDataPlane:
    """See protocol.DataPlane. Attachments are made in the network namespace of the calling thread."""

    def __init__(
        self,
        pin_root: str | pathlib.Path,
        sizes: Mapping[str, int] | None = None,
        *,
        objects: pathlib.Path = libbpf.OBJECTS,
        force_clsact: bool = False,
    ) -> None:
        """Load, or adopt what is pinned below `pin_root`.

        `sizes`: capacity by table, for tables that are made now. `force_clsact`: behave as on a kernel
        without tcx.
        """
        for table in (sizes or {}).keys() - layout.TABLES.keys():
            raise layout.no_such_table(table)
        self._root = pathlib.Path(pin_root)
        self._version = self._root / f"v{layout.ABI_VERSION}"
        for directory in ("maps", "progs", "links"):
            bpffs.ensure(self._version / directory)
        self._lock = threading.RLock()
        self._attachments = attachments.Attachments(self._version / "links")
        with contextlib.ExitStack() as undo:
            self._maps: dict[str, maps.Map] = {}
            self._tables: dict[str, tables.Rows] = {}
            self._programs: dict[str, programs.Program] = {}
            undo.callback(self.close)
            self._open_pinned_maps()
            for file, names in _OBJECTS.items():
                self._load(objects / file, names, layout.with_slots(sizes or {}))
            self._tables = tables.over(self._maps)
            undo.pop_all()
        tcx = not force_clsact and links.kernel_has_tcx(self._programs[ENDPOINT])
        self._tc_hook = Hook.TCX if tcx else Hook.CLSACT
        self._switch_links()

    # ------------------------------------------------------------ tables

    def update(self, table: str, keys: layout.Rows, values: layout.Rows) -> None:
        self._table(table).update(keys, values)

    def delete(self, table: str, keys: layout.Rows) -> int:
        return self._table(table).delete(keys)

    def dump(self, table: str) -> tuple[layout.Rows, layout.Rows]:
        return self._table(table).dump()

    def scan(self, table: str, batch: int) -> Iterator[tuple[layout.Rows, layout.Rows]]:
        return self._table(table).scan(batch)

    def lookup(self, table: str, key: Key) -> np.void | None:
        return self._table(table).lookup(key)

    def lookup_each(self, table: str, keys: layout.Rows) -> tuple[npt.NDArray[np.bool_], layout.Rows]:
        return self._table(table).lookup_each(keys)

    def count(self, table: str) -> int:
        return self._table(table).count()

    def capacity(self, table: str) -> int:
        return self._table(table).capacity

    # ------------------------------------------------------------ counters

    def verdicts(self) -> npt.NDArray[Any]:
        return self._by_index(layout.Table.VERDICTS)

    def stats(self, slots: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        if slots is None:
            return self._by_index(layout.Table.STATS)
        wanted = np.asarray(slots, dtype=np.uint32)
        if len(wanted) > _FEW_SLOTS:
            return self._by_index(layout.Table.STATS)[wanted]
        return self._maps[layout.Table.STATS].lookup_each(wanted)[1]

    def clear_stats(self, slots: npt.ArrayLike) -> None:
        cleared = np.asarray(slots, dtype=np.uint32)
        for table in layout.SLOTTED:
            self._maps[table].clear(cleared)

    # ------------------------------------------------------------ attachments

    @property
    def endpoint_hook(self) -> Hook:
        return self._tc_hook

    def attach_endpoint(self, ifindex: int) -> None:
        with self._lock:
            wanted = Attachment(Role.ENDPOINT, self._tc_hook, ifindex)
            self._attachments.attach(wanted, self._programs[ENDPOINT])

    def detach_endpoint(self, ifindex: int) -> None:
        with self._lock:
            for hook in (Hook.TCX, Hook.CLSACT):
                self._attachments.detach(Attachment(Role.ENDPOINT, hook, ifindex))

    def attached_endpoints(self) -> set[int]:
        with self._lock:
            return {attachment.ifindex for attachment in self._attachments.live(Role.ENDPOINT)}

    def attach_transit(self, ifindex: int, mode: TransitMode) -> TransitStatus:
        """The tc program always runs; XDP before it where it was chosen."""
        with self._lock:
            tc = Attachment(Role.TRANSIT, self._tc_hook, ifindex)
            self._attachments.attach(tc, self._programs[TRANSIT_TC])
            status = self._attach_best(nic.describe(ifindex), mode)
            keep = (tc, Attachment(Role.TRANSIT, status.hook, ifindex))
            for attachment in self._attachments.pinned():
                if attachment.role is Role.TRANSIT and attachment not in keep:
                    self._attachments.detach(attachment)
            return status

    def detach_transit(self) -> None:
        self._detach_all(Role.TRANSIT)

    # ------------------------------------------------------------ life

    def program(self, name: str) -> programs.Program:
        """One of the loaded programs, for test runs; it stays ours."""
        return self._programs[name]

    def close(self) -> None:
        self._tables = {}  # some are mapped into memory
        for handle in (*self._maps.values(), *self._programs.values()):
            handle.close()

    def destroy(self) -> None:
        for role in Role:
            self._detach_all(role)
        self.close()
        bpffs.remove_tree(self._version)
        bpffs.remove_empty(self._root)

    # ------------------------------------------------------------ how: loading

    def _open_pinned_maps(self) -> None:
        for name, spec in layout.MAPS.items():
            path = self._version / "maps" / name
            if not path.exists():
                continue
            found = maps.Map.pinned(path, key=spec.key, value=spec.value)
            self._maps[name] = found
            if found.type != spec.type:
                raise errors.KernelError(f"adopt map {path}: type is {found.type}, not {spec.type.name}")

    def _load(self, path: pathlib.Path, names: tuple[str, ...], sizes: dict[str, int]) -> None:
        """Load one object on the maps that are there, then take its maps and programs."""
        with libbpf.Object(path) as obj:
            declared = [name for name in obj.map_names() if name in layout.MAPS]
            for name in declared:
                if name in self._maps:
                    obj.reuse_map(name, self._maps[name])
                elif name in sizes:
                    obj.set_max_entries(name, layout.MAPS[name].entries(sizes[name]))
            obj.load()
            for name in declared:
                if name not in self._maps:
                    spec = layout.MAPS[name]
                    self._maps[name] = obj.map(name, key=spec.key, value=spec.value)
                    self._maps[name].pin(self._version / "maps" / name)
            for name in names:
                self._programs[name] = self._choose(name, obj.program(name))

    def _choose(self, name: str, fresh: programs.Program) -> programs.Program:
        """The pinned program if it equals the fresh one, else the fresh one, pinned now."""
        path = self._version / "progs" / name
        if path.exists():
            pinned = programs.Program.pinned(path)
            if self._identity(pinned) == self._identity(fresh):
                fresh.close()
                return pinned
            pinned.close()
        fresh.pin(path)
        return fresh

    def _identity(self, program: programs.Program) -> tuple[object, ...]:
        """What makes two loaded programs the same: instructions, tables, and constants (.rodata)."""
        tables = {table.id for table in self._maps.values()}
        used = program.map_ids()
        constants = (maps.Map.by_id(map_id) for map_id in sorted(used - tables))
        return program.tag, used & tables, [maps.contents(constant) for constant in constants]

    def _switch_links(self) -> None:
        """Make every attachment run the chosen program."""
        for role in Role:
            for attachment in self._attachments.live(role):
                self._attachments.attach(attachment, self._program_for(attachment))

    def _program_for(self, attachment: Attachment) -> programs.Program:
        if attachment.role is Role.ENDPOINT:
            return self._programs[ENDPOINT]
        return self._programs[TRANSIT_XDP if attachment.hook in _XDP_HOOKS else TRANSIT_TC]

    # ------------------------------------------------------------ how: the rest

    def _table(self, table: str) -> tables.Rows:
        try:
            return self._tables[table]
        except KeyError:
            raise layout.no_such_table(table) from None

    def _by_index(self, table: layout.Table) -> npt.NDArray[Any]:
        """Values of an array, in the order of its indexes."""
        keys, values = self._maps[table].dump()
        ordered = np.zeros(len(values), dtype=values.dtype)
        ordered[keys] = values
        return ordered

    def _attach_best(self, interface: nic.Nic, mode: TransitMode) -> TransitStatus:
        """Try the hooks in their order; the tc program is on already."""
        refusal: errors.KernelError | None = None
        for choice in nic.transit_choices(interface, mode):
            because = f" ({capi.cause(refusal)})" if refusal else ""
            if choice.hook is Hook.TCX:
                return TransitStatus(self._tc_hook, choice.reason + because)
            wanted = Attachment(Role.TRANSIT, choice.hook, interface.ifindex)
            refusal = attachments.try_attach(self._attachments, wanted, self._programs[TRANSIT_XDP])
            if refusal is None:
                return TransitStatus(choice.hook, choice.reason + because)
        raise refusal or errors.KernelError(f"attach transit to {interface.name}: no hook is left to try")

    def _detach_all(self, role: Role) -> None:
        with self._lock:
            for attachment in self._attachments.pinned():
                if attachment.role is role:
                    self._attachments.detach(attachment)

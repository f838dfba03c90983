# SPDX-License-Identifier: Apache-2.0
"""The programs under test in the kernel, with tables of a given size and the harness in front of them.

Nothing is pinned or attached: it all goes when the process does.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from bench import tools
from bench.programs import cases, services, tables
from mizar import errors
from mizar.abi import layout
from mizar.abi.verdicts import Verdict
from mizar.dataplane import capi, libbpf, maps, parts, programs
from mizar.dataplane import tables as stored

_OBJECTS: Final = ("endpoint.bpf.o", "transit.bpf.o")
_HARNESS: Final = pathlib.Path(__file__).with_name("harness.bpf.c")
_FRAME_BYTES: Final = 128
_RECIPE: Final = np.dtype(
    [
        *((name, "=u4") for name in ("restore", "length", "offset", "first", "count", "pad")),
        ("seed", "=u8"),
        ("frame", "u1", (_FRAME_BYTES,)),
    ]
)
MORE: Final = 7
"""STEPS - 1 of harness.bpf.c."""
_CHANGES_LENGTH: Final = (cases.Method.UNWRAPPED, cases.Method.WRAPPED)
_SLOT_PROGRAM: Final = 0
_SLOT_EMPTY: Final = 1
_INSTRUCTION_BYTES: Final = 8


class Aside:
    """Programs of harness.bpf.c for what is timed beside a program that changes the packet's length."""

    def __init__(self, handle: libbpf.Object) -> None:
        self.floor, self.both, take, put, refused, self.told, self.untold = (
            handle.program(f"mzb_tc_{name}")
            for name in ("floor", "both", "take", "put", "refused", "told", "untold")
        )
        self.more = {cases.Method.UNWRAPPED: (take, refused), cases.Method.WRAPPED: (put,)}
        """By method: as `both`, and MORE times what the harness adds to a run."""


class Harness:
    """harness.bpf.c for one hook: what to run instead of the program, and instead of nothing."""

    def __init__(self, handle: libbpf.Object, recipe: maps.Map, hook: str) -> None:
        self.timed = handle.program(f"mzb_{hook}")
        self.base = handle.program(f"mzb_{hook}_base")
        self.empty = handle.program(f"mzb_{hook}_empty")
        self.aside = Aside(handle) if hook == "tc" else None
        self._recipe = recipe
        self._slots = handle.map(f"mzb_{hook}_slots", key=layout.U32, value=layout.U32)
        self._put(_SLOT_EMPTY, self.empty)

    def prepare(self, case: cases.Case, program: programs.Program, *, addresses: int) -> None:
        self._put(_SLOT_PROGRAM, program)
        recipe = np.zeros(1, dtype=_RECIPE)
        row = recipe[0]
        row["restore"] = len(case.frame) >= _FRAME_BYTES
        row["length"] = len(case.frame) if case.method in _CHANGES_LENGTH else 0
        row["offset"] = case.offset
        row["first"], row["count"], row["seed"] = tables.FIRST, addresses, 88172645463325252
        head = np.frombuffer(case.frame[:_FRAME_BYTES], dtype="u1")
        row["frame"][: len(head)] = head
        self._recipe.update(np.zeros(1, dtype=layout.U32), recipe)

    def _put(self, slot: int, program: programs.Program) -> None:
        self._slots.update(np.array([slot], dtype=layout.U32), np.array([program.fd], dtype=layout.U32))


class Kernel:
    """Programs, and tables; each of tables.GROWING can hold `rows` rows, and is no smaller than usual."""

    def __init__(self, *, rows: int = tables.USUAL_ROWS) -> None:
        self._capacities = {table: tables.capacity(table, rows) for table in tables.GROWING}
        self._maps: dict[str, maps.Map] = {}
        self._programs: dict[str, programs.Program] = {}
        for name in _OBJECTS:
            self._load(libbpf.OBJECTS / name)
        self._tables = stored.over(self._maps)
        with libbpf.Object(tools.bpf_object(_HARNESS)) as handle:
            handle.load()
            recipe = handle.map("mzb_recipe", key=layout.U32, value=_RECIPE)
            self._harness = {hook: Harness(handle, recipe, hook) for hook in ("xdp", "tc")}
        for fill in (*tables.usual(now_ms=_now_ms()), *services.usual(now_ms=_now_ms())):
            self._fill(fill)

    def program(self, which: cases.Program) -> programs.Program:
        return self._programs[which.value]

    def harness(self, which: cases.Program) -> Harness:
        return self._harness["xdp" if which is cases.Program.TRANSIT_XDP else "tc"]

    @contextlib.contextmanager
    def grown(self, table: layout.Table, rows: int) -> Iterator[None]:
        """Exactly `rows` rows in a table, and afterwards those of a usual host."""
        usual = tables.growing(table, tables.USUAL_ROWS, now_ms=_now_ms())
        many = tables.growing(table, rows, now_ms=_now_ms())
        self._tables[table].delete(usual.keys)
        self._fill(many)
        try:
            yield
        finally:
            self._tables[table].delete(many.keys)
            self._shrink(table)
            self._fill(usual)

    @contextlib.contextmanager
    def arranged(self, case: cases.Case) -> Iterator[None]:
        """The case's port and configuration, and afterwards none and the usual one."""
        for fill in (case.port, case.config):
            if fill is not None:
                self._fill(fill)
        try:
            yield
        finally:
            if case.port is not None:
                self._tables[case.port.table].delete(case.port.keys)
            if case.config is not None:
                self._fill(tables.config(ready=True))

    def verdicts(self) -> dict[Verdict, int]:
        """Packets by verdict since load; only those that are not zero."""
        keys, values = self._maps[layout.Table.VERDICTS].dump()
        packets = zip(keys, values["packets"], strict=True)
        return {Verdict(int(key)): int(count) for key, count in packets if count}

    def _load(self, path: pathlib.Path) -> None:
        with libbpf.Object(path) as handle:
            for name in handle.map_names():
                if name in self._maps:
                    handle.reuse_map(name, self._maps[name])
                elif name in self._capacities:
                    handle.set_max_entries(
                        name, layout.MAPS[name].entries(self._capacities[layout.Table(name)])
                    )
            handle.load()
            for name in handle.map_names():
                spec = layout.MAPS.get(name)
                if spec is not None and name not in self._maps:
                    self._maps[name] = handle.map(name, key=spec.key, value=spec.value)
            for name in handle.program_names():
                self._programs[name] = handle.program(name)

    def _shrink(self, table: layout.Table) -> None:
        """Tables only grow; the next cases are of a table that was never large."""
        if layout.TABLES[table].form is layout.Form.BUCKETS:
            keys, values = self._tables[table].dump()
            parts.words(self._maps[layout.PARTS])[table] = 0
            self._tables = stored.over(self._maps)
            self._tables[table].update(keys, values)

    def _fill(self, fill: tables.Fill) -> None:
        self._tables[fill.table].update(fill.keys, fill.values)


def _now_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


def sizes(loaded: Kernel) -> dict[str, dict[str, int]]:
    """Instructions of every program after the verifier (`xlated`), and bytes of machine code (`jited`)."""
    found = {}
    for which in cases.Program:
        info = capi.info(loaded.program(which).fd, "mz_prog_info", "program")
        if not info.jited_prog_len:
            raise errors.KernelError(f"measure {which.value}: not compiled (net.core.bpf_jit_enable is 0)")
        found[which.value] = {
            "xlated": info.xlated_prog_len // _INSTRUCTION_BYTES,
            "jited": int(info.jited_prog_len),
        }
    return found

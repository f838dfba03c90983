# SPDX-License-Identifier: Apache-2.0
"""BPF object files: opened, adjusted, loaded.

    with libbpf.Object(path) as obj:              # nothing is in the kernel yet
        obj.set_max_entries("mz_hosts", 64)
        obj.reuse_map("mz_stats", already_there)
        obj.load()                                # KernelError.log has the verifier's log
        hosts = obj.map("mz_hosts", key=layout.BE32, value=layout.HOST)
        program = obj.program("mz_endpoint")

What holds:
 - Maps and programs taken from an object own their descriptors, so they outlive it.
 - libbpf lifts RLIMIT_MEMLOCK itself where the kernel still counts BPF memory against it.

What does not belong here: reading and writing maps (maps.py), programs (programs.py), links (links.py).
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from mizar import errors
from mizar.dataplane import btf, capi, maps, programs

lib: Final = capi.lib
ffi: Final = capi.ffi

OBJECTS: Final = pathlib.Path(__file__).parent / "objects"
"""Where `make build` puts the compiled data plane."""

_BEGIN_LOG: Final = "BEGIN PROG LOAD LOG"
_LOG_OWNER: Final = re.compile(r"prog '(\w+)'")
_LOG_NOISE: Final = re.compile(r"^(processed \d+ insns|verification time|stack depth|-- |max_states|\s*$)")


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _summary(messages: list[str]) -> str:
    """The line of the verifier's log that says what it objects to; else libbpf's first complaint."""
    for message in messages:
        if _BEGIN_LOG in message:
            lines = [line for line in message.splitlines()[1:] if not _LOG_NOISE.match(line)]
            lines = [line for line in lines if "END PROG LOAD LOG" not in line]
            program = _LOG_OWNER.search(message)
            reason = lines[-1].strip() if lines else "the verifier gave no reason"
            return f"{program[1]}: {reason}" if program else reason
    return messages[0].strip().removeprefix("libbpf: ") if messages else ""


class Object:
    """One object file. Close it when its maps and programs have been taken."""

    def __init__(self, path: os.PathLike[str] | str) -> None:
        self.path = pathlib.Path(path)
        self._object: Any = None
        if not self.path.is_file():
            raise errors.NotFoundError(f"open BPF object {self.path}: no such file (run `make build`)")
        with capi.capture() as messages:
            self._object = lib.bpf_object__open_file(capi.text(self.path), ffi.NULL)
        if not self._object:
            raise capi.failure(
                f"open BPF object {self.path}", ffi.errno, hint=_summary(messages), log="".join(messages)
            )

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the file; what was taken from it stays."""
        handle, self._object = self._object, None
        if handle:
            lib.bpf_object__close(handle)

    # ------------------------------------------------------------ before load

    def set_max_entries(self, name: str, entries: int) -> None:
        capi.check(lib.bpf_map__set_max_entries(self._map(name), entries), f"size map {name} to {entries}")

    def reuse_map(self, name: str, existing: maps.Map) -> None:
        """Use a map that is in the kernel already instead of making one."""
        code = lib.bpf_map__reuse_fd(self._map(name), existing.fd)
        capi.check(code, f"reuse map {name}", hint="its type or sizes differ from the object's")

    def load_only(self, *names: str) -> None:
        """Leave out all programs but these."""
        for name, program in self._programs():
            capi.check(lib.bpf_program__set_autoload(program, name in names), f"select program {name}")

    def load(self) -> None:
        """Make the maps and load the programs."""
        with capi.capture() as messages:
            code = lib.bpf_object__load(self._object)
        if code < 0:
            log = "".join(messages)
            raise capi.failure(f"load BPF object {self.path.name}", -code, hint=_summary(messages), log=log)

    # ------------------------------------------------------------ contents

    def map_names(self) -> list[str]:
        return [name for name, _ in self._maps()]

    def program_names(self) -> list[str]:
        return [name for name, _ in self._programs()]

    def map(
        self, name: str, *, key: np.dtype[Any] | None = None, value: np.dtype[Any] | None = None
    ) -> maps.Map:
        """A loaded map; see maps.Map for the dtypes."""
        fd = lib.bpf_map__fd(self._map(name))
        return maps.Map(
            _duplicate(capi.check(fd, f"take map {name}", hint="load first")), key=key, value=value
        )

    def program(self, name: str) -> programs.Program:
        """A loaded program."""
        fd = lib.bpf_program__fd(self._program(name))
        return programs.Program(_duplicate(capi.check(fd, f"take program {name}", hint="load first")))

    def map_definition(self, name: str) -> tuple[int, int, int, int]:
        """Type, key size, value size and capacity that the object declares."""
        found = self._map(name)
        return (
            lib.bpf_map__type(found),
            lib.bpf_map__key_size(found),
            lib.bpf_map__value_size(found),
            lib.bpf_map__max_entries(found),
        )

    def btf(self) -> btf.Btf:
        """Types of the object."""
        return btf.from_elf(self.path)

    # ------------------------------------------------------------ how

    def _maps(self) -> Iterator[tuple[str, Any]]:
        found = lib.bpf_object__next_map(self._object, ffi.NULL)
        while found:
            # Global data in a section of its own is shared like any map; pins cannot have dots.
            yield ffi.string(lib.bpf_map__name(found)).decode().removeprefix(".data."), found
            found = lib.bpf_object__next_map(self._object, found)

    def _programs(self) -> Iterator[tuple[str, Any]]:
        found = lib.bpf_object__next_program(self._object, ffi.NULL)
        while found:
            yield ffi.string(lib.bpf_program__name(found)).decode(), found
            found = lib.bpf_object__next_program(self._object, found)

    def _map(self, name: str) -> Any:
        for found, handle in self._maps():
            if found == name:
                return handle
        raise errors.NotFoundError(
            f"find map {name}: not in {self.path.name} ({', '.join(self.map_names())})"
        )

    def _program(self, name: str) -> Any:
        for found, handle in self._programs():
            if found == name:
                return handle
        known = ", ".join(self.program_names())
        raise errors.NotFoundError(f"find program {name}: not in {self.path.name} ({known})")

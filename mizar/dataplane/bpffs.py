# SPDX-License-Identifier: Apache-2.0
"""Directories of pins: the file system that keeps BPF objects alive while no process does."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Final

from mizar import errors
from mizar.dataplane import capi

MOUNT_POINT: Final = pathlib.Path("/sys/fs/bpf")
_MAGIC: Final = 0xCAFE4A11
_TRIES: Final = 10

capi.ffi.cdef(
    """
    int statfs(const char *path, long *buf);
    int mount(const char *source, const char *target, const char *type, unsigned long flags,
              const void *data);
    """
)
_libc: Final = capi.ffi.dlopen(None)


def _is_bpffs(path: pathlib.Path) -> bool:
    buffer = capi.ffi.new("long[32]")
    return bool(_libc.statfs(capi.text(path), buffer) == 0 and buffer[0] == _MAGIC)


def ensure(path: pathlib.Path) -> None:
    """Make the directory `path`, mounting bpffs where it is missing."""
    if path.is_relative_to(MOUNT_POINT) and not _is_bpffs(MOUNT_POINT):
        _mount()
    try:
        _make(path)
    except OSError as exc:
        hint = "bpffs allows no dot in a name" if "." in str(path) else f"{MOUNT_POINT} must be a bpffs"
        cause = os.strerror(exc.errno or 0).lower()
        raise errors.KernelError(
            f"make pin directory {path}: {cause} ({hint})", errno=exc.errno or 0
        ) from exc
    if not _is_bpffs(path):
        raise errors.KernelError(
            f"make pin directory {path}: not on a bpffs (choose one below {MOUNT_POINT})"
        )


def _make(path: pathlib.Path) -> None:
    """Again if remove_empty() of another process took a directory above it meanwhile: mkdir then says that it
    is not there, or that it is but is no directory."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def _mount() -> None:
    if _libc.mount(b"bpf", os.fsencode(MOUNT_POINT), b"bpf", 0, capi.ffi.NULL) != 0:
        raise capi.failure(f"mount bpffs at {MOUNT_POINT}", capi.ffi.errno)


def remove_tree(path: pathlib.Path) -> None:
    """Unpin all below `path`. What is attached or open stays alive without the pins."""
    if not path.exists():
        return
    for entry in path.iterdir():
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    path.rmdir()


def remove_empty(path: pathlib.Path) -> None:
    """Remove `path` and the directories above it, up to the first that is not empty or is a mount point."""
    with contextlib.suppress(OSError):
        for directory in (path, *path.parents):
            directory.rmdir()

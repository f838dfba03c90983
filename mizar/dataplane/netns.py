# SPDX-License-Identifier: Apache-2.0
"""Run a few calls of this thread in another network namespace.

    with netns.inside("/run/netns/blue"):
        plane.attach_endpoint(ifindex)

An agent runs inside its host's namespace and needs none of this; test runs and tools do.
Only the calling thread moves, and only its view of the network: mounts stay as they are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from mizar.dataplane import capi

_CLONE_NEWNET: Final = 0x40000000

capi.ffi.cdef("int setns(int fd, int nstype);")
_libc: Final = capi.ffi.dlopen(None)


@contextlib.contextmanager
def inside(path: os.PathLike[str] | str) -> Iterator[None]:
    """Enter the namespace that `path` names; back to where the thread was at the end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter_path(path)
        try:
            yield
        finally:
            _enter(home, "the thread's own")
    finally:
        os.close(home)


def _enter_path(path: os.PathLike[str] | str) -> None:
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise capi.failure(f"open network namespace {os.fspath(path)}", exc.errno or 0) from exc
    try:
        _enter(target, os.fspath(path))
    finally:
        os.close(target)


def _enter(fd: int, what: str) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise capi.failure(f"enter network namespace {what}", capi.ffi.errno)

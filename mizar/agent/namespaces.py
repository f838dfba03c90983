# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: entering one in this thread, making and removing named ones.

What holds:
 - Only the network namespace of the calling thread changes, and it is restored before `entered` returns,
   so file paths (bpffs, sockets) mean what they meant. A thread that cannot be restored must not run on:
   that is fatal.
 - Named namespaces are those of iproute2: a file below /run/netns.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Final

from mizar import errors

RUN_DIR: Final = pathlib.Path("/run/netns")

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)
_making = threading.Lock()


def path_of(netns: str) -> pathlib.Path:
    """The file of a namespace given by name below /run/netns or by absolute path."""
    if netns.startswith("/"):
        return pathlib.Path(netns)
    if not netns or "/" in netns or netns in (".", ".."):
        raise errors.InvalidError(
            f"network namespace {netns!r}: wanted a name below {RUN_DIR} or an absolute path"
        )
    return RUN_DIR / netns


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[int]:
    """A file descriptor of the namespace; NotFoundError if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as failure:
        raise errors.NotFoundError(f"network namespace {path}: {failure.strerror}") from failure
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def entered(fd: int) -> Iterator[None]:
    """Run the block in the network namespace of `fd`, in this thread only."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            _setns_home(home)
    finally:
        os.close(home)


def create(name: str) -> pathlib.Path:
    """Make a namespace below /run/netns; ConflictError if the name is taken."""
    path = path_of(name)
    _prepare_run_dir()
    try:
        path.open("x").close()
    except FileExistsError as failure:
        raise errors.ConflictError(f"network namespace {name!r} exists already") from failure
    try:
        _bind_new(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def remove(name: str) -> bool:
    """Take the name away; the kernel frees the namespace with its last user. False if there was none."""
    path = path_of(name)
    # A name that is no mount point is what a crash between open and mount left behind.
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def is_namespace(path: pathlib.Path) -> bool:
    """Whether the file really is a namespace, not the empty file that a crash can leave."""
    try:
        with opened(path) as fd, entered(fd):
            return True
    except errors.MizarError:
        return False


def _bind_new(path: pathlib.Path) -> None:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "create network namespace")
        try:
            _mount("/proc/thread-self/ns/net", path, _MS_BIND)
        finally:
            _setns_home(home)
    finally:
        os.close(home)


def _prepare_run_dir() -> None:
    """As iproute2 does: shared, so that a name removed here is gone in every mount namespace."""
    with _making:
        RUN_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        if _is_mount(RUN_DIR):
            return
        _mount(RUN_DIR, RUN_DIR, _MS_BIND | _MS_REC)
        _mount("", RUN_DIR, _MS_SHARED | _MS_REC)


def _is_mount(path: pathlib.Path) -> bool:
    """os.path.ismount compares devices and so misses bind mounts; mountinfo does not."""
    with pathlib.Path("/proc/thread-self/mountinfo").open() as lines:
        return any(line.split(" ", 5)[4] == str(path) for line in lines)


def _mount(source: str | pathlib.Path, target: pathlib.Path, flags: int) -> None:
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None),
        f"mount {target}",
    )


def _setns(fd: int) -> None:
    _check(_libc.setns(fd, _CLONE_NEWNET), "enter network namespace")


def _setns_home(home: int) -> None:
    if _libc.setns(home, _CLONE_NEWNET) != 0:
        os.abort()


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        hint = " (needs root)" if code == errno.EPERM else ""
        raise errors.KernelError(f"{what}: {os.strerror(code)}{hint}", errno=code)

# SPDX-License-Identifier: Apache-2.0
"""Who runs when, so that a latency is that of the network.

What holds:
 - While `awake`, the processors do not sleep: waking one takes longer than the network does, and in a virtual
   machine as long as its host lets it. What keeps them awake is of the idle class, so everything else has
   the processor at once.
 - `REAL_TIME` runs a tool as soon as it is woken, whoever else wants the processor.

The idle class yields only to processes of its scheduling group. With sched_autogroup_enabled, sched(7), every
session is a group of its own, where a lonely idle process is the whole group: it kept the tools waiting
for a full slice, 2.8 ms, and that was the 99th percentile of every network. So it is started with
autogroups off, which puts it in the machine's own group; where a process is, it stays.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Final

from bench.core import command, world

REAL_TIME: Final = ("chrt", "--fifo", "1")
"""In front of an argument list."""

_AUTOGROUP: Final = pathlib.Path("/proc/sys/kernel/sched_autogroup_enabled")


@contextlib.contextmanager
def awake(owner: world.World, spinner: str, cpus: Sequence[str]) -> Iterator[None]:
    """Run `spinner`, which never sleeps and is of the idle class, on each of `cpus`."""
    with _no_autogroups():
        spinners = [owner.start([spinner], place=command.Place(cpus=each)) for each in cpus]
    try:
        for process in spinners:
            process.wait_until(functools.partial(_is_idle, process.pid), what="of the idle class")
        yield
    finally:
        for process in spinners:
            # On a busy machine one of the idle class may not get to its own end for seconds.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
            process.kill()


def _is_idle(pid: int) -> bool:
    return os.sched_getscheduler(pid) == os.SCHED_IDLE


@contextlib.contextmanager
def _no_autogroups() -> Iterator[None]:
    """New sessions belong to the group of all. A kernel without autogroups has no other."""
    if not _AUTOGROUP.exists():
        yield
        return
    before = _AUTOGROUP.read_text(encoding="ascii")
    _AUTOGROUP.write_text("0", encoding="ascii")
    try:
        yield
    finally:
        _AUTOGROUP.write_text(before, encoding="ascii")

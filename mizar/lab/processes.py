# SPDX-License-Identifier: Apache-2.0
"""Daemons that outlive the command that starts them: starting, recognising and ending them.

What holds:
 - A process is known by its id *and* its start time: an id is used again, the pair is not, so nobody else's
   process is ever signalled.
 - One that ended and waits for its parent (a zombie) is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from mizar import errors
from mizar.lab import tools

_POLL_SECONDS: Final = 0.01
_END_SECONDS: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """`started`: clock ticks since boot, field 22 of /proc/PID/stat (proc(5))."""

    pid: int
    started: int

    def as_json(self) -> dict[str, int]:
        return {"pid": self.pid, "started": self.started}


def from_json(raw: dict[str, Any] | None) -> Process | None:
    return Process(raw["pid"], raw["started"]) if raw else None


def of(pid: int) -> Process | None:
    """The process that has this id now."""
    stat = _stat(pid)
    return Process(pid, stat[1]) if stat else None


def alive(process: Process | None) -> bool:
    if process is None:
        return False
    with contextlib.suppress(ChildProcessError):  # started by another process: nothing to collect
        os.waitpid(process.pid, os.WNOHANG)
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.started and stat[0] not in "ZX"


def start(argv: Sequence[str], *, netns: str | None, log: pathlib.Path) -> Process:
    """Start a daemon in a session of its own; what it says is added to `log`."""
    with log.open("ab") as out, tools.inside(netns):
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as failure:
            raise errors.ToolError(f"start {argv[0]}: {failure.strerror}") from failure
    child.returncode = 0  # it is not this object's to wait for
    process = of(child.pid)
    if process is None:
        raise errors.ToolError(f"start {argv[0]}: it ended at once: {last_line(log)}")
    return process


def send(process: Process, number: signal.Signals) -> None:
    """Signal it if it is still the one; through a pidfd, so that no other can take its id in between."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if alive(process):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def end(processes: Iterable[Process], *, kill: bool = False, patience: float = _END_SECONDS) -> None:
    """Ask all to end (or kill them), wait, then kill those that stay. Returns when all are gone."""
    rest = [process for process in processes if alive(process)]
    for number in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGKILL):
        for process in rest:
            send(process, number)
        deadline = time.monotonic() + patience
        while rest := [process for process in rest if alive(process)]:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if not rest:
            return
    raise errors.ToolError(f"end process {rest[0].pid}: it is still there {patience:g} s after SIGKILL")


def in_namespaces(inodes: Iterable[int]) -> list[Process]:
    """Processes whose network namespace is one of these (inode numbers), but for this one."""
    wanted = set(inodes)
    return _others(lambda directory: (directory / "ns/net").stat().st_ino in wanted)


def with_argument(argument: str) -> list[Process]:
    """Processes that were started with exactly this argument."""
    wanted = argument.encode()
    return _others(lambda directory: wanted in (directory / "cmdline").read_bytes().split(b"\0"))


def _others(matches: Callable[[pathlib.Path], bool]) -> list[Process]:
    found = []
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdecimal() or int(directory.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            if matches(directory) and (one := of(int(directory.name))):
                found.append(one)
    return found


def last_line(log: pathlib.Path) -> str:
    """The last thing a daemon said."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it said nothing"
    return lines[-1] if lines else "it said nothing"


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], int(fields[19])

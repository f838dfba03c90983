# SPDX-License-Identifier: Apache-2.0
"""The one place where the bench runs other programs.

Commands are argument lists. They run in a network namespace by entering it only (`nsenter --net`), because
`ip netns exec` would also replace /sys and hide the BPF file system. A process is started through
`setpriv --pdeathsig KILL`, so that none outlives a bench that was itself killed.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from mizar import errors

_POLL_SECONDS = 0.02
_LAST_WORDS_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a command runs: a network namespace by name (None: this one), and on which processors."""

    netns: str | None = None
    cpus: str | None = None

    def wrap(self, argv: Sequence[str]) -> list[str]:
        wrapped = list(argv)
        if self.cpus is not None:
            wrapped = ["taskset", "--cpu-list", self.cpus, *wrapped]
        if self.netns is not None:
            wrapped = ["nsenter", f"--net=/run/netns/{self.netns}", *wrapped]
        return wrapped


HERE = Place()


def words(text: str) -> list[str]:
    """An argument list from a line; for arguments that hold no space, as those of ip(8) do."""
    return text.split()


def run(
    argv: Sequence[str],
    *,
    place: Place = HERE,
    timeout: float = 30,
    env: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> str:
    """Standard output of a command that must succeed; it inherits `descriptors`. Raises ToolError."""
    try:
        done = subprocess.run(
            place.wrap(argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            pass_fds=descriptors,
            env=None if env is None else {**os.environ, **env},
        )
    except subprocess.TimeoutExpired as error:
        raise errors.ToolError(f"run {argv[0]}: no end within {timeout:g} s: {' '.join(argv)}") from error
    except OSError as error:
        raise errors.ToolError(f"run {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise errors.ToolError(
            f"run {' '.join(argv)}: exit {done.returncode}: {said[-1] if said else 'it said nothing'}",
            stdout=done.stdout,
            stderr=done.stderr,
        )
    return done.stdout


class Process:
    """A program in the background, in a session of its own; its output goes to a file, readable meanwhile."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: pathlib.Path,
        place: Place = HERE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *place.wrap(argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout: float = 15) -> None:
        """Poll `ready` until it holds; the process ending first is a failure. Raises ToolError."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running():
                raise errors.ToolError(
                    f"start {self.argv[0]}: it ended before {what}: {_last_line(self.output())}",
                    stdout=self.output(),
                )
            if time.monotonic() > deadline:
                raise errors.ToolError(
                    f"start {self.argv[0]}: not {what} after {timeout:g} s", stdout=self.output()
                )
            time.sleep(_POLL_SECONDS)

    def wait_listening(self, port: int, *, protocol: str = "tcp", timeout: float = 15) -> None:
        self.wait_until(
            lambda: listens(self.pid, port, protocol), what=f"listening on port {port}", timeout=timeout
        )

    def finish(self, *, timeout: float) -> str:
        """Wait for the end by itself; the output. Raises ToolError when it fails or does not end."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise errors.ToolError(
                f"run {self.argv[0]}: no end within {timeout:g} s", stdout=self.output()
            ) from error
        if code != 0:
            raise errors.ToolError(
                f"run {self.argv[0]}: exit {code}: {_last_line(self.output())}", stdout=self.output()
            )
        return self.output()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait(_LAST_WORDS_SECONDS)

    def stop(self, *, patience: float = 3) -> None:
        """Ask it to end, then make it; its whole session. Idempotent."""
        for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, patience)):
            if not self.running():
                return
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return
            try:
                self._process.wait(wait)
            except subprocess.TimeoutExpired:
                continue


def listens(pid: int, port: int, protocol: str) -> bool:
    """Whether a socket is bound (UDP) or listening (TCP) on `port` in the network namespace of `pid`."""
    listening = "0A" if protocol == "tcp" else "07"  # include/net/tcp_states.h
    try:
        rows = pathlib.Path(f"/proc/{pid}/net/{protocol}").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    fields = (row.split() for row in rows)
    return any(int(row[1].rpartition(":")[2], 16) == port and row[3] == listening for row in fields)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"

# SPDX-License-Identifier: Apache-2.0
"""The one place of the lab that runs other programs: argument lists, a time limit, ToolError.

A program runs in another network namespace because the thread that starts it is in there: that leaves /sys
and so /sys/fs/bpf as they are, which `ip netns exec` does not.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence

from mizar import errors
from mizar.agent import namespaces


@contextlib.contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """This thread is in the namespace for the length of the block; None: it stays where it is."""
    if netns is None:
        yield
        return
    with namespaces.opened(namespaces.path_of(netns)) as fd, namespaces.entered(fd):
        yield


def attempt(
    argv: Sequence[str], *, netns: str | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever the exit code is. ToolError if it cannot start or does not end."""
    try:
        with inside(netns), _started(argv) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
    except FileNotFoundError as failure:
        raise errors.ToolError(f"run {argv[0]}: it is not installed") from failure
    except OSError as failure:
        raise errors.ToolError(f"run {argv[0]}: {failure.strerror}") from failure
    except subprocess.TimeoutExpired as failure:
        raise errors.ToolError(f"run {' '.join(argv)}: no end within {timeout:g} s") from failure
    return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)


def run(argv: Sequence[str], *, netns: str | None = None, timeout: float = 30) -> str:
    """Standard output of a program that must succeed."""
    done = attempt(argv, netns=netns, timeout=timeout)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise errors.ToolError(
            f"run {' '.join(argv)}: exit {done.returncode}: {said[-1] if said else 'it said nothing'}",
            stdout=done.stdout,
            stderr=done.stderr,
        )
    return done.stdout


def _started(argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

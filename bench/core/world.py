# SPDX-License-Identifier: Apache-2.0
"""Everything that a run creates on the machine, and its removal.

Namespaces are called `mzb.<pid>.<label>`: a later run recognises and removes what a killed run left. All the
rest (processes, directories, callbacks) is undone in reverse order when the world ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from bench.core import command
from mizar import errors

PREFIX = "mzb"
"""Of every name that a run gives to something outside its own directory."""
_NETNS_DIR = pathlib.Path("/run/netns")
_BPF_DIR = pathlib.Path("/sys/fs/bpf")
_END_SECONDS = 3.0


class World(contextlib.AbstractContextManager["World"]):
    """Owner of namespaces, processes and directories of one part of a run."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._processes = 0
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{PREFIX}.{os.getpid()}."))
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second ^C during the removal would leave the rest behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._stack.close()
        finally:
            signal.signal(signal.SIGINT, before)

    def callback(self, undo: Callable[[], object]) -> None:
        self._stack.callback(undo)

    def namespace(self, label: str) -> str:
        """A new network namespace with loopback up and IPv6 off; its name."""
        name = f"{PREFIX}.{os.getpid()}.{label}"
        command.run(["ip", "netns", "add", name])
        self._stack.callback(_remove_namespace, name)
        place = command.Place(netns=name)
        command.run(["ip", "link", "set", "lo", "up"], place=place)
        # No router solicitations and no duplicate address detection between the measured packets.
        sysctl(name, {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"})
        return name

    def adopt(self, prefix: str) -> None:
        """Namespaces that others will make for this world: they go after what is started from now on."""
        self._stack.callback(_remove_namespaces, prefix)

    def start(
        self,
        argv: Sequence[str],
        *,
        place: command.Place = command.HERE,
        env: Mapping[str, str] | None = None,
    ) -> command.Process:
        """A background process that ends with the world at the latest."""
        self._processes += 1
        log = self.directory / f"{self._processes:03d}.{pathlib.Path(argv[0]).name}.log"
        process = command.Process(argv, log=log, place=place, env=env)
        self._stack.callback(process.stop)
        return process


def sysctl(netns: str, settings: Mapping[str, str]) -> None:
    """Settings below net, which belong to the namespace of who writes them."""
    place = command.Place(netns=netns)
    command.run(["sysctl", "-q", "-w", *(f"{name}={value}" for name, value in settings.items())], place=place)


def sweep() -> list[str]:
    """Remove namespaces and pins of runs whose process is gone; what they were."""
    swept = []
    for path in sorted(_BPF_DIR.glob(f"{PREFIX}-*")) if _BPF_DIR.is_dir() else []:
        if _orphaned(path.name):
            shutil.rmtree(path, ignore_errors=True)
            swept.append(str(path))
    for path in sorted(pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}.*.*")):
        if _orphaned(path.name):
            shutil.rmtree(path, ignore_errors=True)
    made = [*_NETNS_DIR.glob(f"{PREFIX}.*.*"), *_NETNS_DIR.glob(f"mizar.{PREFIX}-*")]
    for path in sorted(made):
        if _orphaned(path.name.removeprefix("mizar.")):
            _remove_namespace(path.name)
            swept.append(path.name)
    return swept


def _remove_namespaces(prefix: str) -> None:
    for path in sorted(_NETNS_DIR.glob(f"{prefix}*")) if _NETNS_DIR.is_dir() else []:
        _remove_namespace(path.name)


def _orphaned(name: str) -> bool:
    owner = re.split(r"[.-]", name)[1]
    return owner.isdigit() and not pathlib.Path("/proc", owner).exists()


def _remove_namespace(name: str) -> None:
    """End what still runs in it, then delete it; the devices inside go with it."""
    deadline = time.monotonic() + _END_SECONDS
    while pids := _pids(name):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    with contextlib.suppress(errors.ToolError):  # already gone is as wished
        command.run(["ip", "netns", "delete", name])


def _pids(name: str) -> list[int]:
    try:
        return [int(pid) for pid in command.run(["ip", "netns", "pids", name]).split()]
    except errors.ToolError:
        return []

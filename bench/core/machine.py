# SPDX-License-Identifier: Apache-2.0
"""Facts of the machine that numbers depend on, and how busy its processors are."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import subprocess

_CPU_MODEL = "model name"
# Columns of the first line of /proc/stat, proc(5): user nice system idle iowait irq softirq steal.
_BUSY_COLUMNS = (0, 1, 2, 5, 6)
_STEAL_COLUMN = 7

# What is asked for its version, and how.
_TOOLS: dict[str, tuple[str, ...]] = {
    "iperf3": ("iperf3", "--version"),
    "ovs-vswitchd": ("ovs-vswitchd", "--version"),
    "iproute2": ("ip", "-V"),
    "clang": ("clang", "--version"),
    "gcc": ("gcc", "--version"),
    "git": ("git", "describe", "--always", "--dirty"),
}


def facts() -> dict[str, object]:
    """Everything that a reader of the numbers would ask about the machine, JSON-able."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "kernel_build": platform.version(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "bpf_jit": _read("/proc/sys/net/core/bpf_jit_enable"),
        "mitigations": _mitigations(),
        "load_average_before": os.getloadavg(),
        "versions": {name: version for name, argv in _TOOLS.items() if (version := _version(argv))},
    }


@dataclasses.dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor seconds since boot, all processors together."""

    busy: float
    steal: float

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(busy=self.busy - other.busy, steal=self.steal - other.steal)


def cpu_time() -> CpuTime:
    """From /proc/stat: the kernel's work for a packet is in no process's time."""
    line = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    ticks = [int(field) for field in line.split()[1:]]
    hertz = os.sysconf("SC_CLK_TCK")
    return CpuTime(busy=sum(ticks[i] for i in _BUSY_COLUMNS) / hertz, steal=ticks[_STEAL_COLUMN] / hertz)


def _cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == _CPU_MODEL:
            return value.strip()
    return platform.machine()


def _mitigations() -> dict[str, str]:
    """CPU vulnerabilities whose mitigation costs time; indirect calls and system calls pay for them."""
    folder = pathlib.Path("/sys/devices/system/cpu/vulnerabilities")
    states = {entry.name: _read(entry) for entry in sorted(folder.iterdir())} if folder.is_dir() else {}
    return {name: state for name, state in states.items() if state != "Not affected"}


def _read(path: str | pathlib.Path) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _version(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    # Some begin with a line that is a frame.
    return next((line.strip() for line in lines if any(c.isalnum() for c in line)), "")

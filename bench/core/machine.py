# SPDX-License-Identifier: Apache-2.0
"""Facts of the machine that numbers depend on."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess

_CPU_MODEL = "model name"

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

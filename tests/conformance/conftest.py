# SPDX-License-Identifier: Apache-2.0
"""One data plane after the other: every test runs on the kernel and on the fake."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import platform
import socket
import subprocess
from collections.abc import Iterator

import pytest

from mizar.dataplane import fake, kernel, netns, protocol

SIZES = {"mz_locations4": 4096, "mz_hosts": 8, "mz_routes4": 8, "mz_stats": 64, "mz_direct4": 64}

_serial = itertools.count()


def unique(prefix: str) -> str:
    """A name that no other test run on this machine uses."""
    return f"{prefix}-{os.getpid()}-{next(_serial)}"


def compile_bpf(body: str, to: pathlib.Path) -> None:
    """Compile one program that is no part of the data plane."""
    source = to.with_suffix(".c")
    headers = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
    source.write_text(headers + body + '\nchar LICENSE[] SEC("license") = "GPL";\n')
    system = f"/usr/include/{platform.machine()}-linux-gnu"
    argv = ["clang", "-target", "bpf", "-O2", "-g", "-isystem", system, "-c", str(source), "-o", str(to)]
    subprocess.run(argv, check=True, timeout=60)


@dataclasses.dataclass(frozen=True)
class Wire:
    """Two interfaces to attach to; the thread is in their namespace."""

    one: int
    two: int


@pytest.fixture
def pin_root() -> Iterator[pathlib.Path]:
    path = pathlib.Path("/sys/fs/bpf") / unique("mizar") / "conformance"
    yield path
    assert not path.parent.exists(), "a test left pins behind"


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A veth pair in a namespace of its own, entered by this thread."""
    name = unique("mzc")
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        argv = ["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"]
        subprocess.run(argv, check=True, timeout=10)
        with netns.inside(f"/run/netns/{name}"):
            yield Wire(socket.if_nametoindex("one"), socket.if_nametoindex("two"))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


@pytest.fixture(params=["kernel", "clsact", "fake"])
def plane(request: pytest.FixtureRequest, pin_root: pathlib.Path) -> Iterator[protocol.DataPlane]:
    """An empty data plane with tables of SIZES."""
    made: protocol.DataPlane
    if request.param == "fake":
        made = fake.FakeDataPlane(SIZES)
    else:
        made = kernel.KernelDataPlane(pin_root, SIZES, force_clsact=request.param == "clsact")
    yield made
    made.destroy()

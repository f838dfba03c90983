# SPDX-License-Identifier: Apache-2.0
"""One loaded machine for all tests, emptied before each, in a namespace where only loopback is.

Redirects do not happen in BPF_PROG_TEST_RUN, but a clone really goes out: loopback takes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.bpf import clones, world
from tests.support import netns
from tests.support.machine import Machine


@pytest.fixture(scope="session")
def loopback() -> Iterator[netns.Namespace]:
    with netns.namespace("bpf") as made:
        made.run("ip", "link", "set", "lo", "mtu", str(world.UNDERLAY_MTU))
        yield made


@pytest.fixture(scope="session")
def loaded() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture(scope="module")
def four() -> Iterator[dict[str, Machine]]:
    """Hosts of a cluster, by underlay address."""
    with contextlib.ExitStack() as stack:
        yield {host: stack.enter_context(Machine()) for host in (world.US, world.H2, world.H3, world.H4)}


@pytest.fixture
def machine(loaded: Machine, loopback: netns.Namespace) -> Iterator[Machine]:
    """No rows, no counts; the thread is in the namespace."""
    loaded.clear()
    with loopback.entered():
        yield loaded


@pytest.fixture
def tap(machine: Machine) -> Iterator[clones.Tap]:
    with clones.Tap() as tap:
        yield tap

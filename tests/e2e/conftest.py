# SPDX-License-Identifier: Apache-2.0
"""The lab as fixtures, and the command line as a user calls it.

    def test_something(lab, mizar): ...         the two-tenant lab of four hosts, on any transit hook
    def test_on_both_hooks(transit, labs): ...  once per hook; labs.running(config) brings up another lab

There is one lab on a machine. It stays up between tests that want the same one, which pytest's ordering of
session fixtures helps; a test leaves it as it was (see `declared`).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import yaml

from mizar.client import api
from mizar.lab import config, lifecycle, network
from mizar.lab import lab as lab_module

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
TWO_TENANTS = config.LabConfig(hosts=4, manifest=EXAMPLES / "01-two-tenants.yaml")

_READY_SECONDS = 30


class Labs:
    """At most one lab is up; it is exchanged when a test wants another."""

    def __init__(self) -> None:
        self._wanted: config.LabConfig | None = None

    def running(self, wanted: config.LabConfig) -> lab_module.Lab:
        if wanted != self._wanted:
            self.none()
            lifecycle.up(wanted)
            self._wanted = wanted
        return lab_module.current()

    def none(self) -> None:
        """Take down what is up, whoever brought it up: a test may have."""
        self._wanted = None
        lifecycle.down()


@pytest.fixture(scope="session")
def labs() -> Iterator[Labs]:
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests make namespaces and load programs: run them as root")
    pool = Labs()
    yield pool
    pool.none()
    assert network.existing() == []


@pytest.fixture(scope="session", params=["tcx", "xdp"])
def transit(request: pytest.FixtureRequest) -> config.Transit:
    """Tests that use this run once with the transit program on each hook."""
    return config.Transit(request.param)


@pytest.fixture
def lab(labs: Labs) -> lab_module.Lab:
    """Two tenants on four hosts."""
    return labs.running(TWO_TENANTS)


@pytest.fixture
def lab_on_both(labs: Labs, transit: config.Transit) -> lab_module.Lab:
    """The same, once with each transit hook."""
    return labs.running(dataclasses.replace(TWO_TENANTS, transit=transit))


# ---------------------------------------------------------------- the command line

Mizar = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mizar() -> Mizar:
    """Run `mizar ARGUMENTS`; `check` fails the test when it fails."""

    def run(
        *arguments: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mizar", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"mizar {' '.join(arguments)}: {done.stderr}"
        return done

    return run


# ---------------------------------------------------------------- objects for one test

Declare = Callable[[str], None]


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Apply a manifest's text to the lab that is up and wait until it is ready; deleted after the test."""
    declared: list[tuple[api.Client, api.Objects]] = []

    def apply(text: str) -> None:
        client = lab_module.current().client
        objects = [document for document in yaml.safe_load_all(text) if document]
        client.apply(objects)
        declared.append((client, objects))
        client.wait_ready([api.ref_of(obj) for obj in objects], timeout=_READY_SECONDS)

    yield apply
    for client, objects in reversed(declared):
        left = [obj for obj in objects if client.find(api.ref_of(obj)) is not None]
        if left:
            client.delete_all(left)
            client.wait_gone([api.ref_of(obj) for obj in left], timeout=_READY_SECONDS)


# ---------------------------------------------------------------- asking inside


def reaches(found: lab_module.Lab, endpoint: str, address: str, *, count: int = 1) -> bool:
    """Whether every ping is answered."""
    argv = ["ping", "-c", str(count), "-i", "0.05", "-W", "1", address]
    return found.exec(endpoint, argv).returncode == 0

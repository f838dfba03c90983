# SPDX-License-Identifier: Apache-2.0
"""The lab as fixtures, and the command line as a user calls it. tests/conftest.py offers them to all tests.

    def test_something(lab, mizar): ...       the two-tenant lab of four hosts, on any transit hook
    def test_on_both_hooks(lab_on_both): ...  the same, once for each hook
    def test_elsewhere(labs): ...             labs.running(config) brings up another lab

There is one lab on a machine. It stays up between tests that want the same one, which the order of tests
helps (`pytest_collection_modifyitems`); a test leaves it as it was: see `declare` and `new_tenant`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from mizar.client import api
from mizar.lab import config, lifecycle, network, state
from mizar.lab import lab as lab_module
from tests.support import tenants

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
TWO_TENANTS = config.LabConfig(hosts=4, manifest=EXAMPLES / "01-two-tenants.yaml")

FIRST_HOOK = "tcx"
_READY_SECONDS = 30
_TURN_SECONDS = 90
"""Another run's tests may have the machine's only lab."""

_serial = itertools.count(1)


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

    def on_any_hook(self, wanted: config.LabConfig) -> lab_module.Lab:
        """What is up is good enough if it is the same but for the hook of the transit program."""
        if self._wanted and dataclasses.replace(self._wanted, transit=wanted.transit) == wanted:
            return lab_module.current()
        return self.running(wanted)

    def none(self) -> None:
        """Take down what is up, whoever brought it up: a test may have."""
        self._wanted = None
        lifecycle.down()


@pytest.fixture(scope="session")
def labs() -> Iterator[Labs]:
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests make namespaces and load programs: run them as root")
    with _our_turn():
        if state.load() is not None:
            pytest.fail("a lab is up that is not these tests': take it down with `mizar lab down`")
        pool = Labs()
        yield pool
        pool.none()
        assert network.existing() == []


@contextlib.contextmanager
def _our_turn() -> Iterator[None]:
    """One test run at a time has labs on this machine."""
    deadline = time.monotonic() + _TURN_SECONDS
    with (pathlib.Path(tempfile.gettempdir()) / "mizar-lab.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    pytest.fail(
                        f"another run of these tests has the lab since {_TURN_SECONDS} s: {lock.name}"
                    )
                time.sleep(0.5)
        yield


@pytest.fixture(scope="session", params=[FIRST_HOOK, "xdp"])
def transit(request: pytest.FixtureRequest) -> config.Transit:
    """Tests that use this run once with the transit program on each hook."""
    return config.Transit(request.param)


@pytest.fixture
def lab(labs: Labs) -> lab_module.Lab:
    """Two tenants on four hosts."""
    return labs.on_any_hook(TWO_TENANTS)


@pytest.fixture
def lab_on_both(labs: Labs, transit: config.Transit) -> lab_module.Lab:
    """The same, once with each transit hook."""
    return labs.running(on_hook(transit))


def on_hook(transit: config.Transit) -> config.LabConfig:
    """The two-tenant lab, for fixtures of a wider scope."""
    return dataclasses.replace(TWO_TENANTS, transit=transit)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that want the same lab follow each other; those that exchange labs come last."""
    items.sort(key=_turn_of)


def _turn_of(item: pytest.Item) -> int:
    """0: without a lab; 1, 3: on one hook; 2: on whichever is up; 4: on a lab of their own."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "labs" not in names:
        return 0
    if "transit" in names:
        return 1 if item.callspec.params["transit"] == FIRST_HOOK else 3  # type: ignore[attr-defined]
    return 2 if "lab" in names else 4


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


NewTenant = Callable[..., tenants.Tenant]


@pytest.fixture
def new_tenant() -> Iterator[NewTenant]:
    """Make a VPC in the lab that is up; deleted after the test. Arguments are those of Tenant but for its
    name."""
    with contextlib.ExitStack() as made:
        alive: list[tenants.Tenant] = []

        def make(lab: lab_module.Lab, *cidrs: str, **spec: int) -> tenants.Tenant:
            alive.append(made.enter_context(tenants.Tenant(lab, tenant_name(), *cidrs, **spec)))
            return alive[-1]

        try:
            yield make
        finally:  # a VPC is not deleted while a peering of another one names it
            for tenant in alive:
                tenant.drop_all("Peering")


def tenant_name() -> str:
    """One that no other test has."""
    return f"t{next(_serial)}"


# ---------------------------------------------------------------- asking inside


def reaches(found: lab_module.Lab, endpoint: str, address: str, *, count: int = 1) -> bool:
    """Whether every ping is answered."""
    argv = ["ping", "-c", str(count), "-i", "0.05", "-W", "1", address]
    return found.exec(endpoint, argv).returncode == 0

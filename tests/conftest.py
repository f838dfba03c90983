# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the lab's fixtures, and that a run leaves the machine as it found it.

No namespace, pin, process or lab may be left that was not there before. Enforced in CI and with
MIZAR_CHECK_LEAKS=1; elsewhere others may work on the machine while tests run.
"""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Iterator

import pytest

from tests.support.labs import (
    declare,
    lab,
    lab_on_both,
    labs,
    mizar,
    new_tenant,
    pytest_collection_modifyitems,
    transit,
)

__all__ = [
    "declare",
    "lab",
    "lab_on_both",
    "labs",
    "mizar",
    "new_tenant",
    "pytest_collection_modifyitems",
    "transit",
]

_NAMESPACES = pathlib.Path("/run/netns")
_PINS = pathlib.Path("/sys/fs/bpf")
_LAB = pathlib.Path("/run/mizar/lab")
_DAEMONS = (b"mizar", b"ovs-vswitchd", b"ovsdb-server")

_before: set[str] = set()


def _is_enforced() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true") or os.environ.get("MIZAR_CHECK_LEAKS") == "1"


def _present() -> set[str]:
    """What tests might leave behind, one line each."""
    return {*_named("namespace", _NAMESPACES), *_named("pin", _PINS), *_processes(), *_named("lab", _LAB)}


def _named(what: str, directory: pathlib.Path) -> Iterator[str]:
    if directory.is_dir():
        yield from (f"{what} {path}" for path in directory.iterdir())


def _processes() -> Iterator[str]:
    """Daemons of ours, and of those that tests start beside them."""
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdecimal() or int(directory.name) == os.getpid():
            continue
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if any(word in _DAEMONS for word in (words[0].rpartition(b"/")[2], *words[2:3])):
            yield f"process {directory.name}: {b' '.join(words).decode(errors='replace')}"


def pytest_configure() -> None:
    """Who ends a run that takes too long, as `timeout` does, ends it as ^C would: fixtures clean up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionstart() -> None:
    if _is_enforced():
        _before.update(_present())


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """After the teardown of all fixtures, which ends with the inner hooks."""
    yield
    if not _is_enforced():
        return
    left = sorted(_present() - _before)
    if not left:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.section("left behind by this run", red=True)
        for line in left:
            reporter.line(line)
    session.exitstatus = pytest.ExitCode.TESTS_FAILED

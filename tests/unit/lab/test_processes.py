# SPDX-License-Identifier: Apache-2.0
"""Daemons are recognised by id and start time, and ended for certain."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

import pytest

from mizar import errors
from mizar.lab import processes

_STUBBORN = [
    "python3",
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()",
]


def test_daemon_lives_in_a_session_of_its_own_and_ends(tmp_path: pathlib.Path) -> None:
    process = processes.start(["sleep", "60"], netns=None, log=tmp_path / "log")
    assert processes.alive(process)
    assert os.getsid(process.pid) == process.pid
    processes.end([process])
    assert not processes.alive(process)


def test_another_process_with_the_same_id_is_not_signalled(tmp_path: pathlib.Path) -> None:
    process = processes.start(["sleep", "60"], netns=None, log=tmp_path / "log")
    try:
        stranger = dataclasses.replace(process, started=process.started - 1)
        assert not processes.alive(stranger)
        processes.end([stranger], kill=True)
        assert processes.alive(process)
    finally:
        processes.end([process], kill=True)


def test_who_ignores_sigterm_is_killed(tmp_path: pathlib.Path) -> None:
    process = processes.start(_STUBBORN, netns=None, log=tmp_path / "log")
    processes.end([process], patience=0.2)
    assert not processes.alive(process)


def test_process_is_found_by_its_argument(tmp_path: pathlib.Path) -> None:
    mark = f"--mark={tmp_path}"
    process = processes.start(
        [sys.executable, "-c", "import signal; signal.pause()", mark], netns=None, log=tmp_path / "log"
    )
    try:
        assert processes.with_argument(mark) == [process]
    finally:
        processes.end([process], kill=True)


def test_missing_program_is_a_tool_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ToolError, match="start nonexistent: No such file"):
        processes.start(["nonexistent"], netns=None, log=tmp_path / "log")


def test_last_words_are_the_last_line(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    assert processes.last_line(log) == "it said nothing"
    log.write_text("first\nlast\n")
    assert processes.last_line(log) == "last"

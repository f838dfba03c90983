# SPDX-License-Identifier: Apache-2.0
"""Scheduling of the machine while a latency is measured."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from bench.core import scheduling
from mizar import errors


class _World:
    """Notes how the machine was set when a process was started, which then fails."""

    def __init__(self, setting: pathlib.Path) -> None:
        self._setting = setting
        self.seen = ""

    def start(self, *_: Any, **__: Any) -> Any:
        self.seen = self._setting.read_text()
        raise errors.ToolError("start: no")


def test_autogroups_are_off_for_the_spinner_and_on_again_after_a_failure(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "sched_autogroup_enabled"
    setting.write_text("1\n")
    monkeypatch.setattr(scheduling, "_AUTOGROUP", setting)
    owner: Any = _World(setting)
    with pytest.raises(errors.ToolError), scheduling.awake(owner, "spinner", ("0",)):
        pass
    assert (owner.seen, setting.read_text()) == ("0", "1\n")

# SPDX-License-Identifier: Apache-2.0
"""What is up, on disk: written before anything is made, removed after everything is gone.

What holds: the file is replaced in one step, so a reader finds the old or the new state, never half of one.
Who changes a lab holds the lock; readers do not need it. It is below /run, so a reboot, which removes the
namespaces, removes the state too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Final

from mizar import errors
from mizar.lab import config, processes

_FILE: Final = config.STATE_DIR / "state.json"
_LOCK: Final = config.STATE_DIR.parent / "lab.lock"
_LOCK_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.05


class Phase(enum.StrEnum):
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Processes are kept by name: a host's for its agent; None: it was stopped."""

    config: config.LabConfig
    phase: Phase
    agents: Mapping[str, processes.Process | None] = dataclasses.field(default_factory=dict)
    controller: processes.Process | None = None


def load() -> State | None:
    """None: no lab. Raises ConflictError when the file is not a state."""
    try:
        raw = json.loads(_FILE.read_text(encoding="utf-8"))
        return State(
            config=config.from_json(raw["config"]),
            phase=Phase(raw["phase"]),
            agents={name: processes.from_json(process) for name, process in raw["agents"].items()},
            controller=processes.from_json(raw["controller"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as failure:
        raise errors.ConflictError(
            f"{_FILE} is not the state of a lab ({failure}): remove what is left with `mizar lab down`"
        ) from failure


def save(state: State) -> None:
    config.STATE_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    raw = {
        "config": state.config.as_json(),
        "phase": state.phase.value,
        "agents": {name: process and process.as_json() for name, process in state.agents.items()},
        "controller": state.controller and state.controller.as_json(),
    }
    new = _FILE.with_suffix(".new")
    new.write_text(json.dumps(raw, indent=1), encoding="utf-8")
    new.replace(_FILE)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Only one command changes the lab at a time. ConflictError when another one is at it."""
    _LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd)
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            if time.monotonic() > deadline:
                raise errors.ConflictError(
                    "another `mizar lab` command is at work: try again when it is done"
                ) from failure
            time.sleep(_POLL_SECONDS)
        else:
            return


def directory(*parts: str) -> pathlib.Path:
    """A path below the state directory."""
    return config.STATE_DIR.joinpath(*parts)

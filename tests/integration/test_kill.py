# SPDX-License-Identifier: Apache-2.0
"""The controller process, killed while it works.

this process: agents h1..h3        child: `mizar controller`, killed and started again
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mizar import errors
from mizar.client import api, target
from mizar.model import kinds
from tests.integration import cluster
from tests.integration.manifests import endpoint, network, vpc

COMMAND = """
import pathlib, sys
from mizar.api import main
from mizar.controller import config
state, socket = pathlib.Path(sys.argv[1]), sys.argv[2]
timing = config.Timing(drain=0.05, backoff_first=0.05, backoff_last=0.2)
main.run(config.ControllerConfig(state_dir=state, listen=(f"unix://{socket}",), timing=timing))
"""


class Process:
    """A controller as a child process."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.socket = directory / "api.sock"
        self.state = directory / "state"
        self.log = directory / "controller.log"
        self.client = api.Client(target.Target(path=str(self.socket)))

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(self.state), str(self.socket)], stderr=log, stdout=log
            )
        until(self.client.healthy, "the controller answers")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def stop(self) -> int:
        self.child.terminate()
        return self.child.wait(timeout=10)


def until(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.01)


@pytest.fixture
def process(tmp_path: pathlib.Path) -> Iterator[Process]:
    made = Process(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_whenever_the_controller_is_killed(
    agents: cluster.Cluster, process: Process
) -> None:
    rng = random.Random(1)
    process.client.apply([*agents.manifests, vpc(), network(bouncers=3, replicas=2)])
    there: set[str] = set()
    doubtful: set[str] = set()
    number = 0
    for _ in range(6):
        deadline = time.monotonic() + rng.uniform(0.05, 0.4)
        while time.monotonic() < deadline:
            number += 1
            made, gone = f"e{number}", rng.choice([*there, None]) if rng.random() < 0.3 else None
            process.client.apply([endpoint(made, host=f"h{number % 4 + 1}")])
            there.add(made)
            if gone is not None:
                process.client.delete(kinds.Ref(kinds.ENDPOINT, "blue", gone))
                there.discard(gone)
        os.kill(process.child.pid, signal.SIGKILL)
        with contextlib.suppress(errors.MizarError, http.client.HTTPException, OSError):
            number += 1
            doubtful.add(f"e{number}")
            process.client.apply([endpoint(f"e{number}", host="h1")])
            there.add(f"e{number}")
        process.child.wait()
        process.start()
    until(lambda: _ready(process.client), "everything is ready")
    listed = {obj["metadata"]["name"] for obj in process.client.list(kinds.ENDPOINT)}
    assert there <= listed <= there | doubtful
    until(lambda: _at_agents(agents) == listed, "agents have what is declared, and nothing else")
    addresses = [obj["status"]["addresses"][0] for obj in process.client.list(kinds.ENDPOINT)]
    assert len(addresses) == len(set(addresses))
    until(lambda: _locations(agents) == 2 * len(listed), "bouncers have each endpoint twice")


def test_a_second_controller_on_the_same_state_is_refused(process: Process, tmp_path: pathlib.Path) -> None:
    second = subprocess.run(
        [sys.executable, "-c", COMMAND, str(process.state), str(tmp_path / "other.sock")],
        capture_output=True,
        timeout=30,
        text=True,
        check=False,
    )
    assert second.returncode != 0
    assert "in use by another controller" in second.stderr


def test_a_socket_on_which_somebody_answers_is_not_taken(process: Process, tmp_path: pathlib.Path) -> None:
    second = subprocess.run(
        [sys.executable, "-c", COMMAND, str(tmp_path / "other"), str(process.socket)],
        capture_output=True,
        timeout=30,
        text=True,
        check=False,
    )
    assert second.returncode != 0
    assert "another controller answers there" in second.stderr
    assert process.client.healthy()


def test_the_socket_is_for_its_owner_only_and_goes_with_the_process(process: Process) -> None:
    assert process.socket.stat().st_mode & 0o777 == 0o600
    assert process.state.stat().st_mode & 0o777 == 0o700
    assert process.stop() == 0
    assert not process.socket.exists()


def test_a_watch_does_not_keep_the_process_from_ending(process: Process) -> None:
    events = process.client.watch(kinds.VPC, timeout=10)
    process.client.apply([vpc()])
    assert next(events).object["metadata"]["name"] == "blue"
    assert process.stop() == 0
    with contextlib.suppress(errors.MizarError, http.client.HTTPException, OSError):
        list(events)


def _ready(client: api.Client) -> bool:
    found: list[dict[str, Any]] = client.list(kinds.ENDPOINT)
    return all(obj["status"]["ready"] and not obj["metadata"].get("deletionTimestamp") for obj in found)


def _at_agents(agents: cluster.Cluster) -> set[str]:
    return {name.partition("/")[2] for agent in agents.agents.values() for name in agent.endpoints()}


def _locations(agents: cluster.Cluster) -> int:
    return sum(len(agent.locations()) for agent in agents.agents.values())

# SPDX-License-Identifier: Apache-2.0
"""How fast TCP goes between two places: iperf3, one flow, goodput as the receiver counts it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import subprocess
from collections.abc import Iterator, Mapping

from mizar import errors
from mizar.lab import tools

_START_SECONDS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """From a namespace to an address that a server in another namespace has."""

    client: str
    server: str
    address: str


def compare(routes: Mapping[str, Route], *, seconds: int, rounds: int) -> dict[str, float]:
    """Median of each route in Gb/s. The routes take turns, so that what disturbs the machine disturbs all."""
    samples: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(rounds):
        for name, route in routes.items():
            samples[name].append(measure(route, seconds=seconds))
    return {name: statistics.median(values) for name, values in samples.items()}


def measure(route: Route, *, seconds: int) -> float:
    """Gb/s of one run."""
    with _server(route.server):
        said = tools.run(
            ["iperf3", "--client", route.address, "--time", str(seconds), "--json"],
            netns=route.client,
            timeout=seconds + 15,
        )
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9


@contextlib.contextmanager
def _server(netns: str) -> Iterator[None]:
    """A server for one test; it says when it listens."""
    with tools.inside(netns):
        process = subprocess.Popen(
            ["iperf3", "--server", "--one-off", "--forceflush"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        _wait_listening(process)
        yield
        process.wait(_START_SECONDS)
    finally:
        process.kill()
        process.communicate()


def _wait_listening(process: subprocess.Popen[str]) -> None:
    if process.stdout is None:
        raise errors.ToolError("start iperf3: no output to read")
    for line in process.stdout:
        if "listening" in line:
            return
    raise errors.ToolError("start iperf3: it ended before it listened")

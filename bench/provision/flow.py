# SPDX-License-Identifier: Apache-2.0
"""A flow whose every other packet goes through its bouncer, to see whether a change loses any.

tools/first_packet makes the client's host forget what it learnt before each round, so that the bouncers'
tables are in use all the time and a moment in which they are wrong is seen.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Final

from bench import tools
from bench.core import command, world
from bench.path import topology

_PORT: Final = 5205
_PAUSE_US: Final = 1000


class Flow:
    """Rounds between two endpoints, 400 a second, until stopped."""

    def __init__(self, owner: world.World, ends: topology.Ends) -> None:
        self._owner = owner
        self._ends = ends
        echo = owner.start([tools.path("first_packet"), "echo", str(_PORT)], place=_place(ends.server))
        echo.wait_listening(_PORT, protocol="udp")
        self.lost = 0

    @contextlib.contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        """For the length of the block, and at least `seconds`; afterwards `lost` is known."""
        rounds = int(seconds * 1e6 / (2 * _PAUSE_US))
        process = self._owner.start(
            [
                tools.path("first_packet"),
                *command.words(f"measure {self._ends.address} {_PORT} {rounds} {_PAUSE_US}"),
                *self._ends.forget,
            ],
            place=_place(self._ends.client),
        )
        yield
        self.lost = int(json.loads(process.finish(timeout=seconds * 10 + 60))["lost"])


def _place(netns: str) -> command.Place:
    return command.Place(netns=netns)

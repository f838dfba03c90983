# SPDX-License-Identifier: Apache-2.0
"""What a network under test is to the suite."""

from __future__ import annotations

from typing import Protocol

from bench.core import world
from bench.path import topology


class Network(Protocol):
    """Connects a client and a server on two hosts in its own way."""

    @property
    def name(self) -> str:
        """One word; the subject of its samples."""

    @property
    def title(self) -> str:
        """As tables and plots show it."""

    def missing(self) -> str | None:
        """Why it cannot run on this machine; None if it can."""

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        """Set it up below `owner`; ready for traffic on return. Raises MizarError."""

# SPDX-License-Identifier: Apache-2.0
"""What the agent needs to know of the network between hosts: values and the protocol.

What does not belong here: how the kernel is asked (nic.py).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Collection
from typing import Protocol


class Change(enum.Flag):
    """What the kernel says has changed."""

    NEIGHBOURS = enum.auto()
    ROUTES = enum.auto()
    """Routes, addresses or links: all that a next hop follows from, and the NIC itself."""
    LINK_GONE = enum.auto()
    """An interface was removed, maybe an endpoint's."""


@dataclasses.dataclass(frozen=True)
class Nic:
    """The interface that carries the tunnel."""

    name: str
    ifindex: int
    address: int
    """Underlay IPv4 of this host, as a number."""
    mac: bytes
    mtu: int
    kind: str
    """Link kind as the kernel says it (veth, bond, ...); empty for hardware."""


@dataclasses.dataclass(frozen=True)
class Hop:
    """How to reach a peer on the underlay."""

    nexthop: int
    """On-link address to send to; 0 if only the kernel can tell (another interface, several next hops)."""
    mac: bytes | None
    """Link address of the next hop, if the neighbour table has a usable one."""


class Underlay(Protocol):
    """The network between hosts, as this host sees it."""

    def nic(self) -> Nic:
        """The interface as it is now. UnavailableError if it is gone."""
        ...

    def hops(self, addresses: Collection[int]) -> dict[int, Hop]:
        """How to reach each peer, with what the neighbour table has; asks nobody on the wire."""
        ...

    def provoke(self, nexthops: Collection[int]) -> None:
        """Have the kernel resolve or confirm these neighbours; the answers come as changes."""
        ...

    def watch(self, changed: Callable[[Change], None]) -> None:
        """Call `changed` from another thread, soon after something did."""
        ...

    def close(self) -> None: ...

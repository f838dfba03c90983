# SPDX-License-Identifier: Apache-2.0
"""A node without a kernel: for tests of management planes, and for large clusters on one machine.

    served = simulated.host("h1", 0xAC1E000B, state_dir=tmp_path)
    listening = server.Server(service.NodeService(served), server.Listen(("unix:///tmp/h1.sock",)))

It is the same Node, over the in-memory data plane and the two adapters below.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Collection, Mapping

from mizar import errors
from mizar.agent import attachment, journal, node, underlay
from mizar.dataplane import fake


class MemoryAttachments:
    """attachment.Attachments that only remembers. `broken` names endpoints whose interface fails."""

    def __init__(self) -> None:
        self.links: dict[int, attachment.Attachment] = {}
        self.up: set[int] = set()
        self.broken: set[str] = set()
        self._indexes = itertools.count(100)

    def make(self, wanted: attachment.Attachment) -> attachment.Made:
        if wanted.name in self.broken:
            raise errors.KernelError(f"create interface of {wanted.name}: Operation not permitted")
        made = attachment.Made(next(self._indexes), 0)
        self.links[made.ifindex] = wanted
        return made

    def enable(self, _: attachment.Attachment, made: attachment.Made) -> None:
        self.up.add(made.ifindex)

    def change(self, old: attachment.Attachment, new: attachment.Attachment, made: attachment.Made) -> bool:
        if (old.netns, old.ifname, old.addresses) != (new.netns, new.ifname, new.addresses):
            return False
        self.links[made.ifindex] = new
        return True

    def remove(
        self, wanted: attachment.Attachment, made: attachment.Made, *, keep_netns: bool = False
    ) -> None:
        self.links.pop(made.ifindex, None)
        self.up.discard(made.ifindex)

    def alive(self, wanted: attachment.Attachment, made: attachment.Made) -> bool:
        return made.ifindex in self.links

    def present(self) -> dict[int, str]:
        return {index: wanted.host_ifname for index, wanted in self.links.items()}

    def remove_stray(self, ifname: str) -> None:
        self.links = {index: each for index, each in self.links.items() if each.host_ifname != ifname}


class FlatUnderlay:
    """underlay.Underlay on which every host is a neighbour with a MAC made from its address."""

    def __init__(self, address: int, mtu: int = 1500) -> None:
        self.current = underlay.Nic("eth0", 2, address, _mac(address), mtu, "")

    def nic(self) -> underlay.Nic:
        return self.current

    def hops(self, addresses: Collection[int]) -> dict[int, underlay.Hop]:
        return {address: underlay.Hop(address, _mac(address)) for address in addresses}

    def provoke(self, nexthops: Collection[int]) -> None:
        """Nothing to resolve."""

    def watch(self, changed: Callable[[underlay.Change], None]) -> None:
        """Nothing changes by itself."""

    def close(self) -> None:
        """Nothing is open."""


def parts(address: int, *, state_dir: pathlib.Path, sizes: Mapping[str, int] | None = None) -> node.Parts:
    """What a simulated node stands on; `state_dir` holds its journal, `sizes` are FakeDataPlane's."""
    return node.Parts(
        data_plane=fake.FakeDataPlane(sizes),
        attachments=MemoryAttachments(),
        underlay=FlatUnderlay(address),
        journal=journal.Journal(state_dir / "agent.db"),
    )


def host(
    name: str, address: int, *, state_dir: pathlib.Path, sizes: Mapping[str, int] | None = None
) -> node.Node:
    """One host in memory."""
    return node.Node(name, parts(address, state_dir=state_dir, sizes=sizes))


def _mac(address: int) -> bytes:
    return b"\x02\x00" + address.to_bytes(4, "big")

# SPDX-License-Identifier: Apache-2.0
"""Rows of mz_hosts: which hosts may send us tunnel packets, and how ours reach them.

What holds:
 - A new peer is written at once, with next hop 0 (the kernel routes): tables that refer to it may follow.
   What the underlay knows comes after, from refresh().
 - A MAC is valid for MAC_SECONDS from when the neighbour table last had it, so a crashed agent cannot
   keep a wrong one alive; afterwards programs ask the kernel.
 - Rows are written only where they differ; an adopted row is kept until something better is known.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np

from mizar.abi import decode, layout
from mizar.agent import journal, rows, underlay, writer
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

MAC_SECONDS: Final = 60
"""Validity of a learnt MAC."""
RENEW_SECONDS: Final = 30
"""A row is written again when its MAC would be valid for less."""
RESOLVE_LIMIT: Final = 512
"""With more peers than this, neighbours are not resolved ahead of traffic: the kernel's neighbour table
(gc_thresh3, 1024 by default) would overflow. Those that traffic resolves are still used."""


def boot_seconds() -> float:
    """The clock of bpf_ktime_get_coarse_ns()."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of mz_hosts as a value."""

    nexthop: int = 0
    mac: bytes = bytes(6)
    mac_until: int = 0
    is_self: bool = False
    down: bool = False

    def with_hop(self, hop: underlay.Hop, now: float) -> Row:
        """The row after the underlay was asked; the same object if nothing is worth a write."""
        if hop.nexthop != self.nexthop:
            fresh = dataclasses.replace(self, nexthop=hop.nexthop, mac=bytes(6), mac_until=0)
            return fresh.with_hop(hop, now) if hop.mac else fresh
        if hop.mac is None or (hop.mac == self.mac and self.mac_until >= now + RENEW_SECONDS):
            return self
        return dataclasses.replace(self, mac=hop.mac, mac_until=int(now) + MAC_SECONDS)


class Peers:
    """All hosts of the cluster, this one included."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        upkeep: writer.Writer,
        memory: journal.Journal,
        own_address: int,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """`upkeep` writes what the underlay and the prober say, `output` what callers ask for."""
        self._writer = output
        self._upkeep = upkeep
        self._journal = memory
        self._own = own_address
        self._clock = clock
        self._lock = threading.RLock()
        self._names = memory.hosts()
        self._rows = _decode(*data_plane.dump(layout.Table.HOSTS))

    def __contains__(self, address: int) -> bool:
        return address in self._rows

    def addresses(self) -> set[int]:
        with self._lock:
            return set(self._rows)

    def listed(self) -> list[tuple[int, str, Row]]:
        """(address, name, row) by address."""
        with self._lock:
            return [
                (address, self._names.get(address, ""), row) for address, row in sorted(self._rows.items())
            ]

    # ------------------------------------------------------------ what the caller says

    def put(self, hosts: Iterable[node_pb2.Host]) -> list[node_pb2.EntryError]:
        """Insert or rename."""
        failed: list[node_pb2.EntryError] = []
        wanted: dict[int, Row] = {}
        names: dict[int, str] = {}
        with self._lock:
            for host in hosts:
                if not host.address:
                    failed.append(rows.error("hosts", "0.0.0.0", "address 0.0.0.0 is no host's"))
                    continue
                row = self._rows.get(host.address, Row())
                wanted[host.address] = dataclasses.replace(row, is_self=host.address == self._own)
                if self._names.get(host.address) != host.name:
                    names[host.address] = host.name
            failed += self._write(wanted, self._writer)
            self._names.update(names)
            self._journal.put_hosts(names.items())
        return failed

    def drop(self, addresses: Iterable[int]) -> None:
        with self._lock:
            gone = [address for address in addresses if address in self._rows]
            self._writer.remove(layout.Table.HOSTS, np.array(gone, dtype=layout.BE32))
            for address in gone:
                del self._rows[address]
                self._names.pop(address, None)
            self._journal.drop_hosts(gone)

    # ------------------------------------------------------------ what the underlay and the prober say

    def refresh(self, net: underlay.Underlay, *, provoke: bool) -> None:
        """Bring next hops and MACs to what the kernel knows; `provoke`: have it find out the rest."""
        others = self.addresses() - {self._own}
        hops = net.hops(others)
        now = self._clock()
        with self._lock:
            known = {address: self._rows[address] for address in hops if address in self._rows}
            current = {address: row.with_hop(hops[address], now) for address, row in known.items()}
            self._write(current, self._upkeep)
        if provoke and len(others) <= RESOLVE_LIMIT:
            net.provoke({hop.nexthop for hop in hops.values() if hop.nexthop})

    def set_down(self, states: Mapping[int, bool]) -> set[int]:
        """Set or clear DOWN; returns the peers for which that was news."""
        with self._lock:
            changed = {
                address: dataclasses.replace(self._rows[address], down=down)
                for address, down in states.items()
                if address in self._rows and self._rows[address].down != down
            }
            self._write(changed, self._upkeep)
            return set(changed)

    def _write(self, wanted: Mapping[int, Row], output: writer.Writer) -> list[node_pb2.EntryError]:
        new = [(address, row) for address, row in wanted.items() if self._rows.get(address) != row]
        if not new:
            return []
        keys = np.array([address for address, _ in new], dtype=layout.BE32)
        refused = output.put(layout.Table.HOSTS, keys, _encode([row for _, row in new]))
        self._rows.update(new[index] for index in writer.written(len(new), refused))
        return [
            rows.error("hosts", decode.address4(new[refusal.index][0]), refusal.message)
            for refusal in refused
        ]


def _encode(listed: list[Row]) -> layout.Rows:
    encoded = np.zeros(len(listed), dtype=layout.HOST)
    for at, row in enumerate(listed):
        flags = layout.HostFlags.SELF if row.is_self else layout.HostFlags(0)
        if row.down:
            flags |= layout.HostFlags.DOWN
        encoded[at] = (row.nexthop, row.mac_until, tuple(row.mac), flags)
    return encoded


def _decode(keys: layout.Rows, encoded: layout.Rows) -> dict[int, Row]:
    return {
        int(key): Row(
            nexthop=int(value["nexthop"]),
            mac=value["mac"].tobytes(),
            mac_until=int(value["mac_until"]),
            is_self=bool(value["flags"] & layout.HostFlags.SELF),
            down=bool(value["flags"] & layout.HostFlags.DOWN),
        )
        for key, value in zip(keys, encoded, strict=True)
    }

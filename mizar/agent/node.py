# SPDX-License-Identifier: Apache-2.0
"""One host: its parts, started, adopted, kept true and let go together. What the node API does, without gRPC.

What holds:
 - Messages are applied one at a time; endpoints are created and removed beside them.
 - Everything runs over three protocols (DataPlane, Attachments, Underlay), so the same node works on the
   kernel and in memory (simulated.py).
 - close() lets go; packets go on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

import mizar
from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import (
    attachment,
    bell,
    checks,
    collector,
    config,
    endpoints,
    gateways,
    health,
    journal,
    machine,
    offload,
    peers,
    report,
    roles,
    services,
    slots,
    snapshot,
    tables,
    underlay,
    writer,
)
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_REFRESH_SECONDS: Final = 20.0
_REFRESH_PAUSE: Final = 0.1
"""Least time from one refresh to the next: neighbours of a large cluster change all the time."""
_REVISION: Final = "revision"
_COUNTING: Final = (
    layout.Table.VPCS,
    layout.Table.LOCATIONS4,
    layout.Table.ENDPOINTS4,
    layout.Table.SERVICES4,
    layout.Table.GATEWAYS4,
)
"""Tables whose rows say where to count."""
_log: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a node runs on."""

    data_plane: protocol.DataPlane
    attachments: attachment.Attachments
    underlay: underlay.Underlay
    journal: journal.Journal


class Node:
    """A host with its tables and endpoints."""

    def __init__(
        self,
        name: str,
        parts: Parts,
        *,
        transit: protocol.TransitMode = protocol.TransitMode.AUTO,
        ages: config.DirectAges | None = None,
    ) -> None:
        """Adopts what is there. The host can forward before this returns."""
        self._name = name
        self._parts = parts
        self._started_ms = int(time.time() * 1000)
        self._apply_lock = threading.Lock()
        self._snapshot: snapshot.Snapshot | None = None
        self.revision = int(parts.journal.fact(_REVISION) or 0)
        """The last one applied in full; after a kill -9, one that was it _REFRESH_SECONDS before at most."""
        self._remembered = self.revision
        self._nic = parts.underlay.nic()
        self.output = writer.Writer(parts.data_plane)
        """Counts what callers had changed; upkeep of MACs and health is not counted."""
        self.health = health.Board()
        """Results of the checks of backends on this host."""
        self.changed = bell.Bell()
        """Rings when checks, endpoints or the addresses that are answered for are others."""
        self.collector = collector.Collector(parts.data_plane)
        """Of dead flows; whoever has an event loop runs it."""
        self._before_snapshot = (0, 0)
        self._machine = machine.Machine(
            data_plane=parts.data_plane,
            output=self.output,
            ages=ages or config.DirectAges(),
            nic=self._nic,
        )
        self._transit = self._attach_transit(transit)
        self._build()
        self._stopping = threading.Event()
        self._dirty = threading.Event()
        self._changes = underlay.Change(0)
        self._provoke = False
        self._changes_lock = threading.Lock()
        self._keeper: threading.Thread | None = None
        self._used_bouncers: set[int] = set()
        self._used_at = 0.0
        self._used_cost = 0.0

    def _build(self) -> None:
        plane, memory = self._parts.data_plane, self._parts.journal
        allocator = slots.Slots(plane.count(layout.Table.STATS), _slots_in_use(plane, memory))
        self._peers = peers.Peers(
            data_plane=plane,
            output=self.output,
            upkeep=writer.Writer(plane),
            memory=memory,
            own_address=self._nic.address,
        )
        self._roles = roles.Roles(data_plane=plane, output=self.output, memory=memory, allocator=allocator)
        self._services = services.Services(
            data_plane=plane, output=self.output, memory=memory, allocator=allocator, vpcs=self._roles
        )
        self._gateways = gateways.Gateways(
            data_plane=plane,
            output=self.output,
            memory=memory,
            allocator=allocator,
            vpcs=self._roles,
            config=self._machine,
            nic=lambda: self._nic,
            changed=self.changed,
        )
        self._endpoints = endpoints.Endpoints(
            data_plane=plane,
            output=self.output,
            memory=memory,
            allocator=allocator,
            vpcs=self._roles,
            attachments=self._parts.attachments,
            underlay_mtu=lambda: self._nic.mtu,
            changed=self.changed,
        )
        self._checks = checks.Checks(memory=memory, board=self.health, changed=self.changed)
        self._tables = tables.Tables(
            data_plane=plane,
            output=self.output,
            hosts=self._peers,
            vpcs=self._roles,
            bounced=self._services,
            ways_out=self._gateways,
            attached=self._endpoints,
            checked=self._checks,
        )

    @property
    def address(self) -> int:
        """Underlay IPv4."""
        return self._nic.address

    # ------------------------------------------------------------ updates

    def apply(self, request: node_pb2.SyncRequest) -> node_pb2.SyncAck:
        """One message of Sync."""
        with self._apply_lock:
            failed = self._apply(request)
            if not failed:
                self.revision = request.revision
        if request.upsert.hosts:
            self._provoke = True
            self._note(underlay.Change.NEIGHBOURS)
        return node_pb2.SyncAck(revision=request.revision, errors=failed)

    def _apply(self, request: node_pb2.SyncRequest) -> list[node_pb2.EntryError]:
        mode = request.mode
        if mode in (node_pb2.SyncRequest.SNAPSHOT_BEGIN, node_pb2.SyncRequest.SNAPSHOT_PART):
            return self._apply_snapshot(request)
        if mode == node_pb2.SyncRequest.PRUNE:
            return self._prune()
        if mode != node_pb2.SyncRequest.DELTA:
            raise errors.InvalidError(f"mode {mode}: must be DELTA, SNAPSHOT_BEGIN, SNAPSHOT_PART or PRUNE")
        if self._snapshot is not None:
            self._snapshot.stop_comparing()
        return self._tables.upsert(request.upsert, self._snapshot) + self._tables.remove(request.remove)

    def _apply_snapshot(self, request: node_pb2.SyncRequest) -> list[node_pb2.EntryError]:
        if request.HasField("remove"):
            raise errors.InvalidError("a snapshot has no removals: PRUNE removes what it did not name")
        if request.mode == node_pb2.SyncRequest.SNAPSHOT_BEGIN:
            self._snapshot = snapshot.Snapshot(self._parts.data_plane)
            self._before_snapshot = (self.output.rows_written, self.output.rows_removed)
        if self._snapshot is None:
            raise errors.ConflictError("SNAPSHOT_PART without a snapshot: send SNAPSHOT_BEGIN first")
        return self._tables.upsert(request.upsert, self._snapshot)

    def _prune(self) -> list[node_pb2.EntryError]:
        if self._snapshot is None:
            raise errors.ConflictError("PRUNE without a snapshot: send SNAPSHOT_BEGIN first")
        failed = self._tables.prune(self._snapshot)
        if not failed:
            self._snapshot = None
        written, removed = self._before_snapshot
        _log.info(
            "reconciled with a snapshot: %d rows written, %d removed, %d failed",
            self.output.rows_written - written,
            self.output.rows_removed - removed,
            len(failed),
        )
        return failed

    # ------------------------------------------------------------ endpoints

    def create_endpoint(self, message: node_pb2.Endpoint) -> node_pb2.EndpointStatus:
        running = self._snapshot
        if running is not None:
            running.named.endpoints.add(endpoints.key_of(message.key))
        record = self._endpoints.create(message)
        return report.endpoint_status(record)

    def remove_endpoint(self, key: node_pb2.EndpointKey) -> bool:
        return self._endpoints.remove(endpoints.key_of(key))

    def list_endpoints(self) -> list[node_pb2.EndpointStatus]:
        return report.endpoint_statuses(self._parts.data_plane, self._endpoints.records())

    # ------------------------------------------------------------ reading

    def status(self) -> node_pb2.NodeStatus:
        plane, probed = self._parts.data_plane, self.probed()
        return node_pb2.NodeStatus(
            name=self._name,
            version=mizar.__version__,
            abi_version=layout.ABI_VERSION,
            address=self._nic.address,
            interface=self._nic.name,
            underlay_mtu=self._nic.mtu,
            transit=self._transit.hook,
            transit_reason=self._transit.reason,
            endpoint_hook=plane.endpoint_hook,
            revision=self.revision,
            started_unix_ms=self._started_ms,
            pid=os.getpid(),
            peers=[report.peer(*listed, probed=listed[0] in probed) for listed in self._peers.listed()],
            flows_collected=self.collector.collected,
            entries=report.entries(plane),
        )

    def read_table(self, label: str) -> Iterator[list[str]]:
        """Pages of rows as JSON. NotFoundError if there is no such table."""
        return report.pages(self._parts.data_plane, label)

    def counters(self) -> node_pb2.Counters:
        return report.counters(
            self._parts.data_plane,
            bouncers=self._roles.bouncers(),
            dividers=self._roles.dividers(),
            ways_out=self._gateways.counted(),
            bounced=self._services.counted(),
            attached=self._endpoints.records(),
        )

    # ------------------------------------------------------------ what others run on

    def checks(self) -> dict[health.Key, node_pb2.Check]:
        """Checks of backends, to be made by whoever reports to `health`."""
        return self._checks.listed()

    def attached(self, vpc: str, name: str) -> attachment.Target | None:
        """Where an endpoint of this host can be reached from inside; None if it is not here."""
        record = self._endpoints.record((vpc, name))
        if record is None or not record.ifindex:
            return None
        return attachment.target(record.message, record.mtu)

    def answered(self) -> set[int]:
        """Outside addresses for which this host answers."""
        return self._gateways.answered()

    def nic(self) -> underlay.Nic:
        """The underlay interface, which is the one to the outside too."""
        return self._nic

    # ------------------------------------------------------------ health of other hosts

    def probed(self) -> set[int]:
        """Hosts that our tables use as bouncers or dividers, but ourselves and those not listed."""
        self._find_used_bouncers()
        used = self._used_bouncers | self._roles.used_dividers()
        return {address for address in used if address in self._peers} - {self._nic.address}

    def set_down(self, states: dict[int, bool]) -> None:
        for address in self._peers.set_down(states):
            _log.warning("host %s is %s", decode.address4(address), "down" if states[address] else "up again")

    def _find_used_bouncers(self) -> None:
        """Anew after changes, but in a twentieth of the time at most, however large the table."""
        now = time.monotonic()
        if self._tables.shards_changed and now >= self._used_at + 20 * self._used_cost:
            self._used_bouncers = self._tables.used_bouncers()
            self._used_at = time.monotonic()
            self._used_cost = self._used_at - now

    # ------------------------------------------------------------ keeping true

    def watch(self) -> None:
        """Follow the underlay from now on, in a thread of its own."""
        self._keeper = threading.Thread(target=self._keep, name="mizar-keeper", daemon=True)
        self._keeper.start()
        self._parts.underlay.watch(self._note)

    def _note(self, changes: underlay.Change) -> None:
        with self._changes_lock:
            self._changes |= changes
        self._dirty.set()

    def _keep(self) -> None:
        """Neighbours are provoked for new peers and from time to time; their answers come as changes."""
        provoke = True
        while not self._stopping.is_set():
            with self._changes_lock:
                changes, self._changes = self._changes, underlay.Change(0)
                provoke, self._provoke = provoke or self._provoke, False
            try:
                self.refresh(changes, provoke=provoke)
            except errors.MizarError as failure:
                _log.warning("follow the underlay: %s", failure)
            self._remember_revision()
            self._stopping.wait(_REFRESH_PAUSE)
            provoke = not self._dirty.wait(_REFRESH_SECONDS)
            self._dirty.clear()

    def _remember_revision(self) -> None:
        """Not with each message: it would be the dearest part of one that has a single row."""
        if self.revision != self._remembered:
            self._remembered = self.revision
            self._parts.journal.set_fact(_REVISION, str(self._remembered))

    def refresh(self, changes: underlay.Change, *, provoke: bool = False) -> None:
        """Bring what follows from the underlay up to date."""
        if underlay.Change.LINK_GONE in changes:
            self._endpoints.sweep()
        if underlay.Change.ROUTES in changes:
            self._follow_nic()
        self._peers.refresh(self._parts.underlay, provoke=provoke)

    def _follow_nic(self) -> None:
        before, self._nic = self._nic, self._parts.underlay.nic()
        if self._nic == before:
            return
        self._machine.follow(self._nic)
        if self._nic.mtu != before.mtu:
            _log.info("MTU of %s is now %d", self._nic.name, self._nic.mtu)
            self._endpoints.follow_mtu()

    def _attach_transit(self, mode: protocol.TransitMode) -> protocol.TransitStatus:
        status = self._parts.data_plane.attach_transit(self._nic.ifindex, mode)
        if status.hook in (protocol.Hook.XDP, protocol.Hook.XDP_GENERIC) and self._nic.kind == "veth":
            if offload.disable_tx_checksum(self._nic.name):
                _log.info("transmit checksum offload of %s turned off for XDP", self._nic.name)
            note = "transmit checksum offload is off, because XDP does not carry partial checksums"
            status = dataclasses.replace(status, reason=f"{status.reason}; {note}")
        _log.info("transit program runs at %s on %s: %s", status.hook, self._nic.name, status.reason)
        return status

    def close(self) -> None:
        """Let go of everything and leave it running."""
        self._stopping.set()
        self._dirty.set()
        self._parts.underlay.close()
        if self._keeper:
            self._keeper.join()
        self._remember_revision()
        self._parts.data_plane.close()
        self._parts.journal.close()


def _slots_in_use(plane: protocol.DataPlane, memory: journal.Journal) -> set[int]:
    """What the kernel counts into, and what the journal has given out."""
    used = {slot for slot, _ in memory.vpcs()} | {slot for slot, _ in memory.networks()}
    used |= {record.slot for record in memory.endpoints()} | {slot for slot, _ in memory.gateways()}
    for table in _COUNTING:
        _, held = plane.dump(table)
        used.update(np.unique(held["slot"]).tolist())
    return used

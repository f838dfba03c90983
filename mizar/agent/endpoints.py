# SPDX-License-Identifier: Apache-2.0
"""Life of the endpoints of this host: made whole, changed, adopted after a restart, taken away.

Order of making: interface (down), rows, program, interface up; so no packet of an endpoint passes unwatched
and none is dropped for want of a row. Order of removing: rows, interface, program.

What holds:
 - create() and remove() are idempotent, and a failure leaves nothing half made.
 - The journal knows an endpoint before the kernel does, and forgets it after.
 - An interface that goes without us takes its rows along: an ifindex may be reused for anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np

from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import attachment, bell, journal, roles, rows, slots, writer
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

Key: TypeAlias = tuple[str, str]
"""(VPC, name)"""
Record: TypeAlias = journal.EndpointRecord

_log: Final = logging.getLogger(__name__)


def key_of(message: node_pb2.EndpointKey) -> Key:
    return message.vpc, message.name


class Endpoints:
    """All endpoints of this host."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        memory: journal.Journal,
        allocator: slots.Slots,
        vpcs: roles.Roles,
        attachments: attachment.Attachments,
        underlay_mtu: Callable[[], int],
        changed: bell.Bell,
    ) -> None:
        self._data_plane = data_plane
        self._writer = output
        self._journal = memory
        self._slots = allocator
        self._vpcs = vpcs
        self._attachments = attachments
        self._underlay_mtu = underlay_mtu
        self._changed = changed
        self._lock = threading.RLock()
        self._records: dict[Key, Record] = {}
        self._owners: dict[tuple[int, int], Key] = {}
        self._strays: dict[int, str] = {}
        self._adopt()

    # ------------------------------------------------------------ calls

    def create(self, message: node_pb2.Endpoint) -> Record:
        """Make, adopt, or change to what the message says; returns when packets can flow."""
        attachment.check(message)
        mtu = attachment.mtu_of(message, self._underlay_mtu())
        with self._lock:
            self._check_addresses(message)
            known = self._records.get(key_of(message.key))
            if known is None:
                return self._add(message, mtu)
            if not self._alive(known) or known.message.vni != message.vni:
                return self._replace(known, message, mtu)
            if known.message == message and known.mtu == mtu:
                return known
            return self._change(known, message, mtu)

    def remove(self, key: Key) -> bool:
        """Take away all of it; False if there was none."""
        with self._lock:
            known = self._records.get(key)
            if known is None:
                return False
            self._journal.put_endpoint(dataclasses.replace(known, made=False))
            self._take_away(known)
            self._forget(known)
            _log.info("endpoint %s removed", _name(known))
            return True

    def prune(self, keep: set[Key]) -> list[node_pb2.EntryError]:
        """Remove all others, and interfaces of endpoints that nobody remembers."""
        failed = self.remove_all(key for key in self.keys() if key not in keep)
        with self._lock:
            for ifindex, ifname in self._strays.items():
                self._drop_rows_of(ifindex)
                self._attachments.remove_stray(ifname)
                self._data_plane.detach_endpoint(ifindex)
            self._strays.clear()
        return failed

    def create_all(self, messages: Iterable[node_pb2.Endpoint]) -> list[node_pb2.EntryError]:
        """Each on its own: one that fails does not hold up the others."""
        failed: list[node_pb2.EntryError] = []
        for message in messages:
            try:
                self.create(message)
            except errors.MizarError as failure:
                failed.append(rows.error("endpoints", attachment.full_name(message.key), str(failure)))
        return failed

    def remove_all(self, keys: Iterable[Key]) -> list[node_pb2.EntryError]:
        failed: list[node_pb2.EntryError] = []
        for key in keys:
            try:
                self.remove(key)
            except errors.MizarError as failure:
                failed.append(rows.error("endpoints", "/".join(key), str(failure)))
        return failed

    # ------------------------------------------------------------ reading

    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._records)

    def record(self, key: Key) -> Record | None:
        """Does not wait for endpoints that are being made: reading one is atomic."""
        return self._records.get(key)

    def records(self) -> list[Record]:
        with self._lock:
            return list(self._records.values())

    # ------------------------------------------------------------ what happens by itself

    def sweep(self) -> None:
        """Notice interfaces that have gone without us, with the namespace of a container that ended."""
        with self._lock:
            for record in list(self._records.values()):
                if record.ifindex and not self._alive(record):
                    self._lose(record)

    def follow_mtu(self) -> None:
        """The underlay's MTU changed: endpoints that have no MTU of their own follow."""
        for record in self.records():
            if not record.message.mtu and record.ifindex:
                for failure in self.create_all([record.message]):
                    _log.warning("MTU of endpoint %s not changed: %s", failure.key, failure.message)

    # ------------------------------------------------------------ making

    def _add(self, message: node_pb2.Endpoint, mtu: int) -> Record:
        with contextlib.ExitStack() as undo:
            self._vpcs.endpoint_added(message.vni)
            undo.callback(self._vpcs.endpoint_removed, message.vni)
            slot = self._slots.take()
            undo.callback(self._slots.free, slot)
            self._data_plane.clear_stats([slot])
            record = journal.EndpointRecord(message=message, slot=slot, mtu=mtu)
            self._journal.put_endpoint(record)
            undo.callback(self._journal.drop_endpoint, *key_of(message.key))
            record = self._make(record)
            undo.pop_all()
        self._keep(record)
        _log.info("endpoint %s made on interface %d", _name(record), record.ifindex)
        return record

    def _make(self, record: Record) -> Record:
        """Interface, rows, program, up; all of it or nothing."""
        wanted = attachment.of(record.message, record.mtu)
        made = self._attachments.make(wanted)
        record = dataclasses.replace(record, ifindex=made.ifindex, netns_cookie=made.netns_cookie, made=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self._attachments.remove, wanted, made)
            undo.callback(self._delete_rows, record)
            self._write_rows(record)
            undo.callback(self._data_plane.detach_endpoint, made.ifindex)
            self._data_plane.attach_endpoint(made.ifindex)
            self._attachments.enable(wanted, made)
            self._journal.put_endpoint(record)
            undo.pop_all()
        return record

    def _change(self, known: Record, message: node_pb2.Endpoint, mtu: int) -> Record:
        """In place if the interface can stay."""
        old, new = attachment.of(known.message, known.mtu), attachment.of(message, mtu)
        if not self._attachments.change(old, new, _made(known)):
            return self._replace(known, message, mtu)
        record = dataclasses.replace(known, message=message, mtu=mtu)
        self._write_rows(record)
        self._journal.put_endpoint(record)
        self._keep(record)
        return record

    def _replace(self, known: Record, message: node_pb2.Endpoint, mtu: int) -> Record:
        """A new interface for the same endpoint; a namespace of ours stays, with the processes in it."""
        same_netns = known.message.veth.netns == message.veth.netns
        self._take_away(known, keep_netns=same_netns)
        self._forget(known)
        return self._add(message, mtu)

    def _check_addresses(self, message: node_pb2.Endpoint) -> None:
        key = key_of(message.key)
        for address in message.addresses:
            owner = self._owners.get((message.vni, address), key)
            if owner != key:
                raise errors.ConflictError(
                    f"address {decode.address4(address)} of VPC {message.key.vpc} is endpoint"
                    f" {'/'.join(owner)}'s on this host"
                )

    # ------------------------------------------------------------ rows

    def _write_rows(self, record: Record) -> None:
        message = record.message
        endpoint = attachment.endpoint_rows(message, ifindex=record.ifindex, slot=record.slot)
        port = attachment.port_row(message, slot=record.slot, mtu=record.mtu)
        refused = self._writer.put(layout.Table.ENDPOINTS4, attachment.address_keys(message), endpoint)
        if refused:
            raise errors.KernelError(refused[0].message)
        self._writer.put_one(layout.Table.PORTS, record.ifindex, port)

    def _delete_rows(self, record: Record) -> None:
        self._writer.remove(layout.Table.ENDPOINTS4, attachment.address_keys(record.message))
        self._writer.remove(layout.Table.PORTS, np.array([record.ifindex], dtype=layout.U32))

    def _drop_rows_of(self, ifindex: int) -> None:
        """Rows that lead to an interface, without knowing the endpoint."""
        keys, values = self._data_plane.dump(layout.Table.ENDPOINTS4)
        self._writer.remove(layout.Table.ENDPOINTS4, keys[values["ifindex"] == ifindex])
        self._writer.remove(layout.Table.PORTS, np.array([ifindex], dtype=layout.U32))

    # ------------------------------------------------------------ taking away

    def _take_away(self, record: Record, *, keep_netns: bool = False) -> None:
        """All that the kernel has of it."""
        self._delete_rows(record)
        wanted = attachment.of(record.message, record.mtu)
        self._attachments.remove(wanted, _made(record), keep_netns=keep_netns)
        # After the interface, which takes the program along: detaching from a live one waits for RCU.
        if record.ifindex:
            self._data_plane.detach_endpoint(record.ifindex)

    def _lose(self, record: Record) -> None:
        _log.warning("interface of endpoint %s has gone", _name(record))
        self._delete_rows(record)
        self._data_plane.detach_endpoint(record.ifindex)
        lost = dataclasses.replace(record, ifindex=0)
        self._journal.put_endpoint(lost)
        self._keep(lost)

    # ------------------------------------------------------------ memory

    def _keep(self, record: Record) -> None:
        self._records[key_of(record.message.key)] = record
        for address in record.message.addresses:
            self._owners[record.message.vni, address] = key_of(record.message.key)
        self._changed.ring()

    def _forget(self, record: Record) -> None:
        key = key_of(record.message.key)
        del self._records[key]
        for address in record.message.addresses:
            self._owners.pop((record.message.vni, address), None)
        self._journal.drop_endpoint(*key)
        self._slots.free(record.slot)
        self._vpcs.endpoint_removed(record.message.vni)
        self._changed.ring()

    def _alive(self, record: Record) -> bool:
        wanted = attachment.of(record.message, record.mtu)
        return bool(record.ifindex) and self._attachments.alive(wanted, _made(record))

    # ------------------------------------------------------------ restart

    def _adopt(self) -> None:
        """Take over what runs, finish what a crash interrupted, and leave alone what nobody remembers."""
        remembered = self._journal.endpoints()
        complete = [record for record in remembered if record.made]
        for record in complete:
            self._keep(record)
        self._vpcs.adopt_endpoints(record.message.vni for record in complete)
        attached = self._data_plane.attached_endpoints()
        for record in complete:
            self._repair(record, attached)
        for record in remembered:
            if not record.made:
                self._clean_up(record)
        self._find_strays()

    def _repair(self, record: Record, attached: set[int]) -> None:
        if not self._alive(record):
            if record.ifindex:
                self._lose(record)
            return
        if not self._rows_are_right(record):
            self._write_rows(record)
        if record.ifindex not in attached:
            self._data_plane.attach_endpoint(record.ifindex)

    def _rows_are_right(self, record: Record) -> bool:
        port = attachment.port_row(record.message, slot=record.slot, mtu=record.mtu)
        held = self._data_plane.lookup(layout.Table.PORTS, record.ifindex)
        if held is None or held.tobytes() != port.tobytes():
            return False
        wanted = attachment.endpoint_rows(record.message, ifindex=record.ifindex, slot=record.slot)
        found = [
            self._data_plane.lookup(layout.Table.ENDPOINTS4, key)
            for key in attachment.address_keys(record.message)
        ]
        return all(
            row is not None and row.tobytes() == want.tobytes()
            for row, want in zip(found, wanted, strict=True)
        )

    def _clean_up(self, record: Record) -> None:
        """Half made or half removed when the agent died."""
        wanted = attachment.of(record.message, record.mtu)
        present = {name: index for index, name in self._attachments.present().items()}
        ifindex = present.get(wanted.host_ifname, record.ifindex)
        self._take_away(dataclasses.replace(record, ifindex=ifindex))
        self._journal.drop_endpoint(*key_of(record.message.key))
        self._slots.free(record.slot)

    def _find_strays(self) -> None:
        known = {record.ifindex for record in self._records.values()}
        present = self._attachments.present()
        self._strays = {index: name for index, name in present.items() if index not in known}
        ports, _ = self._data_plane.dump(layout.Table.PORTS)
        for ifindex in ports:
            if int(ifindex) not in present:
                self._drop_rows_of(int(ifindex))


def _made(record: Record) -> attachment.Made:
    return attachment.Made(record.ifindex, record.netns_cookie)


def _name(record: Record) -> str:
    return attachment.full_name(record.message.key)

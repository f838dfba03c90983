# SPDX-License-Identifier: Apache-2.0
"""Ways out of VPCs on this host: gateways, floating addresses and port forwards, and what follows from them.

    Gateway          mz_gateways4, the VPC's flag    its addresses in mz_outside4
    FloatingAddress  mz_floating4                    if this host answers: its address in mz_outside4
    PortForward      two rows of mz_forwards4        if this host answers: its address in mz_outside4

What holds:
 - An address outside is answered for before anything sends from it; the programs are told last that this
   host is a gateway.
 - Rows of mz_outside4 that several entries want are there while one of them is (claims.py). The host's own
   address stays the host's, whatever else is forwarded at it.

Safe for threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import bell, claims, journal, machine, roles, rows, services, slots, underlay, writer
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

FIRST_PORT: Final = 1024
FIRST_HOST_PORT: Final = 61000
"""With the host's own address: above the ephemeral ports of Linux (ip_local_port_range)."""
LAST_PORT: Final = 65535

_HOST, _FLOATING, _SHARED = range(3)
"""Ranks of claims to an outside address."""

Errors = list[node_pb2.EntryError]
T = TypeVar("T", node_pb2.Gateway, node_pb2.FloatingAddress, node_pb2.PortForward)


class ForwardKey(NamedTuple):
    """A port outside."""

    address: int
    port: int
    protocol: int

    def __str__(self) -> str:
        name = decode.PROTOCOLS.get(self.protocol, str(self.protocol))
        return f"{decode.address4(self.address)}:{self.port}/{name}"


class Counted(NamedTuple):
    """Where the packets of a gateway are counted."""

    vni: int
    name: str
    slot: int


def forward_key(message: node_pb2.PortForwardKey) -> ForwardKey:
    return ForwardKey(message.address, message.port, message.protocol)


class Gateways:
    """All of them on this host. `changed` rings when the addresses that it answers for are others."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        memory: journal.Journal,
        allocator: slots.Slots,
        vpcs: roles.Roles,
        config: machine.Machine,
        nic: Callable[[], underlay.Nic],
        changed: bell.Bell,
    ) -> None:
        self._data_plane = data_plane
        self._journal = memory
        self._slots = allocator
        self._vpcs = vpcs
        self._config = config
        self._nic = nic
        self._changed = changed
        self._lock = threading.RLock()
        self._rows = claims.Claims(layout.Table.GATEWAYS4, data_plane, output)
        self._outside = claims.Claims(layout.Table.OUTSIDE4, data_plane, output)
        self._inside = claims.Claims(layout.Table.FLOATING4, data_plane, output)
        self._ports = claims.Claims(layout.Table.FORWARDS4, data_plane, output)
        self._gateways: dict[int, tuple[int, node_pb2.Gateway]] = {}
        self._floating: dict[int, node_pb2.FloatingAddress] = {}
        self._forwards: dict[ForwardKey, node_pb2.PortForward] = {}
        self._adopt()

    # ------------------------------------------------------------ reading

    def vnis(self) -> set[int]:
        with self._lock:
            return set(self._gateways)

    def floating(self) -> set[int]:
        with self._lock:
            return set(self._floating)

    def forwards(self) -> set[ForwardKey]:
        with self._lock:
            return set(self._forwards)

    def counted(self) -> list[Counted]:
        with self._lock:
            return [Counted(vni, each.name, slot) for vni, (slot, each) in self._gateways.items()]

    def answered(self) -> set[int]:
        """Outside addresses for which programs of this host answer ARP."""
        with self._lock:
            keys, values = self._outside.rows()
            return set(keys[values["flags"] & layout.OutsideFlags.HOST == 0].tolist())

    # ------------------------------------------------------------ gateways

    def put(self, entries: Iterable[node_pb2.Gateway]) -> Errors:
        """Insert or replace; the VPC must be known."""
        return self._each(entries, "gateways", lambda entry: str(entry.vni), self._put)

    def drop(self, vnis: Iterable[int]) -> None:
        with self._lock:
            for vni in vnis:
                if vni in self._gateways:
                    self._drop(vni)
            self._tell()

    def _put(self, entry: node_pb2.Gateway) -> None:
        _check_gateway(entry, self._nic().address)
        self._vpcs.check_known(entry.vni)
        slot, known = self._gateways.get(entry.vni, (0, None))
        if known == entry:
            return
        with contextlib.ExitStack() as undo:
            if known is None:
                slot = self._slots.take()
                undo.callback(self._slots.free, slot)
                self._data_plane.clear_stats([slot])
            undo.callback(self._restore, entry.vni)
            self._write(entry, slot)
            self._vpcs.set_gateway(entry.vni, True)
            self._journal.put_gateway(slot, entry)
            undo.pop_all()
        self._gateways[entry.vni] = (slot, entry)

    def _write(self, entry: node_pb2.Gateway, slot: int) -> None:
        owner = "gateway", entry.vni
        self._outside.set(owner, _outside_of(entry, self._nic().address))
        row = _gateway_row(entry, self._nic(), slot)
        self._rows.set(owner, {_key(entry.vni, layout.U32): claims.Claim(0, row)})

    def _restore(self, vni: int) -> None:
        """As it was before an entry that failed."""
        slot, known = self._gateways.get(vni, (0, None))
        if known is not None:
            self._write(known, slot)
        else:
            self._take_away(vni)

    def _take_away(self, vni: int) -> None:
        self._vpcs.set_gateway(vni, False)
        self._rows.drop(("gateway", vni))
        self._outside.drop(("gateway", vni))

    def _drop(self, vni: int) -> None:
        self._take_away(vni)
        slot, _ = self._gateways.pop(vni)
        self._slots.free(slot)
        self._journal.drop_gateway(vni)

    # ------------------------------------------------------------ floating addresses

    def put_floating(self, entries: Iterable[node_pb2.FloatingAddress]) -> Errors:
        return self._each(
            entries, "floating", lambda entry: decode.address4(entry.address), self._put_floating
        )

    def drop_floating(self, addresses: Iterable[int]) -> None:
        with self._lock:
            for address in addresses:
                if self._floating.pop(address, None) is not None:
                    self._claim_floating(address, None)
                    self._journal.drop_floating(address)
            self._tell()

    def _put_floating(self, entry: node_pb2.FloatingAddress) -> None:
        rows.check_vni(entry.vni)
        rows.check_outside(entry.address)
        if entry.address == self._nic().address:
            raise errors.InvalidError("a host's own address cannot be a floating one")
        if not entry.endpoint:
            raise errors.InvalidError("endpoint 0.0.0.0: wanted an endpoint's address")
        self._vpcs.check_known(entry.vni)
        known = self._floating.get(entry.address)
        if known == entry:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self._claim_floating, entry.address, known)
            self._claim_floating(entry.address, entry)
            undo.pop_all()
        self._floating[entry.address] = entry
        self._journal.put_floating(entry)

    def _claim_floating(self, address: int, entry: node_pb2.FloatingAddress | None) -> None:
        """Rows of an entry; none of no entry."""
        owner = "floating", address
        self._inside.set(owner, _inside_of(entry) if entry else {})
        self._outside.set(owner, _floating_outside(entry) if entry and entry.answers else {})

    # ------------------------------------------------------------ port forwards

    def put_forwards(self, entries: Iterable[node_pb2.PortForward]) -> Errors:
        return self._each(entries, "forwards", lambda entry: str(forward_key(entry.key)), self._put_forward)

    def drop_forwards(self, keys: Iterable[ForwardKey]) -> None:
        with self._lock:
            for key in keys:
                if self._forwards.pop(key, None) is not None:
                    self._claim_forward(key, None)
                    self._journal.drop_forward(*key)
            self._tell()

    def _put_forward(self, entry: node_pb2.PortForward) -> None:
        rows.check_vni(entry.vni)
        rows.check_outside(entry.key.address)
        rows.check_protocol(entry.key.protocol)
        rows.check_port(entry.key.port)
        rows.check_port(entry.target_port, "target port")
        if not entry.endpoint:
            raise errors.InvalidError("endpoint 0.0.0.0: wanted an endpoint's address")
        self._vpcs.check_known(entry.vni)
        key = forward_key(entry.key)
        known = self._forwards.get(key)
        if known == entry:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self._claim_forward, key, known)
            self._claim_forward(key, entry)
            undo.pop_all()
        self._forwards[key] = entry
        self._journal.put_forward(entry)

    def _claim_forward(self, key: ForwardKey, entry: node_pb2.PortForward | None) -> None:
        """Rows of an entry; none of no entry."""
        owner = "forward", *key
        answered = _forward_outside(key.address, self._nic().address)
        self._ports.set(owner, _ports_of(entry) if entry else {})
        self._outside.set(owner, answered if entry and entry.answers else {})

    # ------------------------------------------------------------ all of them

    def prune(self) -> None:
        """Remove rows that belong to no entry: a journal that was lost knew them."""
        with self._lock:
            for table in (self._rows, self._inside, self._ports, self._outside):
                table.prune()
            self._tell()

    def _each(
        self, entries: Iterable[T], table: str, name: Callable[[T], str], put: Callable[[T], None]
    ) -> Errors:
        failed: Errors = []
        with self._lock:
            for entry in entries:
                try:
                    put(entry)
                except errors.MizarError as failure:
                    failed.append(rows.error(table, name(entry), str(failure)))
            self._tell()
        return failed

    def _tell(self) -> None:
        self._config.set_gateway(bool(len(self._outside)))
        self._changed.ring()

    def _adopt(self) -> None:
        """Everything that the journal has is claimed again; rows are written only where a crash left gaps."""
        for slot, gateway in self._journal.gateways():
            self._gateways[gateway.vni] = (slot, gateway)
            self._write(gateway, slot)
        for floating in self._journal.floating():
            self._floating[floating.address] = floating
            self._claim_floating(floating.address, floating)
        for forward in self._journal.forwards():
            self._forwards[forward_key(forward.key)] = forward
            self._claim_forward(forward_key(forward.key), forward)
        self._vpcs.adopt_gateways(self._gateways)
        self._tell()


# ---------------------------------------------------------------- rules


def _check_gateway(entry: node_pb2.Gateway, own: int) -> None:
    rows.check_vni(entry.vni)
    if len(entry.addresses) > layout.MAX_OUTSIDE:
        raise errors.InvalidError(f"{len(entry.addresses)} outside addresses: at most {layout.MAX_OUTSIDE}")
    for address in entry.addresses:
        rows.check_outside(address)
        if address == own:
            text = decode.address4(address)
            raise errors.InvalidError(
                f"outside address {text} is the host's own: leave addresses empty for that"
            )
    if len(set(entry.addresses)) < len(entry.addresses):
        raise errors.InvalidError("an outside address is listed twice")
    first, last = ports_of(entry)
    if not 1 <= first <= last <= LAST_PORT:
        raise errors.InvalidError(
            f"ports {first} to {last}: must be 1 to {LAST_PORT}, the first not above the last"
        )


def ports_of(entry: node_pb2.Gateway) -> tuple[int, int]:
    """First and last port for source NAT."""
    default = FIRST_PORT if entry.addresses else FIRST_HOST_PORT
    return entry.first_port or default, entry.last_port or LAST_PORT


# ---------------------------------------------------------------- rows


def _key(number: int, dtype: np.dtype[Any]) -> bytes:
    return np.array([number], dtype=dtype).tobytes()


def _gateway_row(entry: node_pb2.Gateway, nic: underlay.Nic, slot: int) -> bytes:
    row = np.zeros(1, dtype=layout.GATEWAY4_ROW)
    addresses = list(entry.addresses) or [nic.address]
    row["ifindex"] = nic.ifindex
    row["first_port"], row["last_port"] = ports_of(entry)
    row["flags"] = 0 if entry.addresses else layout.GatewayFlags.HOST
    row["slot"] = slot
    row["n"] = len(addresses)
    row["addrs"][0, : len(addresses)] = addresses
    return row.tobytes()


def _outside_of(entry: node_pb2.Gateway, own: int) -> dict[bytes, claims.Claim]:
    """Rows of mz_outside4 for source NAT."""
    if not entry.addresses:
        return {_key(own, layout.BE32): claims.Claim(_HOST, _outside_row(is_host=True))}
    shared = claims.Claim(_SHARED, _outside_row())
    return {_key(address, layout.BE32): shared for address in entry.addresses}


def _floating_outside(entry: node_pb2.FloatingAddress) -> dict[bytes, claims.Claim]:
    row = _outside_row(endpoint=entry.endpoint, vni=entry.vni)
    return {_key(entry.address, layout.BE32): claims.Claim(_FLOATING, row)}


def _forward_outside(address: int, own: int) -> dict[bytes, claims.Claim]:
    rank = _HOST if address == own else _SHARED
    return {_key(address, layout.BE32): claims.Claim(rank, _outside_row(is_host=address == own))}


def _outside_row(*, endpoint: int = 0, vni: int = 0, is_host: bool = False) -> bytes:
    flags = layout.OutsideFlags.HOST if is_host else 0
    return np.array([(endpoint, vni, flags)], dtype=layout.OUTSIDE4).tobytes()


def _inside_of(entry: node_pb2.FloatingAddress) -> dict[bytes, claims.Claim]:
    """The row of mz_floating4. An endpoint with two floating addresses sends from the lower one."""
    key = np.array([(entry.vni, entry.endpoint)], dtype=layout.ADDR_KEY4).tobytes()
    row = np.array([entry.address], dtype=layout.BE32).tobytes()
    return {key: claims.Claim(0, row)}


def _ports_of(entry: node_pb2.PortForward) -> dict[bytes, claims.Claim]:
    """Both rows of mz_forwards4. Of several ports outside for one inside, answers come from the lowest."""
    key = forward_key(entry.key)
    outside, inside = (0, key.address, key.port), (entry.vni, entry.endpoint, entry.target_port)
    return {
        _port_key(*outside, key.protocol): claims.Claim(0, _port_row(*inside)),
        _port_key(*inside, key.protocol): claims.Claim(0, _port_row(*outside)),
    }


def _port_key(vni: int, address: int, port: int, protocol: int) -> bytes:
    return services.Key(vni, address, port, protocol).row.tobytes()


def _port_row(vni: int, address: int, port: int) -> bytes:
    return np.array([(vni, address, port, 0)], dtype=layout.FORWARD4).tobytes()

# SPDX-License-Identifier: Apache-2.0
"""What this host is for each VPC and network: rows of mz_vpcs, names, and the roles' statistics slots.

What holds:
 - Flags of a VPC's row are derived: DIVIDER as the VPC says, BOUNCER while any of its networks bounces here,
   ENDPOINTS while an endpoint of it is here, GATEWAY while this host is a gateway of it.
 - A role has a slot of its own from its first message to its last; a slot is cleared before it counts.
 - The kernel's row is written only when it changes.

Safe for threads.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from mizar import errors
from mizar.abi import layout
from mizar.agent import journal, rows, slots, writer
from mizar.dataplane import protocol
from mizar.rpc.gen.mizar.node.v1 import node_pb2

P = ParamSpec("P")
R = TypeVar("R")


def _locked(method: Callable[Concatenate[Roles, P], R]) -> Callable[Concatenate[Roles, P], R]:
    """Run a method of Roles under its lock."""

    @functools.wraps(method)
    def run(self: Roles, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return run


@dataclasses.dataclass(frozen=True)
class Divider:
    """This host divides a VPC, counting in `slot`."""

    vni: int
    slot: int


@dataclasses.dataclass(frozen=True)
class Bouncer:
    """This host bounces for a network, counting in `slot`."""

    vni: int
    network: int
    slot: int


class Roles:
    """VPCs and networks of this host."""

    def __init__(
        self,
        *,
        data_plane: protocol.DataPlane,
        output: writer.Writer,
        memory: journal.Journal,
        allocator: slots.Slots,
    ) -> None:
        self._data_plane = data_plane
        self._writer = output
        self._journal = memory
        self._slots = allocator
        self._lock = threading.RLock()
        self._vpcs: dict[int, tuple[int, node_pb2.Vpc]] = {}
        self._networks: dict[int, tuple[int, node_pb2.Network]] = {}
        self._bouncing: collections.Counter[int] = collections.Counter()
        self._endpoints: collections.Counter[int] = collections.Counter()
        self._gateways: set[int] = set()
        self._rows: dict[int, bytes] = {}
        self._bouncer_slots: dict[int, int] = {}
        self._adopt()

    def _adopt(self) -> None:
        keys, values = self._data_plane.dump(layout.Table.VPCS)
        self._rows = {int(key): value.tobytes() for key, value in zip(keys, values, strict=True)}
        for slot, vpc in self._journal.vpcs():
            self._vpcs[vpc.vni] = (slot, vpc)
        for slot, network in self._journal.networks():
            self._keep_network(slot, network)

    # ------------------------------------------------------------ reading

    def check_known(self, vni: int) -> None:
        """ConflictError if the VPC is not known."""
        if vni not in self._vpcs:
            raise errors.ConflictError(f"VPC with VNI {vni} is not known here: send its Vpc first")

    @_locked
    def vnis(self) -> set[int]:
        """All VPCs that are known, or have a row in the kernel that nobody remembers."""
        return self._vpcs.keys() | self._rows.keys()

    @_locked
    def network_ids(self) -> set[int]:
        return set(self._networks)

    @_locked
    def dividers(self) -> list[Divider]:
        return [Divider(vni, slot) for vni, (slot, _) in self._vpcs.items() if slot]

    @_locked
    def bouncers(self) -> list[Bouncer]:
        return [
            Bouncer(network.vni, number, slot) for number, (slot, network) in self._networks.items() if slot
        ]

    @_locked
    def bouncer_slots(self) -> dict[int, int]:
        """Slot by network id, of the networks that bounce here."""
        return dict(self._bouncer_slots)

    @_locked
    def used_dividers(self) -> set[int]:
        """Addresses of all hosts that divide for us."""
        return {address for _, vpc in self._vpcs.values() for address in vpc.dividers}

    # ------------------------------------------------------------ VPCs

    @_locked
    def put_vpcs(self, vpcs: Iterable[node_pb2.Vpc]) -> list[node_pb2.EntryError]:
        """Insert or replace."""
        failed: list[node_pb2.EntryError] = []
        accepted: list[int] = []
        changed: list[int] = []
        for vpc in vpcs:
            try:
                changed += self._put_vpc(vpc)
            except errors.MizarError as failure:
                failed.append(rows.error("vpcs", str(vpc.vni), str(failure)))
            else:
                accepted.append(vpc.vni)
        self._journal.put_vpcs(self._vpcs[vni] for vni in changed)
        return failed + self._write(accepted)

    def _put_vpc(self, vpc: node_pb2.Vpc) -> list[int]:
        rows.check_vni(vpc.vni)
        if len(vpc.dividers) > layout.MAX_DIVIDERS:
            raise errors.InvalidError(f"{len(vpc.dividers)} dividers: at most {layout.MAX_DIVIDERS}")
        slot, known = self._vpcs.get(vpc.vni, (0, None))
        wanted = self._slot_for(vpc.divides, slot)
        if known == vpc and wanted == slot:
            return []
        self._vpcs[vpc.vni] = (wanted, vpc)
        return [vpc.vni]

    @_locked
    def drop_vpcs(self, vnis: Iterable[int]) -> list[node_pb2.EntryError]:
        """Remove; one that still has endpoints here is refused, because they would lose their way out."""
        failed: list[node_pb2.EntryError] = []
        gone: list[int] = []
        for vni in vnis:
            if self._endpoints[vni]:
                count = self._endpoints[vni]
                failed.append(rows.error("vpcs", str(vni), f"{count} endpoint(s) of it are on this host"))
            elif vni in self._vpcs or vni in self._rows:
                gone.append(vni)
        self._writer.remove(layout.Table.VPCS, np.array(gone, dtype=layout.U32))
        for vni in gone:
            slot, _ = self._vpcs.pop(vni, (0, None))
            self._rows.pop(vni, None)
            self._slots.free(slot)
        self._journal.drop_vpcs(gone)
        return failed

    # ------------------------------------------------------------ networks

    @_locked
    def put_networks(self, networks: Iterable[node_pb2.Network]) -> list[node_pb2.EntryError]:
        """Insert or replace; the VPC must be known."""
        failed: list[node_pb2.EntryError] = []
        changed: list[int] = []
        touched: set[int] = set()
        for network in networks:
            try:
                changed += self._put_network(network)
            except errors.MizarError as failure:
                failed.append(rows.error("networks", str(network.id), str(failure)))
            else:
                touched.add(network.vni)
        self._journal.put_networks(self._networks[number] for number in changed)
        return failed + self._write(touched)

    def _put_network(self, network: node_pb2.Network) -> list[int]:
        if not network.id:
            raise errors.InvalidError("network id 0: must be at least 1")
        self.check_known(network.vni)
        slot, known = self._networks.get(network.id, (0, None))
        wanted = self._slot_for(network.bounces, slot)
        if known == network and wanted == slot:
            return []
        if known is not None:
            self._forget_network(known)
        self._keep_network(wanted, network)
        return [network.id]

    @_locked
    def drop_networks(self, ids: Iterable[int]) -> list[node_pb2.EntryError]:
        gone = [number for number in ids if number in self._networks]
        touched: set[int] = set()
        for number in gone:
            slot, network = self._networks[number]
            self._forget_network(network)
            self._slots.free(slot)
            touched.add(network.vni)
        self._journal.drop_networks(gone)
        return self._write(touched)

    def _keep_network(self, slot: int, network: node_pb2.Network) -> None:
        self._networks[network.id] = (slot, network)
        if network.bounces:
            self._bouncer_slots[network.id] = slot
            self._bouncing[network.vni] += 1

    def _forget_network(self, network: node_pb2.Network) -> None:
        del self._networks[network.id]
        if self._bouncer_slots.pop(network.id, None) is not None:
            self._bouncing[network.vni] -= 1

    # ------------------------------------------------------------ endpoints

    @_locked
    def endpoint_added(self, vni: int) -> None:
        """An endpoint of the VPC is about to be here. ConflictError if the VPC is not known."""
        self.check_known(vni)
        self._count_endpoint(vni, 1)

    @_locked
    def endpoint_removed(self, vni: int) -> None:
        self._count_endpoint(vni, -1)

    def _count_endpoint(self, vni: int, step: int) -> None:
        self._endpoints[vni] += step
        failed = self._write([vni])
        if failed:
            self._endpoints[vni] -= step
            raise errors.KernelError(failed[0].message)

    @_locked
    def adopt_endpoints(self, vnis: Iterable[int]) -> None:
        """Endpoints that were here before this process: all counted before a row is looked at.

        All rows are compared: a crash may have come between an endpoint and the flag of its VPC.
        """
        self._endpoints.update(vnis)
        self._write(self._vpcs)

    # ------------------------------------------------------------ gateways

    @_locked
    def set_gateway(self, vni: int, is_gateway: bool) -> None:
        """Whether this host is a gateway of the VPC; KernelError if its row is refused."""
        before = set(self._gateways)
        self._gateways = before | {vni} if is_gateway else before - {vni}
        failed = self._write([vni])
        if failed:
            self._gateways = before
            raise errors.KernelError(failed[0].message)

    @_locked
    def adopt_gateways(self, vnis: Iterable[int]) -> None:
        """Gateways that were here before this process; the rows are looked at in adopt_endpoints()."""
        self._gateways.update(vnis)

    # ------------------------------------------------------------ rows

    def _slot_for(self, has_role: bool, slot: int) -> int:
        """The role's slot: kept, taken new and cleared, or given back."""
        if has_role and not slot:
            slot = self._slots.take()
            self._data_plane.clear_stats([slot])
        elif not has_role and slot:
            self._slots.free(slot)
            slot = 0
        return slot

    def _row(self, vni: int) -> npt.NDArray[np.void]:
        slot, vpc = self._vpcs[vni]
        row = np.zeros(1, dtype=layout.VPC)
        flags = layout.VpcFlags.DIVIDER if vpc.divides else layout.VpcFlags(0)
        if self._bouncing[vni]:
            flags |= layout.VpcFlags.BOUNCER
        if self._endpoints[vni]:
            flags |= layout.VpcFlags.ENDPOINTS
        if vni in self._gateways:
            flags |= layout.VpcFlags.GATEWAY
        row["flags"] = flags
        row["slot"] = slot
        row["n_dividers"] = len(vpc.dividers)
        row["dividers"][0, : len(vpc.dividers)] = vpc.dividers
        return row

    def _write(self, vnis: Iterable[int]) -> list[node_pb2.EntryError]:
        """Bring the kernel's rows of these VPCs to what is known, in one batch."""
        new = {vni: row for vni in vnis if vni in self._vpcs and self._differs(vni, row := self._row(vni))}
        if not new:
            return []
        listed = list(new)
        # Not concatenate(): it returns native byte order.
        encoded = np.zeros(len(listed), dtype=layout.VPC)
        for at, vni in enumerate(listed):
            encoded[at] = new[vni][0]
        refused = self._writer.put(layout.Table.VPCS, np.array(listed, dtype=layout.U32), encoded)
        for index in writer.written(len(listed), refused):
            self._rows[listed[index]] = new[listed[index]].tobytes()
        return [rows.error("vpcs", str(listed[refusal.index]), refusal.message) for refusal in refused]

    def _differs(self, vni: int, row: npt.NDArray[np.void]) -> bool:
        return self._rows.get(vni) != row.tobytes()

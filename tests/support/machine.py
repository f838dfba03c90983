# SPDX-License-Identifier: Apache-2.0
"""One host's programs and tables, loaded for a test and pinned nowhere.

    machine = Machine()
    machine.config("192.0.2.1")
    machine.port(7, vni=5, addr="10.0.0.2", mac=MAC)
    run = machine.run(Hook.ENDPOINT, frame, ifindex=7)
    assert run.verdict is Verdict.TO_DIVIDER

What holds:
 - The programs share one set of maps, as the agent loads them.
 - Addresses are texts here; the tables hold numbers.
 - run() finds exactly one verdict counted, or fails.

What does not belong here: making packets (packets.py), namespaces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import ipaddress
import socket
import time
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from mizar.abi import hashes, layout, maglev
from mizar.abi.layout import Table
from mizar.abi.verdicts import Verdict
from mizar.dataplane import libbpf, maps, programs, tables

SIZES: Final = {
    Table.HOSTS: 64,
    Table.VPCS: 64,
    Table.ROUTES4: 256,
    Table.SHARDS: 256,
    Table.LOCATIONS4: 256,
    Table.ENDPOINTS4: 64,
    Table.PORTS: 64,
    Table.DIRECT4: 256,
    Table.FLOWS4: 256,
    Table.FRAGS4: 64,
    Table.WATCHED: 64,
    Table.SERVICES4: 64,
    Table.MAGLEV4: 256,
    Table.BACKENDS4: 256,
    Table.STATS: 64,
}

LOOPBACK: Final = 1
"""Interface that BPF_PROG_TEST_RUN can always use."""

_COARSE: Final = 6
"""CLOCK_MONOTONIC_COARSE of linux/time.h."""

SOFT_MS: Final = 5000
HARD_MS: Final = 15000


class Hook(enum.Enum):
    """Program and the kind of context it takes."""

    ENDPOINT = "mz_endpoint"
    TC = "mz_transit_tc"
    XDP = "mz_transit_xdp"


@dataclasses.dataclass(frozen=True)
class Run:
    """What one packet met."""

    verdict: Verdict
    counted: int
    """Bytes, as counted with the verdict."""
    action: int
    """The program's return value, signed."""
    frame: bytes


def number(addr: str) -> int:
    return int(ipaddress.IPv4Address(addr))


def now_ms() -> int:
    """The clock of the direct path table."""
    return time.clock_gettime_ns(_COARSE) // 1_000_000 & 0xFFFFFFFF


def now_s(*, ago: int = 0) -> int:
    """The clock of flows, `ago` seconds back; modulo 2^32, as a machine may not have been up for so long."""
    return (int(time.clock_gettime(_COARSE)) - ago) & 0xFFFFFFFF


def mac_bytes(mac: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(mac.replace(":", "")))


def _route_key(table: int, prefix: str) -> tuple[int, int, int]:
    net = ipaddress.IPv4Network(prefix)
    return table, int(net.network_address), int(net.netmask)


def _pad(values: Iterable[int], n: int) -> tuple[int, ...]:
    found = tuple(values)
    return found + (0,) * (n - len(found))


class Machine(contextlib.AbstractContextManager["Machine"]):
    """The three programs on one set of maps. Close it to free them."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.maps: dict[str, maps.Map] = {}
        self.programs: dict[Hook, programs.Program] = {}
        with contextlib.ExitStack() as undo:
            undo.callback(self._stack.close)
            for name in ("endpoint.bpf.o", "transit.bpf.o"):
                self._load(name)
            undo.pop_all()
        self.tables = tables.over(self.maps)

    def _load(self, name: str) -> None:
        with libbpf.Object(libbpf.OBJECTS / name) as found:
            for table in found.map_names():
                if table in self.maps:
                    found.reuse_map(table, self.maps[table])
                elif table in SIZES:
                    found.set_max_entries(table, layout.MAPS[table].entries(SIZES[Table(table)]))
            found.load()
            for table in set(found.map_names()) - self.maps.keys():
                spec = layout.MAPS[table]
                self.maps[table] = self._stack.enter_context(found.map(table, key=spec.key, value=spec.value))
            for program in found.program_names():
                self.programs[Hook(program)] = self._stack.enter_context(found.program(program))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Empty tables, zero counters."""
        for name, found in self.maps.items():
            if layout.MAPS[name].type.is_array:
                found.clear(np.arange(found.max_entries, dtype=np.uint32))
            else:
                found.delete(found.dump()[0])
        self.tables = tables.over(self.maps)

    # ------------------------------------------------------------ rows

    def put(self, table: Table, key: Any, value: Any) -> None:
        spec = layout.TABLES[table]
        self.tables[table].update(np.array([key], dtype=spec.key), np.array([value], dtype=spec.value))

    def get(self, table: Table, key: Any) -> np.void | None:
        return self.tables[table].lookup(np.array([key], dtype=layout.TABLES[table].key))

    def config(
        self,
        addr: str,
        *,
        ifindex: int = LOOPBACK,
        mac: str = "02:00:00:00:00:01",
        soft_ms: int = SOFT_MS,
        hard_ms: int = HARD_MS,
        flags: layout.ConfigFlags | int = 0,
    ) -> None:
        flags |= layout.ConfigFlags.READY
        row = (number(addr), ifindex, soft_ms, hard_ms, mac_bytes(mac), int(flags))
        self.put(Table.CONFIG, 0, row)

    def host(
        self,
        addr: str,
        *,
        nexthop: str = "0.0.0.0",
        mac: str | None = None,
        flags: layout.HostFlags | int = 0,
    ) -> None:
        """With `mac`, it is known for a minute."""
        until = 0 if mac is None else now_s() + 60
        fields = (number(nexthop), until, mac_bytes(mac or "00:00:00:00:00:00"), int(flags))
        self.put(Table.HOSTS, number(addr), fields)

    def vpc(
        self, vni: int, *, dividers: Iterable[str] = (), flags: layout.VpcFlags | int = 0, slot: int = 0
    ) -> None:
        found = [number(addr) for addr in dividers]
        self.put(Table.VPCS, vni, (int(flags), slot, len(found), _pad(found, layout.MAX_DIVIDERS)))

    def route(
        self,
        vni: int,
        prefix: str,
        kind: layout.RouteKind,
        *,
        network: int = 0,
        shards: int = 0,
        target: int = 0,
    ) -> None:
        self.put(Table.ROUTES4, _route_key(vni, prefix), (kind, network, shards, target))

    def appliance(self, table: int, prefix: str, addr: str) -> None:
        """A route to the endpoint with this address, in the table of a VPC or network."""
        self.route(table, prefix, layout.RouteKind.APPLIANCE, target=socket.htonl(number(addr)))

    def unroute(self, table: int, prefix: str) -> None:
        self.tables[Table.ROUTES4].delete([_route_key(table, prefix)])

    def shard(self, network: int, shard: int, hosts: Iterable[str]) -> None:
        found = [number(addr) for addr in hosts]
        self.put(Table.SHARDS, (network, shard), (len(found), _pad(found, layout.MAX_REPLICAS)))

    def shards(self, network: int, shards: int, hosts: Iterable[str]) -> None:
        """The same bouncers for all shards."""
        found = list(hosts)
        for i in range(shards):
            self.shard(network, i, found)

    def location(self, vni: int, addr: str, host: str, *, slot: int = 0) -> None:
        self.put(Table.LOCATIONS4, (vni, number(addr)), (number(host), slot))

    def endpoint(
        self, vni: int, addr: str, *, ifindex: int, mac: str, slot: int = 0, peer: bool = True
    ) -> None:
        flags = layout.EndpointFlags.PEER if peer else 0
        self.put(Table.ENDPOINTS4, (vni, number(addr)), (ifindex, slot, mac_bytes(mac), flags))

    def port(
        self,
        ifindex: int,
        *,
        vni: int,
        addr: str,
        mac: str,
        mtu: int = 1436,
        network: int = 0,
        shards: int = 0,
        slot: int = 0,
        onlink: Iterable[str] = (),
        flags: layout.PortFlags | int = 0,
    ) -> None:
        nets = [ipaddress.IPv4Network(prefix) for prefix in onlink]
        masks = [(int(net.network_address), int(net.netmask)) for net in nets]
        masks += [(0, 0)] * (layout.MAX_ONLINK - len(masks))
        row = (vni, number(addr), mac_bytes(mac), mtu, network, shards, slot, len(nets), int(flags), masks)
        self.put(Table.PORTS, ifindex, row)

    def direct(
        self, vni: int, addr: str, host: str, *, age_ms: int = 0, endpoint_vni: int | None = None
    ) -> None:
        confirmed = (now_ms() - age_ms) & 0xFFFFFFFF
        self.put(
            Table.DIRECT4,
            (vni, number(addr)),
            (number(host), confirmed, vni if endpoint_vni is None else endpoint_vni),
        )

    def service(
        self,
        vni: int,
        addr: str,
        backends: Iterable[str],
        *,
        port: int = 80,
        target: int = 8080,
        protocol: int = 6,
        affinity: int = 0,
        slot: int = 0,
        service_id: int = 1,
    ) -> None:
        """One port of a scaled endpoint, with its Maglev table, as a bouncer's agent writes them."""
        found = [number(backend) for backend in backends]
        places = maglev.table([(backend, 1) for backend in found], service_id)
        padded = np.zeros(-(-len(places) // layout.MAGLEV_ROW) * layout.MAGLEV_ROW, dtype=">u4")
        padded[: len(places)] = places
        for row in range(len(padded) // layout.MAGLEV_ROW):
            at = row * layout.MAGLEV_ROW
            self.put(Table.MAGLEV4, (service_id, row), (tuple(padded[at : at + layout.MAGLEV_ROW].tolist()),))
        known = self.tables[Table.BACKENDS4].dump()[0]
        self.tables[Table.BACKENDS4].delete(known[known["service"] == service_id])
        for backend in found:
            self.put(Table.BACKENDS4, (service_id, backend), (1,))
        code = hashes.affinity_code(affinity)
        self.put(
            Table.SERVICES4,
            (vni, number(addr), port, protocol, 0),
            (service_id, len(places), target, code, slot),
        )

    def to_backend(
        self,
        vni: int,
        client: tuple[str, int],
        service: tuple[str, int],
        backend: tuple[str, int],
        *,
        proto: int = 6,
        asked_s: int = 0,
        slot: int = 0,
    ) -> None:
        """A client here has a flow to a scaled endpoint; its bouncer was asked so many seconds ago."""
        (src, sport), (dst, dport), (to, target) = client, service, backend
        now, asked = now_s(), now_s(ago=asked_s)
        there = (number(src), number(to), sport, target, vni, 0, now, asked, 0)
        back = (number(dst), number(src), dport, sport, vni, 0, now, asked)
        kind = layout.FlowKind.SERVICE
        self.put(
            Table.FLOWS4, (vni, number(src), number(dst), sport, dport, proto, (0, 0, 0)), (*there, kind, 0)
        )
        self.put(
            Table.FLOWS4,
            (vni, number(to), number(src), target, sport, proto, (0, 0, 0)),
            (*back, layout.FlowState.REVERSE, kind, 0),
        )
        self.put(Table.DIRECT4, (vni, number(dst)), (0, now_ms(), vni))
        self.put(Table.WATCHED, slot, (1 << hashes.watched_bit(number(to)),))

    # ------------------------------------------------------------ gateways

    def gateway(
        self,
        vni: int,
        addrs: Iterable[str],
        *,
        ifindex: int = LOOPBACK,
        ports: tuple[int, int] = (1024, 65535),
        flags: layout.GatewayFlags | int = 0,
        slot: int = 0,
    ) -> None:
        """This host is a gateway of the VPC, and has these addresses outside."""
        found = [number(addr) for addr in addrs]
        row = (ifindex, *ports, int(flags), slot, len(found), _pad(found, layout.MAX_OUTSIDE))
        self.put(Table.GATEWAYS4, vni, row)
        for addr in addrs:
            self.outside(addr, flags=layout.OutsideFlags.HOST if flags & layout.GatewayFlags.HOST else 0)

    def outside(
        self,
        addr: str,
        *,
        endpoint: str = "0.0.0.0",
        vni: int = 0,
        flags: layout.OutsideFlags | int = 0,
    ) -> None:
        self.put(Table.OUTSIDE4, number(addr), (number(endpoint), vni, int(flags)))

    def floating(self, vni: int, endpoint: str, addr: str, *, answers: bool = True) -> None:
        """1:1 between an endpoint and an address outside."""
        self.put(Table.FLOATING4, (vni, number(endpoint)), (number(addr),))
        if answers:
            self.outside(addr, endpoint=endpoint, vni=vni)

    def forward(
        self,
        outside: tuple[str, int],
        vni: int,
        inside: tuple[str, int],
        *,
        proto: int = 6,
        back: bool = True,
    ) -> None:
        """Port forwarding, both rows; without `back` another forward has the one from inside."""
        out, port = number(outside[0]), outside[1]
        addr, target = number(inside[0]), inside[1]
        self.put(Table.FORWARDS4, (0, out, port, proto, 0), (vni, addr, target, 0))
        if back:
            self.put(Table.FORWARDS4, (vni, addr, target, proto, 0), (0, out, port, 0))

    def session(
        self,
        vni: int,
        inside: tuple[str, int],
        peer: tuple[str, int],
        outside: tuple[str, int],
        *,
        proto: int = 6,
        age_s: int = 0,
    ) -> None:
        """A flow with source NAT: both entries."""
        addrs = (number(inside[0]), number(peer[0]), number(outside[0]))
        seen, kind = now_s(ago=age_s), layout.FlowKind.NAT
        reverse = layout.FlowState.REVERSE
        self.put(
            Table.FLOWS4,
            (vni, addrs[0], addrs[1], inside[1], peer[1], proto, (0, 0, 0)),
            (addrs[2], addrs[1], outside[1], peer[1], 0, 0, seen, 0, 0, kind, 0),
        )
        self.put(
            Table.FLOWS4,
            (0, addrs[1], addrs[2], peer[1], outside[1], proto, (0, 0, 0)),
            (addrs[1], addrs[0], peer[1], inside[1], vni, 0, seen, 0, reverse, kind, 0),
        )

    def via(
        self,
        vni: int,
        src: tuple[str, int],
        dst: tuple[str, int],
        host: str,
        *,
        proto: int = 6,
        age_s: int = 0,
        came_in: bool = False,
    ) -> None:
        """A flow to the outside goes through this gateway host; `came_in`: it began outside."""
        ends = (number(src[0]), number(dst[0]), src[1], dst[1])
        state = layout.FlowState.REVERSE if came_in else 0
        value = (*ends, vni, number(host), now_s(ago=age_s), 0, state, layout.FlowKind.VIA, 0)
        self.put(Table.FLOWS4, (vni, *ends, proto, (0, 0, 0)), value)

    def fill_flows(self) -> None:
        """The connection table takes no more."""
        spec, n = layout.TABLES[Table.FLOWS4], SIZES[Table.FLOWS4]
        keys, values = spec.keys(n), spec.values(n)
        keys["vni"], keys["src"] = layout.MAX_VNI, np.arange(n)
        values["seen"] = now_s()
        self.tables[Table.FLOWS4].update(keys, values)

    # ------------------------------------------------------------ what there is

    def flow(self, vni: int, src: tuple[str, int], dst: tuple[str, int], *, proto: int = 6) -> np.void | None:
        """The entry of the connection table for packets from `src` to `dst`."""
        key = (vni, number(src[0]), number(dst[0]), src[1], dst[1], proto, (0, 0, 0))
        return self.get(Table.FLOWS4, key)

    def direct_host(self, vni: int, addr: str) -> str | None:
        """Where the direct path to an endpoint leads."""
        found = self.get(Table.DIRECT4, (vni, number(addr)))
        return None if found is None else str(ipaddress.IPv4Address(int(found["host"])))

    def direct_vni(self, vni: int, addr: str) -> int | None:
        """VPC of the endpoint that the direct path leads to."""
        found = self.get(Table.DIRECT4, (vni, number(addr)))
        return None if found is None else int(found["vni"])

    def direct_age_ms(self, vni: int, addr: str) -> int | None:
        found = self.get(Table.DIRECT4, (vni, number(addr)))
        return None if found is None else (now_ms() - int(found["confirmed"])) & 0xFFFFFFFF

    def stats(self, slot: int) -> tuple[int, int, int, int]:
        """tx packets, tx bytes, rx packets, rx bytes."""
        found = self.get(Table.STATS, slot)
        assert found is not None
        tx, tx_bytes, rx, rx_bytes = (int(found[name]) for name in layout.STATS.names or ())
        return tx, tx_bytes, rx, rx_bytes

    def verdicts(self) -> dict[Verdict, int]:
        """Packets by verdict, those that are not zero."""
        _, counts = self.maps[Table.VERDICTS].dump()
        return {Verdict(int(i)): int(counts["packets"][i]) for i in np.flatnonzero(counts["packets"])}

    # ------------------------------------------------------------ running

    def run(
        self, hook: Hook, frame: bytes, *, ifindex: int = LOOPBACK, gso_size: int = 0, gso_segs: int = 0
    ) -> Run:
        """One packet through one program; the verdict counters must show exactly one packet more."""
        before = self.maps[Table.VERDICTS].dump()[1]
        if hook is Hook.XDP:
            context = programs.xdp_context(len(frame), ifindex=ifindex)
        else:
            context = programs.skb_context(ifindex=ifindex, gso_size=gso_size, gso_segs=gso_segs)
        result = self.programs[hook].test_run(frame, context=context)
        after = self.maps[Table.VERDICTS].dump()[1]
        packets = after["packets"] - before["packets"]
        changed = np.flatnonzero(packets)
        assert len(changed) == 1, f"counted {[(int(i), int(packets[i])) for i in changed]}, not one verdict"
        index = int(changed[0])
        assert packets[index] == 1
        counted = int(after["bytes"][index] - before["bytes"][index])
        action = result.retval - (1 << 32) if result.retval >= 1 << 31 else result.retval
        return Run(Verdict(index), counted, action, result.data)

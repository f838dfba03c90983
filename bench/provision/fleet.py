# SPDX-License-Identifier: Apache-2.0
"""Many simulated hosts in one process: `python -m bench.provision.fleet DIRECTORY COUNT`.

Each has a server of its own on a unix socket, and tables of its own in the in-memory data plane; rows go
there as columns, as in the agent. Prints "ready" when all listen. On SIGUSR1 it writes to
DIRECTORY/written.json how many rows of each table have come since the last time.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc.aio
import numpy as np

from mizar.abi import layout
from mizar.agent import rows
from mizar.dataplane import fake
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2, node_pb2_grpc

FIRST_ADDRESS: Final = 0xAC10_0000  # 172.16.0.0
REPORT: Final = "written.json"

# A few rows fit: a simulated host must not cost what a real one's empty tables do.
_SIZES: Final = dict.fromkeys(layout.TABLES, 4000000)


def name_of(number: int) -> str:
    return f"s{number}"


def socket_of(directory: pathlib.Path, number: int) -> pathlib.Path:
    return directory / f"{name_of(number)}.sock"


class Host(node_pb2_grpc.NodeServicer):
    """The part of service Node that a controller uses."""

    def __init__(self, number: int, written: collections.Counter[str]) -> None:
        self._name = name_of(number)
        self._address = FIRST_ADDRESS + number
        self._written = written
        self._plane = fake.FakeDataPlane(_SIZES)
        self._revision = 0
        self._slots: collections.defaultdict[int, int] = collections.defaultdict(lambda: 1)

    async def GetStatus(  # noqa: N802
        self, request: node_pb2.GetStatusRequest, context: object
    ) -> node_pb2.NodeStatus:
        return node_pb2.NodeStatus(name=self._name, address=self._address, revision=self._revision)

    async def Sync(  # noqa: N802
        self, request_iterator: AsyncIterator[node_pb2.SyncRequest], context: object
    ) -> AsyncIterator[node_pb2.SyncAck]:
        async for request in request_iterator:
            self._upsert(request.upsert)
            self._remove(request.remove)
            self._revision = request.revision
            yield node_pb2.SyncAck(revision=request.revision)

    def _upsert(self, tables: node_pb2.Tables) -> None:
        if tables.endpoints:
            self._put(_endpoint_rows(tables.endpoints))
        for alike in tables.endpoint_sets:
            self._put(_endpoint_set_rows(alike))
        if tables.locations:
            self._put(rows.locations(tables.locations, slots=self._slots_of(tables.locations)))
        if tables.shards:
            self._put(rows.shards(tables.shards))
        if tables.routes:
            self._put(rows.routes(tables.routes))
        for table, count in (("hosts", len(tables.hosts)), ("vpcs", len(tables.vpcs))):
            self._written[table] += count

    def _put(self, batch: rows.Batch) -> None:
        self._plane.update(batch.table, batch.keys, batch.values)
        self._written[batch.label] += len(batch.keys)

    def _slots_of(self, parts: Sequence[node_pb2.LocationSet]) -> dict[int, int]:
        return {part.network: self._slots[part.network] for part in parts}

    def _remove(self, keys: node_pb2.Keys) -> None:
        if keys.locations:
            gone = rows.address_keys(keys.locations)
            self._plane.delete(layout.Table.LOCATIONS4, gone)
            self._written["locations removed"] += len(gone)
        self._written["endpoints removed"] += len(keys.endpoints)


def _endpoint_rows(entries: Sequence[node_pb2.Endpoint]) -> rows.Batch:
    """As the agent writes them, but for the interface, which nobody has made."""
    spec = layout.TABLES[layout.Table.ENDPOINTS4]
    pairs = [(entry, address) for entry in entries for address in entry.addresses]
    keys, values = spec.keys(len(pairs)), spec.values(len(pairs))
    keys["vni"] = [entry.vni for entry, _ in pairs]
    keys["addr"] = [address for _, address in pairs]
    values["ifindex"] = 1
    macs = b"".join([entry.mac for entry, _ in pairs])
    values["mac"] = np.frombuffer(macs, dtype="u1").reshape(-1, 6)
    return rows.Batch(layout.Table.ENDPOINTS4, keys, values, [])


def _endpoint_set_rows(alike: node_pb2.EndpointSet) -> rows.Batch:
    spec = layout.TABLES[layout.Table.ENDPOINTS4]
    keys, values = spec.keys(len(alike.names)), spec.values(len(alike.names))
    keys["vni"] = alike.common.vni
    keys["addr"] = alike.addresses
    values["ifindex"] = 1
    values["mac"] = np.frombuffer(alike.macs, dtype="u1").reshape(-1, 6)
    return rows.Batch(layout.Table.ENDPOINTS4, keys, values, [])


async def _serve(directory: pathlib.Path, count: int) -> None:
    written: collections.Counter[str] = collections.Counter()
    servers = []
    for number in range(1, count + 1):
        server = grpc.aio.server(options=wire.SERVER_OPTIONS)
        # What it does not have answers UNIMPLEMENTED, as the generated base class does.
        host = Host(number, written)  # type: ignore[abstract]
        node_pb2_grpc.add_NodeServicer_to_server(host, server)
        server.add_insecure_port(f"unix:{socket_of(directory, number)}")
        await server.start()
        servers.append(server)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, _report, directory, written)
    # A thousand hosts in one process must not stop together while the collector looks at them all.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    print("ready", flush=True)
    await stopping.wait()
    await asyncio.gather(*(server.stop(None) for server in servers))


def _report(directory: pathlib.Path, written: collections.Counter[str]) -> None:
    """In one step, so that a reader who sees the file sees all of it."""
    part = directory / f"{REPORT}.part"
    part.write_text(json.dumps(written), encoding="utf-8")
    part.rename(directory / REPORT)
    written.clear()


if __name__ == "__main__":
    asyncio.run(_serve(pathlib.Path(sys.argv[1]), int(sys.argv[2])))

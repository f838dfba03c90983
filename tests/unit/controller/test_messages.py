# SPDX-License-Identifier: Apache-2.0
"""How large messages become."""

from __future__ import annotations

from mizar.controller import wire
from mizar.controller.hostqueue import HostQueue, HostState, Item, Outgoing
from mizar.plan import rows
from mizar.plan.delta import Batch
from mizar.rpc import wire as rpc_wire


def service(number: int, backends: int) -> rows.ServiceRow:
    pairs = tuple((0x0A000000 + backend, 1) for backend in range(backends))
    return rows.ServiceRow(7, 0x0B000000 + number, 80, 6, "blue/shop", 8080, 0, pairs, number)


def messages(batch: Batch, *, limit: int = rpc_wire.CHUNK_ROWS) -> list[Outgoing]:
    queue = HostQueue("h1", state=HostState.CONNECTED)
    queue.push(Item(batch, revision=1))
    taken = []
    while (message := queue.take(limit)) is not None:
        taken.append(message)
    return taken


def test_services_with_many_backends_are_sent_some_at_a_time() -> None:
    large: list[rows.Row] = [service(number, 5000) for number in range(400)]
    gone = [service(number, 0).key for number in range(1000, 1100)]
    taken = messages(Batch(large, gone))
    assert [row for message in taken for row in message.upserts] == large
    assert [key for message in taken for key in message.removals] == gone
    sizes = [wire.request(message).ByteSize() for message in taken]
    assert max(sizes) < rpc_wire.MAX_MESSAGE_BYTES / 2
    assert [len(message.upserts) for message in messages(Batch(large[:3]), limit=10)] == [1, 1, 1]


def test_others_beside_them_are_counted_as_before() -> None:
    few: list[rows.Row] = [service(1, 0), rows.HostRow(1, "h1"), service(2, 7), rows.HostRow(2, "h2")]
    assert [len(message.upserts) for message in messages(Batch(few), limit=4)] == [4]
    assert [len(message.upserts) for message in messages(Batch(few), limit=3)] == [3, 1]

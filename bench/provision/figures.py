# SPDX-License-Identifier: Apache-2.0
"""What the provisioning suite measures, and what is to be reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bench.core import samples, targets

_HIGHER, _LOWER = samples.Better.HIGHER, samples.Better.LOWER

FIGURES: Final = (
    samples.Figure("bulk", "bulk create, to acknowledged", "endpoints/s", _HIGHER),
    samples.Figure("bulk_cpu", "bulk create, the controller's own processor time", "us/endpoint", _LOWER),
    samples.Figure("writes", "table writes per new endpoint", "rows", _LOWER),
    samples.Figure("one_p50", "one endpoint to ready, p50", "ms", _LOWER),
    samples.Figure("one_p99", "one endpoint to ready, p99", "ms", _LOWER),
    samples.Figure("memory", "controller memory", "B/endpoint", _LOWER),
    samples.Figure("agent_memory", "agent memory, host that bounces nothing", "MiB", _LOWER),
    samples.Figure("moved", "rows sent when bouncers grow from 2 to 3, share of all", "", _LOWER),
    samples.Figure("grow", "bouncers grow from 2 to 3", "s", _LOWER),
    samples.Figure("lost", "packets lost meanwhile", "packets", _LOWER),
    samples.Figure("restart", "agent of a bouncer back after kill -9, adopted and reconciled", "s", _LOWER),
    samples.Figure("load", "kernel table load on a bouncer, from the message", "rows/s", _HIGHER),
    samples.Figure("load_memory", "kernel memory of a bouncer's table", "B/row", _LOWER),
    samples.Figure("ping_p50", "real endpoint, request to first answered packet, p50", "ms", _LOWER),
    samples.Figure("mesh_writes", "table writes per new endpoint", "rows", _LOWER),
    samples.Figure("mesh_one", "one endpoint to acknowledged, p50", "ms", _LOWER),
)

MIZAR: Final = "mizar"
MESH: Final = "full mesh"
ONE_HOST: Final = "one machine"
REPLICAS: Final = 1


def size(endpoints: int) -> str:
    return f"{endpoints:,} endpoints"


def hosts(count: int) -> str:
    return f"{count:,} hosts"


def at(figure: str, condition: str, subject: str = MIZAR) -> samples.Key:
    return samples.Key(figure, subject, condition)


def goals(sizes: Sequence[int]) -> Iterator[targets.Target]:
    at_least, at_most = targets.Relation.AT_LEAST, targets.Relation.AT_MOST
    largest, smallest = size(max(sizes)), size(min(sizes))

    def limit(
        figure: str, condition: str, relation: targets.Relation, value: float, peer: samples.Key | None = None
    ) -> targets.Target:
        return targets.Target(key=at(figure, condition), relation=relation, factor=value, peer=peer)

    yield limit("bulk", largest, at_least, 20_000)
    for endpoints in sizes:
        yield limit("writes", size(endpoints), at_most, REPLICAS + 1)
    for endpoints in sizes:
        yield limit("one_p50", size(endpoints), at_most, 5)
        yield limit("one_p99", size(endpoints), at_most, 20)
    yield limit("one_p50", largest, at_most, 1.3, at("one_p50", smallest))
    # Of a smaller VPC it would be what the process has in any case.
    yield limit("memory", size(1_000_000), at_most, 1024)
    yield limit("agent_memory", largest, at_most, 1.02, at("agent_memory", smallest))
    yield limit("moved", largest, at_most, 0.36)
    yield limit("lost", largest, at_most, 0)
    yield limit("restart", largest, at_most, 10)
    yield limit("load", ONE_HOST, at_least, 500_000)
    yield limit("load_memory", ONE_HOST, at_most, 112)
    yield limit("ping_p50", ONE_HOST, at_most, 60)

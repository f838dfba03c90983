# SPDX-License-Identifier: Apache-2.0
"""Which gateway hosts the data plane has lost, as their neighbours see it.

An agent may be well while its host's network is not, and the other way round; agents find within seconds that
a host does not answer their probes. For each host that answers for outside addresses a few others that use it
are asked. It is lost when more of them say so than not: a host that is cut off says it of all others, and is
outvoted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from mizar.plan import state

WITNESSES: Final = 5
"""Asked about one host."""

Sights = Mapping[str, frozenset[int]]
"""By host that was asked: underlay addresses that do not answer it."""


async def watch(
    world: state.State,
    *,
    ask: Callable[[str], Awaitable[frozenset[int] | None]],
    tell: Callable[[set[str]], None],
    period: float,
) -> None:
    """For ever, once a period: ask, and tell which hosts are lost. `ask(host)`: what it does not reach, None
    if it does not say."""
    while True:
        await asyncio.sleep(period)
        wanted = witnesses(world)
        names = sorted({name for some in wanted.values() for name in some})
        said = await asyncio.gather(*(ask(name) for name in names))
        sights = {name: down for name, down in zip(names, said, strict=True) if down is not None}
        tell(lost(world, wanted, sights))


def witnesses(world: state.State) -> dict[str, list[str]]:
    """Whom to ask about each host that may answer for outside addresses. Hosts of a gateway and of its VPC's
    endpoints probe the gateway's hosts."""
    found: dict[str, list[str]] = {}
    for gateway in world.gateways.values():
        if gateway.floating or gateway.forwards:
            users = world.vpcs[gateway.fact.vni].hosts
            for host in gateway.hosts:
                if len(found.get(host, ())) < WITNESSES:
                    others = (name for name in users if name != host)
                    found[host] = list(islice(others, WITNESSES))
    return found


def lost(world: state.State, wanted: Mapping[str, Iterable[str]], sights: Sights) -> set[str]:
    found = set()
    for host, some in wanted.items():
        known = world.hosts.get(host)
        if known is not None:
            votes = [known.fact.address in sights[name] for name in some if name in sights]
            if 2 * sum(votes) > len(votes):
                found.add(host)
    return found

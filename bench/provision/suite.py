# SPDX-License-Identifier: Apache-2.0
"""The provisioning suite."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Final

from bench.core import progress, results, world
from bench.provision import figures, ladder, load, mesh, ping, plane, reals
from mizar import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How big and how often."""

    hosts: int
    sizes: tuple[int, ...]
    ones: int
    load_rows: int
    load_repetitions: int
    pings: int
    mesh_hosts: tuple[int, ...]
    mesh_ones: int


QUICK: Final = Settings(
    hosts=100,
    sizes=(10, 1_000, 20_000),
    ones=100,
    load_rows=200_000,
    load_repetitions=3,
    pings=10,
    mesh_hosts=(10, 100),
    mesh_ones=20,
)
FULL: Final = Settings(
    hosts=1_000,
    sizes=(10, 1_000, 10_000, 100_000, 1_000_000),
    ones=500,
    load_rows=1_000_000,
    load_repetitions=5,
    pings=50,
    mesh_hosts=(10, 100, 1_000),
    mesh_ones=20,
)


def measure(*, quick: bool) -> results.Result:
    return run(QUICK if quick else FULL)


def run(settings: Settings) -> results.Result:
    result = results.Result(
        suite="provision",
        title="Provisioning",
        figures=figures.FIGURES,
        targets=tuple(figures.goals(settings.sizes)),
        settings=dataclasses.asdict(settings),
    )
    # A thousand hosts that connect at once are slow to greet; that is not what is measured.
    logging.getLogger("mizar").setLevel(logging.ERROR)
    parts: tuple[tuple[str, Callable[[], object]], ...] = (
        (
            "kernel table load",
            lambda: load.measure(result, entries=settings.load_rows, repetitions=settings.load_repetitions),
        ),
        ("request to first answered packet", lambda: ping.measure(result, count=settings.pings)),
        (
            "full mesh",
            lambda: asyncio.run(mesh.measure(result, counts=settings.mesh_hosts, ones=settings.mesh_ones)),
        ),
        ("growing VPC", lambda: asyncio.run(_climb(settings, result))),
    )
    for name, part in parts:
        progress.say(name)
        try:
            part()
        except errors.MizarError as error:
            # The other parts are worth having; this one's targets stay open.
            progress.say(f"{name}: {error}")
            result.skipped.append(results.Skipped(subject=name, reason=str(error)))
    return result


async def _climb(settings: Settings, result: results.Result) -> None:
    with world.World() as owner:
        real = reals.Reals(owner)
        fleet = plane.Fleet(owner, settings.hosts)
        async with plane.running(owner.directory) as running:
            with plane.own_processor():
                climbed = ladder.Ladder(owner, running, fleet, real, result)
                await climbed.climb(settings.sizes, ones=settings.ones)
                await climbed.disturb(max(settings.sizes))

# SPDX-License-Identifier: Apache-2.0
"""The program suite: every path at 10, 10^4 and 10^6 rows, every drop at 10, in turns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench import tools
from bench.core import command, progress, results, samples, targets, world
from bench.programs import cases, kernel, services, timing
from mizar import errors

ROWS: Final = (10, 10_000, 1_000_000)
NS: Final = samples.Figure("ns", "time a packet", "ns", samples.Better.LOWER)
RATIO: Final = samples.Figure("ratio", "multiple of an empty program", "x", samples.Better.LOWER)
EMPTY: Final = "empty"
FLOOR: Final = "floor.encapsulate"
FLOOR_OF: Final = "endpoint.direct"
"""What the kernel's helpers alone take for the path of this case."""
ANY_SIZE: Final = "any size"
"""Condition of cases that look up nothing that grows."""

# Limits of the issue, in nanoseconds as TEST_RUN gives them.
LIMITS: Final = {
    "transit.bounce.xdp": 100.0,
    "transit.divide.xdp": 120.0,
    "endpoint.direct": 180.0,
}
LIMITS_EMPTY: Final = 24.0
"""Nanoseconds of an empty program where the limits are from; elsewhere limits are multiples of it."""
FLAT: Final = 1.4
_LATENCY_KIB: Final = (256, 640, 1024, 4096, 16384, 131072)
"""10^4 rows are at least 625 KiB of cache lines, 10^6 are 61 MiB."""
_PACE_NS: Final = 200
"""About as much lies between two look-ups."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    repetitions: int
    effort: timing.Effort


QUICK: Final = Settings(repetitions=3, effort=timing.Effort(batches=5, repeat=6_000, single=2_000))
FULL: Final = Settings(repetitions=7, effort=timing.Effort(batches=12, repeat=7_000, single=5_000))


def measure(*, quick: bool) -> results.Result:
    return run(QUICK if quick else FULL, rows=ROWS)


def run(settings: Settings, *, rows: Sequence[int], names: Sequence[str] = ()) -> results.Result:
    """Time all cases, or those whose names begin with one of `names`."""
    chosen = [
        case
        for case in (*cases.all_cases(), *services.cases())
        if not names or case.name.startswith(tuple(names))
    ]
    result = results.Result(
        suite="programs",
        title="Programs",
        figures=(NS, RATIO),
        targets=tuple(_targets()),
        settings={
            **dataclasses.asdict(settings),
            "rows": list(rows),
            "methods": {case.name: case.method.value for case in chosen},
            "titles": {case.name: case.title for case in chosen},
        },
    )
    result.settings["memory_latency_ns"] = {pace: _memory_latency(pace, result) for pace in (0, _PACE_NS)}
    growing = [case for case in chosen if case.grows]
    others = [case for case in chosen if not case.grows]
    with world.World() as owner:
        for size in rows:
            progress.say(f"{len(growing)} cases with {condition(size)}")
            loaded = kernel.Kernel(rows=size)
            clock = timing.Clock(loaded, owner.directory, settings.effort)
            drawn = {condition(size): size} | ({one_key(size): 1} if size == max(rows) else {})
            for table in dict.fromkeys(case.grows for case in growing if case.grows):
                with loaded.grown(table, size):
                    _turns(clock, [case for case in growing if case.grows is table], drawn, settings, result)
        if others:
            progress.say(f"{len(others)} cases that look up nothing that grows")
            _turns(
                timing.Clock(kernel.Kernel(), owner.directory, settings.effort),
                others,
                {ANY_SIZE: 1},
                settings,
                result,
            )
    return result


def _memory_latency(pace: int, result: results.Result) -> dict[str, float]:
    """Nanoseconds of a dependent load by KiB of what is read at random, with `pace` ns between two loads."""
    argv = [tools.path("memory_latency"), str(pace), *map(str, _LATENCY_KIB)]
    text = command.run(argv, place=command.Place(cpus="1"))
    found: dict[str, float] = json.loads(text)
    loads = ", ".join(f"{ns:g} ns in {int(kib) / 1024:g} MiB" for kib, ns in found.items())
    when = f"{pace} ns after it" if pace else "at once"
    result.notes.append(f"a load that depends on the last, {when}, takes {loads}")
    return found


def condition(rows: int) -> str:
    return f"{rows:,} rows"


def one_key(rows: int) -> str:
    """The largest table, but always the same key: what remains is not memory."""
    return f"{rows:,} rows, one key"


def _targets() -> Iterator[targets.Target]:
    for name, limit in LIMITS.items():
        for entries in ROWS:
            yield targets.Target(
                key=samples.Key(NS.name, name, condition(entries)),
                relation=targets.Relation.AT_MOST,
                factor=limit,
            )
        yield targets.Target(
            key=samples.Key(RATIO.name, name, condition(ROWS[0])),
            relation=targets.Relation.AT_MOST,
            factor=round(limit / LIMITS_EMPTY, 2),
        )
        for where in (*(condition(entries) for entries in ROWS[1:]), one_key(ROWS[-1])):
            yield targets.Target(
                key=samples.Key(NS.name, name, where),
                relation=targets.Relation.AT_MOST,
                factor=FLAT,
                peer=samples.Key(NS.name, name, condition(ROWS[0])),
            )


def _turns(
    clock: timing.Clock,
    group: Sequence[cases.Case],
    drawn: Mapping[str, int],
    settings: Settings,
    result: results.Result,
) -> None:
    """All repetitions of a group of cases; `drawn` is, by condition, from how many rows keys are drawn."""
    for repetition in range(settings.repetitions):
        for where, rows in drawn.items():
            _repeat(clock, group, where, rows, repetition, result)


def _repeat(
    clock: timing.Clock,
    group: Sequence[cases.Case],
    where: str,
    rows: int,
    repetition: int,
    result: results.Result,
) -> None:
    if where == ANY_SIZE:
        for hook, name in ((cases.Program.TRANSIT_XDP, "xdp"), (cases.Program.TRANSIT_TC, "tc")):
            key = samples.Key(NS.name, f"{EMPTY}.{name}", where)
            result.taken.add(key, repetition=repetition, value=clock.empty(hook))
        direct = next(case for case in cases.all_cases() if case.name == FLOOR_OF)
        _note(result, FLOOR, where, repetition, clock.floor(direct))
    for case in group:
        try:
            taken = clock.time(case, rows=rows)
        except errors.KernelError as error:
            _skip(result, case, error)
        else:
            _note(result, case.name, where, repetition, taken)


def _note(result: results.Result, subject: str, where: str, repetition: int, taken: timing.Taken) -> None:
    result.taken.add(samples.Key(NS.name, subject, where), repetition=repetition, value=taken.ns)
    result.taken.add(samples.Key(RATIO.name, subject, where), repetition=repetition, value=taken.ratio)


def _skip(result: results.Result, case: cases.Case, error: errors.KernelError) -> None:
    skipped = results.Skipped(subject=case.name, reason=str(error))
    if skipped not in result.skipped:
        progress.say(str(error))
        result.skipped.append(skipped)

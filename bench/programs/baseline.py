# SPDX-License-Identifier: Apache-2.0
"""The programs beside the committed baseline: size is a gate, time is news.

`bench/baseline.json` holds, of every program, its instructions after the verifier and its bytes of machine
code, and, of the main paths, the time as a multiple of an empty program's. Sizes depend on sources,
compiler and kernel only: growth by over a tenth fails. Times depend on who else uses the machine: shown.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import rich.console
import rich.table

from bench.core import machine
from bench.programs import kernel, suite, timing

PATH: Final = pathlib.Path(__file__).parent.parent / "baseline.json"
ALLOWED_GROWTH: Final = 0.10

_PATHS: Final = ("endpoint.local", "endpoint.direct", "endpoint.bouncer", "transit.bounce", "transit.divide")
_ROWS: Final = 10
_SETTINGS: Final = suite.Settings(repetitions=5, effort=timing.Effort(batches=20, repeat=5_000, single=4_000))


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What the baseline holds."""

    sizes: Mapping[str, Mapping[str, int]]
    ratios: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One number beside the baseline's; `gate` says whether growth fails the check."""

    name: str
    unit: str
    before: float | None
    now: float
    gate: bool

    @property
    def growth(self) -> float | None:
        return None if not self.before else self.now / self.before - 1

    @property
    def fails(self) -> bool:
        return self.gate and self.before is not None and self.now > self.before * (1 + ALLOWED_GROWTH)


def measure() -> Measured:
    taken = suite.run(_SETTINGS, rows=(_ROWS,), names=_PATHS).taken
    keys = [key for key in taken.keys() if key.figure == suite.RATIO.name]  # noqa: SIM118 (not a mapping)
    ratios = {
        key.subject: round(ratio, 2)
        for key in keys
        if key.condition == suite.condition(_ROWS) and (ratio := taken.median(key)) is not None
    }
    return Measured(sizes=kernel.sizes(kernel.Kernel()), ratios=ratios)


def compare(before: Measured, now: Measured) -> Iterator[Difference]:
    """Pure."""
    for program, sizes in now.sizes.items():
        for unit, size in sizes.items():
            old = before.sizes.get(program, {}).get(unit)
            yield Difference(name=program, unit=_UNITS[unit], before=old, now=size, gate=True)
    for path, ratio in now.ratios.items():
        yield Difference(name=path, unit="x empty", before=before.ratios.get(path), now=ratio, gate=False)


_UNITS: Final = {"xlated": "instructions", "jited": "bytes of machine code"}


def check(*, update: bool, console: rich.console.Console) -> int:
    """Measure and compare; exit code. With `update` the baseline is written instead."""
    now = measure()
    if update:
        write(now)
        console.print(f"wrote {PATH}", highlight=False)
        return 0
    differences = list(compare(read(), now))
    console.print(_table(differences))
    failed = [difference for difference in differences if difference.fails]
    for difference in failed:
        console.print(_complaint(difference), style="red", highlight=False)
    return 1 if failed else 0


def _complaint(difference: Difference) -> str:
    return (
        f"{difference.name} has grown from {difference.before:g} to {difference.now:g} {difference.unit}, "
        f"more than {ALLOWED_GROWTH:.0%}: shrink it, or accept it with `python -m bench check --update`"
    )


def read() -> Measured:
    content: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return Measured(sizes=content["sizes"], ratios=content["ratios"])


def write(measured: Measured) -> None:
    facts = machine.facts()
    versions = facts["versions"]
    content = {
        "measured_with": {
            "kernel": facts["kernel"],
            "cpu": facts["cpu"],
            "clang": versions.get("clang") if isinstance(versions, dict) else None,
        },
        "sizes": measured.sizes,
        "ratios": measured.ratios,
    }
    PATH.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _table(differences: list[Difference]) -> rich.table.Table:
    table = rich.table.Table(title="Programs beside the baseline", title_justify="left", header_style="bold")
    for header in ("what", "unit"):
        table.add_column(header)
    for header in ("baseline", "now", "change"):
        table.add_column(header, justify="right")
    table.add_column("")
    for difference in differences:
        growth = "-" if difference.growth is None else f"{difference.growth:+.1%}"
        before = "-" if difference.before is None else f"{difference.before:,g}"
        word = "FAILS" if difference.fails else ("" if difference.gate else "for information")
        table.add_row(difference.name, difference.unit, before, f"{difference.now:,g}", growth, word)
    return table

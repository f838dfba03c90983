# SPDX-License-Identifier: Apache-2.0
"""Times one case, and proves by the verdict counters that it timed what it says."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from typing import Final

from bench import tools
from bench.core import command
from bench.programs import cases, kernel, tables
from mizar import errors
from mizar.abi.verdicts import Verdict
from mizar.dataplane import programs

_PLACE: Final = command.Place(cpus="1")
_PLAIN_FRAME: Final = bytes(14 + 64)


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How often. `single` runs one at a time, all others are batches x repeat."""

    batches: int
    repeat: int
    single: int


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """Nanoseconds a packet; as a multiple of an empty program's that ran in turns with it."""

    ns: float
    ratio: float


class Clock:
    """Times programs with frames that it keeps in `directory`."""

    def __init__(self, loaded: kernel.Kernel, directory: pathlib.Path, effort: Effort) -> None:
        self._loaded = loaded
        self._frame = directory / "frame"
        self._effort = effort

    def empty(self, which: cases.Program) -> float:
        """An empty program of the same hook with nothing around it: the cost of the test loop."""
        harness = self._loaded.harness(which)
        (times,) = self._run(
            _PLAIN_FRAME, (harness.empty,), batches=self._effort.batches, repeat=self._effort.repeat
        )
        return statistics.median(times)

    def floor(self, like: cases.Case) -> Taken:
        """What the kernel's helpers take to encapsulate and redirect the frame of a case, timed as it is."""
        harness = self._loaded.harness(like.program)
        assert harness.aside is not None
        harness.prepare(like, harness.aside.floor, addresses=1)
        return self._in_turns(like, (0, 1))

    def time(self, case: cases.Case, *, rows: int) -> Taken:
        """What the program takes, an empty program's loop included.

        KernelError if a run left by another exit.
        Destinations are drawn from the first `rows` rows of the table that grows.
        """
        addresses = case.addresses(rows) if rows > 1 else 1
        draw = (case.offset, addresses)
        with self._loaded.arranged(case):
            before = self._loaded.verdicts()
            if case.method is cases.Method.SINGLE:
                taken, runs = self._one_by_one(case, draw), self._effort.single
            else:
                harness = self._loaded.harness(case.program)
                harness.prepare(case, self._loaded.program(case.program), addresses=addresses)
                taken, runs = self._in_turns(case, draw), self._effort.batches * self._effort.repeat
            self._prove(case, before, runs=runs)
        return taken

    def _in_turns(self, case: cases.Case, draw: tuple[int, int]) -> Taken:
        """The program in the harness, which is prepared, and all that is to be subtracted: within a fraction
        of a second, so that what the machine does to one it does to all."""
        harness = self._loaded.harness(case.program)
        aside: tuple[programs.Program, ...] = ()
        if harness.aside is not None and case.method in harness.aside.more:
            aside = (harness.aside.both, *harness.aside.more[case.method])
        timed, base, empty, *others = self._run(
            case.frame,
            (harness.timed, harness.base, harness.empty, *aside),
            batches=self._effort.batches,
            repeat=self._effort.repeat,
            draw=draw,
        )
        added = [0.0] * len(timed)
        if others:
            missing = self._telling(case) if case.method is cases.Method.UNWRAPPED else 0.0
            added = [
                sum(each - once for each in times) / kernel.MORE - missing
                for once, *times in zip(*others, strict=True)
            ]
        ns = [t - b - a + e for t, b, a, e in zip(timed, base, added, empty, strict=True)]
        return Taken(
            ns=statistics.median(ns),
            ratio=statistics.median(n / e for n, e in zip(ns, empty, strict=True)),
        )

    def _telling(self, case: cases.Case) -> float:
        """What it costs to tell the kernel of a tunnel, which only the first run on a packet does."""
        aside = self._loaded.harness(case.program).aside
        assert aside is not None
        told, untold = self._run(
            case.frame, (aside.told, aside.untold), batches=self._effort.single, repeat=1
        )
        return statistics.median(a - b for a, b in zip(told, untold, strict=True))

    def _one_by_one(self, case: cases.Case, draw: tuple[int, int]) -> Taken:
        pair = (self._loaded.program(case.program), self._loaded.harness(case.program).empty)
        timed, base = self._run(case.frame, pair, batches=self._effort.single, repeat=1, draw=draw)
        empty = self.empty(case.program)
        ns = statistics.median(a - b for a, b in zip(timed, base, strict=True)) + empty
        return Taken(ns=ns, ratio=ns / empty)

    def _run(
        self,
        frame: bytes,
        turns: tuple[programs.Program, ...],
        *,
        batches: int,
        repeat: int,
        draw: tuple[int, int] = (0, 1),
    ) -> list[list[int]]:
        self._frame.write_bytes(frame)
        offset, count = draw
        words = f"{batches} {repeat} {offset} {tables.FIRST} {count}"
        descriptors = [program.fd for program in turns]
        text = command.run(
            [tools.path("prog_time"), str(self._frame), *command.words(words), *map(str, descriptors)],
            place=_PLACE,
            descriptors=descriptors,
            timeout=120,
        )
        return [list(times) for times in json.loads(text)["ns"]]

    def _prove(self, case: cases.Case, before: dict[Verdict, int], *, runs: int) -> None:
        after = self._loaded.verdicts()
        moved = {verdict: n - before.get(verdict, 0) for verdict, n in after.items()}
        moved = {verdict: n for verdict, n in moved.items() if n}
        if moved != {case.verdict: runs}:
            took = ", ".join(f"{n} x {verdict.label}" for verdict, n in sorted(moved.items())) or "nothing"
            raise errors.KernelError(
                f"time {case.name}: not all of {runs} runs left as {case.verdict.label}: {took}"
            )

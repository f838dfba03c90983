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
    """How often. `restored` runs are batches x repeat; `single` runs one at a time."""

    batches: int
    repeat: int
    single: int


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

    def floor(self, frame: bytes) -> float:
        """Nanoseconds that the kernel's helpers take to encapsulate and redirect a frame (`single`)."""
        harness = self._loaded.harness(cases.Program.ENDPOINT)
        assert harness.floor is not None
        timed, base = self._run(frame, (harness.floor, harness.empty), batches=self._effort.single, repeat=1)
        return statistics.median(a - b for a, b in zip(timed, base, strict=True))

    def time(self, case: cases.Case, *, rows: int) -> float:
        """Nanoseconds that the program adds to the empty one. KernelError if a run left by another exit.

        Destinations are drawn from the first `rows` rows of the table that grows.
        """
        addresses = case.addresses(rows) if rows > 1 else 1
        program = self._loaded.program(case.program)
        with self._loaded.arranged(case):
            before = self._loaded.verdicts()
            if case.method is cases.Method.RESTORED:
                harness = self._loaded.harness(case.program)
                harness.prepare(case, program, addresses=addresses)
                batches, repeat = self._effort.batches, self._effort.repeat
                pair = (harness.timed, harness.base)
            else:
                batches, repeat = self._effort.single, 1
                pair = (program, self._loaded.harness(case.program).empty)
            timed, base = self._run(
                case.frame, pair, batches=batches, repeat=repeat, draw=(case.offset, addresses)
            )
            self._prove(case, before, runs=batches * repeat)
        return statistics.median(a - b for a, b in zip(timed, base, strict=True))

    def _run(
        self,
        frame: bytes,
        pair: tuple[programs.Program, ...],
        *,
        batches: int,
        repeat: int,
        draw: tuple[int, int] = (0, 1),
    ) -> list[list[int]]:
        self._frame.write_bytes(frame)
        offset, count = draw
        words = f"{batches} {repeat} {offset} {tables.FIRST} {count}"
        descriptors = [program.fd for program in pair]
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

# SPDX-License-Identifier: Apache-2.0
"""What takes over a second says so, on stderr: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import click

if TYPE_CHECKING:
    from rich.status import Status

_PATIENCE_SECONDS: Final = 1.0


class Progress:
    """The step that is at work, and how long it has been. Use as a context manager.

    `at_once`: of long undertakings each step is told as it begins; else nothing is said in the first second.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._status: Status | None = None
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, text: str) -> None:
        """`text`: what is being done, such as "waiting for the hosts"."""
        if not self._at_once and time.monotonic() - self._began < _PATIENCE_SECONDS:
            return
        if self._terminal:
            self._spin(text)
        elif text != self._said:
            click.echo(text, err=True)
        self._said = text

    def _spin(self, text: str) -> None:
        if self._status is None:
            from rich import console, status

            self._status = status.Status(text, console=console.Console(stderr=True, highlight=False))
            self._status.start()
        else:
            self._status.update(text)

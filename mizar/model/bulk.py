# SPDX-License-Identifier: Apache-2.0
"""Making very many objects at once.

Python's cycle collector runs the more the more objects there are, and looks at all of them: in a request with
a hundred thousand endpoints it takes two thirds of the time and finds nothing, for objects hold no cycles. So
it is paused meanwhile, and does not look at what was made afterwards either: at a million endpoints that
would be a pause of a second in the middle of something else.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

_T = TypeVar("_T", bound=tuple[Any, ...])

_MANY: Final = 20_000
"""Containers made in one go from which on they are taken out of the collector's sight. What else is garbage
in a cycle at that moment is not found again, so this is not done for small requests, of which there may be
any number."""

_lock = threading.Lock()
_paused = 0


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No cycle collection meanwhile; may be nested and used from several threads. A collector that somebody
    else switched off stays off."""
    global _paused
    with _lock:
        if not _paused and not gc.isenabled():
            ours = False
        else:
            ours = True
            _paused += 1
            gc.disable()
    try:
        yield
    finally:
        if ours:
            with _lock:
                _paused -= 1
                if not _paused:
                    if gc.get_count()[0] >= _MANY:
                        gc.freeze()
                    gc.enable()


def keep() -> None:
    """What there is now will stay for long, so the collector need not look at it again. What is garbage by
    then is found first, but for what has been there for a while."""
    if gc.isenabled():
        gc.collect(1)
        gc.freeze()


def tuples(cls: type[_T], *columns: Iterable[Any]) -> list[_T]:
    """Named tuples from their columns, of which one at least has an end: without the call of a constructor
    for each they cost half."""
    return list(map(functools.partial(tuple.__new__, cls), zip(*columns, strict=False)))

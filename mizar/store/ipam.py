# SPDX-License-Identifier: Apache-2.0
"""Picks free addresses for a network. Pure: what is used is asked through a function.

A cursor goes round the network's addresses, so that an address that was freed is not given out again soon:
somewhere a direct path to its old owner may still be remembered. Who picks and who records the pick do so in
one transaction; so nothing is picked twice and nothing leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

Range = tuple[int, int]
"""First and last address of a run."""

Used = Callable[[int, int], Iterable[int]]
"""used(first, last): the addresses within that are taken, ascending."""


def pick(ranges: Sequence[Range], *, cursor: int, count: int, used: Used) -> list[int]:
    """Up to `count` free addresses, from `cursor` on and round; fewer when there are no more.

    `ranges` are disjoint and ascending. The next cursor is the last address picked, plus one.
    """
    picked: list[int] = []
    for first, last in _from(ranges, cursor):
        _pick_run(first, last, count=count, used=used, picked=picked)
        if len(picked) == count:
            break
    return picked


def capacity(ranges: Sequence[Range]) -> int:
    """How many addresses there are, used or not."""
    return sum(last - first + 1 for first, last in ranges)


def _from(ranges: Sequence[Range], cursor: int) -> list[Range]:
    """The same addresses, in the order in which a cursor at `cursor` meets them."""
    ahead = [(max(first, cursor), last) for first, last in ranges if last >= cursor]
    behind = [(first, min(last, cursor - 1)) for first, last in ranges if first < cursor]
    return ahead + behind


def _pick_run(first: int, last: int, *, count: int, used: Used, picked: list[int]) -> None:
    """Add free addresses of one run until `picked` has `count`."""
    free_from = first
    for taken in used(first, last):
        picked.extend(range(free_from, min(taken, free_from + count - len(picked))))
        if len(picked) == count:
            return
        free_from = taken + 1
    picked.extend(range(free_from, min(last + 1, free_from + count - len(picked))))

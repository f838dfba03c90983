# SPDX-License-Identifier: Apache-2.0
"""Which backend has which place of a service's look-up table: consistent hashing after Maglev.

D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4:
every backend has an order of its own in which it would like the places, and backends take turns until none
is left. Here they take their turns as columns: in each of some rounds a backend claims as many places as are
due to it, the ones it likes best of those that are free; of several that claim a place, the one that likes
it more has it, and the others go on to the next.

What holds:
 - The table is a function of the service's identity and the set of (address, weight): whatever the order of
   the list, whoever computes it.
 - A backend has its exact share of the places, rounded up or down.
 - When a backend comes or goes, the others keep nearly all of their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar.abi import hashes

SIZES: Final = (251, 1021, 4093, 16381, 65521, 262139)
"""Primes, so that every step visits all places."""
PLACES: Final = 100
"""For each backend at least, as long as there is a size: shares are even within one percent."""

_ROUNDS: Final = 32
_CLAIMS: Final = 64
"""In a round at least, so that a small table takes fewer rounds."""
_BLOCK: Final = 1 << 20
"""Places that are looked at in one step, at most: bounds the memory."""

Column = npt.NDArray[Any]


def size_for(backends: int) -> int:
    """Places of the table of so many backends; 0 for none."""
    if not backends:
        return 0
    return next((size for size in SIZES if size >= PLACES * backends), SIZES[-1])


def seed_of(vni: int, address: int, port: int, protocol: int) -> int:
    """The identity of a service as one number of 32 bits."""
    return hashes.mix32(hashes.mix32(hashes.mix32(vni) ^ address) ^ (port << 8 | protocol))


def table(backends: Sequence[tuple[int, int]], seed: int) -> npt.NDArray[np.uint32]:
    """The backend's address at each place. `backends`: distinct addresses and their weights, from 1."""
    size = size_for(len(backends))
    if len(backends) <= 1:
        return np.full(size, backends[0][0] if backends else 0, dtype=np.uint32)
    listed = np.array(sorted(backends), dtype=np.int64)
    addresses = listed[:, 0].astype(np.uint32)
    quotas = _quotas(listed[:, 1], size)
    rounds = min(_ROUNDS, size // _CLAIMS)
    filling = _Filling(addresses, seed, size)
    for number in range(rounds):
        filling.claim(quotas * (number + 1) // rounds - quotas * number // rounds)
    return addresses[filling.owners]


def _quotas(weights: Column, size: int) -> Column:
    """Places for each backend: its share rounded down, what is left to those that lost most by it."""
    exact, rest = np.divmod(weights * size, weights.sum())
    left = size - int(exact.sum())
    exact[np.argsort(-rest, kind="stable")[:left]] += 1
    return exact


class _Filling:
    """A table on its way from empty to full."""

    def __init__(self, addresses: npt.NDArray[np.uint32], seed: int, size: int) -> None:
        first = hashes.mix32_column(addresses ^ np.uint32(seed))
        second = hashes.mix32_column(first ^ np.uint32(hashes.mix32(seed + 1)))
        self._size = size
        self._start = (first % np.uint32(size)).astype(np.int64)
        self._step = (second % np.uint32(size - 1)).astype(np.int64) + 1
        self._looked = np.zeros(len(addresses), dtype=np.int64)
        """How far each has come in its order."""
        self._free = size
        self.owners = np.full(size, -1, dtype=np.int64)
        """Index of the backend by place; -1: free."""

    def claim(self, due: Column) -> None:
        """One round: each backend takes so many places."""
        due = due.copy()
        while len(claiming := np.flatnonzero(due)):
            for part in self._parts(claiming, int(due.max())):
                self._claim_some(part, due)

    def _parts(self, claiming: Column, most: int) -> list[Column]:
        per_step = max(1, _BLOCK // self._ahead(most))
        return [claiming[at : at + per_step] for at in range(0, len(claiming), per_step)]

    def _ahead(self, due: int) -> int:
        """How many places it takes to find so many free ones, on average and a little more."""
        return min(self._size, due * self._size // max(self._free, 1) + 4)

    def _claim_some(self, claiming: Column, due: Column) -> None:
        ahead = self._looked[claiming, None] + np.arange(self._ahead(int(due[claiming].max())))
        places = (self._start[claiming, None] + ahead * self._step[claiming, None]) % self._size
        free = self.owners[places] < 0
        wanted = free & (np.cumsum(free, axis=1) <= due[claiming, None])
        row, column = np.nonzero(wanted)
        # Who has come less far in its order likes the place more.
        order = np.argsort(ahead[row, column], kind="stable")
        row, column = row[order], column[order]
        taken, winner = np.unique(places[row, column], return_index=True)
        winners = claiming[row[winner]]
        self.owners[taken] = winners
        np.subtract.at(due, winners, 1)
        self._free -= len(taken)
        self._pass_by(claiming, wanted)

    def _pass_by(self, claiming: Column, wanted: Column) -> None:
        """Nothing is free any more up to the last place that each wanted, or in all that it looked at."""
        width = wanted.shape[1]
        last = width - np.argmax(wanted[:, ::-1], axis=1)
        self._looked[claiming] += np.where(wanted.any(axis=1), last, width)

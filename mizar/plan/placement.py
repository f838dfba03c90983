# SPDX-License-Identifier: Apache-2.0
"""Which hosts bounce and divide: rendezvous hashing (highest random weight).

Every pair of a thing (network, shard, VPC) and a host has a 64-bit score; a thing is placed on the hosts with
the highest. So placement is a pure function of the set of hosts, it spreads, and a host that comes or goes
moves only what it wins or held. Scores depend on names and ids alone: they are the same in every process.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

_MASK = 0xFFFFFFFFFFFFFFFF

# What is placed: keeps a network and a VPC with the same number apart.
BOUNCERS = 1
DIVIDERS = 2
_SHARD = 3
OUTSIDE = 4


class Pool:
    """The hosts that may take a role, ready for scoring. Immutable."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(sorted(set(names)))
        self._hashes = np.array([_hash_name(name) for name in self._names], dtype=np.uint64)

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def top(self, role: int, number: int, count: int) -> tuple[str, ...]:
        """The `count` hosts (all, if there are fewer) for the network or VPC with this number, best first."""
        scores = _mix_column(self._hashes ^ np.uint64(_seed(role, number)))
        if count < len(self._names):
            best = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
        else:
            best = np.arange(len(scores))
        ranked = best[np.argsort(scores[best])[::-1]]
        return tuple(self._names[index] for index in ranked)


def first(role: int, number: int, names: Iterable[str]) -> str | None:
    """The best of a few hosts for a number; None of none."""
    seed = _seed(role, number)
    return max(names, key=lambda name: _mix(seed ^ _hash_name(name)), default=None)


def place_shards(
    network: int, bouncers: Sequence[str], *, shards: int, replicas: int
) -> tuple[tuple[str, ...], ...]:
    """Holders of every shard of a network: of its `bouncers` the best `replicas` for each, best first."""
    if not bouncers:
        return ((),) * shards
    hashes = np.array([_hash_name(name) for name in bouncers], dtype=np.uint64)
    seeds = _mix_column(np.arange(shards, dtype=np.uint64) ^ np.uint64(_seed(_SHARD, network)))
    scores = _mix_column(seeds[:, None] ^ hashes[None, :])
    ranked = np.argsort(scores, axis=1)[:, ::-1][:, :replicas]
    # Few combinations, many shards: equal holders share one tuple.
    shared: dict[tuple[int, ...], tuple[str, ...]] = {}
    holders = []
    for row in ranked.tolist():
        combination = tuple(row)
        names = shared.get(combination)
        if names is None:
            names = shared[combination] = tuple(bouncers[index] for index in combination)
        holders.append(names)
    return tuple(holders)


@functools.lru_cache(maxsize=1 << 14)
def _hash_name(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _seed(role: int, number: int) -> int:
    return _mix(_mix(role) ^ number)


def _mix(value: int) -> int:
    """Finalizer of SplitMix64 (public domain, Sebastiano Vigna): full avalanche."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def _mix_column(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`_mix` of every value; wraps silently, as array arithmetic does."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed

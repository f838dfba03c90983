# SPDX-License-Identifier: Apache-2.0
"""The arithmetic that both sides share: which shard of a network an address is in.

Scalar and columnar forms give the same numbers as mz_mix32 and mz_shard_of of abi.h;
tests/abi compiles those and compares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_MASK = 0xFFFFFFFF


def mix32(value: int) -> int:
    """Finalizer of MurmurHash3, on 32 bits."""
    value &= _MASK
    value ^= value >> 16
    value = value * 0x85EBCA6B & _MASK
    value ^= value >> 13
    value = value * 0xC2B2AE35 & _MASK
    return value ^ value >> 16


def shard_of(address: int, shards: int) -> int:
    """Shard of an IPv4 address; `shards` is a power of two."""
    return mix32(address) & (shards - 1)


def mix32_column(values: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """mix32 of every value, of any byte order; native uint32."""
    column = np.array(values, dtype=np.uint32)  # a copy, which is then worked on in place
    column ^= column >> np.uint32(16)
    column *= np.uint32(0x85EBCA6B)
    column ^= column >> np.uint32(13)
    column *= np.uint32(0xC2B2AE35)
    column ^= column >> np.uint32(16)
    return column


def shards_of(addresses: npt.NDArray[Any], shards: int) -> npt.NDArray[np.uint32]:
    """shard_of every address."""
    return mix32_column(addresses) & np.uint32(shards - 1)

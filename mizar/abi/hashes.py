# SPDX-License-Identifier: Apache-2.0
"""The arithmetic that both sides share: the shard of an address, the home of a key, the path of a flow.

All give the same numbers as the C functions of bpf/include (abi.h, hash.h); tests/abi
compiles those and compares.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_MASK: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF
_PORT_MASK: Final = 0x7FFF


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


def route_numbers(
    vnis: npt.NDArray[Any], addresses: npt.NDArray[Any], masks: npt.NDArray[Any]
) -> npt.NDArray[np.uint64]:
    """Prefixes as the numbers by which programs find them: VNI, address, and a bit where the prefix ends."""
    one = np.uint64(1)
    end = (~masks.astype(np.uint32)).astype(np.uint64) + one
    address = addresses.astype(np.uint64) << one & ~((end << one) - one)
    return vnis.astype(np.uint64) << np.uint64(33) | address | end


def routes_of(
    numbers: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """VNIs, addresses and masks again."""
    one, prefix = np.uint64(1), numbers & np.uint64((1 << 33) - 1)
    end = prefix & (~prefix + one)
    return numbers >> np.uint64(33), (prefix ^ end) >> one, np.uint64(1 << 32) - end


def bucket_of(key: int, factor: int, buckets: int) -> int:
    """Home of a key, a number of 64 bits as is the factor, in a table of buckets."""
    return ((key * factor & _MASK64) >> 32) * buckets >> 32


def buckets_of(keys: npt.NDArray[np.uint64], factor: np.uint64, buckets: int) -> npt.NDArray[np.uint64]:
    """bucket_of every key."""
    return (keys * factor >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)


# ---------------------------------------------------------------- flows


def flow_hash(source: int, destination: int, protocol: int, ports: int) -> int:
    """Hash of a flow; `ports` is source << 16 | destination, 0 where there are none."""
    h = (source << 32 | destination) ^ (protocol << 32 | ports) * 0x9E3779B97F4A7C15 & _MASK64
    h ^= h >> 32
    h = h * 0xD6E8FEB86659FD93 & _MASK64
    h ^= h >> 32
    h = h * 0xD6E8FEB86659FD93 & _MASK64
    return (h ^ h >> 32) & _MASK


def source_port_of(flow: int) -> int:
    """Outer UDP source port of a flow with this hash."""
    return 0x8000 | flow & _PORT_MASK


def pick_replica(source_port: int, n: int) -> int:
    """Which of n replicas packets with this outer source port use."""
    return (source_port & _PORT_MASK) * n >> 15


def pick_divider(source_port: int, n: int) -> int:
    """Which of n dividers packets with this outer source port use."""
    return (mix32(source_port) & _PORT_MASK) * n >> 15


def watched_bit(address: int) -> int:
    """Bit of mz_watched for packets from this address."""
    return mix32(address) & 63


def affinity_seconds(code: int) -> int:
    """Seconds that the affinity field of a REDIRECT stands for: seconds, or with the top bit minutes."""
    return (code & 0x7FFF) * 60 if code & 0x8000 else code


def affinity_code(seconds: int) -> int:
    """The field for at least so many seconds, up to 32767 minutes."""
    return seconds if seconds < 0x8000 else 0x8000 | min(-(-seconds // 60), 0x7FFF)


def flow_timeout(protocol: int, state: int) -> int:
    """Seconds without a packet after which an entry of the connection table is dead (RFC 4787 REQ-5, RFC 5382
    REQ-5, RFC 5508 REQ-2); `state` as layout.FlowState."""
    replied, fins, closed = state & 0x1, state & 0x6, state & 0x8
    if protocol == 17:
        return 300 if replied else 30
    if protocol == 1:
        return 60
    if protocol not in (6, 132):
        return 600
    if closed:
        return 10
    if fins:
        return 120 if fins == 0x6 else 600
    return 7440 if replied else 60


_TIMEOUTS: Final = np.array(
    [[flow_timeout(protocol, state) for state in range(16)] for protocol in range(256)], dtype=np.int64
)


def flow_timeouts(protocols: npt.NDArray[Any], states: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """flow_timeout of every pair; both columns are of bytes."""
    found: npt.NDArray[np.int64] = _TIMEOUTS[protocols, states & 0xF]
    return found

# SPDX-License-Identifier: Apache-2.0
"""Python's arithmetic gives the numbers of the C functions."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

from mizar.abi import hashes, layout

U32 = st.integers(min_value=0, max_value=0xFFFFFFFF)
U64 = st.integers(min_value=0, max_value=0xFFFFFFFFFFFFFFFF)
PORT = st.integers(min_value=0, max_value=0xFFFF)
SHARDS = st.integers(min_value=0, max_value=12).map(lambda bits: 1 << bits)


@hypothesis.given(U32)
def test_mix32_is_that_of_c(arithmetic: Any, value: int) -> None:
    assert hashes.mix32(value) == arithmetic.mix32(value)


@hypothesis.given(U32, SHARDS)
def test_shard_is_that_of_c(arithmetic: Any, address: int, shards: int) -> None:
    assert hashes.shard_of(address, shards) == arithmetic.shard_of(address, shards)


@hypothesis.given(U64, U64, st.integers(1, 1 << 20))
def test_home_of_a_key_is_that_of_c(arithmetic: Any, key: int, factor: int, buckets: int) -> None:
    assert hashes.bucket_of(key, factor, buckets) == arithmetic.bucket_of(key, factor, buckets) < buckets


@hypothesis.given(st.integers(0, layout.MAX_VNI), U32, st.integers(0, 32))
def test_prefix_is_the_number_of_c_and_back(arithmetic: Any, vni: int, address: int, length: int) -> None:
    mask = layout.mask4(length)
    columns = [np.array([value], dtype=">u4") for value in (vni, address & mask, mask)]
    (number,) = hashes.route_numbers(*columns)
    assert number == arithmetic.route_number(vni, address, 32 - length)
    assert [int(column[0]) for column in hashes.routes_of(np.array([number]))] == [vni, address & mask, mask]


@hypothesis.given(st.lists(U64), U64, st.integers(1, 1 << 20))
def test_homes_of_a_column_are_those_of_its_keys(keys: list[int], factor: int, buckets: int) -> None:
    column = np.array(keys, dtype=np.uint64)
    found = hashes.buckets_of(column, np.uint64(factor), buckets).tolist()
    assert found == [hashes.bucket_of(key, factor, buckets) for key in keys]


@hypothesis.given(st.lists(U32), SHARDS)
def test_columns_give_what_scalars_give(addresses: list[int], shards: int) -> None:
    column = np.array(addresses, dtype=">u4")
    assert hashes.shards_of(column, shards).tolist() == [hashes.shard_of(a, shards) for a in addresses]
    assert column.tolist() == addresses  # untouched


@hypothesis.given(U32, U32, st.integers(min_value=0, max_value=255), U32)
def test_flow_hash_is_that_of_c(
    arithmetic: Any, source: int, destination: int, proto: int, ports: int
) -> None:
    flow = hashes.flow_hash(source, destination, proto, ports)
    assert flow == arithmetic.flow_hash(source, destination, proto, ports)
    assert hashes.source_port_of(flow) == arithmetic.sport_of(flow)


@hypothesis.given(PORT, st.integers(min_value=1, max_value=16))
def test_picks_are_those_of_c(arithmetic: Any, port: int, n: int) -> None:
    assert hashes.pick_replica(port, n) == arithmetic.pick_replica(port, n) < n
    assert hashes.pick_divider(port, n) == arithmetic.pick_divider(port, n) < n

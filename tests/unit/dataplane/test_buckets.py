# SPDX-License-Identifier: Apache-2.0
"""A bucket table as programs see it: after every line that its writer executes, and wherever he is killed.

The reader here is that of bpf/include/buckets.h, on the same memory. There is no kernel: files in memory are
mapped in place of maps.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizar.abi import hashes, layout
from mizar.dataplane import buckets, parts, protocol

_ENTRIES: Final = 80
_SMALLEST: Final = 1
"""So that this is a ladder of 1, 4, 16 and 64 buckets."""
_CAPACITY: Final = 128
_BUCKET: Final = np.dtype([("keys", "=u8", (layout.BUCKET_ROWS,)), ("values", "=u8", (layout.BUCKET_ROWS,))])
_MASK: Final = 0xFFFF_FFFF


@dataclasses.dataclass
class Memory:
    """An array and its word of mz_parts; what of a map a table needs."""

    fd: int
    word: npt.NDArray[np.uint64]
    name: str = "memory"
    max_entries: int = _ENTRIES
    value: np.dtype[Any] = _BUCKET

    @classmethod
    def made(cls) -> Memory:
        fd = os.memfd_create("buckets")
        os.ftruncate(fd, _ENTRIES * _BUCKET.itemsize)
        return cls(fd, np.zeros(1, dtype=np.uint64))

    def copy(self) -> Memory:
        """As the next process finds it when this one is killed now."""
        found = Memory.made()
        os.pwrite(found.fd, self.bytes(), 0)
        found.word[:] = self.word
        return found

    def bytes(self) -> bytes:
        return os.pread(self.fd, _ENTRIES * _BUCKET.itemsize, 0)

    def rows(self) -> npt.NDArray[Any]:
        return np.frombuffer(self.bytes(), dtype=_BUCKET)

    def table(self) -> buckets.BucketTable:
        array: Any = self
        return buckets.BucketTable(array, self.word, key=layout.U64, value=layout.U64)

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SMALLEST", _SMALLEST)
    monkeypatch.setattr(buckets, "_grace_period", lambda: None)


@pytest.fixture
def memory() -> Iterator[Memory]:
    found = Memory.made()
    yield found
    found.close()


# ---------------------------------------------------------------- the reader


def _program_finds(rows: npt.NDArray[Any], word: int, key: int) -> int | None:
    """NAME_find() and NAME_search() of buckets.h."""
    first, size = word & _MASK, word >> 32
    index = first + hashes.bucket_of(key, layout.BUCKET_FACTOR, size)
    for _ in range(layout.BUCKET_REACH):
        for row in range(layout.BUCKET_ROWS):
            if rows["keys"][index, row] == key:
                return int(rows["values"][index, row])
        if not rows["keys"][index, layout.BUCKET_ROWS - 1]:
            return None
        index = index + 1 if index + 1 - first < size else first
    return None


def _seen(memory: Memory, keys: set[int]) -> dict[int, int]:
    rows, word = memory.rows(), int(memory.word[0])
    found = {key: _program_finds(rows, word, key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _after_each_store(memory: Memory, action: Callable[[], object], look: Callable[[], None]) -> None:
    """Run it, and look after every line of the writer's modules that has changed something."""
    files = {buckets.__file__, parts.__file__}
    last = b""

    def trace(frame: types.FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal last
        if frame.f_code.co_filename not in files:
            return None
        now = memory.bytes() + memory.word.tobytes()
        if now != last:
            last = now
            sys.settrace(None)
            look()
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    look()


def _dumped(table: buckets.BucketTable) -> dict[int, int]:
    keys, values = table.dump()
    assert len(set(keys.tolist())) == len(keys) == table.count()
    return dict(zip(keys.tolist(), values.tolist(), strict=True))


def _write(table: buckets.BucketTable, rows: Mapping[int, int]) -> None:
    table.update(np.array(list(rows), dtype="u8"), np.array(list(rows.values()), dtype="u8"))


def _remove(table: buckets.BucketTable, keys: set[int]) -> int:
    return table.delete(np.array(sorted(keys), dtype="u8"))


# ---------------------------------------------------------------- histories


def _crowd(home: int) -> Iterator[int]:
    """Keys with this home in the largest part; in smaller ones they share homes too."""
    size = parts.largest(_ENTRIES)
    return (key for key in itertools.count(1) if hashes.bucket_of(key, layout.BUCKET_FACTOR, size) == home)


_ALL: Final = {*range(1, 80), *itertools.islice(_crowd(parts.largest(_ENTRIES) - 2), 60)}
_KEYS: Final = st.sampled_from(sorted(_ALL))
_WRITES: Final = st.dictionaries(_KEYS, st.integers(1, 9), max_size=40).map(
    lambda rows: {key: key << 8 | value for key, value in rows.items()}  # of no other key
)
_DELETES: Final = st.sets(_KEYS, max_size=40)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(_WRITES, _DELETES, st.none()), max_size=8))
def test_table_is_a_dict_and_programs_find_it(steps: list[dict[int, int] | set[int] | None]) -> None:
    """None: the next process takes over."""
    memory, expected = Memory.made(), dict[int, int]()
    table = memory.table()
    for step in steps:
        if step is None:
            table = memory.table()
        elif isinstance(step, set):
            assert _remove(table, step) == len(step & expected.keys())
            expected = {key: value for key, value in expected.items() if key not in step}
        elif len(expected.keys() | step.keys()) <= _CAPACITY:
            _write(table, step)
            expected |= step
        else:
            with pytest.raises(protocol.PartialUpdateError) as refused:
                _write(table, step)
            expected |= dict(list(step.items())[: refused.value.applied])
            assert len(expected) == _CAPACITY
        assert _dumped(table) == _seen(memory, _ALL) == expected
    memory.close()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.one_of(_WRITES, _DELETES), min_size=1, max_size=5))
def test_no_program_misses_a_row_at_any_moment(steps: list[dict[int, int] | set[int]]) -> None:
    """What is not written or deleted is there all the time, and what is has its old or its new value."""
    memory, known = Memory.made(), dict[int, int]()
    table = memory.table()
    for step in steps:
        if len(known.keys() | step) > _CAPACITY:
            break
        if isinstance(step, set):
            action: Callable[[], object] = functools.partial(_remove, table, step)
            expected = {key: value for key, value in known.items() if key not in step}
        else:
            action = functools.partial(_write, table, step)
            expected = known | step
        _after_each_store(memory, action, functools.partial(_fits, memory, known, expected))
        known = expected
        assert _seen(memory, _ALL) == known
    memory.close()


def _fits(memory: Memory, before: Mapping[int, int], after: Mapping[int, int]) -> None:
    seen = _seen(memory, _ALL)
    assert all(seen.get(key) in (before.get(key), after.get(key)) for key in _ALL)


def test_who_is_killed_at_any_moment_has_an_heir(memory: Memory) -> None:
    """While a table grows through all of its parts, each over what an earlier one left."""
    rows = {key: key * 3 for key in range(1, _CAPACITY + 1)}
    table, words, moments = memory.table(), set(), itertools.count()
    for count in (1, 3, 7, 40, 128):
        batch = dict(list(rows.items())[:count])

        def look(batch: dict[int, int] = batch) -> None:
            next(moments)
            left = memory.copy()
            expected = _seen(left, set(rows))
            heir = left.table()
            assert _dumped(heir) == _seen(left, set(rows)) == expected
            _write(heir, batch)
            assert _dumped(heir) == _seen(left, set(rows)) == expected | batch
            _write(heir, rows)
            assert _dumped(heir) == _seen(left, set(rows)) == rows
            left.close()

        _after_each_store(memory, functools.partial(_write, table, batch), look)
        words.add(int(memory.word[0]))
    assert words == {span.word for span in parts.ladder(_ENTRIES)}
    assert next(moments) > 20


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 64, 1000, 65536, 1 << 20, 2_000_001])
def test_capacity_of_a_map_is_what_was_asked_for(rows: int) -> None:
    entries = layout.MAPS[layout.Table.HOSTS].entries(rows)
    assert rows <= parts.largest(entries) * layout.BUCKET_SHARE < rows + layout.BUCKET_SHARE


@pytest.mark.parametrize("entries", [1, 2, 5, 40, 1280, 10_240, 655_360, 1_234_567])
def test_neighbours_on_the_ladder_share_no_bucket(entries: int) -> None:
    ladder = parts.ladder(entries)
    assert ladder[-1] == parts.Span(0, parts.largest(entries))
    for span, larger in itertools.pairwise(ladder):
        assert span.first + span.size <= larger.first or larger.first + larger.size <= span.first
        assert span.first + span.size <= entries
        assert larger.size // layout.BUCKET_SPARE == span.size


def test_table_is_no_larger_than_its_rows_need(memory: Memory) -> None:
    table, sizes = memory.table(), []
    for count in (1, 2, 5, 16, 17, _CAPACITY):
        _write(table, dict.fromkeys(range(1, count + 1), 7))
        sizes.append(int(memory.word[0]) >> 32)
    assert sizes == [1, 4, 16, 16, 64, 64]


def test_part_is_used_again_only_after_a_grace_period(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = memory.table()
    _write(table, {1: 1})
    before = []
    monkeypatch.setattr(buckets, "_grace_period", lambda: before.append(memory.bytes()))
    _write(table, {2: 2})
    assert before == []  # nobody has ever been where it grew to
    left = memory.bytes()
    _write(table, dict.fromkeys(range(3, 9), 3))
    assert before == [left]


def test_readers_of_another_process_follow(memory: Memory) -> None:
    writer, reader = memory.table(), memory.table()
    rows = {key: key + 1 for key in range(1, 100)}
    _write(writer, rows)
    assert _dumped(reader) == rows
    found, values = reader.lookup_each(np.array([5, 200], dtype="u8"))
    assert (found.tolist(), values.tolist()) == ([True, False], [6, 0])


def test_scan_has_every_row_of_a_table_that_grows_meanwhile(memory: Memory) -> None:
    table = memory.table()
    _write(table, {key: key for key in range(1, 17)})
    scan, seen = table.scan(layout.BUCKET_ROWS), set()
    for _ in range(3):
        seen |= set(next(scan)[0].tolist())
    _write(table, {key: key for key in range(17, 60)})
    for keys, _ in scan:
        seen |= set(keys.tolist())
    assert seen == set(range(1, 60))


def test_keys_that_crowd_one_home_make_the_table_grow(memory: Memory) -> None:
    """Before the load does: they find no place within reach."""
    crowd = _crowd(0)
    room = layout.BUCKET_ROWS * layout.BUCKET_REACH
    rows = {next(crowd): n for n in range(1, room + 1)}
    table = memory.table()
    _write(table, rows)
    assert _dumped(table) == _seen(memory, set(rows)) == rows
    with pytest.raises(protocol.PartialUpdateError) as refused:
        _write(table, {next(crowd): 1})
    assert refused.value.applied == 0
    assert _dumped(table) == _seen(memory, set(rows)) == rows


def test_deleted_row_hides_none_that_had_to_go_further(memory: Memory) -> None:
    table, rows = memory.table(), {key: key for key in itertools.islice(_crowd(3), 3 * layout.BUCKET_ROWS)}
    _write(table, rows)
    for key in list(rows):
        assert _remove(table, {key}) == 1
        del rows[key]
        assert _dumped(table) == _seen(memory, _ALL | rows.keys()) == rows

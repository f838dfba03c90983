# SPDX-License-Identifier: Apache-2.0
"""Directories of pins: those above them come with the first and go with the last."""

from __future__ import annotations

import pathlib
from concurrent import futures

from mizar.dataplane import bpffs

_TIMES = 300


def test_the_last_takes_what_is_above_it(pin_root: pathlib.Path) -> None:
    last = pin_root.parent / "last"
    for path in (pin_root, last):
        bpffs.ensure(path)
    bpffs.remove_empty(pin_root)
    assert not pin_root.exists()
    assert last.exists()
    bpffs.remove_empty(last)
    assert not pin_root.parent.exists()
    assert bpffs.MOUNT_POINT.is_mount()


def test_they_come_while_others_go(pin_root: pathlib.Path) -> None:
    """As agents of one machine do, which know nothing of each other."""

    def come_and_go(path: pathlib.Path) -> None:
        for _ in range(_TIMES):
            bpffs.ensure(path)
            bpffs.remove_empty(path)

    with futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(come_and_go, pin_root.with_name(name)) for name in "ab"]:
            done.result()

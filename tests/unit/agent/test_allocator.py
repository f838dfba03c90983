# SPDX-License-Identifier: Apache-2.0
"""Columns that an agent has made and freed, in whatever thread, are no longer its memory."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import pathlib, threading
import numpy as np
from mizar.agent import allocator

def resident():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

def work():
    for _ in range(3):
        held = [np.ones(size, dtype="u1") for size in range(300_000, 1_500_000, 300_000)]
        barrier.wait()
        del held
        barrier.wait()

allocator.keep_little()
barrier = threading.Barrier(8)
threads = [threading.Thread(target=work) for _ in range(8)]
before = resident()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


def test_columns_of_many_threads_go_back_to_the_kernel() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 2048  # KiB; 24 MB were held at once

# SPDX-License-Identifier: Apache-2.0
"""What the C library does with memory that the agent gives back.

An agent is small and lives long. Now and then it makes columns of a megabyte, to count the rows of a table or
to read it, in whatever thread was asked. By default glibc has an arena of its own for each thread, and takes
such columns from it once the first has been freed: each thread that was ever asked keeps some of them, so the
process grew by 2 to 10 MB with the first few looks at its status.

What holds: columns go back to the kernel when they are freed, and all threads share what is left.
"""

from __future__ import annotations

import ctypes
from typing import Final

# malloc.h of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_LARGE: Final = 256 * 1024
"""Bytes from which on a block is a mapping of its own. Naming it also keeps glibc from raising it."""


def keep_little() -> None:
    """To be called before threads are started. Does nothing with another C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # One arena is enough: the interpreter's lock lets one thread work at a time.
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _LARGE)

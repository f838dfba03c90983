# SPDX-License-Identifier: Apache-2.0
"""What the run is doing, one line each, on standard error."""

from __future__ import annotations

import sys
import time

_START = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", file=sys.stderr, flush=True)

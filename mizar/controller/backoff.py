# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt."""

from __future__ import annotations

import random


def delay(attempt: int, *, first: float, last: float, rng: random.Random) -> float:
    """Seconds before attempt `attempt` + 1 (the first is 1): doubling from `first` up to `last`, of which the
    upper half is drawn at random, so that a thousand agents that went away together are not called
    together."""
    step = min(last, first * 2.0 ** min(attempt - 1, 30))
    return step * (0.5 + rng.random() / 2)

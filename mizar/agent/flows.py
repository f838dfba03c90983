# SPDX-License-Identifier: Apache-2.0
"""Entries of the connection table as columns: which are dead, which belong together. Pure.

docs/design/services.md has the rules, hashes.flow_timeout the times.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mizar.abi import hashes, layout

HURRY: Final = 10
"""When the table is crowded, entries that wait for nothing are dead after this part of their time."""

_CLOCK: Final = 0xFFFFFFFF
_AHEAD: Final = 0x80000000
"""An age beyond this is a stamp that is a little ahead of us."""


def dead(keys: layout.Rows, values: layout.Rows, now: int, *, hurried: bool = False) -> npt.NDArray[np.bool_]:
    """Which entries have expired at `now`, in seconds of the programs' clock."""
    ages = now - values["seen"].astype(np.int64) & _CLOCK
    ages[ages >= _AHEAD] = 0
    times = hashes.flow_timeouts(keys["proto"], values["state"])
    if hurried:
        times[_in_vain(values)] //= HURRY
    is_affinity = values["kind"] == layout.FlowKind.AFFINITY
    times[is_affinity] = values["asked"][is_affinity]
    expired: npt.NDArray[np.bool_] = ages > times
    return expired


def _in_vain(values: layout.Rows) -> npt.NDArray[np.bool_]:
    """Never answered, or closed on both sides."""
    both = layout.FlowState.FIN_ORIG | layout.FlowState.FIN_REPLY
    state = values["state"]
    is_closed = (state & layout.FlowState.CLOSED != 0) | (state & both == both)
    in_vain: npt.NDArray[np.bool_] = is_closed | (state & layout.FlowState.REPLIED == 0)
    return in_vain


def opposites(keys: layout.Rows, values: layout.Rows) -> npt.NDArray[Any]:
    """Keys of the entries for the other direction, of those entries that have one."""
    paired = np.isin(values["kind"], (layout.FlowKind.SERVICE, layout.FlowKind.NAT))
    found = np.zeros(int(np.count_nonzero(paired)), dtype=layout.FLOW_KEY4)
    found["vni"] = values["vni"][paired]
    found["src"], found["dst"] = values["dst"][paired], values["src"][paired]
    found["sport"], found["dport"] = values["dport"][paired], values["sport"][paired]
    found["proto"] = keys["proto"][paired]
    return found

# SPDX-License-Identifier: Apache-2.0
"""Where the transit program is tried, by what the interface is."""

from __future__ import annotations

import pytest

from mizar.dataplane import nic
from mizar.dataplane.protocol import Hook, TransitMode

VETH = nic.Nic(2, "eth0", "veth")
CARD = nic.Nic(2, "eth0", "ixgbe")


@pytest.mark.parametrize(
    ("interface", "mode", "hooks"),
    [
        (VETH, TransitMode.AUTO, [Hook.TCX]),
        (CARD, TransitMode.AUTO, [Hook.XDP, Hook.TCX]),
        (VETH, TransitMode.XDP, [Hook.XDP, Hook.XDP_GENERIC]),
        (CARD, TransitMode.TCX, [Hook.TCX]),
    ],
)
def test_hooks_in_their_order(interface: nic.Nic, mode: TransitMode, hooks: list[Hook]) -> None:
    choices = nic.transit_choices(interface, mode)
    assert [choice.hook for choice in choices] == hooks
    assert all(choice.reason and "\n" not in choice.reason for choice in choices)

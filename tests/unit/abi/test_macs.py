# SPDX-License-Identifier: Apache-2.0
"""Inner MACs that name an endpoint, a VPC or a gateway."""

from __future__ import annotations

import pytest

from mizar.abi import layout, macs
from mizar.model import facts

ADDRESS = 0x0A000203


@pytest.mark.parametrize(
    ("mac", "expected"),
    [
        (macs.via(ADDRESS), "064d0a000203"),
        (macs.prefer(ADDRESS), "064e0a000203"),
        (macs.peer(0x123456), "064f12345600"),
        (macs.peer(0x123456, forwarded=True), "064f12345601"),
        (macs.GATEWAY, "065000000000"),
    ],
)
def test_a_mac_is_its_kind_and_its_argument(mac: bytes, expected: str) -> None:
    assert mac.hex() == expected
    assert macs.is_reserved(mac)


def test_argument_is_that_of_the_kind_asked_for() -> None:
    assert macs.argument(macs.via(ADDRESS), layout.InnerMac.VIA) == ADDRESS
    assert macs.argument(macs.via(ADDRESS), layout.InnerMac.PREFER) is None
    assert macs.argument(macs.GATEWAY, layout.InnerMac.GATEWAY) == 0


@pytest.mark.parametrize(
    "mac", [layout.ROUTER_MAC, facts.mac(1), facts.mac(facts.MAX_SERIAL), b"\x06\x51\0\0\0\0"]
)
def test_macs_of_endpoints_and_the_router_are_not_reserved(mac: bytes) -> None:
    assert not macs.is_reserved(mac)

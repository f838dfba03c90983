# SPDX-License-Identifier: Apache-2.0
"""Keys are written as agents write them in what they refuse."""

from __future__ import annotations

from mizar.agent import gateways, health, services
from mizar.controller import wire_services
from mizar.plan import rows


def test_keys_of_services() -> None:
    row = rows.ServiceRow(7, 0x0A000164, 80, 6, "blue/shop", 8080, 0, (), 99)
    assert wire_services.key_text(row.key) == str(services.Key(7, 0x0A000164, 80, 6))


def test_keys_of_forwards() -> None:
    row = rows.ForwardRow(0xC0000201, 53, 17, 7, 0x0A000105, 53, answers=True)
    assert wire_services.key_text(row.key) == str(gateways.ForwardKey(0xC0000201, 53, 17))


def test_keys_of_checks() -> None:
    row = rows.CheckRow("blue", "web-1", "blue/shop", rows.CheckKind.UP, 0, "", 1000, 500, 2, 1, 99, 1)
    assert wire_services.key_text(row.key) == str(health.Key("blue", "web-1", "blue/shop"))

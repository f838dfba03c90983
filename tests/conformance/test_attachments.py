# SPDX-License-Identifier: Apache-2.0
"""What a DataPlane promises of its attachments, whichever it is."""

from __future__ import annotations

from mizar.dataplane import protocol
from mizar.dataplane.protocol import Hook, TransitMode

from .conftest import Wire


def test_endpoints_are_attached_once_and_detached(plane: protocol.DataPlane, wire: Wire) -> None:
    assert plane.attached_endpoints() == set()
    for ifindex in (wire.one, wire.one, wire.two):
        plane.attach_endpoint(ifindex)
    assert plane.attached_endpoints() == {wire.one, wire.two}
    plane.detach_endpoint(wire.one)
    plane.detach_endpoint(wire.one)
    assert plane.attached_endpoints() == {wire.two}


def test_transit_runs_where_it_is_asked_to(plane: protocol.DataPlane, wire: Wire) -> None:
    assert plane.attach_transit(wire.one, TransitMode.XDP).hook is Hook.XDP
    assert plane.attach_transit(wire.one, TransitMode.XDP).hook is Hook.XDP
    assert plane.attach_transit(wire.one, TransitMode.TCX).hook is plane.endpoint_hook
    plane.detach_transit()
    plane.detach_transit()


def test_auto_keeps_gso_of_a_veth_and_says_why(plane: protocol.DataPlane, wire: Wire) -> None:
    status = plane.attach_transit(wire.one, TransitMode.AUTO)
    assert status.hook is plane.endpoint_hook
    assert status.reason
    assert "\n" not in status.reason


def test_transit_and_endpoints_do_not_disturb_each_other(plane: protocol.DataPlane, wire: Wire) -> None:
    plane.attach_endpoint(wire.one)
    plane.attach_transit(wire.two, TransitMode.XDP)
    plane.detach_transit()
    assert plane.attached_endpoints() == {wire.one}

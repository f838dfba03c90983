# SPDX-License-Identifier: Apache-2.0
"""What follows an endpoint wherever it goes: services, outside addresses, routes to it."""

from __future__ import annotations

from mizar.plan import items, state
from mizar.plan.edit import Edit


def touch(world: state.State, edit: Edit, serial: int) -> None:
    """The endpoint is about to come, change or go."""
    for referrer in world.referrers.get(serial, ()):
        match referrer:
            case state.Service(number):
                edit.touch_item(referrer)
                edit.touch_item(items.Check(number, serial))
            case state.Routes(vni):
                vpc = world.vpcs[vni]
                edit.touch_vpc(vpc, vpc.hosts)
            case _:
                edit.touch_item(referrer)


def forget_health(world: state.State, serial: int) -> None:
    """The endpoint is on another host, where it has not been checked yet. To be called between `touch` and
    the end of the change."""
    for referrer in world.referrers.get(serial, ()):
        if isinstance(referrer, state.Service):
            world.services[referrer.id].unhealthy.discard(serial)

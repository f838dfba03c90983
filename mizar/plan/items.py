# SPDX-License-Identifier: Apache-2.0
"""Rows that follow from one object and not from a host's part in a VPC: services, checks, outside addresses.

An *item* has rows on a few hosts. A delta compares the items that a change touches as they were with what
they have become, as it does with cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mizar.plan import outside, rows, scaled, state
from mizar.plan.rows import Stage


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one backend of one scaled endpoint, by their serial numbers."""

    service: int
    backend: int


Item = state.Service | state.Floating | state.Forward | Check
ItemRow = rows.ServiceRow | rows.CheckRow | rows.FloatingRow | rows.ForwardRow
Rows = Mapping[str, tuple[ItemRow, ...]]
"""By host."""


def by_host(world: state.State, item: Item) -> Rows:
    """All rows of an item; none if there is no such thing."""
    match item:
        case state.Service(number):
            return scaled.rows_by_bouncer(world, number)
        case state.Floating(address):
            return outside.floating_rows(world, address)
        case state.Forward(key):
            return outside.forward_rows(world, key)
        case Check(service, backend):
            return scaled.check_by_host(world, service, backend)


def item_of(row: ItemRow) -> Item:
    match row:
        case rows.ServiceRow():
            return state.Service(row.id)
        case rows.CheckRow():
            return Check(row.service_id, row.serial)
        case rows.FloatingRow():
            return state.Floating(row.address)
        case rows.ForwardRow():
            return state.Forward((row.address, row.port, row.protocol))


def stage(row: ItemRow, before: ItemRow | None, *, new: bool) -> Stage:
    """When a row is given. `new`: its item had no rows anywhere."""
    if new and isinstance(row, rows.ServiceRow):
        return Stage.ENDPOINTS  # its location follows
    if isinstance(row, rows.FloatingRow | rows.ForwardRow) and isinstance(before, type(row)):
        return Stage.BREAK if before.answers and not row.answers else Stage.MOVES
    return Stage.MOVES

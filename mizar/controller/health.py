# SPDX-License-Identifier: Apache-2.0
"""What agents say of the backends that they check. Pure, on the controller's event loop.

What holds:
  - A report counts as long as the backend is where it was checked, and is a backend. Else nothing is known,
    which counts as healthy.
  - Nothing is stored: an agent begins each stream with all that it knows.
  - Reports are taken into the plan some at a time, so that a host that comes up with a thousand backends is
    one change and not a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from mizar.model import facts
from mizar.plan import delta, planner, rows, state
from mizar.plan.rows import Stage
from mizar.rpc.gen.mizar.node.v1 import node_pb2

GATHER: Final = 0.05
"""Seconds from the first report to the change that takes it in: a flow may go wrong for that long."""

_Name = tuple[str, str, str]
"""VPC and name of the backend, full name of the scaled endpoint."""


State = Literal["healthy", "unhealthy", "draining", "unknown"]


class Report(NamedTuple):
    """The last that was said of a backend."""

    host: str
    healthy: bool
    message: str


class Health:
    """All reports."""

    def __init__(
        self,
        world: state.State,
        *,
        plan: Callable[[planner.Change], None],
        later: Callable[[float, Callable[[], None]], object],
        news: Callable[[int], None],
    ) -> None:
        """`plan` takes a change in; `news` is told scaled endpoints (serial numbers) of whose backends
        something new is known."""
        self._world = world
        self._plan = plan
        self._later = later
        self._news = news
        self._reports: dict[int, dict[int, Report]] = {}
        self._names: dict[str, dict[_Name, tuple[int, int]]] = {}
        self._heard: dict[tuple[int, int], bool] = {}

    def of(self, service: int, backend: facts.EndpointFact) -> Report | None:
        """What is known of a backend, where it is now."""
        report = self._reports.get(service, {}).get(backend.id)
        return report if report is not None and report.host == backend.host else None

    def heard(self, host: str, message: node_pb2.HealthReport) -> None:
        """An agent reports."""
        key = message.key
        found = self._find(host, (key.endpoint.vpc, key.endpoint.name, key.service))
        if found is None:
            return
        service, serial = found
        self._reports.setdefault(service, {})[serial] = Report(host, message.healthy, message.message)
        if not self._heard:
            self._later(GATHER, self._take_in)
        self._heard[found] = message.healthy

    def planned(self, change: planner.Change) -> None:
        """The planner has taken a change in: forget what is no backend any more."""
        for service in change.gone_services:
            self._reports.pop(service, None)
        for fact in change.services:
            reports = self._reports.get(fact.id)
            if reports:
                there = {backend.endpoint for backend in fact.backends} if fact.check is not None else set()
                self._reports[fact.id] = {serial: reports[serial] for serial in reports.keys() & there}

    def _take_in(self) -> None:
        heard, self._heard = self._heard, {}
        current = {key: healthy for key, healthy in heard.items() if self._is_current(key)}
        if current:
            self._plan(planner.Change(health=current))
            for service in dict.fromkeys(service for service, _ in current):
                self._news(service)

    def _is_current(self, key: tuple[int, int]) -> bool:
        service, serial = key
        backend = self._world.endpoints.get(serial)
        return backend is not None and self.of(service, backend) is not None

    def _find(self, host: str, name: _Name) -> tuple[int, int] | None:
        """The scaled endpoint and the backend that a report is of; None if this host is to check no such
        thing."""
        found = self._names.get(host, {}).get(name)
        if found is None or not self._is_checked(host, name, *found):
            self._names[host] = {
                (row.vpc, row.endpoint, row.service): (row.service_id, row.serial)
                for row in planner.checks(self._world, host)
            }
            found = self._names[host].get(name)
        return found

    def _is_checked(self, host: str, name: _Name, service: int, serial: int) -> bool:
        row = planner.check(self._world, service, serial)
        here = row is not None and self._world.endpoints[serial].host == host
        return here and row is not None and (row.vpc, row.endpoint, row.service) == name


def hosts_to_hear(made: delta.Delta) -> set[str]:
    """Hosts that are told of checks by a delta."""
    return {
        host
        for host, batch in made.at(Stage.MOVES).items()
        if any(isinstance(row, rows.CheckRow) for row in batch.upserts)
    }


def state_of(report: Report | None, *, weight: int) -> State:
    """A backend's state as users see it."""
    if not weight:
        return "draining"
    if report is None:
        return "unknown"
    return "healthy" if report.healthy else "unhealthy"

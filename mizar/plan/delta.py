# SPDX-License-Identifier: Apache-2.0
"""Rows that change, by stage and host.

A delta is what one change asks of the hosts. Stages make before they break: until BREAK nothing that is in
use is taken away, so a reader of any table finds a working row at every moment in between.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field

from mizar.plan import rows


@dataclass(slots=True)
class Batch:
    """Rows of one stage for one host. Only batches of stage BREAK have removals."""

    upserts: list[rows.Row] = field(default_factory=list)
    removals: list[rows.Key] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.upserts) + len(self.removals)


@dataclass(slots=True)
class Delta:
    """What every host must be told. `stages` has no empty batches."""

    stages: dict[rows.Stage, dict[str, Batch]] = field(default_factory=dict)
    replaces: bool = False
    """Something else takes over from what BREAK takes away (a shard, a divider, an endpoint moved), so
    BREAK must wait until running flows have turned to the new one, and until hosts that are away have been
    told. False when what goes is simply gone."""

    def __bool__(self) -> bool:
        return bool(self.stages)

    def making(self, stage: rows.Stage) -> dict[str, Batch]:
        """While the delta is made: batches of a stage by host, made when asked for."""
        hosts = self.stages.get(stage)
        if hosts is None:
            hosts = self.stages[stage] = collections.defaultdict(Batch)
        return hosts

    def batch(self, stage: rows.Stage, host: str) -> Batch:
        """While the delta is made: the batch to add rows to."""
        return self.making(stage)[host]

    def at(self, stage: rows.Stage) -> Mapping[str, Batch]:
        return self.stages.get(stage, {})

    @property
    def hosts(self) -> set[str]:
        return {host for hosts in self.stages.values() for host in hosts}

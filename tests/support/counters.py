# SPDX-License-Identifier: Apache-2.0
"""What the data plane counted, and by how much more since.

since = counters.Since(lab, vpc="t1")
... traffic ...
assert since.roles() == {"divider h2": 1, "bouncer web/h3": 1}
since.until_drop("h1", "spoofed_ip", 3)
"""

from __future__ import annotations

import collections

from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import netns

Counts = collections.Counter[str]


def verdicts(lab: lab_module.Lab, host: str) -> Counts:
    """Packets by verdict."""
    return Counts({row["name"]: row["packets"] for row in lab.client.counters(host)["verdicts"]})


def roles(lab: lab_module.Lab, vpc: str) -> Counts:
    """Packets by role: `divider h1`, `bouncer web/h2`."""
    return Counts(
        {
            f"{kind.singular} {obj['metadata']['name']}": obj["status"]["packets"]
            for kind in (kinds.DIVIDER, kinds.BOUNCER)
            for obj in lab.client.list(kind, vpc=vpc)
        }
    )


class Since:
    """Counters as they were, and what was added to them. Only what grew is shown."""

    def __init__(self, lab: lab_module.Lab, *, vpc: str | None = None) -> None:
        self._lab = lab
        self._vpc = vpc
        listed = {obj["metadata"]["name"] for obj in lab.client.list(kinds.HOST)}
        hosts = [machine.name for machine in lab.topology.hosts if machine.name in listed]
        self._verdicts = {host: verdicts(lab, host) for host in hosts}
        self._roles = roles(lab, vpc) if vpc else Counts()

    def verdicts(self, host: str) -> Counts:
        return verdicts(self._lab, host) - self._verdicts[host]

    def roles(self) -> Counts:
        assert self._vpc is not None
        return roles(self._lab, self._vpc) - self._roles

    def dividers(self) -> int:
        return sum(count for role, count in self.roles().items() if role.startswith("divider "))

    def bouncers(self) -> int:
        return sum(count for role, count in self.roles().items() if role.startswith("bouncer "))

    def until(self, host: str, verdict: str, count: int = 1) -> None:
        """Until so many packets more, and no fewer, met this verdict on this host."""
        netns.until(
            lambda: self.verdicts(host)[verdict] >= count,
            f"{count} packets more on {host} with verdict {verdict}, not {dict(self.verdicts(host))}",
        )
        assert self.verdicts(host)[verdict] == count

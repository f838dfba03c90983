# SPDX-License-Identifier: Apache-2.0
"""The lab as facts, for people and scripts. Field names are part of the command line's contract."""

from __future__ import annotations

from typing import Any

from mizar.lab import config, lab, processes, state, topology


def of(found: lab.Lab) -> dict[str, Any]:
    """Every host with its namespace, address, interface and agent; the controller; the outside."""
    known = state.load()
    agents = known.agents if known else {}
    return {
        "state": known.phase.value if known else "down",
        "options": found.config.as_json(),
        "underlay": {"netns": topology.UNDERLAY, "mtu": found.config.mtu, "wire": found.config.wire.value},
        "hosts": [
            {
                "name": machine.name,
                "address": machine.address,
                "netns": machine.netns,
                "interface": machine.interface,
                "agent": {
                    **_process(agents.get(machine.name)),
                    "log": str(found.agent_log(machine.name)),
                },
            }
            for machine in found.topology.hosts
        ],
        "outside": {
            "address": found.topology.outside.address,
            "netns": found.topology.outside.netns,
            "interface": found.topology.outside.interface,
        },
        "controller": {
            **_process(known.controller if known else None),
            "api": f"unix://{config.API_SOCKET}",
            "log": str(found.controller_log()),
        },
    }


def _process(process: processes.Process | None) -> dict[str, Any]:
    """`stopped`: by a command. `dead`: it should run and does not."""
    if process is None:
        return {"pid": None, "state": "stopped"}
    if processes.alive(process):
        return {"pid": process.pid, "state": "running"}
    return {"pid": None, "state": "dead"}

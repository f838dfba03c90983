# SPDX-License-Identifier: Apache-2.0
"""Up: all or nothing. Down: everything, whatever is left and however it came to be left.

The order of up: state on disk, namespaces and cables, all daemons at once, hosts registered, manifest applied
and ready. Each step may fail or be interrupted; then the same removal runs that `down` is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

from mizar import errors
from mizar.client import api
from mizar.lab import config, daemons, lab, leftovers, network, processes, state, topology
from mizar.model import kinds

Report = Callable[[str], None]
"""Told of each step as it begins."""


def up(wanted: config.LabConfig, *, report: Report = lambda text: None) -> lab.Lab:
    """Raises InvalidError for what is refused beforehand, ConflictError when a lab is up."""
    wanted.check()
    _need_root()
    objects = _read(wanted.manifest) if wanted.manifest else []
    with state.locked():
        _refuse_second()
        try:
            return _make(wanted, objects, report)
        except BaseException as failure:
            with _uninterrupted():
                dead = _first_dead()
                _remove()
            if dead is not None and isinstance(failure, errors.UnavailableError):
                raise dead from failure  # the cause of it
            raise


def down(*, report: Report = lambda text: None) -> bool:
    """False if there was nothing. Safe to repeat."""
    _need_root()
    with state.locked(), _uninterrupted():
        report("removing the lab")
        return _remove()


# ---------------------------------------------------------------- up


def _read(manifest: pathlib.Path) -> list[api.Object]:
    """Before anything is made, so that a malformed one costs nothing."""
    from mizar.client import manifests  # loads the whole model, which `down` does not need

    return manifests.read(manifest)


def _make(wanted: config.LabConfig, objects: list[api.Object], report: Report) -> lab.Lab:
    made = lab.Lab(wanted)
    state.save(state.State(config=wanted, phase=state.Phase.STARTING))
    report(f"connecting {wanted.hosts} hosts")
    network.build(made.topology, wanted)
    report("starting the controller and the agents")
    _start_daemons(made)
    report("waiting for the hosts")
    _register_hosts(made)
    if objects:
        report(f"applying {len(objects)} objects")
        made.client.apply(objects)
        report(f"waiting for {len(objects)} objects")
        made.client.wait_ready([api.ref_of(obj) for obj in objects], timeout=wanted.ready_timeout)
    state.save(dataclasses.replace(_saved(), phase=state.Phase.UP))
    return made


def _first_dead() -> errors.ToolError | None:
    """What a daemon that ended by itself said at last; its log will be gone with the rest."""
    known = state.load()
    if known is None:
        return None
    daemon = {name: daemons.agent(machine, known.config) for name, machine in _machines(known).items()}
    started = [
        (daemons.controller(), known.controller),
        *((daemon[name], p) for name, p in known.agents.items()),
    ]
    for one, process in started:
        if process is not None and not processes.alive(process):
            return errors.ToolError(f"the {one.name} ended: {processes.last_line(one.log)}")
    return None


def _machines(known: state.State) -> dict[str, topology.Machine]:
    return {machine.name: machine for machine in topology.of(known.config).hosts}


def _start_daemons(made: lab.Lab) -> None:
    """All at once: each spends its first second loading itself."""
    controller = daemons.controller()
    agents = {machine.name: daemons.agent(machine, made.config) for machine in made.topology.hosts}
    started = [(controller, controller.start())]
    now = dataclasses.replace(_saved(), controller=started[0][1])
    for name, daemon in agents.items():
        process = daemon.start()
        started.append((daemon, process))
        now = dataclasses.replace(now, agents={**now.agents, name: process})
    state.save(now)
    daemons.wait_listening(started, timeout=made.config.ready_timeout)


def _register_hosts(made: lab.Lab) -> None:
    hosts = [_host_object(machine, made.config) for machine in made.topology.hosts]
    made.client.apply(hosts)
    made.client.wait_ready([api.ref_of(host) for host in hosts], timeout=made.config.ready_timeout)


def _host_object(machine: topology.Machine, wanted: config.LabConfig) -> dict[str, Any]:
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": kinds.HOST.name,
        "metadata": {"name": machine.name},
        "spec": {
            "addresses": [machine.address],
            "agent": f"unix://{daemons.agent(machine, wanted).socket}",
        },
    }


def _saved() -> state.State:
    found = state.load()
    if found is None:
        raise errors.ConflictError("the state of the lab vanished while it came up")
    return found


def _refuse_second() -> None:
    found = state.load()
    if found is not None and found.phase is state.Phase.UP:
        raise errors.ConflictError(
            f"a lab of {found.config.hosts} hosts is up: use it, or take it down with `mizar lab down`"
        )
    if found is not None or network.existing():
        raise errors.ConflictError(
            "a lab came up or went down only in part: remove what is left with `mizar lab down`"
        )


# ---------------------------------------------------------------- down


def _remove() -> bool:
    """Daemons first, so that nothing is made any more; then what they made; the state at last, so that an
    interrupted removal can be repeated."""
    known = _mark_stopping()
    hosts = network.existing()
    if known is None and not hosts and not daemons.PINS.exists() and not config.STATE_DIR.exists():
        return False
    _end_daemons(known, hosts)
    doomed = leftovers.endpoint_namespaces(hosts) + hosts
    _end_all_in(doomed)
    if daemons.PINS.exists():
        shutil.rmtree(daemons.PINS)
    network.destroy(doomed)
    shutil.rmtree(config.STATE_DIR, ignore_errors=True)
    return True


def _mark_stopping() -> state.State | None:
    try:
        known = state.load()
    except errors.ConflictError:  # unreadable: go by what is found on the machine
        return None
    if known is not None:
        state.save(dataclasses.replace(known, phase=state.Phase.STOPPING))
    return known


def _end_daemons(known: state.State | None, hosts: list[str]) -> None:
    """Those on record, and those that a crash kept from being recorded."""
    recorded = [known.controller, *known.agents.values()] if known else []
    controllers = processes.with_argument(f"--state-dir={state.directory('controller')}")
    processes.end([process for process in recorded if process] + controllers, kill=True)
    processes.end(processes.in_namespaces(network.inodes(hosts)), kill=True)


def _end_all_in(doomed: list[str]) -> None:
    """A program left in a namespace would keep it alive without a name."""
    inodes = network.inodes(doomed)
    if rest := processes.in_namespaces(inodes):
        processes.end(rest, patience=1.0)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second ^C must not leave half of a lab behind. Only the main thread may decide on signals."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise errors.InvalidError("a lab makes network namespaces and loads programs: run it as root")

# SPDX-License-Identifier: Apache-2.0
"""The agent's process: puts the parts together, serves until told to stop, leaves the data plane running.

Runs in the network namespace in which it was started. A state directory has one agent; a second one is
refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import logging
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final

from mizar import errors
from mizar.agent import (
    allocator,
    announcer,
    background,
    checker,
    journal,
    netlink,
    nic,
    node,
    prober,
    service,
    tunnel_port,
    veth,
)
from mizar.agent.config import AgentConfig
from mizar.dataplane import kernel
from mizar.rpc import server

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_log: Final = logging.getLogger(__name__)


def run(config: AgentConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises MizarError if it cannot start."""
    allocator.keep_little()
    _start_logging(config.log_level)
    # Blocked in this thread before others are started, so that all inherit it and sigwait gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(config.state_dir))
        requests = netlink.Requests()
        stack.callback(requests.close)
        underlay = nic.KernelUnderlay(requests, interface=config.interface, address=_address(config.address))
        # Before anything is attached: whoever has the port is the agent of this interface.
        stack.enter_context(tunnel_port.hold(requests, underlay.nic()))
        port = stack.enter_context(prober.open_socket(underlay.nic().address))
        served = _open_node(config, requests, underlay)
        stack.callback(served.close)
        stack.enter_context(contextlib.closing(prober.Prober(port, served)))
        served.watch()
        aside = background.Background()
        stack.callback(aside.close)
        aside.spawn(served.collector.run())
        aside.spawn(checker.Checker(served).run())
        aside.spawn(announcer.Announcer(served).run())
        listening = server.Server(service.NodeService(served), _listen(config))
        stack.callback(listening.stop)
        for target in config.listen_insecure:
            _log.warning("serving %s without TLS: whoever reaches it owns this host's network", target)
        _log.info("agent of host %s serves %s", config.name, ", ".join(listening.targets))
        _notify_systemd("READY=1")
        caught = signal.sigwait(_STOP_SIGNALS)
        _log.info("%s: stopping, the data plane goes on", signal.Signals(caught).name)
        _notify_systemd("STOPPING=1")


def _open_node(config: AgentConfig, requests: netlink.Requests, underlay: nic.KernelUnderlay) -> node.Node:
    parts = node.Parts(
        data_plane=kernel.KernelDataPlane(config.pins, config.sizes),
        attachments=veth.VethAttachments(requests),
        underlay=underlay,
        journal=journal.Journal(config.state_dir / "agent.db"),
    )
    return node.Node(config.name, parts, transit=config.transit, ages=config.direct_ages)


def _listen(config: AgentConfig) -> server.Listen:
    return server.Listen(targets=config.targets, insecure=config.listen_insecure, tls=config.tls)


def _address(text: str) -> int:
    try:
        return int(ipaddress.IPv4Address(text)) if text else 0
    except ValueError as failure:
        raise errors.InvalidError(f"underlay address {text!r}: must be an IPv4 address") from failure


@contextlib.contextmanager
def _only_one(state_dir: pathlib.Path) -> Iterator[None]:
    """Hold the state directory's lock; the kernel lets go of it with the process, however it ends."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state_dir / "agent.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise errors.ConflictError(f"agent of {state_dir} runs already (pid {pid})") from failure
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _start_logging(level: str) -> None:
    """One line an event; under systemd the journal has the time already."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format=f"{stamp}%(levelname)s %(name)s: %(message)s"
    )
    # Routine to us, whatever the level.
    for chatty in ("pyroute2", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _notify_systemd(state: str) -> None:
    """The protocol of sd_notify(3); nothing without systemd."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)

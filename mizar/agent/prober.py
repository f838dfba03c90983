# SPDX-License-Identifier: Apache-2.0
"""Is the data plane of each host that we use as bouncer, divider or gateway alive? ECHO, again and again.

The programs of the other host answer, not its agent: an agent that is stopped is no dead host.

What holds:
 - Three unanswered in a row make a host down, one answer makes it up.
 - Answers come from the Geneve port to the port that asked, so they reach the probe's own socket.
 - Rounds is pure (who was asked, who answered); Prober has the socket, the clock and the thread.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from mizar import errors
from mizar.abi import decode, geneve, layout

INTERVAL: Final = 0.7
"""Seconds from one round to the next. Who dies right after an answer is down in four rounds, within 3 s."""
MISSES: Final = 3
"""Unanswered rounds until a host counts as down."""

_SO_NO_CHECK: Final = 11
_log: Final = logging.getLogger(__name__)


class Rounds:
    """Who was asked with which nonce, and how many rounds each has missed."""

    def __init__(self) -> None:
        self._nonces: dict[int, int] = {}
        self._missed: dict[int, int] = {}

    def begin(self, hosts: Collection[int], nonce: int) -> dict[int, bool]:
        """Start a round that asks `hosts`; returns who has turned out to be down (True) by the last ones."""
        for address in self._nonces:
            self._missed[address] = self._missed.get(address, 0) + 1
        self._missed = {address: count for address, count in self._missed.items() if address in hosts}
        self._nonces = dict.fromkeys(hosts, nonce)
        return {address: True for address, count in self._missed.items() if count >= MISSES}

    def answered(self, address: int, nonce: int) -> bool:
        """Take in an answer; False if it is not one to this round's question."""
        if self._nonces.get(address) != nonce:
            return False
        del self._nonces[address]
        self._missed.pop(address, None)
        return True


class Hosts(Protocol):
    """What the prober needs of the node."""

    def probed(self) -> set[int]:
        """Hosts to ask."""
        ...

    def set_down(self, states: dict[int, bool]) -> None: ...


class Prober:
    """Asks from construction until close()."""

    def __init__(
        self, bound: socket.socket, hosts: Hosts, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`bound`: from open_socket(); its owner closes it."""
        self._hosts = hosts
        self._clock = clock
        self._rounds = Rounds()
        self._socket = bound
        self._wake_r, self._wake_w = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="mizar-prober", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._wake_w.close()
        self._thread.join()
        self._wake_r.close()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN | select.POLLHUP)
        due = self._clock()
        while True:
            wait = due - self._clock()
            if wait <= 0:
                self._ask()
                due = self._clock() + INTERVAL
                continue
            ready = {fd for fd, _ in poller.poll(wait * 1000)}
            if self._wake_r.fileno() in ready:
                return
            if ready:
                self._listen()

    def _ask(self) -> None:
        try:
            hosts = self._hosts.probed()
            nonce = secrets.randbits(32)
            down = self._rounds.begin(hosts, nonce)
            if down:
                self._hosts.set_down(down)
        except errors.MizarError as failure:
            _log.warning("health probe: %s", failure)
            return
        packet = geneve.pack(geneve.Header(vni=0, control=True, options=(geneve.Echo(nonce),)))
        for address in hosts:
            self._send(packet, address)

    def _send(self, packet: bytes, address: int) -> None:
        try:
            self._socket.sendto(packet, (decode.address4(address), layout.GENEVE_PORT))
        except OSError as failure:
            # No route, no neighbour: the same as no answer.
            _log.debug("health probe to %s: %s", decode.address4(address), failure.strerror)

    def _listen(self) -> None:
        answered: dict[int, bool] = {}
        while True:
            try:
                payload, sender = self._socket.recvfrom(2048)
            except OSError:
                break
            address = int.from_bytes(socket.inet_aton(sender[0]), "big")
            nonce = _nonce_of(payload)
            if nonce is not None and self._rounds.answered(address, nonce):
                answered[address] = False
        if answered:
            self._hosts.set_down(answered)


def _nonce_of(payload: bytes) -> int | None:
    """The nonce of an ECHO answer; None for whatever else arrives here."""
    try:
        header, _ = geneve.parse(payload)
    except geneve.GeneveError:
        return None
    echo = header.first(geneve.Echo)
    return echo.nonce if isinstance(echo, geneve.Echo) and echo.reply else None


def open_socket(address: int) -> socket.socket:
    """A socket of the underlay address to ask from."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # RFC 8926 s3.3: like everything else in the tunnel, with UDP checksum zero.
        opened.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        opened.bind((decode.address4(address), 0))
    except OSError as failure:
        opened.close()
        raise errors.UnavailableError(
            f"send probes from {decode.address4(address)}: {failure.strerror}"
        ) from failure
    return opened

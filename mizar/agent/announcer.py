# SPDX-License-Identifier: Apache-2.0
"""Tells the neighbours outside when this host begins to answer for an address: ARP announcements.

Those who knew the address at another host learn at once, instead of when their ARP entry has run out.
The answers to their questions come from the transit program; this only speaks first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Final, Protocol

from mizar.agent import bell, underlay

TIMES: Final = 3
PAUSE: Final = 1.0
"""Seconds from one announcement to the next of the same address."""

_AT_ONCE: Final = 64
_BROADCAST: Final = b"\xff" * 6
_ARP: Final = b"\x08\x06"
_REQUEST: Final = bytes.fromhex("0001 0800 06 04 0001")
_SMALLEST_FRAME: Final = 60
_log: Final = logging.getLogger(__name__)


class Answers(Protocol):
    """What the announcer needs of the node."""

    @property
    def changed(self) -> bell.Bell:
        """Rings when the addresses are others."""
        ...

    def answered(self) -> set[int]:
        """Addresses outside for which this host answers."""
        ...

    def nic(self) -> underlay.Nic:
        """The interface on which it does."""
        ...


def announcement(mac: bytes, address: int) -> bytes:
    """The frame of an ARP announcement, RFC 5227 section 2.3: a request from and for the address itself."""
    own = address.to_bytes(4, "big")
    frame = _BROADCAST + mac + _ARP + _REQUEST + mac + own + bytes(6) + own
    return frame.ljust(_SMALLEST_FRAME, b"\0")


class Announcer:
    """Runs in an event loop. At its start everything is announced: a former agent may not have come to it."""

    def __init__(self, answers: Answers, *, pause: float = PAUSE) -> None:
        self._answers = answers
        self._pause = pause
        self._announcing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        known: set[int] = set()
        try:
            with self._answers.changed.heard() as changed:
                while True:
                    await changed.wait()
                    changed.clear()
                    answered = self._answers.answered()
                    if fresh := answered - known:
                        self._start(fresh)
                    known = answered
        finally:
            for task in self._announcing:
                task.cancel()

    def _start(self, fresh: set[int]) -> None:
        task = asyncio.create_task(self._announce(fresh))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def _announce(self, addresses: set[int]) -> None:
        for _ in range(TIMES):
            still = sorted(addresses & self._answers.answered())
            for at in range(0, len(still), _AT_ONCE):
                self._send(still[at : at + _AT_ONCE])
                await asyncio.sleep(0)
            await asyncio.sleep(self._pause)

    def _send(self, addresses: Iterable[int]) -> None:
        nic = self._answers.nic()
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK) as wire:
                wire.bind((nic.name, 0))
                for address in addresses:
                    wire.send(announcement(nic.mac, address))
        except OSError as failure:
            _log.warning("announce outside addresses on %s: %s", nic.name, failure.strerror)

# SPDX-License-Identifier: Apache-2.0
"""What bpf_clone_redirect sent: seen by a packet socket on loopback."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

_ALL_PROTOCOLS: Final = 0x0003
_OUTGOING: Final = 4
"""PACKET_OUTGOING of linux/if_packet.h; loopback shows every frame a second time coming in."""

_ROOM: Final = 1 << 16


class Tap(contextlib.AbstractContextManager["Tap"]):
    """Frames that left through loopback of the thread's namespace since the tap was opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        self._socket.bind(("lo", _ALL_PROTOCOLS))
        self._socket.setblocking(False)

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def frames(self) -> list[bytes]:
        """Those since the last call."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = self._socket.recvfrom(_ROOM)
                if address[2] == _OUTGOING:
                    found.append(data)
        return found

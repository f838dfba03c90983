# SPDX-License-Identifier: Apache-2.0
"""Asking one endpoint whether it is fit, from inside its own network namespace.

What holds:
 - Only the making of a socket happens in the namespace: a few system calls, between which the event loop's
   thread does nothing else. A socket stays in the namespace in which it was made, so the rest needs nothing.
 - A probe ends by returning, or says why not by OSError, UnfitError or MizarError. How long it may take is
   the caller's to say.

What does not belong here: how often, and what follows (checker.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

import h11

from mizar.abi import decode
from mizar.agent import attachment, namespaces
from mizar.rpc.gen.mizar.node.v1 import node_pb2

_SIOCGIFFLAGS: Final = 0x8913
_IFREQ: Final = struct.Struct("16sH22x")
"""struct ifreq with flags."""
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_FIT_STATUS: Final = range(200, 400)
_READ_BYTES: Final = 16 << 10


class UnfitError(Exception):
    """The endpoint answers, but not as it should. One line."""


async def probe(target: attachment.Target, check: node_pb2.Check) -> None:
    """Returns if the endpoint is fit."""
    match check.kind:
        case node_pb2.Check.UP:
            await _up(target)
        case node_pb2.Check.TCP_CONNECT:
            async with _connected(target, check.port):
                pass
        case _:
            await _http_get(target, check.port, check.path)


async def _up(target: attachment.Target) -> None:
    with _socket_in(target, socket.SOCK_DGRAM) as asked:
        request = _IFREQ.pack(target.ifname.encode(), 0)
        _, flags = _IFREQ.unpack(fcntl.ioctl(asked, _SIOCGIFFLAGS, request))
    if not flags & _IFF_UP:
        raise UnfitError(f"interface {target.ifname} is down")
    if not flags & _IFF_RUNNING:
        raise UnfitError(f"interface {target.ifname} has no carrier")


async def _http_get(target: attachment.Target, port: int, path: str) -> None:
    host = f"{decode.address4(target.address)}:{port}"
    headers = [("Host", host), ("User-Agent", "mizar-agent"), ("Connection", "close")]
    request = h11.Request(method="GET", target=path, headers=headers)
    spoken = h11.Connection(h11.CLIENT)
    async with _connected(target, port) as connected:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connected, spoken.send(request) or b"")
        status = await _status(connected, spoken)
    if status not in _FIT_STATUS:
        raise UnfitError(f"HTTP status {status}")


async def _status(connected: socket.socket, spoken: h11.Connection) -> int:
    """Of the answer; what is behind its headers is not read."""
    loop = asyncio.get_running_loop()
    try:
        while not isinstance(event := spoken.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                spoken.receive_data(await loop.sock_recv(connected, _READ_BYTES))
    except h11.RemoteProtocolError as failure:
        raise UnfitError(f"answer is not HTTP: {failure}") from failure
    return event.status_code


@contextlib.asynccontextmanager
async def _connected(target: attachment.Target, port: int) -> AsyncIterator[socket.socket]:
    with _socket_in(target, socket.SOCK_STREAM) as opened:
        address = decode.address4(target.address), port
        await asyncio.get_running_loop().sock_connect(opened, address)
        yield opened


def _socket_in(target: attachment.Target, kind: socket.SocketKind) -> socket.socket:
    with namespaces.opened(namespaces.path_of(target.netns)) as fd, namespaces.entered(fd):
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

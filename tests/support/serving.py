# SPDX-License-Identifier: Apache-2.0
"""Servers in namespaces that say who they are, and clients that ask them.

    with serving.tcp(backend, 8080):
        assert serving.ask(client, vip, 80).name == "web-1"

What holds:
 - A TCP server says its name and the address that it saw, then echoes until the client has said all.
 - A UDP server answers every datagram with the same two words.
 - Sockets are made in the namespaces and used from the test's own process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import threading
from collections.abc import Iterator

from tests.support import tenants

_TIMEOUT = 5.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server said: its name, and the client's address and port as it saw them."""

    name: str
    client: str
    port: int


@dataclasses.dataclass
class Served:
    """What a server has seen."""

    connections: int = 0


def _name_of(at: tenants.Place) -> str:
    return at.short if isinstance(at, tenants.End) else at.netns


def _answer(name: str, client: tuple[str, int]) -> bytes:
    return f"{name} {client[0]} {client[1]}\n".encode()


def _parse(line: bytes) -> Answer:
    name, client, port = line.decode().split()
    return Answer(name, client, int(port))


@contextlib.contextmanager
def _served(*jobs: threading.Thread, over: threading.Event) -> Iterator[None]:
    for job in jobs:
        job.start()
    try:
        yield
    finally:
        over.set()
        for job in jobs:
            job.join()


@contextlib.contextmanager
def tcp(at: tenants.Place, port: int, *, name: str | None = None) -> Iterator[Served]:
    """A TCP server on all addresses of a place. `name`: an endpoint's own by default."""
    said, over, seen = name or _name_of(at), threading.Event(), Served()
    with at.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("", port))
        listening.listen(128)
        job = threading.Thread(target=_serve_tcp, args=(listening, said, over, seen))
        with _served(job, over=over):
            yield seen


def _serve_tcp(listening: socket.socket, name: str, over: threading.Event, seen: Served) -> None:
    """All connections in one thread: what is readable is echoed."""
    open_: list[socket.socket] = []
    try:
        while not over.is_set():
            for ready in select.select([listening, *open_], [], [], 0.05)[0]:
                if ready is listening:
                    accepted, client = listening.accept()
                    seen.connections += 1
                    accepted.sendall(_answer(name, client))
                    open_.append(accepted)
                    continue
                with contextlib.suppress(ConnectionError):
                    if data := ready.recv(1 << 16):
                        ready.sendall(data)
                        continue
                open_.remove(ready)
                ready.close()
    finally:
        for left in open_:
            left.close()


@contextlib.contextmanager
def udp(at: tenants.Place, port: int, *, name: str | None = None) -> Iterator[Served]:
    """A UDP server on all addresses of a place."""
    said, over, seen = name or _name_of(at), threading.Event(), Served()
    with at.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("", port))
        opened.settimeout(0.05)

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError, ConnectionError):
                    _, client = opened.recvfrom(1 << 16)
                    seen.connections += 1
                    opened.sendto(_answer(said, client), client)

        with _served(threading.Thread(target=serve), over=over):
            yield seen


class Connection:
    """A TCP connection from a place, open for the length of the block."""

    def __init__(self, client: tenants.Place, to: str, port: int, *, source_port: int = 0) -> None:
        self._socket = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_TIMEOUT)
            if source_port:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._socket.bind(("", source_port))
            self._socket.connect((to, port))
            self.peer = self._socket.getpeername()[0]
            self.answer = _parse(self._line())
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            data = self._socket.recv(1)
            if not data:
                raise ConnectionResetError("closed")
            line += data
        return line

    def echoes(self, data: bytes = b"still here\n") -> bool:
        """Whether the server still answers on this connection."""
        self._socket.sendall(data)
        found = b""
        while len(found) < len(data):
            part = self._socket.recv(1 << 16)
            if not part:
                return False
            found += part
        return found == data


def ask(client: tenants.Place, to: str, port: int, *, source_port: int = 0) -> Answer:
    """One TCP connection. ConnectionRefusedError as any client would get it."""
    with Connection(client, to, port, source_port=source_port) as connection:
        return connection.answer


def ask_udp(
    client: tenants.Place, to: str, port: int, *, data: bytes = b"who", source_port: int = 0, tries: int = 1
) -> Answer:
    """One datagram and its answer, which must come from where it was sent to; TimeoutError after `tries`."""
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("", source_port))
        opened.connect((to, port))
        opened.settimeout(1.0)
        for left in range(tries - 1, -1, -1):
            opened.send(data)
            try:
                return _parse(opened.recv(2048))
            except TimeoutError:
                if not left:
                    raise
    raise AssertionError("not reached")

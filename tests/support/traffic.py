# SPDX-License-Identifier: Apache-2.0
"""Packets between places of the lab, and what became of them.

    assert traffic.ping(a, b.address, count=3).received == 3
    with traffic.Stream(a, b) as stream:
        ... change something ...
    assert stream.lost == []

Sockets are made in the namespaces of the lab and used from the test's own process, so a test knows exactly
what was sent and what came out, without a second program to trust.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from mizar.abi import geneve, layout
from tests.support import netns, tenants

PORT: Final = 7777
_NUMBER: Final = struct.Struct(">Q")
_TAIL_SECONDS: Final = 2.0
_ETH_P_ALL: Final = 0x0003
_PACKETS: Final = re.compile(r"(\d+) packets transmitted, (\d+) (?:packets )?received")


# ---------------------------------------------------------------- ping


@dataclasses.dataclass(frozen=True)
class Ping:
    sent: int
    received: int
    text: str


def ping(
    sender: tenants.Place, to: str, *options: str, count: int = 1, interval: float = 0.02, wait: float = 1.0
) -> Ping:
    """`options` are those of ping(8): -s, -M, -t."""
    done = sender.try_run("ping", "-n", f"-c{count}", f"-i{interval}", f"-W{wait}", *options, to)
    found = _PACKETS.search(done.stdout)
    if found is None:
        return Ping(count, 0, done.stdout + done.stderr)
    return Ping(int(found[1]), int(found[2]), done.stdout + done.stderr)


def reaches(sender: tenants.Place, to: str, *, count: int = 1) -> bool:
    """Whether every echo request is answered, the first included."""
    return ping(sender, to, count=count).received == count


# ---------------------------------------------------------------- numbered datagrams


class Stream:
    """Numbered UDP datagrams from one endpoint to another, from entry to exit of the block.

    `each` runs before every datagram. `lost` and `received` are right after the block: everything that was
    on its way has then arrived, or has had two seconds to.
    """

    def __init__(
        self,
        sender: tenants.End,
        receiver: tenants.End,
        *,
        interval: float = 0.002,
        port: int = PORT,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        self._to = (receiver.address, port)
        self._interval = interval
        self._each = each
        self._over = threading.Event()
        self._output = sender.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inputs: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._send)]
        self._failures: list[BaseException] = []
        self.sent = 0
        self.received: list[int] = []
        self.listen(receiver)

    def listen(self, at: tenants.End) -> None:
        """Take datagrams in at another place too: where the receiver has moved."""
        opened = at.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inputs.append(opened)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        opened.bind(("", self._to[1]))
        opened.settimeout(0.1)
        thread = threading.Thread(target=self._receive, args=(opened,))
        self._threads.append(thread)
        if self._threads[0].ident is not None:
            thread.start()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for opened in (self._output, *self._inputs):
            opened.close()
        if kind is None and self._failures:
            raise self._failures[0]

    @property
    def lost(self) -> list[int]:
        """Numbers that never arrived."""
        return sorted(set(range(self.sent)) - set(self.received))

    def until_more(self, count: int = 50) -> None:
        """Until so many datagrams more have arrived, all sent from now on."""
        now = self.sent
        netns.until(
            lambda: sum(number >= now for number in self.received[-4 * count :]) >= count,
            f"{count} datagrams more",
        )

    def _send(self) -> None:
        try:
            while not self._over.is_set():
                self._each()
                with contextlib.suppress(ConnectionRefusedError):
                    self._output.sendto(_NUMBER.pack(self.sent), self._to)
                self.sent += 1
                self._over.wait(self._interval)
        except BaseException as failure:  # noqa: BLE001  raised where the block ends
            self._failures.append(failure)

    def _receive(self, opened: socket.socket) -> None:
        """Until the sender has ended and nothing has come for a while, or the last datagram has."""
        silent = 0.0
        while silent < _TAIL_SECONDS:
            try:
                self.received.append(_NUMBER.unpack(opened.recv(2048))[0])
            except TimeoutError:
                silent = silent + 0.1 if self._over.is_set() else 0.0
            if self._over.is_set() and not self._threads[0].is_alive() and not self.lost:
                return


# ---------------------------------------------------------------- bulk


def exchange(client: tenants.End, server: tenants.End, *, megabytes: int = 8, port: int = PORT) -> None:
    """Both send so much over one TCP connection at the same time; AssertionError if a byte differs."""
    there, back = (random.Random(seed).randbytes(megabytes << 20) for seed in (1, 2))
    listening = server.socket(socket.AF_INET, socket.SOCK_STREAM)
    asking = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listening, asking:
        listening.bind((server.address, port))
        listening.listen()
        listening.settimeout(10)
        asking.settimeout(20)
        asking.connect((server.address, port))
        answering, _ = listening.accept()
        with answering:
            answering.settimeout(20)
            digests = _both_ways(asking, there, answering, back)
    assert digests == (_digest(there), _digest(back))


def _both_ways(client: socket.socket, there: bytes, server: socket.socket, back: bytes) -> tuple[str, str]:
    """Digests of what arrived at the server and at the client."""
    arrived: dict[str, str] = {}

    def send(on: socket.socket, data: bytes) -> None:
        on.sendall(data)
        on.shutdown(socket.SHUT_WR)

    def take(on: socket.socket, name: str) -> None:
        digest = hashlib.sha256()
        while part := on.recv(1 << 18):
            digest.update(part)
        arrived[name] = digest.hexdigest()

    jobs = [
        threading.Thread(target=send, args=(client, there)),
        threading.Thread(target=send, args=(server, back)),
        threading.Thread(target=take, args=(server, "server")),
        threading.Thread(target=take, args=(client, "client")),
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return arrived.get("server", ""), arrived.get("client", "")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- datagrams and frames


@contextlib.contextmanager
def listening(at: tenants.End, *, port: int = PORT, timeout: float = 3.0) -> Iterator[socket.socket]:
    """A UDP socket on an endpoint's address."""
    with at.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((at.address, port))
        opened.settimeout(timeout)
        yield opened


def send(sender: tenants.Place, to: str, data: bytes, *, port: int = PORT, source_port: int = 0) -> None:
    """One datagram."""
    with sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((sender.address, source_port))
        opened.sendto(data, (to, port))


def is_silent(opened: socket.socket) -> bool:
    """Whether nothing is waiting to be read. Ask when whatever could have arrived has been counted."""
    opened.setblocking(False)
    try:
        return not opened.recv(65536)
    except BlockingIOError:
        return True


def inject(at: tenants.Place, *frames: bytes, ifname: str = "eth0") -> None:
    """Ethernet frames, as they are."""
    with at.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as opened:
        opened.bind((ifname, 0))
        for frame in frames:
            opened.send(frame)


def tunnel(sender: tenants.Place, to: str, payload: bytes, *, source: str | None = None) -> None:
    """One datagram to the tunnel's port of a host; `payload` is the Geneve header and what follows."""
    with sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((source or sender.address, 0))
        opened.sendto(payload, (to, layout.GENEVE_PORT))


Forget = Callable[[], None]


def forgetter(tenant: tenants.Tenant, sender: tenants.End, receiver: tenants.End) -> Forget:
    """What makes the sender's host forget the direct path to the receiver, as the receiver's host may ask it
    to: the next packet goes by divider and bouncer again."""
    at = tenants.host(tenant.lab, receiver.host)
    to = tenants.host(tenant.lab, sender.host).address
    about = tenants.number_of(receiver.address)
    payload = geneve.pack(geneve.Header(tenant.vni, control=True, options=(geneve.Forget(about),)))
    return lambda: tunnel(at, to, payload)

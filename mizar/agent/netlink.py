# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: one thread that asks and changes, one that listens.

Why a thread: a request may enter another network namespace, which is a property of the thread; and pyroute2's
sockets belong to the thread that opened them.

What holds:
 - A failure is a KernelError "verb noun: cause".
 - Both sockets are in the network namespace in which the object was made.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Final, TypeVar

import pyroute2
from pyroute2.netlink import exceptions

from mizar import errors
from mizar.agent import underlay

T = TypeVar("T")


class Requests:
    """Runs functions over an open rtnetlink socket, one after the other."""

    def __init__(self) -> None:
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="mizar-netlink")
        self._socket = self._thread.submit(pyroute2.IPRoute).result()

    def run(self, what: str, work: Callable[[pyroute2.IPRoute], T]) -> T:
        """The result of work(socket); `what` says for the error what was tried."""
        try:
            return self._thread.submit(work, self._socket).result()
        except exceptions.NetlinkError as failure:
            raise kernel_error(what, failure.code) from failure
        except OSError as failure:
            raise kernel_error(what, failure.errno or 0) from failure

    def close(self) -> None:
        self._thread.submit(self._socket.close).result()
        self._thread.shutdown()


def kernel_error(what: str, code: int) -> errors.KernelError:
    return errors.KernelError(f"{what}: {os.strerror(code)}", errno=code)


# ---------------------------------------------------------------- events

# linux/rtnetlink.h: multicast groups as bits, message types.
_GROUPS: Final = 0x1 | 0x4 | 0x10 | 0x40  # links, neighbours, IPv4 addresses, IPv4 routes
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH, _DELNEIGH = (
    16, 17, 20, 21, 24, 25, 28, 29,
)  # fmt: skip
_HEADER: Final = struct.Struct("=IHHII")
_LINK_BODY: Final = struct.Struct("=BxHi")
_NEIGH_BODY: Final = struct.Struct("=BxxxI")
_SETTLE_MS: Final = 20
"""Changes come in bursts; one call for each burst."""


class Events:
    """Listens for changes and says of which kind they were. Reads headers only: state is asked for anew."""

    def __init__(self, ifindex: int, changed: Callable[[underlay.Change], None]) -> None:
        """`ifindex`: the underlay NIC; neighbours of other interfaces are of no interest."""
        self._ifindex = ifindex
        self._changed = changed
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, _GROUPS))
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="mizar-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._wake_w)
        self._thread.join()
        os.close(self._wake_r)
        self._socket.close()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN | select.POLLHUP)
        pending = underlay.Change(0)
        while True:
            ready = {fd for fd, _ in poller.poll(_SETTLE_MS if pending else None)}
            if self._wake_r in ready:
                return
            if ready:
                pending |= self._receive()
            elif pending:
                self._changed(pending)
                pending = underlay.Change(0)

    def _receive(self) -> underlay.Change:
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            # ENOBUFS: more changed than fits the socket; assume all of it.
            return ~underlay.Change(0)
        return classify(data, self._ifindex)


def classify(data: bytes, ifindex: int) -> underlay.Change:
    """What the messages of one datagram say has changed, for a host whose underlay NIC is `ifindex`."""
    found = underlay.Change(0)
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        found |= _classify(kind, data[at + _HEADER.size : at + length], ifindex)
        at += max(_HEADER.size, (length + 3) & ~3)
    return found


def _classify(kind: int, body: bytes, nic: int) -> underlay.Change:
    if kind in (_NEWROUTE, _DELROUTE, _NEWADDR, _DELADDR):
        return underlay.Change.ROUTES
    if kind in (_NEWNEIGH, _DELNEIGH):
        _, ifindex = _NEIGH_BODY.unpack_from(body)
        return underlay.Change.NEIGHBOURS if ifindex == nic else underlay.Change(0)
    if kind in (_NEWLINK, _DELLINK):
        _, _, ifindex = _LINK_BODY.unpack_from(body)
        if ifindex == nic:
            return underlay.Change.ROUTES
        return underlay.Change.LINK_GONE if kind == _DELLINK else underlay.Change(0)
    return underlay.Change(0)

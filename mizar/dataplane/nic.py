# SPDX-License-Identifier: Apache-2.0
"""What a network interface is, and where the transit program belongs on it.

Asked by ioctl, not from /sys: a process that changed its network namespace still
sees the interfaces of the old one there.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import socket
import struct
from typing import Final

from mizar import errors
from mizar.dataplane import capi
from mizar.dataplane.protocol import Hook, TransitMode

_SIOCETHTOOL: Final = 0x8946
_GET_DRIVER: Final = 0x03
_IFREQ: Final = struct.Struct("16sP16x")
_DRIVER_INFO_SIZE: Final = 196


@dataclasses.dataclass(frozen=True)
class Nic:
    ifindex: int
    name: str
    driver: str
    """"veth", "ixgbe"; "" if the interface does not say."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A hook to try, and what to say when it is the one."""

    hook: Hook
    reason: str


def _ethtool(name: str, request: bytearray) -> bytearray | None:
    """The answer to one ethtool request; None where the interface has no such thing."""
    room = capi.ffi.from_buffer(request)
    address = int(capi.ffi.cast("uintptr_t", room))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, _IFREQ.pack(name.encode(), address))
        except OSError as exc:
            if exc.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                return None
            raise errors.KernelError(
                f"query interface {name}: {os.strerror(exc.errno or 0).lower()}", errno=exc.errno or 0
            ) from exc
    return request


def describe(ifindex: int) -> Nic:
    """The interface, in the network namespace of the calling thread."""
    try:
        name = socket.if_indextoname(ifindex)
    except OSError as exc:
        raise errors.KernelError(
            f"find interface {ifindex}: not in this network namespace", errno=errno.ENODEV
        ) from exc
    info = _ethtool(name, bytearray(struct.pack("=I", _GET_DRIVER)).ljust(_DRIVER_INFO_SIZE, b"\0"))
    driver = bytes(info[4:36]).split(b"\0")[0].decode() if info else ""
    return Nic(ifindex, name, driver)


def transit_choices(nic: Nic, mode: TransitMode) -> list[Choice]:
    """Where to try to run the transit program, best first. TCX stands for tc, whatever the kernel's kind."""
    driver = nic.driver or "unknown"
    tc, xdp = Choice(Hook.TCX, "asked for"), Choice(Hook.XDP, "asked for")
    match mode:
        case TransitMode.TCX:
            return [tc]
        case TransitMode.XDP:
            return [xdp, Choice(Hook.XDP_GENERIC, f"asked for; driver {driver} refuses native XDP")]
        case TransitMode.AUTO:
            if nic.driver == "veth":
                return [Choice(Hook.TCX, "veth: native XDP would copy each packet and make its peer segment")]
            native = Choice(Hook.XDP, f"driver {driver} runs XDP natively")
            return [native, Choice(Hook.TCX, f"driver {driver} refuses native XDP")]

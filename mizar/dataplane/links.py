# SPDX-License-Identifier: Apache-2.0
"""Programs on interfaces: tcx and XDP links, and clsact filters for kernels before 6.6.

What holds:
 - A link is an attachment that is an object: it can be pinned, and its program exchanged
   without a packet in between seeing none. It ends with its interface.
 - A clsact filter is part of the interface: it stays until it is taken off, pinned or not.
 - Interfaces are looked up in the network namespace of the calling thread.
"""

from __future__ import annotations

import dataclasses
import enum
import errno
import os
from typing import Any, Final

from mizar.dataplane import capi, programs

lib: Final = capi.lib
ffi: Final = capi.ffi

_BPF_XDP: Final = 37
_BPF_TCX_INGRESS: Final = 46  # unknown to libbpf 1.1, which passes it on all the same

# The one filter of ours on an interface's clsact ingress.
_TC_INGRESS: Final = 1
_TC_REPLACE: Final = 1
_TC_HANDLE: Final = 0x4D5A
_TC_PRIORITY: Final = 1

_NO_INTERFACE: Final = 0x7FFFFFFF


class XdpMode(enum.IntEnum):
    """XDP_FLAGS_* of linux/if_link.h."""

    GENERIC = 1 << 1
    NATIVE = 1 << 2


@dataclasses.dataclass(frozen=True)
class LinkInfo:
    program_id: int
    ifindex: int
    """0 once the interface is gone."""


class Link(capi.Handle):
    """One attachment; owns a descriptor, and ends when that is closed and no pin is left."""

    @classmethod
    def tcx(cls, program: programs.Program, ifindex: int) -> Link:
        return cls._create(
            program, ifindex, _BPF_TCX_INGRESS, what=f"attach {program.name} at tcx of interface"
        )

    @classmethod
    def xdp(cls, program: programs.Program, ifindex: int, mode: XdpMode) -> Link:
        opts = ffi.new("struct bpf_link_create_opts *")
        opts.sz, opts.flags = ffi.sizeof("struct bpf_link_create_opts"), int(mode)
        what = f"attach {program.name} as {mode.name.lower()} XDP to interface"
        return cls._create(program, ifindex, _BPF_XDP, what=what, opts=opts)

    @classmethod
    def _create(
        cls, program: programs.Program, ifindex: int, attach_type: int, *, what: str, opts: Any = ffi.NULL
    ) -> Link:
        return cls(
            capi.check(lib.bpf_link_create(program.fd, ifindex, attach_type, opts), f"{what} {ifindex}")
        )

    @classmethod
    def pinned(cls, path: os.PathLike[str] | str) -> Link:
        return cls(capi.open_pin(path))

    def info(self) -> LinkInfo:
        data = capi.info(self.fd, "mz_link_info", "link")
        return LinkInfo(program_id=data.prog_id, ifindex=data.ifindex)

    def update(self, program: programs.Program) -> None:
        """Run another program from the next packet on."""
        code = lib.bpf_link_update(self.fd, program.fd, ffi.NULL)
        capi.check(code, f"exchange program of link for {program.name}")

    def detach(self) -> None:
        """End the attachment, whoever else holds the link."""
        code = lib.bpf_link_detach(self.fd)
        if code != -errno.ENOLINK:  # the interface went first
            capi.check(code, "detach link")


def kernel_has_tcx(program: programs.Program) -> bool:
    """Whether this kernel knows tcx: one that does complains about the interface, not about the hook."""
    code = lib.bpf_link_create(program.fd, _NO_INTERFACE, _BPF_TCX_INGRESS, ffi.NULL)
    return bool(code == -errno.ENODEV)


# ---------------------------------------------------------------- clsact


def _hook(ifindex: int) -> Any:
    hook = ffi.new("struct bpf_tc_hook *")
    hook.sz, hook.ifindex, hook.attach_point = ffi.sizeof("struct bpf_tc_hook"), ifindex, _TC_INGRESS
    return hook


def _filter() -> Any:
    opts = ffi.new("struct bpf_tc_opts *")
    opts.sz, opts.handle, opts.priority = ffi.sizeof("struct bpf_tc_opts"), _TC_HANDLE, _TC_PRIORITY
    return opts


def clsact_attach(program: programs.Program, ifindex: int) -> None:
    """Run `program` on clsact ingress of the interface, in place of ours that is there."""
    hook = _hook(ifindex)
    code = lib.bpf_tc_hook_create(hook)
    if code != -errno.EEXIST:
        capi.check(code, f"add clsact to interface {ifindex}")
    opts = _filter()
    opts.prog_fd, opts.flags = program.fd, _TC_REPLACE
    capi.check(lib.bpf_tc_attach(hook, opts), f"attach {program.name} at clsact of interface {ifindex}")


def clsact_program(ifindex: int) -> int | None:
    """Id of our program on clsact ingress; None if there is none, or no such interface."""
    opts = _filter()
    return int(opts.prog_id) if lib.bpf_tc_query(_hook(ifindex), opts) == 0 else None


def clsact_detach(ifindex: int) -> None:
    """Take our program off. The qdisc stays: others may use it."""
    if clsact_program(ifindex) is not None:
        capi.check(lib.bpf_tc_detach(_hook(ifindex), _filter()), f"detach clsact of interface {ifindex}")

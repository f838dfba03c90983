# SPDX-License-Identifier: Apache-2.0
"""Programs that are in the kernel: who they are, and BPF_PROG_TEST_RUN.

    result = program.test_run(frame, context=programs.skb_context(ifindex=7))
    assert result.retval == 2

Contexts carry only the fields that the kernel lets through. Interfaces are looked up in the
network namespace of the calling thread.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Final

import numpy as np

from mizar.dataplane import capi

lib: Final = capi.lib
ffi: Final = capi.ffi

_MAX_FRAME: Final = 1 << 16

_SK_BUFF: Final = np.dtype(
    {
        "names": ["ingress_ifindex", "ifindex", "wire_len", "gso_segs", "gso_size"],
        "formats": ["=u4"] * 5,
        "offsets": [36, 40, 160, 164, 176],
        "itemsize": 192,
    }
)
"""struct __sk_buff of linux/bpf.h."""

_XDP_FIELDS: Final = ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
_XDP_MD: Final = np.dtype([(name, "=u4") for name in _XDP_FIELDS])
"""struct xdp_md of linux/bpf.h."""


def skb_context(
    *, ifindex: int = 0, ingress_ifindex: int = 0, gso_size: int = 0, gso_segs: int = 0, wire_len: int = 0
) -> bytes:
    """Context of a tc program: the packet is on `ifindex` (0: loopback)."""
    ctx = np.zeros((), dtype=_SK_BUFF)
    ctx["ifindex"], ctx["ingress_ifindex"] = ifindex, ingress_ifindex
    ctx["gso_size"], ctx["gso_segs"], ctx["wire_len"] = gso_size, gso_segs, wire_len
    return ctx.tobytes()


def xdp_context(length: int, *, ifindex: int) -> bytes:
    """Context of an XDP program: a frame of `length` bytes arrives on queue 0 of `ifindex`."""
    ctx = np.zeros((), dtype=_XDP_MD)
    ctx["data_end"], ctx["ingress_ifindex"] = length, ifindex
    return ctx.tobytes()


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What one BPF_PROG_TEST_RUN gave."""

    retval: int
    data: bytes
    duration_ns: int
    """Average of one run."""


class Program(capi.Handle):
    """One program; owns a descriptor of its own."""

    @classmethod
    def pinned(cls, path: os.PathLike[str] | str) -> Program:
        return cls(capi.open_pin(path))

    def _info(self) -> Any:
        return capi.info(self.fd, "mz_prog_info", "program")

    @property
    def name(self) -> str:
        """As the kernel keeps it: cut at 15 characters."""
        return str(ffi.string(self._info().name).decode())

    @property
    def id(self) -> int:
        return int(self._info().id)

    @property
    def tag(self) -> str:
        """Hash over the instructions, without the maps they name."""
        return bytes(self._info().tag).hex()

    def map_ids(self) -> frozenset[int]:
        """Ids of the maps it uses."""
        count = self._info().nr_map_ids
        ids = ffi.new("__u32[]", max(count, 1))
        data = ffi.new("struct mz_prog_info *")
        data.nr_map_ids, data.map_ids = count, int(ffi.cast("uintptr_t", ids))
        size = ffi.new("__u32 *", ffi.sizeof("struct mz_prog_info"))
        capi.check(lib.bpf_obj_get_info_by_fd(self.fd, data, size), "describe program")
        return frozenset(ids[i] for i in range(count))

    def test_run(
        self, data: bytes, *, context: bytes = b"", repeat: int = 1, room: int = _MAX_FRAME
    ) -> RunResult:
        """Run on `data`, at least an Ethernet header; `room` is the most bytes that may come out.

        With `repeat`, all runs work on one buffer: each sees what the one before left.
        """
        out = ffi.new("unsigned char[]", room)
        given = ffi.from_buffer(data), ffi.from_buffer(context)
        opts = ffi.new("struct bpf_test_run_opts *")
        opts.sz = ffi.sizeof("struct bpf_test_run_opts")
        opts.data_in, opts.data_size_in = given[0], len(data)
        opts.data_out, opts.data_size_out = out, room
        if context:
            opts.ctx_in, opts.ctx_size_in = given[1], len(context)
        opts.repeat = repeat
        code = lib.bpf_prog_test_run_opts(self.fd, opts)
        if code < 0:
            raise capi.failure(f"run program {self.name} on {len(data)} bytes", -code)
        return RunResult(opts.retval, bytes(ffi.buffer(out, opts.data_size_out)), opts.duration)

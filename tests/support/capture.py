# SPDX-License-Identifier: Apache-2.0
"""What is on a cable, as a decoder that knows nothing of us reads it: tshark.

    with capture.Capture(capture.cable(lab, "h1")) as wire:
        ... traffic ...
    tunnelled = wire.decoded("geneve", tmp_path)

Frames are taken at the switch's end of a host's cable, where what XDP sends back is seen too, by a socket
that is there before the traffic is.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import socket
import struct
import subprocess
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

from mizar.lab import lab as lab_module
from mizar.lab import topology
from tests.support import netns, tenants

_ETH_P_ALL: Final = 0x0003
_PCAP: Final = struct.Struct("<IHHiIII")
_RECORD: Final = struct.Struct("<IIII")
_MAGIC, _ETHERNET, _LONGEST = 0xA1B2C3D4, 1, 1 << 18


@dataclasses.dataclass(frozen=True)
class Cable:
    """An interface to listen at."""

    place: tenants.Place
    ifname: str


def cable(lab: lab_module.Lab, host: str) -> Cable:
    return Cable(tenants.Place(topology.UNDERLAY, ""), lab.host(host).port)


@dataclasses.dataclass(frozen=True)
class Packet:
    """One packet as decoded: names of its layers, and values by field (`ip_src`) in the order of headers."""

    layers: tuple[str, ...]
    fields: dict[str, list[Any]]

    def outer(self, field: str) -> Any:
        """Value in the outermost header that has the field."""
        return self.fields[field][0]

    def inner(self, field: str) -> Any:
        """Value in the innermost header that has the field."""
        return self.fields[field][-1]

    @property
    def complaints(self) -> list[str]:
        """What the decoder found wrong."""
        words = ("malformed", "invalid", "_ws_expert")
        return [name for name in (*self.layers, *self.fields) if any(word in name for word in words)]


class Capture:
    """Every frame of a cable, in both directions, from entry to exit of the block."""

    def __init__(self, at: Cable) -> None:
        self._socket = at.place.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind((at.ifname, _ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.settimeout(0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take)
        self.frames: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _take(self) -> None:
        """A last time after the end, for what is in the socket already."""
        while True:
            last = self._over.is_set()
            try:
                while True:
                    self.frames.append(self._socket.recv(_LONGEST))
            except TimeoutError:
                if last:
                    return

    def until(self, count: int) -> None:
        """Until so many frames were taken."""
        netns.until(lambda: len(self.frames) >= count, f"{count} frames on the cable")

    def decoded(self, display_filter: str, directory: pathlib.Path) -> list[Packet]:
        """The frames that match a filter of Wireshark's, checksums of IPv4 headers checked."""
        file = directory / "cable.pcap"
        file.write_bytes(self._pcap())
        done = subprocess.run(
            ["tshark", "-r", str(file), "-Y", display_filter, "-T", "ek", "-o", "ip.check_checksum:TRUE"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        packets = [json.loads(line) for line in done.stdout.splitlines()]
        return [_packet(packet["layers"]) for packet in packets if "layers" in packet]

    def _pcap(self) -> bytes:
        now = int(time.time())
        records = [
            _RECORD.pack(now, n, len(frame), len(frame)) + frame for n, frame in enumerate(self.frames)
        ]
        return _PCAP.pack(_MAGIC, 2, 4, 0, 0, _LONGEST, _ETHERNET) + b"".join(records)


def _packet(layers: dict[str, Any]) -> Packet:
    fields: dict[str, list[Any]] = {}
    for name, layer in layers.items():
        for part in layer if isinstance(layer, list) else [layer]:
            for field, value in part.items() if isinstance(part, dict) else ():
                values = value if isinstance(value, list) else [value]
                fields.setdefault(field.removeprefix(f"{name}_"), []).extend(values)
    return Packet(tuple(layers), fields)

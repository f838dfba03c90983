# SPDX-License-Identifier: Apache-2.0
"""What a lab is asked to be, and which wishes are refused before anything is touched."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from typing import Any, Final

from mizar import errors

STATE_DIR: Final = pathlib.Path("/run/mizar/lab")
API_SOCKET: Final = STATE_DIR / "api.sock"

MAX_HOSTS: Final = 200
"""An agent process takes some 100 MB."""

ENVELOPE: Final = 64
"""Bytes that the inner MTU leaves for the tunnel: MZ_ENVELOPE of abi.h, checked by tests/unit/lab."""
MIN_MTU: Final = 576 + ENVELOPE
"""An inner MTU below 576 is none for IPv4 (RFC 791)."""
MAX_MTU: Final = 65535
MAX_XDP_MTU: Final = 3498
"""XDP on a veth wants a packet in one page, with headroom and skb_shared_info (drivers/net/veth.c)."""


class Transit(enum.StrEnum):
    """Where the transit program runs on every host's NIC."""

    AUTO = "auto"
    XDP = "xdp"
    TCX = "tcx"


class Wire(enum.StrEnum):
    """What the cables do with large packets."""

    GSO = "gso"
    """A veth as the kernel makes it: 64 KiB cross it in one piece."""
    SEGMENTING = "segmenting"
    """As between two NICs: the sender cuts every packet to the MTU before it leaves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabConfig:
    """`check` raises InvalidError; the constructor does not, so that options can be gathered first."""

    hosts: int = 4
    manifest: pathlib.Path | None = None
    """Applied when the hosts are ready; the lab is up when all in it is ready."""
    transit: Transit = Transit.AUTO
    wire: Wire = Wire.GSO
    mtu: int = 1500
    """Of the underlay, bytes of IP packet; endpoints get 64 less."""
    ready_timeout: float = 60.0
    """Seconds for daemons, hosts and the manifest to become ready, each."""

    def check(self) -> None:
        if not 1 <= self.hosts <= MAX_HOSTS:
            raise errors.InvalidError(f"{self.hosts} hosts: a lab has 1 to {MAX_HOSTS}")
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise errors.InvalidError(
                f"MTU {self.mtu} is {'too small to carry the tunnel' if self.mtu < MIN_MTU else 'too large'}:"
                f" the underlay's must be {MIN_MTU} to {MAX_MTU}, {ENVELOPE} bytes of it for the envelope"
            )

        if self.transit is Transit.XDP and self.mtu > MAX_XDP_MTU:
            raise errors.InvalidError(
                f"MTU {self.mtu} is too large for XDP on a veth, which takes {MAX_XDP_MTU} at most:"
                " use a smaller one or --transit tcx"
            )

    @property
    def runs_xdp(self) -> bool:
        """Whether agents run XDP: only if asked to, since on a veth they choose tcx."""
        return self.transit is Transit.XDP

    def as_json(self) -> dict[str, Any]:
        return {
            "hosts": self.hosts,
            "manifest": str(self.manifest) if self.manifest else None,
            "transit": self.transit.value,
            "wire": self.wire.value,
            "mtu": self.mtu,
        }


def from_json(raw: dict[str, Any]) -> LabConfig:
    """The reverse of `as_json`."""
    return LabConfig(
        hosts=raw["hosts"],
        manifest=pathlib.Path(raw["manifest"]) if raw["manifest"] else None,
        transit=Transit(raw["transit"]),
        wire=Wire(raw["wire"]),
        mtu=raw["mtu"],
    )

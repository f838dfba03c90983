# SPDX-License-Identifier: Apache-2.0
"""What an agent is told when it starts."""

from __future__ import annotations

import dataclasses
import pathlib
import socket
from collections.abc import Mapping
from typing import Final

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import protocol
from mizar.rpc import wire

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclasses.dataclass(frozen=True)
class DirectAges:
    """How long learnt direct paths are believed, in milliseconds."""

    soft: int = 5_000
    """An entry older than this asks to be confirmed."""
    hard: int = 15_000
    """An entry older than this is not used."""

    def __post_init__(self) -> None:
        if not 1 <= self.soft <= self.hard:
            raise errors.InvalidError(
                f"ages of direct paths {self.soft} and {self.hard} ms: must be at least 1,"
                " soft not above hard"
            )


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Settings of one agent. Defaults are those of a host that runs a single one."""

    name: str = dataclasses.field(default_factory=socket.gethostname)
    """Name of the host, for people."""
    address: str = ""
    """Underlay IPv4 of this host; empty: that of `interface`, or of the default route's interface."""
    interface: str = ""
    """Underlay interface; empty: the one with `address`, or the default route's."""
    state_dir: pathlib.Path = pathlib.Path("/run/mizar")
    """Journal, lock and, by default, the API's socket. Should not outlive a reboot."""
    pin_root: pathlib.Path | None = None
    """Where maps, programs and links are pinned; None: /sys/fs/bpf/mizar/NAME."""
    listen: tuple[str, ...] = ()
    """`unix:///path` or `host:port` (needs `tls`); empty: unix socket agent.sock in `state_dir`."""
    listen_insecure: tuple[str, ...] = ()
    """`host:port` without TLS. Whoever reaches it owns the host's network."""
    tls: wire.TlsFiles | None = None
    """Mutual TLS for TCP."""
    transit: protocol.TransitMode = protocol.TransitMode.AUTO
    """Hook of the transit program on the underlay interface."""
    direct_ages: DirectAges = DirectAges()
    """Soft and hard age of learnt direct paths."""
    map_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Capacity by table (hosts, locations, ...) for tables made now; a pinned table keeps its own."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        if self.log_level not in LOG_LEVELS:
            raise errors.InvalidError(f"log level {self.log_level!r}: must be one of {', '.join(LOG_LEVELS)}")
        for label, size in self.map_sizes.items():
            if label not in layout.LABELS:
                raise errors.InvalidError(f"table {label!r}: must be one of {', '.join(layout.LABELS)}")
            if size < 1:
                raise errors.InvalidError(f"size {size} of table {label}: must be at least 1")

    @property
    def pins(self) -> pathlib.Path:
        return self.pin_root or pathlib.Path("/sys/fs/bpf/mizar") / self.name

    @property
    def targets(self) -> tuple[str, ...]:
        """Where to listen with a guard: what was asked for, or the default socket."""
        if self.listen or self.listen_insecure:
            return self.listen
        return (f"unix://{self.state_dir}/agent.sock",)

    @property
    def sizes(self) -> dict[str, int]:
        """Capacities by map name."""
        return {layout.LABELS[label].name: size for label, size in self.map_sizes.items()}

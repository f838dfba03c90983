# SPDX-License-Identifier: Apache-2.0
"""What a controller is told when it starts."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Final

from mizar.rpc import wire

DEFAULT_SOCKET: Final = pathlib.Path("/run/mizar/api.sock")
DEFAULT_STATE_DIR: Final = pathlib.Path("/var/lib/mizar/controller")
DATABASE: Final = "mizar.db"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Waits of the controller, all in seconds. Defaults suit production; tests run them in fake time."""

    drain: float = 1.0
    """Between the last make and the break of a change: what is on the wire still needs the old rows."""
    backoff_first: float = 0.2
    """Before the second attempt to reach an agent, or to have a refused row taken."""
    backoff_last: float = 10.0
    """Longest wait between attempts; each is drawn from the upper half of its step, so agents are not called
    in step."""
    connect: float = 3.0
    """An agent that has not answered GetStatus by then is away."""
    acknowledge: float = 15.0
    """A message that is not acknowledged by then means that the agent hangs: away. A full message of 50,000
    rows takes a tenth of a second."""
    status: float = 30.0
    """Between two looks at an agent's status while it is connected."""
    away: float = 2.0
    """A gateway host whose agent has not answered for so long is away: another one answers for the outside
    addresses that it has answered for."""
    look: float = 1.0
    """Between two questions to neighbours of gateway hosts whether those answer."""
    gather: float = 1.5
    """Longest wait for live counters of all agents together; who is later is left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """One controller process."""

    state_dir: pathlib.Path = DEFAULT_STATE_DIR
    """Directory of the database. Made if it is absent, mode 0700."""
    listen: tuple[str, ...] = (f"unix://{DEFAULT_SOCKET}",)
    """Where the API is served: unix:///path (mode 0600) or host:port."""
    agent_tls: wire.TlsFiles | None = None
    """For agents on TCP: our certificate and key, and the CA of theirs."""
    agent_insecure: bool = False
    """Talk to agents on TCP without TLS. For laboratories."""
    max_body_bytes: int = 64 << 20
    """Largest request body of the API: about 250,000 endpoints."""
    timing: Timing = Timing()
    log_level: str = "info"

    @property
    def database(self) -> pathlib.Path:
        return self.state_dir / DATABASE

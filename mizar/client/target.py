# SPDX-License-Identifier: Apache-2.0
"""Where an API is: `unix:///run/mizar/api.sock`, a bare path, `host:port` or `http://host:port`."""

from __future__ import annotations

import dataclasses
from typing import Final

from mizar import errors

DEFAULT_SOCKET: Final = "/run/mizar/api.sock"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A unix socket (`path`) or a TCP address (`host`, `port`). `remedy`: what to do when nobody answers."""

    path: str = ""
    host: str = ""
    port: int = 0
    remedy: str = "start one with `mizar lab up` or `mizar controller`, or name another with --api"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"http://{self.host}:{self.port}"


def parse(text: str) -> Target:
    """Raises UsageError for what is no address."""
    if text.startswith("unix://"):
        text = text.removeprefix("unix://")
        if not text.startswith("/"):
            raise _refused(f"unix://{text}")
    if text.startswith("/"):
        return Target(path=text)
    host, colon, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _refused(text)
    return Target(host=host.strip("[]"), port=int(port))


def _refused(text: str) -> errors.UsageError:
    return errors.UsageError(
        f"API address {text!r} is not understood; wanted unix:///path, /path or host:port"
    )

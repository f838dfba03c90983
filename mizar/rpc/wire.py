# SPDX-License-Identifier: Apache-2.0
"""What client and server agree on: where an agent listens, how it is secured, limits and keepalives.

What holds:
 - A target is `unix:///path` or `host:port`. A unix socket is guarded by its file mode; TCP needs mutual TLS,
   or the word *insecure* from whoever asks for it.
 - Both ends use the limits below, so a message that one side may send is one that the other may receive.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Final

from mizar import errors

MAX_MESSAGE_BYTES: Final = 16 << 20
"""Largest message, either way."""

CHUNK_ROWS: Final = 50_000
"""Rows of one update message: a few MB at the most, whatever the table."""

PAGE_ROWS: Final = 2_000
"""Rows of one TablePage."""

_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

_LIMITS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

CLIENT_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_KEEPALIVE,
    *_LIMITS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 10_000),
    # An agent is on the underlay or on this machine, never behind the proxy of somebody's environment.
    ("grpc.enable_http_proxy", 0),
)

SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_KEEPALIVE,
    *_LIMITS,
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two agents on one port would each get some of the calls.
    ("grpc.so_reuseport", 0),
)


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """Mutual TLS: our certificate and key, and the CA that signed the other side's. PEM files."""

    cert: pathlib.Path
    key: pathlib.Path
    ca: pathlib.Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        """(cert, key, ca) as bytes; InvalidError names the file that cannot be read."""
        return _read(self.cert), _read(self.key), _read(self.ca)


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise errors.InvalidError(f"TLS file {path}: {failure.strerror}") from failure


@dataclasses.dataclass(frozen=True)
class Target:
    """Where an agent listens: the path of a unix socket, or a TCP host and port."""

    path: pathlib.Path | None = None
    host: str = ""
    port: int = 0

    @property
    def is_unix(self) -> bool:
        return self.path is not None

    def __str__(self) -> str:
        """As gRPC and our own configuration write it."""
        return f"unix://{self.path}" if self.path else f"{self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """Read `unix:///path` or `host:port` ([v6]:port too); InvalidError says what would be right."""
    if text.startswith("unix:"):
        path = pathlib.Path(text.removeprefix("unix:").removeprefix("//"))
        if not path.is_absolute():
            raise errors.InvalidError(
                f"agent address {text!r}: the socket's path must be absolute, as in unix:///run/mizar/agent.sock"
            )
        return Target(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise errors.InvalidError(f"agent address {text!r}: wanted unix:///path or host:port")
    return Target(host=host, port=int(port))

# SPDX-License-Identifier: Apache-2.0
"""A gRPC server for one node: unix sockets, TCP with mutual TLS, and plain TCP only where that was named.

What does not belong here: what the calls do (mizar.agent.service).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from concurrent import futures
from typing import Final

import grpc

from mizar import errors
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2_grpc

THREADS: Final = 16
"""Calls served at once. A Sync stream holds one for its life, and a node has few clients."""


@dataclasses.dataclass(frozen=True)
class Listen:
    """Where to listen. Targets as in wire.parse_target."""

    targets: tuple[str, ...]
    insecure: tuple[str, ...] = ()
    """host:port without TLS: for laboratories, and said so in the log."""
    tls: wire.TlsFiles | None = None


class Server:
    """Serves one servicer on all its targets from construction until stop()."""

    def __init__(self, servicer: node_pb2_grpc.NodeServicer, listen: Listen) -> None:
        self._pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="mizar-rpc")
        self._server = grpc.server(self._pool, options=wire.SERVER_OPTIONS)
        node_pb2_grpc.add_NodeServicer_to_server(servicer, self._server)
        self.targets = tuple(
            [self._open(text, listen.tls) for text in listen.targets]
            + [self._open_insecure(text) for text in listen.insecure]
        )
        """What is listened on, with the port the kernel chose where 0 was asked for."""
        self._server.start()

    def stop(self, grace: float = 0.5) -> None:
        """Refuse new calls, give running ones `grace` seconds, close; the pool's threads end too."""
        self._server.stop(grace).wait()
        self._pool.shutdown(wait=True)

    def _open(self, text: str, tls: wire.TlsFiles | None) -> str:
        target = wire.parse_target(text)
        if target.path is not None:
            return self._open_unix(target.path)
        if tls is None:
            raise errors.InvalidError(
                f"listen address {text}: TCP needs TLS files, or --listen-insecure {text}"
            )
        cert, key, ca = tls.read()
        credentials = grpc.ssl_server_credentials(
            [(key, cert)], root_certificates=ca, require_client_auth=True
        )
        return self._bound(target, lambda: self._server.add_secure_port(str(target), credentials))

    def _open_unix(self, path: pathlib.Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = self._bound(wire.Target(path=path), lambda: self._server.add_insecure_port(f"unix://{path}"))
        path.chmod(0o600)
        return opened

    def _open_insecure(self, text: str) -> str:
        target = wire.parse_target(text)
        return self._bound(target, lambda: self._server.add_insecure_port(str(target)))

    def _bound(self, target: wire.Target, bind: Callable[[], int]) -> str:
        try:
            port = bind()
        except (RuntimeError, ValueError) as failure:
            raise errors.UnavailableError(f"listen on {target}: {failure}") from failure
        return str(target) if target.is_unix else str(dataclasses.replace(target, port=port))

# SPDX-License-Identifier: Apache-2.0
"""Channels to agents: one for scripts that wait, one for the controller's event loop.

    with client.connect("unix:///run/mizar/agent.sock") as node:
        print(node.GetStatus(node_pb2.GetStatusRequest()).name)

Both connect lazily: an agent that is away shows in the first call, as failures.from_rpc makes of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio

from mizar import errors
from mizar.rpc import wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2_grpc


def channel(target: str, *, tls: wire.TlsFiles | None = None, insecure: bool = False) -> grpc.Channel:
    """A blocking channel. TCP needs `tls`, or `insecure` in so many words."""
    address = wire.parse_target(target)
    credentials = _credentials(address, tls=tls, insecure=insecure)
    if credentials is None:
        return grpc.insecure_channel(str(address), options=wire.CLIENT_OPTIONS)
    return grpc.secure_channel(str(address), credentials, options=wire.CLIENT_OPTIONS)


def aio_channel(target: str, *, tls: wire.TlsFiles | None = None, insecure: bool = False) -> grpc.aio.Channel:
    """The same for asyncio."""
    address = wire.parse_target(target)
    credentials = _credentials(address, tls=tls, insecure=insecure)
    if credentials is None:
        return grpc.aio.insecure_channel(str(address), options=wire.CLIENT_OPTIONS)
    return grpc.aio.secure_channel(str(address), credentials, options=wire.CLIENT_OPTIONS)


@contextlib.contextmanager
def connect(
    target: str, *, tls: wire.TlsFiles | None = None, insecure: bool = False
) -> Iterator[node_pb2_grpc.NodeStub]:
    """A stub of the node API whose channel is closed at the end."""
    with channel(target, tls=tls, insecure=insecure) as opened:
        yield node_pb2_grpc.NodeStub(opened)


@contextlib.asynccontextmanager
async def connect_aio(
    target: str, *, tls: wire.TlsFiles | None = None, insecure: bool = False
) -> AsyncIterator[node_pb2_grpc.NodeAsyncStub]:
    """The same for asyncio."""
    async with aio_channel(target, tls=tls, insecure=insecure) as opened:
        yield async_stub(opened)


def async_stub(opened: grpc.aio.Channel) -> node_pb2_grpc.NodeAsyncStub:
    """A stub over an asyncio channel, typed as one: the generated class is the same for both."""
    return node_pb2_grpc.NodeStub(opened)


def _credentials(
    target: wire.Target, *, tls: wire.TlsFiles | None, insecure: bool
) -> grpc.ChannelCredentials | None:
    if target.is_unix:
        return None
    if tls is not None:
        cert, key, ca = tls.read()
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
    if insecure:
        return None
    raise errors.InvalidError(
        f"agent address {target}: TCP needs mutual TLS (certificate, key and CA files), or 'insecure' by name"
    )

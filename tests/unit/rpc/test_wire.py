# SPDX-License-Identifier: Apache-2.0
"""Targets, errors and transports of the node API, over real sockets."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import Iterator

import grpc
import pytest

from mizar import errors
from mizar.agent import health, service, simulated
from mizar.rpc import client, failures, server, values, wire
from mizar.rpc.gen.mizar.node.v1 import node_pb2

STATUS = node_pb2.GetStatusRequest()


@pytest.fixture
def answering(tmp_path: pathlib.Path) -> Iterator[service.NodeService]:
    """The service of a host in memory."""
    served = simulated.host("h1", values.address("172.30.0.11"), state_dir=tmp_path, sizes={"mz_stats": 64})
    yield service.NodeService(served)
    served.close()


def name_of(target: str, *, tls: wire.TlsFiles | None = None, insecure: bool = False) -> str:
    with client.connect(target, tls=tls, insecure=insecure) as node:
        return node.GetStatus(STATUS, timeout=5).name


@pytest.fixture
def socket(tmp_path: pathlib.Path, answering: service.NodeService) -> Iterator[str]:
    running = server.Server(answering, server.Listen((f"unix://{tmp_path}/run/agent.sock",)))
    yield running.targets[0]
    running.stop()


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///run/a.sock", wire.Target(path=pathlib.Path("/run/a.sock"))),
        ("192.0.2.1:7601", wire.Target(host="192.0.2.1", port=7601)),
        ("[2001:db8::1]:7601", wire.Target(host="[2001:db8::1]", port=7601)),
    ],
)
def test_target_is_read_and_written_alike(text: str, expected: wire.Target) -> None:
    assert wire.parse_target(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "h1", "h1:", ":1", "h1:x", "h1:65536", "unix:relative"])
def test_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidError, match="agent address"):
        wire.parse_target(text)


# ---------------------------------------------------------------- unix


def test_unix_socket_is_for_its_owner_only(socket: str) -> None:
    assert name_of(socket) == "h1"
    path = wire.parse_target(socket).path
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_asyncio_client_reaches_the_same_server(socket: str) -> None:
    async def ask() -> str:
        async with client.connect_aio(socket) as node:
            return (await node.GetStatus(STATUS)).name

    assert asyncio.run(ask()) == "h1"


def test_message_of_many_rows_fits(socket: str) -> None:
    rows = wire.CHUNK_ROWS * 4
    located = node_pb2.LocationSet(vni=1, network=1, addresses=range(rows), hosts=[1] * rows)
    with client.connect(socket) as node:
        ack = node.Apply(node_pb2.SyncRequest(upsert=node_pb2.Tables(locations=[located])))
    assert [error.message.split(":")[0] for error in ack.errors] == ["network 1 does not bounce here"]


def test_refusal_comes_back_as_our_error_with_its_message(socket: str) -> None:
    with client.connect(socket) as node, pytest.raises(grpc.RpcError) as refused:
        node.Apply(node_pb2.SyncRequest(mode=node_pb2.SyncRequest.PRUNE))
    found = failures.from_rpc(refused.value)
    assert isinstance(found, errors.ConflictError)
    assert str(found) == "PRUNE without a snapshot: send SNAPSHOT_BEGIN first"


def test_absent_agent_is_unavailable(tmp_path: pathlib.Path) -> None:
    with client.connect(f"unix://{tmp_path}/none.sock") as node, pytest.raises(grpc.RpcError) as refused:
        node.GetStatus(STATUS, timeout=5)
    assert isinstance(failures.from_rpc(refused.value), errors.UnavailableError)


@pytest.mark.parametrize(
    "kind", [errors.InvalidError, errors.ConflictError, errors.NotFoundError, errors.UnavailableError]
)
def test_every_error_has_a_code_of_its_own(kind: type[errors.MizarError]) -> None:
    codes = {failures.code_of(kind("x"))} & {failures.code_of(errors.KernelError("x"))}
    assert not codes


# ---------------------------------------------------------------- TCP


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A CA with certificates for `agent` and `controller`, and a stranger that signed itself."""
    home = tmp_path_factory.mktemp("pki")
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    san = ["-addext", "subjectAltName=IP:127.0.0.1"]

    def make(name: str, *more: str) -> None:
        files = [
            "-keyout",
            str(home / f"{name}.key"),
            "-out",
            str(home / f"{name}.pem"),
            "-subj",
            f"/CN={name}",
        ]
        subprocess.run([*new, *files, *more], check=True, capture_output=True)

    make("ca")
    for name in ("agent", "controller"):
        make(name, *san, "-CA", str(home / "ca.pem"), "-CAkey", str(home / "ca.key"))
    make("stranger", *san)
    return home


def files(home: pathlib.Path, name: str) -> wire.TlsFiles:
    return wire.TlsFiles(cert=home / f"{name}.pem", key=home / f"{name}.key", ca=home / "ca.pem")


@pytest.fixture
def guarded(pki: pathlib.Path, answering: service.NodeService) -> Iterator[str]:
    running = server.Server(answering, server.Listen(("127.0.0.1:0",), tls=files(pki, "agent")))
    yield running.targets[0]
    running.stop()


def test_mutual_tls_lets_the_known_in(guarded: str, pki: pathlib.Path) -> None:
    assert name_of(guarded, tls=files(pki, "controller")) == "h1"


def test_mutual_tls_keeps_strangers_and_plain_clients_out(guarded: str, pki: pathlib.Path) -> None:
    with pytest.raises(grpc.RpcError):
        name_of(guarded, tls=files(pki, "stranger"))
    with pytest.raises(grpc.RpcError):
        name_of(guarded, insecure=True)


def test_tcp_without_tls_must_be_asked_for_by_name(answering: service.NodeService) -> None:
    with pytest.raises(errors.InvalidError, match="--listen-insecure"):
        server.Server(answering, server.Listen(("127.0.0.1:0",)))
    with pytest.raises(errors.InvalidError, match="needs mutual TLS"):
        client.channel("127.0.0.1:1")
    running = server.Server(answering, server.Listen((), insecure=("127.0.0.1:0",)))
    assert name_of(running.targets[0], insecure=True) == "h1"
    running.stop()


def test_missing_tls_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.InvalidError, match=r"agent\.pem: No such file"):
        client.channel("127.0.0.1:1", tls=files(tmp_path, "agent"))


def test_port_in_use_is_said(guarded: str, answering: service.NodeService) -> None:
    with pytest.raises(errors.UnavailableError, match=f"listen on {guarded}"):
        server.Server(answering, server.Listen((), insecure=(guarded,)))


# ---------------------------------------------------------------- values


def test_values_of_messages() -> None:
    assert values.address("10.0.0.1") == 0x0A000001
    assert values.prefix("10.0.1.0/24") == node_pb2.Prefix(address=0x0A000100, length=24)
    assert values.mac("02:00:00:00:00:01") == b"\x02\0\0\0\0\x01"
    with pytest.raises(ValueError, match="six octets"):
        values.mac("02:00")


# ---------------------------------------------------------------- health


def test_health_is_streamed_until_the_caller_goes(socket: str, answering: service.NodeService) -> None:
    key = health.Key("blue", "web-1", "blue/shop")
    board = answering.node.health
    board.report(key, health.Result(True))
    with client.connect(socket) as stub:
        stream = iter(stub.WatchHealth(node_pb2.WatchHealthRequest(), timeout=10))
        first = next(stream)
        assert (first.key.endpoint.vpc, first.key.endpoint.name, first.key.service) == tuple(key)
        assert first.healthy
        board.report(key, health.Result(False, "connection refused"))
        assert next(stream).message == "connection refused"


def test_server_that_stops_ends_the_health_stream(
    tmp_path: pathlib.Path, answering: service.NodeService
) -> None:
    running = server.Server(answering, server.Listen((f"unix://{tmp_path}/agent.sock",)))
    with client.connect(running.targets[0]) as stub:
        stream = iter(stub.WatchHealth(node_pb2.WatchHealthRequest(), timeout=10))
        answering.node.health.report(health.Key("blue", "web-1", "blue/shop"), health.Result(True))
        next(stream)
        running.stop()
        with pytest.raises(grpc.RpcError):
            next(stream)

# SPDX-License-Identifier: Apache-2.0
"""What the agent does for services, on the real kernel: checks, ways out, announcements, collecting flows.

h1  172.31.8.1  eth0 ------------------ eth0  172.31.8.2  outside
agent                                               a neighbour without Mizar
endpoint web  10.0.1.5, with a web server of its own
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import re
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Final

import grpc
import numpy as np
import pytest

from mizar.abi import layout
from mizar.agent import announcer, peers
from mizar.dataplane import maps
from mizar.rpc import values
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from tests.support import agents, netns

VPC: Final = f"shop{os.getpid()}"
VNI: Final = 0x5409
WEB: Final = "10.0.1.5"
PORT: Final = 8080
POOL: Final = values.address("172.31.8.10")
KEY: Final = node_pb2.EndpointKey(vpc=VPC, name="web")

_SERVER: Final = """
import http.server, pathlib, socketserver, sys
class Server(http.server.ThreadingHTTPServer):
    server_bind = socketserver.TCPServer.server_bind  # asks no DNS for its own name
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(pathlib.Path(sys.argv[1]).read_text()) if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
Server((sys.argv[2], 8080), Handler).serve_forever()
"""


def endpoint() -> node_pb2.Endpoint:
    number = values.address(WEB)
    return node_pb2.Endpoint(
        key=KEY, vni=VNI, network=7, shards=1, mac=b"\x02\x00" + number.to_bytes(4, "big"), addresses=[number]
    )


def check(service: str, kind: node_pb2.Check.Kind.ValueType, *, port: int = PORT) -> node_pb2.Check:
    return node_pb2.Check(
        key=node_pb2.CheckKey(endpoint=KEY, service=service),
        kind=kind,
        port=port,
        path="/health",
        interval_ms=100,
        timeout_ms=1000,
        failures=2,
        successes=1,
    )


CHECKS: Final = (
    check("up", node_pb2.Check.UP),
    check("tcp", node_pb2.Check.TCP_CONNECT),
    check("http", node_pb2.Check.HTTP_GET),
    check("closed", node_pb2.Check.TCP_CONNECT, port=9),
)


def apply(to: agents.Agent, **fields: object) -> None:
    ack = to.node.Apply(node_pb2.SyncRequest(**fields))  # type: ignore[arg-type]
    assert not ack.errors, ack.errors


class Reports:
    """The last report of each check, as the stream brings them."""

    def __init__(self, of: agents.Agent) -> None:
        self._stream = of.node.WatchHealth(node_pb2.WatchHealthRequest())
        self._last: dict[str, node_pb2.HealthReport] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for report in self._stream:
                self._last[report.key.service] = report

    def wait(self, **messages: str) -> None:
        """Until each check named has this message; the empty one is healthy."""

        def arrived() -> bool:
            return all(
                name in self._last
                and self._last[name].healthy is not bool(message)
                and self._last[name].message == message
                for name, message in messages.items()
            )

        netns.until(arrived, f"health is {messages}: {self._last}")

    def close(self) -> None:
        self._stream.cancel()  # type: ignore[no-untyped-call]
        self._thread.join(10)


@pytest.fixture(scope="module")
def outside() -> Iterator[netns.Namespace]:
    with netns.namespace("outside") as made:
        yield made


@pytest.fixture(scope="module")
def h1(outside: netns.Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[agents.Agent]:
    with netns.namespace("h1") as host:
        netns.wire(host, "172.31.8.1/24", outside, "172.31.8.2/24")
        with agents.agent(host, "h1", tmp_path_factory.mktemp("agent")) as made:
            own = node_pb2.Host(address=values.address("172.31.8.1"), name="h1")
            vpc = node_pb2.Vpc(vni=VNI, name=VPC)
            apply(made, revision=1, upsert=node_pb2.Tables(hosts=[own], vpcs=[vpc]))
            yield made


@pytest.fixture
def web(h1: agents.Agent) -> Iterator[netns.Namespace]:
    """The endpoint's namespace."""
    yield netns.Namespace(h1.node.CreateEndpoint(endpoint()).netns)
    h1.node.RemoveEndpoint(KEY)


# ---------------------------------------------------------------- checks


@contextlib.contextmanager
def served(at: netns.Namespace, status: pathlib.Path, address: str = WEB) -> Iterator[None]:
    status.write_text("200")
    process = at.start(sys.executable, "-c", _SERVER, str(status), address)
    try:
        netns.until(lambda: f":{PORT}" in at.run("ss", "-lnt").stdout, "the web server listens")
        yield
    finally:
        process.kill()
        process.wait()


def test_checks_follow_what_the_endpoint_really_does(
    h1: agents.Agent, web: netns.Namespace, tmp_path: pathlib.Path
) -> None:
    status = tmp_path / "status"
    with served(web, status), contextlib.closing(Reports(h1)) as reports:
        apply(h1, upsert=node_pb2.Tables(checks=CHECKS))
        reports.wait(up="", tcp="", http="", closed="connection refused")
        status.write_text("503")
        reports.wait(up="", tcp="", http="HTTP status 503")
        status.write_text("302")
        reports.wait(http="")
        web.run("ip", "link", "set", "eth0", "down")
        reports.wait(up="interface eth0 is down")
        web.run("ip", "link", "set", "eth0", "up")
        reports.wait(up="")
    with contextlib.closing(Reports(h1)) as reports:
        reports.wait(up="", tcp="connection refused", http="connection refused")
        h1.node.RemoveEndpoint(KEY)
        reports.wait(up="gone", tcp="gone", http="gone", closed="gone")
        apply(h1, remove=node_pb2.Keys(checks=[each.key for each in CHECKS]))


def test_restarted_agent_goes_on_with_its_checks(
    h1: agents.Agent, web: netns.Namespace, tmp_path: pathlib.Path
) -> None:
    with served(web, tmp_path / "status"):
        apply(h1, upsert=node_pb2.Tables(checks=CHECKS))
        h1.kill()
        h1.start()
        with contextlib.closing(Reports(h1)) as reports:
            reports.wait(up="", tcp="", http="", closed="connection refused")
    apply(h1, remove=node_pb2.Keys(checks=[each.key for each in CHECKS]))


# ---------------------------------------------------------------- ways out


FLOATING: Final = values.address("172.31.8.20")


def default_route() -> node_pb2.Route:
    """Out, through this host itself."""
    return node_pb2.Route(key=node_pb2.RouteKey(vni=VNI), kind=node_pb2.Route.GATEWAY)


def forward(address: int) -> node_pb2.PortForward:
    return node_pb2.PortForward(
        key=node_pb2.PortForwardKey(address=address, port=2080, protocol=node_pb2.TCP),
        vni=VNI,
        endpoint=values.address(WEB),
        target_port=PORT,
        answers=True,
    )


def fetched(at: netns.Namespace, address: str, port: int = PORT) -> str:
    """HTTP status of /health there."""
    asked = ("curl", "--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code}")
    return at.run(*asked, f"http://{address}:{port}/health").stdout


def test_endpoint_reaches_the_outside_through_its_host(
    h1: agents.Agent, web: netns.Namespace, outside: netns.Namespace, tmp_path: pathlib.Path
) -> None:
    entries = node_pb2.Tables(
        gateways=[node_pb2.Gateway(vni=VNI, name=f"{VPC}/out")], routes=[default_route()]
    )
    apply(h1, upsert=entries)
    with served(outside, tmp_path / "status", "172.31.8.2"):
        assert fetched(web, "172.31.8.2") == "200"
    roles = h1.node.GetCounters(node_pb2.GetCountersRequest()).roles
    assert [each.packets > 0 for each in roles if each.role == node_pb2.RoleCount.GATEWAY] == [True]
    apply(h1, remove=node_pb2.Keys(gateways=[VNI], routes=[default_route().key]))


def test_outside_reaches_an_endpoint_by_port_and_by_address(
    h1: agents.Agent, web: netns.Namespace, outside: netns.Namespace, tmp_path: pathlib.Path
) -> None:
    floating = node_pb2.FloatingAddress(address=FLOATING, vni=VNI, endpoint=values.address(WEB), answers=True)
    gateway = node_pb2.Gateway(vni=VNI, name=f"{VPC}/out", addresses=[POOL])
    forwards = [forward(POOL), forward(values.address("172.31.8.1"))]
    apply(h1, upsert=node_pb2.Tables(gateways=[gateway], forwards=forwards, routes=[default_route()]))
    with served(web, tmp_path / "status"):
        assert fetched(outside, "172.31.8.10", 2080) == "200"
        assert fetched(outside, "172.31.8.1", 2080) == "200"
        only = node_pb2.Keys(forwards=[each.key for each in forwards])
        apply(h1, upsert=node_pb2.Tables(floating=[floating]), remove=only)
        assert fetched(outside, "172.31.8.20") == "200"
    apply(h1, remove=node_pb2.Keys(gateways=[VNI], floating=[FLOATING], routes=[default_route().key]))
    assert [h1.rows(table) for table in ("gateways", "outside", "floating", "forwards")] == [[]] * 4


def test_restart_adopts_services_and_ways_out_and_writes_nothing(h1: agents.Agent) -> None:
    shop = node_pb2.Service(
        key=node_pb2.ServiceKey(vni=VNI, address=1, port=80, protocol=node_pb2.TCP),
        name=f"{VPC}/shop",
        target_port=PORT,
        backends=[node_pb2.Backend(address=number, weight=1) for number in range(1, 20)],
    )
    wanted = node_pb2.Tables(
        hosts=[node_pb2.Host(address=values.address("172.31.8.1"), name="h1")],
        vpcs=[node_pb2.Vpc(vni=VNI, name=VPC)],
        services=[shop],
        gateways=[node_pb2.Gateway(vni=VNI, name=f"{VPC}/out", addresses=[POOL])],
        forwards=[forward(POOL)],
        routes=[default_route()],
        checks=CHECKS,
    )
    apply(h1, upsert=wanted)
    shown = ("services", "maglev", "backends", "gateways", "outside", "forwards", "vpcs", "config")
    before = {table: sorted(h1.rows(table)) for table in shown}
    h1.kill()
    h1.start()
    apply(h1, revision=2, mode=node_pb2.SyncRequest.SNAPSHOT_BEGIN, upsert=wanted)
    apply(h1, revision=2, mode=node_pb2.SyncRequest.PRUNE)
    assert {table: sorted(h1.rows(table)) for table in shown} == before
    reconciled = re.findall(r"reconciled .*: (\d+) rows written, (\d+) removed", h1.log.read_text())
    assert reconciled[-1] == ("0", "0")
    wanted = node_pb2.Tables(hosts=wanted.hosts, vpcs=wanted.vpcs)
    apply(h1, revision=3, mode=node_pb2.SyncRequest.SNAPSHOT_BEGIN, upsert=wanted)
    apply(h1, revision=3, mode=node_pb2.SyncRequest.PRUNE)
    assert [h1.rows(table) for table in shown[:6]] == [[]] * 6


# ---------------------------------------------------------------- announcements


@contextlib.contextmanager
def arp_heard(at: netns.Namespace) -> Iterator[queue.SimpleQueue[bytes]]:
    """ARP frames that arrive at a namespace."""
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with at.entered():
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    listening.settimeout(0.1)
    stop = threading.Event()

    def listen() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                frames.put(listening.recv(2048))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield frames
    finally:
        stop.set()
        thread.join()
        listening.close()


def test_address_outside_is_announced_three_times(h1: agents.Agent, outside: netns.Namespace) -> None:
    with h1.where.netlink() as ip:
        link = ip.get_links(ip.link_lookup(ifname="eth0")[0])[0]
        mac = bytes.fromhex(link.get("address").replace(":", ""))
    wanted = announcer.announcement(mac, POOL)
    gateway = node_pb2.Gateway(vni=VNI, name=f"{VPC}/out", addresses=[POOL])
    with arp_heard(outside) as frames:
        apply(h1, upsert=node_pb2.Tables(gateways=[gateway]))
        heard = 0
        while heard < announcer.TIMES:
            heard += frames.get(timeout=10) == wanted
    apply(h1, remove=node_pb2.Keys(gateways=[VNI]))


# ---------------------------------------------------------------- flows


def test_dead_flows_are_collected_and_live_ones_kept(h1: agents.Agent) -> None:
    spec = layout.TABLES[layout.Table.FLOWS4]
    keys, rows = spec.keys(20_000), spec.values(20_000)
    keys["vni"], keys["proto"], keys["src"], keys["sport"] = VNI, 6, 1, np.arange(20_000)
    rows["kind"] = layout.FlowKind.VIA
    rows["seen"] = _boot_seconds() - 100
    pinned = h1.pins / f"v{layout.ABI_VERSION}" / "maps" / "mz_flows4"
    with maps.Map.pinned(pinned, key=spec.key, value=spec.value) as table:
        rows["seen"][:10] = _boot_seconds()
        table.update(keys, rows)
        netns.until(lambda: not any(table.lookup_each(keys[10:])[0]), "dead flows are gone", timeout=20)
        assert all(table.lookup_each(keys[:10])[0])
        table.delete(keys[:10])
    assert h1.node.GetStatus(node_pb2.GetStatusRequest()).flows_collected >= 19_990


def _boot_seconds() -> int:
    return int(peers.boot_seconds())

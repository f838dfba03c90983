# SPDX-License-Identifier: Apache-2.0
"""The tools that put traffic on a path, each reduced to: serve, then measure once.

The client runs on processor 0 and the server on processor 1 of every machine, so that the scheduler's
choice of a processor is no part of the comparison. In-kernel work goes where the kernel puts it.

Where a latency is measured, processors are awake and tools run in real time (bench.core.scheduling).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from bench import tools
from bench.core import command, samples, scheduling, world
from bench.path import topology
from mizar import errors

_CLIENT_CPUS = "0"
_SERVER_CPUS = "1"
_BULK_PORT = 5201
_LATENCY_PORT = 5202
_CONNECT_PORT = 5203
_UDP_PORT = 5204
_ECHO_PORT = 5205
_IPERF_PORT = 5206

TCP_PORTS = (_BULK_PORT, _LATENCY_PORT, _CONNECT_PORT, _IPERF_PORT)
UDP_PORTS = (_UDP_PORT, _ECHO_PORT)

_UDP_BYTES = 64
_REQUEST_BYTES = 64
_PARALLEL = 32
_PAUSE_US = 200
# Start and end of a tool around its measured seconds.
_SLACK_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Station:
    """A client and a server that are ready for any number of measurements."""

    owner: world.World
    ends: topology.Ends

    @property
    def client(self) -> command.Place:
        return command.Place(netns=self.ends.client, cpus=_CLIENT_CPUS)

    @property
    def server(self) -> command.Place:
        return command.Place(netns=self.ends.server, cpus=_SERVER_CPUS)


def open_station(owner: world.World, ends: topology.Ends) -> Station:
    """Start the servers, wait until they listen, and pass one packet each way."""
    station = Station(owner=owner, ends=ends)
    for argv, port, protocol in (
        ([tools.path("tcp_bulk"), "serve", str(_BULK_PORT)], _BULK_PORT, "tcp"),
        (["iperf3", "--server", "--bind", ends.address, "--port", str(_IPERF_PORT)], _IPERF_PORT, "tcp"),
        (
            [*scheduling.REAL_TIME, tools.path("round_trips"), "serve", str(_LATENCY_PORT)],
            _LATENCY_PORT,
            "tcp",
        ),
        ([tools.path("tcp_connections"), "serve", str(_CONNECT_PORT)], _CONNECT_PORT, "tcp"),
        (
            [*scheduling.REAL_TIME, tools.path("first_packet"), "echo", str(_ECHO_PORT)],
            _ECHO_PORT,
            "udp",
        ),
    ):
        owner.start(argv, place=station.server).wait_listening(port, protocol=protocol)
    # Fails here, and with a clear message, when the network under test does not connect its pods.
    command.run(
        [tools.path("first_packet"), "measure", ends.target, str(_ECHO_PORT), "3", "1000"],
        place=station.client,
    )
    return station


def tcp_bulk(stations: Mapping[str, Station], seconds: float) -> dict[str, dict[str, float]]:
    """One TCP flow as fast as it goes: bytes acknowledged.

    All stations in turns, `seconds` for each; figures by the stations' names.
    """
    text = command.run(
        [tools.path("tcp_bulk"), *command.words(f"measure {_BULK_PORT} {seconds:g}"), *_ends(stations)],
        place=command.Place(cpus=_CLIENT_CPUS),
        timeout=4 * seconds * len(stations) + _SLACK_SECONDS,
    )
    columns = json.loads(text)
    rows = zip(stations, *(columns[name] for name in ("bytes", "seconds", "busy", "sent")), strict=True)
    return {
        name: {"tcp_gbps": carried * 8e-9 / time, "tcp_cpu": busy / (sent * 8e-9)}
        for name, carried, time, busy, sent in rows
    }


def iperf(station: Station, seconds: float) -> dict[str, float]:
    """One TCP flow as iperf3 has it: bytes that the receiver counted."""
    text = command.run(
        command.words(
            f"iperf3 --client {station.ends.target} --port {_IPERF_PORT} --time {seconds:g} --json"
        ),
        place=station.client,
        timeout=seconds + _SLACK_SECONDS,
    )
    received = json.loads(text)["end"]["sum_received"]
    return {"iperf_gbps": received["bytes"] * 8e-9 / received["seconds"]}


def udp_rate(stations: Mapping[str, Station], seconds: float) -> dict[str, dict[str, float]]:
    """Packets of 64 bytes payload: how many arrive per second while one processor sends all it can.

    All stations in turns, `seconds` of sending for each; figures by the stations' names.
    """
    receivers = [
        station.owner.start([tools.path("udp_rate"), "receive", str(_UDP_PORT)], place=station.server)
        for station in stations.values()
    ]
    for receiver in receivers:
        receiver.wait_listening(_UDP_PORT, protocol="udp")
    text = command.run(
        [
            tools.path("udp_rate"),
            *command.words(f"send {_UDP_PORT} {_UDP_BYTES} {seconds:g}"),
            *_ends(stations),
        ],
        place=command.Place(cpus=_CLIENT_CPUS),
        timeout=2 * seconds * len(stations) + _SLACK_SECONDS,
    )
    sent = json.loads(text)
    arrived = [json.loads(receiver.finish(timeout=_SLACK_SECONDS))["packets"] for receiver in receivers]
    return {
        name: {"udp_kpps": packets / time / 1e3, "udp_cpu": busy / (packets / 1e6)}
        for name, packets, time, busy in zip(stations, arrived, sent["seconds"], sent["busy"], strict=True)
    }


def _ends(stations: Mapping[str, Station]) -> list[str]:
    """Arguments of tools that go from one path to the next: namespace and address of each."""
    return [
        word
        for station in stations.values()
        for word in (f"/run/netns/{station.ends.client}", station.ends.target)
    ]


def tcp_latency(stations: Mapping[str, Station], seconds: float) -> dict[str, dict[str, float]]:
    """One request of 64 bytes and its answer at a time, full round trips; figures by the stations' names.

    All stations at once and in turns of milliseconds, `seconds` for each: see tools/round_trips.c.
    """
    owner = next(iter(stations.values())).owner
    total = seconds * len(stations)
    with scheduling.awake(owner, tools.path("keep_awake"), (_CLIENT_CPUS, _SERVER_CPUS)):
        text = command.run(
            [
                *scheduling.REAL_TIME,
                tools.path("round_trips"),
                *command.words(f"measure {_LATENCY_PORT} {total:g} {_REQUEST_BYTES}"),
                *_ends(stations),
            ],
            place=command.Place(cpus=_CLIENT_CPUS),
            timeout=total + _SLACK_SECONDS,
        )
    return {
        name: {
            "rr_p50": samples.percentile(times, 0.5) / 1e3,
            "rr_p99": samples.percentile(times, 0.99) / 1e3,
        }
        for name, times in zip(stations, json.loads(text)["ns"], strict=True)
    }


def tcp_connections(station: Station, seconds: float) -> dict[str, float]:
    """Connect, request, response, close; 32 in parallel."""
    text = command.run(
        [
            tools.path("tcp_connections"),
            *command.words(f"connect {station.ends.target} {_CONNECT_PORT} {_PARALLEL} {seconds:g}"),
        ],
        place=station.client,
        timeout=seconds + _SLACK_SECONDS,
    )
    made = json.loads(text)
    if made["failed"]:
        raise errors.ToolError(f"measure connections: {made['failed']} failed", stdout=text)
    return {"connections": made["connections"] / made["seconds"]}


def first_packet(station: Station, rounds: int) -> dict[str, float]:
    """Round trips of first packets, which must all have gone the long way, and of those after them."""
    before = station.ends.witness() if station.ends.witness else 0
    with scheduling.awake(station.owner, tools.path("keep_awake"), (_CLIENT_CPUS, _SERVER_CPUS)):
        text = command.run(
            [
                *scheduling.REAL_TIME,
                tools.path("first_packet"),
                *command.words(f"measure {station.ends.target} {_ECHO_PORT} {rounds} {_PAUSE_US}"),
                *station.ends.forget,
            ],
            place=station.client,
            timeout=_SLACK_SECONDS + rounds,
        )
    times = json.loads(text)
    if times["lost"]:
        raise errors.ToolError(f"measure first packets: {times['lost']} of {rounds} rounds lost a packet")
    if station.ends.witness and (seen := station.ends.witness() - before) < rounds:
        raise errors.ToolError(
            f"measure first packets: only {seen} of {rounds} went through divider and bouncer"
        )
    return {
        "first_us": samples.percentile(times["first_ns"], 0.5) / 1e3,
        "direct_us": samples.percentile(times["direct_ns"], 0.5) / 1e3,
    }

# SPDX-License-Identifier: Apache-2.0
"""The packet-path suite: every network, both wires, in turns.

All networks of a wire stand side by side, idle ones cost next to nothing. A repetition measures one figure
on every network before it goes to the next figure, beginning with another network each time. Latencies and
throughput are measured on all networks in turns of milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.core import progress, results, samples, targets, world
from bench.path import networks, tools, topology
from bench.path.networks import base
from mizar import errors

FIGURES = (
    samples.Figure("tcp_gbps", "TCP bulk, one flow", "Gb/s", samples.Better.HIGHER),
    samples.Figure("iperf_gbps", "TCP bulk, one flow, iperf3", "Gb/s", samples.Better.HIGHER),
    samples.Figure("udp_kpps", "UDP, 64 B payload", "kpps", samples.Better.HIGHER),
    samples.Figure("rr_p50", "TCP request/response, p50", "us", samples.Better.LOWER),
    samples.Figure("rr_p99", "TCP request/response, p99", "us", samples.Better.LOWER),
    samples.Figure("connections", "TCP connections", "1/s", samples.Better.HIGHER),
    samples.Figure("tcp_cpu", "CPU per Gb, both sides", "CPU-s/Gb", samples.Better.LOWER),
    samples.Figure("udp_cpu", "CPU per million packets, both sides", "CPU-s/M", samples.Better.LOWER),
    samples.Figure("first_us", "first packet, through divider and bouncer", "us", samples.Better.LOWER),
    samples.Figure("direct_us", "the packet after it, direct", "us", samples.Better.LOWER),
)

_SUBJECT = "mizar"
_ROLES = "mizar.roles"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often; seconds are per measurement."""

    repetitions: int
    bulk_seconds: float
    iperf_seconds: int
    """0: the networks are not measured by iperf3 too."""
    latency_seconds: float
    seconds: float
    rounds: int


QUICK = Settings(
    repetitions=3, bulk_seconds=0.5, iperf_seconds=0, latency_seconds=0.7, seconds=0.5, rounds=200
)
FULL = Settings(repetitions=7, bulk_seconds=1, iperf_seconds=1, latency_seconds=2, seconds=1, rounds=1000)

_Tool = Callable[[tools.Station, Settings], Mapping[str, float]]
_STEADY: tuple[_Tool, ...] = (
    lambda station, settings: tools.iperf(station, settings.iperf_seconds) if settings.iperf_seconds else {},
    lambda station, settings: tools.tcp_connections(station, settings.seconds),
)
_Together = Callable[[Mapping[str, tools.Station], Settings], Mapping[str, Mapping[str, float]]]
_TOGETHER: tuple[_Together, ...] = (
    lambda stations, settings: tools.tcp_latency(stations, settings.latency_seconds),
    lambda stations, settings: tools.udp_rate(stations, settings.seconds),
    lambda stations, settings: tools.tcp_bulk(stations, settings.bulk_seconds),
)
_FIRST: tuple[_Tool, ...] = (lambda station, settings: tools.first_packet(station, settings.rounds),)


def _targets(*, iperf: bool) -> Iterator[targets.Target]:
    """The table of docs/performance.md."""
    at_least, at_most = targets.Relation.AT_LEAST, targets.Relation.AT_MOST

    def against(
        figure: str, wire: topology.Wire, relation: targets.Relation, factors: Mapping[str, float]
    ) -> Iterator[targets.Target]:
        for peer, factor in factors.items():
            yield targets.Target(
                key=samples.Key(figure, _SUBJECT, wire.value),
                relation=relation,
                factor=factor,
                peer=samples.Key(figure, peer, wire.value),
            )

    gso, segmenting = topology.Wire.GSO, topology.Wire.SEGMENTING
    for figure in ("tcp_gbps", "iperf_gbps") if iperf else ("tcp_gbps",):
        yield from against(figure, gso, at_least, {"vxlan": 1.1, "routed": 1.0, "bare": 0.92})
        yield from against(figure, segmenting, at_least, {"vxlan": 1.0})
    for wire in topology.Wire:
        yield from against("udp_kpps", wire, at_least, {"vxlan": 1.7, "routed": 1.0})
        yield from against("rr_p50", wire, at_most, {"vxlan": 0.85, "routed": 1.0})
        yield from against("rr_p99", wire, at_most, {"vxlan": 0.85, "routed": 1.0})
        yield from against("connections", wire, at_least, {"routed": 0.95, "vxlan": 1.0})
        yield from against("tcp_cpu", wire, at_most, {"vxlan": 1.0})
        yield from against("udp_cpu", wire, at_most, {"vxlan": 1.0})
        yield targets.Target(
            key=samples.Key("first_us", _ROLES, wire.value),
            relation=at_most,
            factor=2.5,
            peer=samples.Key("direct_us", _ROLES, wire.value),
        )


def measure(*, quick: bool) -> results.Result:
    settings, variants = (QUICK, ()) if quick else (FULL, networks.VARIANTS)
    return run(
        settings,
        wires=tuple(topology.Wire),
        chosen=(*networks.ALL, *variants),
        wanted=tuple(_targets(iperf=settings.iperf_seconds > 0)),
    )


def run(
    settings: Settings,
    *,
    wires: Sequence[topology.Wire],
    chosen: Sequence[base.Network],
    suite: str = "path",
    title: str = "Packet path",
    wanted: Sequence[targets.Target] = (),
) -> results.Result:
    """Measure these networks on these wires."""
    result = results.Result(
        suite=suite,
        title=title,
        figures=FIGURES,
        targets=tuple(wanted),
        settings={
            **dataclasses.asdict(settings),
            "wire_mtu": topology.WIRE_MTU,
            "pod_mtu": topology.POD_MTU,
            "wires": [wire.value for wire in wires],
        },
    )
    runnable = _runnable(chosen, result)
    for wire in wires:
        with world.World() as owner:
            stations = _open(owner, wire, runnable, result)
            for repetition in range(settings.repetitions):
                progress.say(f"{wire.value} wire, repetition {repetition + 1} of {settings.repetitions}")
                _repeat(stations, wire, repetition, settings, result)
    return result


def _runnable(chosen: Sequence[base.Network], result: results.Result) -> list[base.Network]:
    runnable = []
    for network in chosen:
        reason = network.missing()
        if reason is None:
            runnable.append(network)
        else:
            progress.say(f"{network.title} is left out: {reason}")
            result.skipped.append(results.Skipped(subject=network.name, reason=reason))
    return runnable


def _open(
    owner: world.World, wire: topology.Wire, runnable: Sequence[base.Network], result: results.Result
) -> dict[str, tools.Station]:
    stations = {}
    for network in runnable:
        try:
            ends = network.build(owner, f"{network.name}.{wire.value[:3]}", wire)
            stations[network.name] = tools.open_station(owner, ends)
        except errors.MizarError as error:
            _skip(result, f"{network.name}/{wire.value}", error)
    return stations


def _repeat(
    stations: Mapping[str, tools.Station],
    wire: topology.Wire,
    repetition: int,
    settings: Settings,
    result: results.Result,
) -> None:
    steady = [name for name, station in stations.items() if not station.ends.forget]
    first = [name for name, station in stations.items() if station.ends.forget]
    start = repetition % max(1, len(steady))
    order = steady[start:] + steady[:start]
    for measure_all in _TOGETHER if order else ():
        with _noted(result, f"all/{wire.value}"):
            together = {name: stations[name] for name in order}
            for name, figures in measure_all(together, settings).items():
                _take(result, name, wire, repetition, figures)
    turns = [(tool, order) for tool in _STEADY]
    turns += [(tool, first) for tool in _FIRST]
    for tool, names in turns:
        for name in names:
            with _noted(result, f"{name}/{wire.value}"):
                _take(result, name, wire, repetition, tool(stations[name], settings))


def _take(
    result: results.Result, name: str, wire: topology.Wire, repetition: int, figures: Mapping[str, float]
) -> None:
    for figure, value in figures.items():
        result.taken.add(samples.Key(figure, name, wire.value), repetition=repetition, value=value)


@contextlib.contextmanager
def _noted(result: results.Result, subject: str) -> Iterator[None]:
    """A measurement that fails is one sample less and a note, not the end of the run."""
    try:
        yield
    except errors.ToolError as error:
        _skip(result, subject, error)


def _skip(result: results.Result, subject: str, error: errors.MizarError) -> None:
    progress.say(f"{subject}: {error}")
    result.skipped.append(results.Skipped(subject=subject, reason=str(error)))

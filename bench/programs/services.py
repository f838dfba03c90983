# SPDX-License-Identifier: Apache-2.0
"""Cases of translated flows, and the rows that they need beside those of a usual host. Pure.

Each role has a VPC of its own. Every flow is known already, but for the bouncer's choice, which is made anew
for each packet.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from bench.programs import frames, tables
from bench.programs.cases import Case, Method, Program, ip_frame, plain, rts, wire
from mizar.abi import hashes, layout, macs
from mizar.abi.verdicts import Verdict

VIP: Final = tables.FIRST
BACKEND: Final = frames.number("10.254.0.1")
OUTSIDE: Final = frames.number("198.51.100.1")
POOL: Final = frames.number("203.0.113.1")
SOURCE_PORT: Final = 1000
PORT: Final = 2000
NAT_PORT: Final = 5000
_PLACES: Final = 251
_SERVICE: Final = 1


class Vni(enum.IntEnum):
    CLIENT = 20
    BOUNCE = 21
    OUT = 22
    GATEWAY = 23


class Slot(enum.IntEnum):
    """Of mz_stats, and so of mz_watched."""

    CLIENT = 10
    SERVICE = 11
    GATEWAY = 12


_GATEWAYS: Final = 30
"""Network id under which gateway hosts are found."""

Ends = tuple[int, int, int, int]
"""Source, destination, their ports."""


def cases() -> Iterator[Case]:
    """A flow to a scaled endpoint at each of its three hosts, and one to the outside at both of its hosts."""
    yield Case(
        name="endpoint.scaled",
        title="endpoint, to a backend",
        program=Program.ENDPOINT,
        frame=plain(VIP),
        verdict=Verdict.DIRECT,
        method=Method.UNWRAPPED,
        port=tables.port(vni=Vni.CLIENT, onlink="10.0.0.0/8"),
    )
    for program, hook in ((Program.TRANSIT_XDP, "xdp"), (Program.TRANSIT_TC, "tc")):
        yield Case(
            name=f"transit.redirect.{hook}",
            title=f"backend chosen at {hook}",
            program=program,
            frame=wire(Vni.BOUNCE, rts(layout.Hop.BOUNCER)),
            verdict=Verdict.REDIRECTED,
        )
    yield Case(
        name="transit.answer",
        title="deliver a backend's answer",
        program=Program.TRANSIT_TC,
        frame=wire(Vni.CLIENT, inner=_inside((BACKEND, tables.ENDPOINT, PORT, SOURCE_PORT))),
        verdict=Verdict.DELIVERED,
        method=Method.WRAPPED,
    )
    yield Case(
        name="endpoint.gateway",
        title="endpoint, to a gateway host",
        program=Program.ENDPOINT,
        frame=plain(OUTSIDE),
        verdict=Verdict.TO_GATEWAY,
        method=Method.UNWRAPPED,
        port=tables.port(vni=Vni.OUT),
    )
    out = (tables.ENDPOINT, OUTSIDE, SOURCE_PORT, PORT)
    yield Case(
        name="transit.nat_out",
        title="source NAT, out",
        program=Program.TRANSIT_TC,
        frame=wire(Vni.GATEWAY, inner=_inside(out, to=macs.GATEWAY)),
        verdict=Verdict.NAT_OUT,
        method=Method.WRAPPED,
    )
    yield Case(
        name="transit.nat_in",
        title="source NAT, back in",
        program=Program.TRANSIT_TC,
        frame=_inside((OUTSIDE, POOL, PORT, NAT_PORT)),
        verdict=Verdict.NAT_IN,
        method=Method.UNWRAPPED,
        config=_gateway_config(),
    )


def usual(*, now_ms: int) -> Iterator[tables.Fill]:
    """The rows; `now_ms` is since boot."""
    flags = layout.VpcFlags
    client = flags.ENDPOINTS
    yield _rows(
        layout.Table.VPCS,
        (Vni.CLIENT, client),
        (Vni.BOUNCE, flags.BOUNCER),
        (Vni.OUT, client),
        (Vni.GATEWAY, client | flags.GATEWAY),
        field="flags",
    )
    yield _rows(layout.Table.ROUTES4, *(((vni, 0, 0), _gateway_route()) for vni in (Vni.OUT, Vni.GATEWAY)))
    yield _one(
        layout.Table.SHARDS, (_GATEWAYS, 0), n=1, hosts=[tables.NEXT] + [0] * (layout.MAX_REPLICAS - 1)
    )
    now = now_ms & 0xFFFF_FFFF
    yield _rows(
        layout.Table.DIRECT4,
        ((Vni.CLIENT, VIP), (0, now, Vni.CLIENT)),
        ((Vni.CLIENT, BACKEND), (tables.NEXT, now, Vni.CLIENT)),
        ((Vni.GATEWAY, tables.ENDPOINT), (tables.NEXT, now, Vni.GATEWAY)),
    )
    yield from _flows(now_ms // 1000)
    yield _one(
        layout.Table.ENDPOINTS4,
        (Vni.CLIENT, tables.ENDPOINT),
        ifindex=tables.IFINDEX,
        slot=Slot.CLIENT,
        mac=np.frombuffer(tables.ENDPOINT_MAC, dtype="u1"),
        flags=layout.EndpointFlags.PEER,
    )
    yield _one(layout.Table.WATCHED, Slot.CLIENT, sources=1 << hashes.watched_bit(BACKEND))
    yield from _service()
    yield _one(
        layout.Table.GATEWAYS4,
        Vni.GATEWAY,
        ifindex=tables.IFINDEX,
        first_port=1024,
        last_port=65535,
        slot=Slot.GATEWAY,
        n=1,
        addrs=[POOL] + [0] * (layout.MAX_OUTSIDE - 1),
    )
    yield _one(layout.Table.OUTSIDE4, POOL, flags=0)


def _service() -> Iterator[tables.Fill]:
    yield _one(layout.Table.LOCATIONS4, (Vni.BOUNCE, VIP), host=0, slot=tables.Slot.BOUNCER)
    yield _one(
        layout.Table.SERVICES4,
        (Vni.BOUNCE, VIP, PORT, frames.IP_UDP, 0),
        id=_SERVICE,
        size=_PLACES,
        port=PORT,
        slot=Slot.SERVICE,
    )
    places = [BACKEND] * layout.MAGLEV_ROW
    rows = range(-(-_PLACES // layout.MAGLEV_ROW))
    yield _rows(layout.Table.MAGLEV4, *(((_SERVICE, row), (places,)) for row in rows))


def _flows(now_s: int) -> Iterator[tables.Fill]:
    asked = (tables.ENDPOINT, VIP, SOURCE_PORT, PORT)
    sent = (tables.ENDPOINT, BACKEND, SOURCE_PORT, PORT)
    service, nat = layout.FlowKind.SERVICE, layout.FlowKind.NAT
    yield _pair((Vni.CLIENT, asked), (Vni.CLIENT, sent), kind=service, now_s=now_s)
    inside = (tables.ENDPOINT, OUTSIDE, SOURCE_PORT, PORT)
    yield _pair((Vni.GATEWAY, inside), (0, (POOL, OUTSIDE, NAT_PORT, PORT)), kind=nat, now_s=now_s)


def _pair(
    before: tuple[int, Ends], after: tuple[int, Ends], *, kind: layout.FlowKind, now_s: int
) -> tables.Fill:
    """Both entries of a flow that was answered."""
    (vni, ends), (new_vni, new_ends) = before, after
    state = layout.FlowState.REPLIED
    return _rows(
        layout.Table.FLOWS4,
        (_key(vni, ends), _flow(new_vni, new_ends, kind=kind, state=state, now_s=now_s)),
        (
            _key(new_vni, _turned(new_ends)),
            _flow(vni, _turned(ends), kind=kind, state=state | layout.FlowState.REVERSE, now_s=now_s),
        ),
    )


def _turned(ends: Ends) -> Ends:
    source, destination, source_port, port = ends
    return destination, source, port, source_port


def _key(vni: int, ends: Ends) -> tuple[Any, ...]:
    return (vni, *ends, frames.IP_UDP, (0, 0, 0))


def _flow(vni: int, ends: Ends, *, kind: int, state: int, now_s: int) -> tuple[Any, ...]:
    return (*ends, vni, 0, now_s, now_s, state, kind, 0)


def _gateway_route() -> tuple[int, int, int, int]:
    return (layout.RouteKind.GATEWAY, _GATEWAYS, 1, 0)


def _gateway_config() -> tables.Fill:
    fill = tables.config(ready=True)
    fill.values["flags"] = layout.ConfigFlags.READY | layout.ConfigFlags.GATEWAY
    return fill


def _inside(ends: Ends, *, to: bytes = layout.ROUTER_MAC) -> bytes:
    """A UDP packet between these ends."""
    source, destination, *ports = ends
    return ip_frame(frames.Ip(source=source, destination=destination), ports=(ports[0], ports[1]), to=to)


def _rows(table: layout.Table, *rows: tuple[Any, Any], field: str | None = None) -> tables.Fill:
    """Keys with whole values, or with one field of them."""
    fill = tables.empty(table, len(rows))
    for at, (key, value) in enumerate(rows):
        fill.keys[at] = key
        if field is None:
            fill.values[at] = value
        else:
            fill.values[field][at] = value
    return fill


def _one(
    table: layout.Table, key: object, **fields: int | Sequence[int] | np.ndarray[Any, Any]
) -> tables.Fill:
    fill = _rows(table, (key, 0), field=next(iter(fields)))
    for name, value in fields.items():
        fill.values[name][0] = value
    return fill

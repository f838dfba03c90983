# SPDX-License-Identifier: Apache-2.0
"""The packet table of inner MACs that say who is meant: docs/design/services.md, "What the inner
Ethernet header says". VPC PEER_VNI is a peer of VNI; P is an endpoint of it."""

from __future__ import annotations

from typing import Any, Final

from mizar.abi import macs
from mizar.abi.geneve import Forget, Here
from mizar.abi.layout import Hop, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.endpoint_rows import delivered
from tests.bpf.rows import BOTH, REDIRECT, TC_ONLY, Row, Sent, Setup, all_of, direct_is, stats_are
from tests.bpf.world import H2, H3, H4, US, VNI, A, B, C, arrived, control, named, rts, sent
from tests.support.machine import Machine, number

PEER_VNI: Final = 7
P: Final = "10.8.0.5"
"""An endpoint of the peer VPC."""

FROM_P: Final = sent(src=P)


def row(name: str, setup: Setup, frame: bytes, verdict: Verdict, *more: Setup, **fields: Any) -> Row:
    hooks = fields.pop("hooks", BOTH)
    return Row(name, (setup, *more), frame, verdict, hooks, **fields)


def arriving(
    name: str, content: bytes, verdict: Verdict, *more: Setup, hop: Hop | None = None, **fields: Any
) -> Row:
    """B is here; the packet has come to its last host."""
    options = () if hop is None else rts(hop)
    frame = arrived(options, content=content)
    hooks = fields.pop("hooks", TC_ONLY)
    return row(name, world.receiving_host, frame, verdict, *more, hooks=hooks, **fields)


def peered(*, forwarded: bool = False, **fields: Any) -> bytes:
    """P's packet to B, as it travels in B's VPC."""
    return named(sent(src=P, **fields), src=macs.peer(PEER_VNI, forwarded=forwarded))


def learns(addr: str, host: str | None = H2, *, own_vni: int | None = None) -> Setup:
    return direct_is(VNI, addr, host, own_vni=own_vni)


# ---------------------------------------------------------------- VIA, PREFER, GATEWAY

_ELSEWHERE: Final = sent(dst=C)
_TO_B: Final = named(_ELSEWHERE, dst=macs.via(number(B)))

VIA = (
    arriving(
        "VIA an endpoint of ours, whatever the IP destination",
        _TO_B,
        Verdict.DELIVERED,
        out=delivered(_ELSEWHERE),
        after=all_of(learns(A), stats_are(world.LOCAL_SLOT, rx=1)),
    ),
    arriving(
        "VIA one that is not here, though the IP destination is",
        named(sent(), dst=macs.via(number(C))),
        Verdict.DROP_NOT_HERE,
        hop=Hop.ENDPOINT,
    ),
    arriving("VIA nobody", named(sent(), dst=macs.via(0)), Verdict.DROP_NOT_HERE, hop=Hop.ENDPOINT),
    arriving(
        "VIA, asked: HERE is about the endpoint meant",
        _TO_B,
        Verdict.DELIVERED_HERE,
        hop=Hop.ENDPOINT,
        out=Sent(H2, (Here(number(B)),), control=True),
    ),
    row(
        "bounce by VIA",
        world.bouncer_host,
        arrived(rts(Hop.BOUNCER), content=_TO_B),
        Verdict.BOUNCED,
        out=Sent(H4, rts(Hop.ENDPOINT), inner=_TO_B),
    ),
    row(
        "divide by VIA",
        world.divider_host,
        arrived(rts(Hop.DIVIDER), content=_TO_B),
        Verdict.DIVIDED,
        out=Sent(H2, rts(Hop.BOUNCER), inner=_TO_B),
    ),
    row(
        "stale by VIA",
        world.left_host,
        arrived(content=_TO_B),
        Verdict.STALE,
        hooks=TC_ONLY,
        out=Sent(H2, (Forget(number(B)),), control=True),
    ),
    arriving(
        "forwarded: who forwards is learnt, not the IP source",
        named(sent(src=P), src=macs.via(number(A))),
        Verdict.DELIVERED,
        after=all_of(learns(A), learns(P, None)),
    ),
    arriving(
        "forwarded by nobody teaches nothing",
        named(sent(), src=macs.via(0)),
        Verdict.DELIVERED,
        after=all_of(learns(A, None), learns("0.0.0.0", None)),
    ),
)

OTHERS = (
    arriving(
        "PREFER is for backends: by IP destination",
        named(sent(), dst=macs.prefer(number(C))),
        Verdict.DELIVERED,
        after=learns(A),
    ),
    arriving(
        "from a gateway: nothing is learnt",
        named(sent(), src=macs.GATEWAY),
        Verdict.DELIVERED,
        out=delivered(sent()),
        after=learns(A, None),
    ),
    arriving(
        "a MAC that names nobody says nothing",
        named(sent(), dst=b"\x06\x51\x0a\x00\x02\x03", src=b"\x06\x4c\x0a\x00\x02\x03"),
        Verdict.DELIVERED,
        after=learns(A),
    ),
    arriving(
        "PEER as destination and PREFER as source say nothing",
        named(sent(), dst=macs.peer(PEER_VNI), src=macs.prefer(number(C))),
        Verdict.DELIVERED,
        after=learns(A),
    ),
)

# ---------------------------------------------------------------- PEER

PEER = (
    arriving(
        "from a peer",
        peered(),
        Verdict.DELIVERED,
        out=delivered(FROM_P),
        after=learns(P, own_vni=PEER_VNI),
    ),
    arriving(
        "from a peer, known in our own VPC",
        peered(),
        Verdict.DELIVERED,
        lambda m: m.direct(VNI, P, H2),
        after=learns(P, own_vni=PEER_VNI),
    ),
    arriving(
        "from a peer, asked: HERE in its VPC",
        peered(),
        Verdict.DELIVERED_HERE,
        hop=Hop.ENDPOINT,
        out=Sent(H2, (Here(number(B), VNI),), control=True, vni=PEER_VNI),
        after=learns(P, own_vni=PEER_VNI),
    ),
    arriving(
        "from a peer, forwarded: the IP source is not learnt",
        peered(forwarded=True),
        Verdict.DELIVERED_HERE,
        hop=Hop.ENDPOINT,
        out=Sent(H2, (Here(number(B), VNI),), control=True, vni=PEER_VNI),
        after=learns(P, None),
    ),
    arriving(
        "PEER with the packet's own VNI",
        named(sent(), src=macs.peer(VNI)),
        Verdict.DELIVERED,
        after=learns(A),
    ),
    arriving("PEER with VNI 0", named(sent(), src=macs.peer(0)), Verdict.DELIVERED, after=learns(A)),
    row(
        "from a peer on this very host: both learn",
        world.receiving_host,
        arrived(rts(Hop.ENDPOINT, US), content=peered()),
        Verdict.DELIVERED,
        hooks=TC_ONLY,
        after=all_of(
            learns(P, US, own_vni=PEER_VNI),
            direct_is(PEER_VNI, B, US, own_vni=VNI),
        ),
    ),
    row(
        "stale, from a peer: FORGET in its VPC",
        world.left_host,
        arrived(content=peered()),
        Verdict.STALE,
        hooks=TC_ONLY,
        out=Sent(H2, (Forget(number(B), VNI),), control=True, vni=PEER_VNI),
    ),
    row(
        "stale, from a peer, no way on",
        world.left_host,
        arrived(content=peered()),
        Verdict.DROP_NO_DIVIDER,
        lambda m: m.vpc(VNI, flags=VpcFlags.ENDPOINTS),
        hooks=TC_ONLY,
        out=Sent(H2, (Forget(number(B), VNI),), control=True, vni=PEER_VNI),
        action=REDIRECT,
    ),
)


def _endpoint_in_peer(machine: Machine) -> None:
    machine.endpoint(PEER_VNI, P, ifindex=world.PORT, mac=world.LOCAL_MAC)


TOLD = (
    row(
        "HERE about an endpoint of a peer",
        world.hosts,
        control(Here(number(P), PEER_VNI)),
        Verdict.LEARNT,
        after=learns(P, own_vni=PEER_VNI),
    ),
    row(
        "HERE about a peer's endpoint of ours",
        world.hosts,
        control(Here(number(P), PEER_VNI)),
        Verdict.LEARNT,
        _endpoint_in_peer,
        after=learns(P, None),
    ),
    row(
        "FORGET an endpoint of a peer",
        world.hosts,
        control(Forget(number(P), PEER_VNI)),
        Verdict.FORGOT,
        lambda m: m.direct(VNI, P, H2, endpoint_vni=PEER_VNI),
        after=learns(P, None),
    ),
    row(
        "FORGET an endpoint of a peer that is elsewhere",
        world.hosts,
        control(Forget(number(P), PEER_VNI)),
        Verdict.FORGOT,
        lambda m: m.direct(VNI, P, H3, endpoint_vni=PEER_VNI),
        after=learns(P, H3, own_vni=PEER_VNI),
    ),
)

ROWS: Final = (*VIA, *OTHERS, *PEER, *TOLD)

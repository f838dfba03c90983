# SPDX-License-Identifier: Apache-2.0
"""The packet table of routes and peering: docs/design/services.md, "Routes and peering".

A's network has routes of its own; F forwards. VPC PEER_VNI is a peer of VNI, with P in network PEER_NETWORK.
"""

from __future__ import annotations

from typing import Any, Final

from mizar.abi import geneve, layout, macs
from mizar.abi.layout import Hop, PortFlags, RouteKind
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.endpoint_rows import arp_reply, ask, asked, delivered, icmp_error, on_wire
from tests.bpf.named_rows import PEER_VNI, P
from tests.bpf.rows import BOTH, ENDPOINT, REDIRECT, TC_ONLY, Row, Sent, Setup, all_of, direct_is, stats_are
from tests.bpf.world import A_MAC, A_SLOT, H2, H3, H4, US, VNI, A, B, C, arrived, named, rts, sent
from tests.support import machine as machines
from tests.support import packets
from tests.support.machine import Machine, number

F, FAR = "10.0.2.9", "172.16.0.5"
"""The firewall, in another network than A; an address that nobody in the VPC has."""
NEAR_F: Final = "10.0.1.9"
"""A firewall in A's own network."""
PEER_NETWORK: Final = 31
OTHER_PEER: Final = 8
"""A peer of the peer."""
OWN: Final = layout.TABLE_NETWORK | world.NETWORK


def a_port(flags: PortFlags | int, *, onlink: tuple[str, ...] = ("10.0.1.0/24",)) -> Setup:
    return lambda machine: machine.port(
        world.PORT,
        vni=VNI,
        addr=A,
        mac=A_MAC,
        mtu=world.MTU,
        network=world.NETWORK,
        shards=world.SHARDS,
        slot=A_SLOT,
        onlink=onlink,
        flags=flags,
    )


def own(prefix: str, kind: RouteKind, *, target: int = 0) -> Setup:
    """A route of A's network."""
    return lambda machine: machine.route(OWN, prefix, kind, target=target)


def to_appliance(prefix: str, address: str) -> Setup:
    return lambda machine: machine.appliance(OWN, prefix, address)


def routed(machine: Machine) -> None:
    """A's host; A's network has a table of its own: the VPC, and two appliances."""
    world.endpoint_host(machine)
    a_port(PortFlags.ROUTES)(machine)
    own("10.0.0.0/16", RouteKind.DIVIDER)(machine)
    to_appliance("10.0.2.0/24", F)(machine)
    to_appliance("172.16.0.0/12", NEAR_F)(machine)


def row(name: str, frame: bytes, verdict: Verdict, *setup: Setup, **fields: Any) -> Row:
    return Row(name, (routed, *setup), frame, verdict, ENDPOINT, **fields)


def through(address: str, frame: bytes, *, ttl: int | None = 63) -> bytes:
    """On the wire to an appliance."""
    return named(on_wire(frame, ttl=ttl), dst=macs.via(number(address)))


# ---------------------------------------------------------------- a network's own routes

_TO_C: Final = sent(dst=C)
_TO_FAR: Final = sent(dst=FAR)


def _local_c(machine: Machine) -> None:
    world.local_endpoint(machine, C)


APPLIANCE = (
    row(
        "appliance of another network: a divider finds it",
        _TO_C,
        Verdict.TO_DIVIDER,
        out=Sent(H3, asked(Hop.DIVIDER), inner=through(F, _TO_C)),
        after=stats_are(A_SLOT, tx=1),
    ),
    row(
        "appliance of the own network: a bouncer finds it",
        _TO_FAR,
        Verdict.TO_BOUNCER,
        out=Sent(H2, asked(Hop.BOUNCER), inner=through(NEAR_F, _TO_FAR)),
    ),
    row(
        "appliance by the direct path",
        _TO_FAR,
        Verdict.DIRECT,
        lambda m: m.direct(VNI, NEAR_F, H4),
        out=Sent(H4, inner=through(NEAR_F, _TO_FAR)),
    ),
    row(
        "appliance on this host",
        _TO_FAR,
        Verdict.LOCAL,
        lambda m: m.endpoint(VNI, NEAR_F, ifindex=99, mac=world.LOCAL_MAC, slot=world.LOCAL_SLOT),
        out=delivered(_TO_FAR, ttl=63),
        after=all_of(stats_are(A_SLOT, tx=1), stats_are(world.LOCAL_SLOT, rx=1)),
    ),
    row(
        "appliance although the destination is on this host",
        _TO_C,
        Verdict.TO_DIVIDER,
        _local_c,
        out=Sent(H3, asked(Hop.DIVIDER), inner=through(F, _TO_C)),
    ),
    row(
        "appliance although the direct path is known",
        _TO_C,
        Verdict.TO_DIVIDER,
        lambda m: m.direct(VNI, C, H4),
        out=Sent(H3, asked(Hop.DIVIDER), inner=through(F, _TO_C)),
    ),
    row(
        "appliance, TTL 1",
        sent(dst=C, ttl=1),
        Verdict.ICMP_TTL,
        out=icmp_error(sent(dst=C, ttl=1), 11, 0),
    ),
    row("appliance is the sender", _TO_C, Verdict.DROP_ROUTE_LOOP, to_appliance("10.0.2.0/24", A)),
    row(
        "appliance is the sender, by its second address",
        _TO_C,
        Verdict.DROP_ROUTE_LOOP,
        to_appliance("10.0.2.0/24", world.A2),
    ),
    Row(
        "appliance in the VPC's table leads nowhere",
        (world.endpoint_host, lambda m: m.appliance(VNI, "172.16.0.0/12", NEAR_F)),
        _TO_FAR,
        Verdict.DROP_NO_ROUTE,
        ENDPOINT,
        after=stats_are(A_SLOT),
    ),
)

OWN_ROUTES = (
    row(
        "own table says as without",
        sent(dst="10.0.4.4"),
        Verdict.TO_DIVIDER,
        out=Sent(H3, asked(Hop.DIVIDER), inner=on_wire(sent(dst="10.0.4.4"), ttl=63)),
    ),
    row(
        "own table says as without, direct",
        sent(dst="10.0.4.4"),
        Verdict.DIRECT,
        lambda m: m.direct(VNI, "10.0.4.4", H4),
    ),
    row(
        "own table says as without, on this host",
        sent(dst="10.0.4.4"),
        Verdict.LOCAL,
        lambda m: world.local_endpoint(m, "10.0.4.4"),
    ),
    row(
        "on-link is not routed",
        sent(),
        Verdict.TO_BOUNCER,
        own("10.0.1.3/32", RouteKind.BLACKHOLE),
        out=Sent(H2, asked(Hop.BOUNCER), inner=on_wire()),
    ),
    row(
        "a group network routes all",
        sent(),
        Verdict.DROP_BLACKHOLE,
        a_port(PortFlags.ROUTES, onlink=()),
        own("10.0.1.3/32", RouteKind.BLACKHOLE),
    ),
    row(
        "blackhole",
        _TO_C,
        Verdict.DROP_BLACKHOLE,
        own("10.0.2.3/32", RouteKind.BLACKHOLE),
        after=stats_are(A_SLOT),
    ),
    row(
        "blackhole although it is on this host and the direct path is known",
        _TO_C,
        Verdict.DROP_BLACKHOLE,
        own("10.0.2.3/32", RouteKind.BLACKHOLE),
        _local_c,
        lambda m: m.direct(VNI, C, H4),
    ),
    row(
        "longest match within a blackhole",
        _TO_C,
        Verdict.TO_DIVIDER,
        own("10.0.2.0/24", RouteKind.BLACKHOLE),
        own("10.0.2.3/32", RouteKind.DIVIDER),
    ),
    row(
        "in no network, says the own table",
        _TO_C,
        Verdict.DROP_NO_NETWORK,
        own("10.0.2.3/32", RouteKind.NONE),
    ),
    row(
        "the VPC's table does not count",
        sent(dst=world.OUTSIDE),
        Verdict.DROP_NO_ROUTE,
        lambda m: m.route(VNI, "10.1.0.0/16", RouteKind.DIVIDER),
    ),
    row(
        "another network's table does not count",
        sent(dst=world.OUTSIDE),
        Verdict.DROP_NO_ROUTE,
        lambda m: m.route(layout.TABLE_NETWORK | world.NETWORK2, "10.1.0.0/16", RouteKind.DIVIDER),
    ),
    row(
        "without the flag the own table does not count",
        _TO_C,
        Verdict.TO_DIVIDER,
        a_port(0),
        out=Sent(H3, asked(Hop.DIVIDER), inner=on_wire(_TO_C, ttl=63)),
    ),
    row("ARP by the own table", ask(FAR), Verdict.ARP_REPLY, out=arp_reply(ask(FAR))),
    Row(
        "blackhole in the VPC's table",
        (world.endpoint_host, lambda m: m.route(VNI, "172.16.0.0/12", RouteKind.BLACKHOLE)),
        _TO_FAR,
        Verdict.DROP_BLACKHOLE,
        ENDPOINT,
    ),
    Row(
        "divide, blackhole",
        (world.divider_host, lambda m: m.route(VNI, "10.0.1.3/32", RouteKind.BLACKHOLE)),
        arrived(rts(Hop.DIVIDER)),
        Verdict.DROP_BLACKHOLE,
        BOTH,
    ),
    Row(
        "divide, appliance: users' routes are no divider's",
        (world.divider_host, lambda m: m.appliance(VNI, "10.0.1.3/32", F)),
        arrived(rts(Hop.DIVIDER)),
        Verdict.DROP_NO_ROUTE,
        BOTH,
    ),
)

# ---------------------------------------------------------------- who forwards


def forwarding(name: str, frame: bytes, verdict: Verdict, *setup: Setup, **fields: Any) -> Row:
    """A forwards."""
    return Row(
        name, (world.endpoint_host, a_port(PortFlags.FORWARDS), *setup), frame, verdict, ENDPOINT, **fields
    )


_FOREIGN: Final = sent(src=FAR)
_AS_A: Final = named(on_wire(_FOREIGN), src=macs.via(number(A)))

FORWARDS = (
    forwarding(
        "forwards for another", _FOREIGN, Verdict.TO_BOUNCER, out=Sent(H2, asked(Hop.BOUNCER), inner=_AS_A)
    ),
    forwarding(
        "forwards for another by the direct path",
        _FOREIGN,
        Verdict.DIRECT,
        lambda m: m.direct(VNI, B, H4),
        out=Sent(H4, inner=_AS_A),
    ),
    forwarding(
        "forwards for another to this host",
        _FOREIGN,
        Verdict.LOCAL,
        world.local_endpoint,
        out=delivered(_FOREIGN),
    ),
    forwarding(
        "who forwards sends its own too",
        sent(),
        Verdict.TO_BOUNCER,
        out=Sent(H2, asked(Hop.BOUNCER), inner=on_wire()),
    ),
    forwarding(
        "forwards as a neighbour on this host",
        sent(src=C),
        Verdict.TO_BOUNCER,
        lambda m: world.local_endpoint(m, C),
    ),
    forwarding("forwards from multicast", sent(src="224.0.0.5"), Verdict.DROP_SPOOFED_IP),
    forwarding("forwards from all", sent(src="255.255.255.255"), Verdict.DROP_SPOOFED_IP),
    forwarding("forwards from loopback", sent(src="127.0.0.1"), Verdict.DROP_SPOOFED_IP),
    forwarding("forwards from nobody", sent(src="0.0.0.0"), Verdict.DROP_SPOOFED_IP),
    forwarding("forwards an error of the gateway", sent(src=packets.GATEWAY), Verdict.TO_BOUNCER),
    forwarding("forwards by another's MAC", sent(src=FAR, mac="02:00:00:00:00:66"), Verdict.DROP_SPOOFED_MAC),
    forwarding("who forwards asks with any source", ask(sender=FAR), Verdict.ARP_REPLY),
    forwarding(
        "forwards, TTL 1: whose packet it is hears of it",
        sent(src=FAR, dst=C, ttl=1),
        Verdict.ICMP_TTL,
        out=icmp_error(sent(src=FAR, dst=C, ttl=1), 11, 0),
    ),
)

# ---------------------------------------------------------------- peers, at the first hop


def peered_host(machine: Machine) -> None:
    """A's host; its VPC has a peer."""
    world.endpoint_host(machine)
    machine.route(VNI, "10.8.0.0/16", RouteKind.DIVIDER, target=PEER_VNI)


def peer_divider(machine: Machine) -> None:
    """We divide A's VPC, and know the networks of the peer: H4 bounces for P's."""
    world.divider(machine)
    machine.route(VNI, "10.8.0.0/16", RouteKind.NONE, target=PEER_VNI)
    prefix = "10.8.0.0/24"
    machine.route(VNI, prefix, RouteKind.NETWORK, network=PEER_NETWORK, shards=world.SHARDS, target=PEER_VNI)
    machine.shards(PEER_NETWORK, world.SHARDS, [H4])


def we_bounce_for_peer(host: str) -> Setup:
    def setup(machine: Machine) -> None:
        machine.shards(PEER_NETWORK, world.SHARDS, [US])
        machine.location(PEER_VNI, P, host, slot=world.BOUNCER_SLOT)

    return setup


def to_peer(name: str, verdict: Verdict, *setup: Setup, frame: bytes = b"", **fields: Any) -> Row:
    return Row(name, (peered_host, *setup), frame or sent(dst=P), verdict, ENDPOINT, **fields)


def known(host: str = H4, *, age_ms: int = 0, vni: int = PEER_VNI) -> Setup:
    return lambda machine: machine.direct(VNI, P, host, age_ms=age_ms, endpoint_vni=vni)


def peer_here(machine: Machine) -> None:
    machine.endpoint(PEER_VNI, P, ifindex=world.PORT, mac=world.LOCAL_MAC, slot=world.LOCAL_SLOT)


def crossed(frame: bytes = b"", *, ttl: int = 63, forwarded: bool = False) -> bytes:
    """A's packet to P as it travels in P's VPC."""
    return named(on_wire(frame or sent(dst=P), ttl=ttl), src=macs.peer(VNI, forwarded=forwarded))


_IN_PEER: Final[dict[str, Any]] = {"vni": PEER_VNI, "inner": crossed()}
_NOT_CROSSED: Final = Sent(H3, asked(Hop.DIVIDER), inner=on_wire(sent(dst=P), ttl=63))

PEERS = (
    to_peer("to a peer: a divider finds it", Verdict.TO_DIVIDER, out=_NOT_CROSSED),
    to_peer("to a peer by the direct path", Verdict.DIRECT, known(), out=Sent(H4, **_IN_PEER)),
    to_peer(
        "to a peer by the direct path, soft",
        Verdict.DIRECT_PROBE,
        known(age_ms=machines.SOFT_MS + 100),
        out=Sent(H4, asked(Hop.PROBE), **_IN_PEER),
    ),
    to_peer("to a peer, hard", Verdict.TO_DIVIDER, known(age_ms=machines.HARD_MS + 100), out=_NOT_CROSSED),
    to_peer(
        "to a peer, forwarded",
        Verdict.DIRECT,
        a_port(PortFlags.FORWARDS),
        known(),
        frame=sent(src=FAR, dst=P),
        out=Sent(H4, vni=PEER_VNI, inner=crossed(sent(src=FAR, dst=P), forwarded=True)),
    ),
    to_peer(
        "peering has ended: what was learnt ends with it",
        Verdict.DROP_NO_ROUTE,
        lambda m: m.unroute(VNI, "10.8.0.0/16"),
        known(),
    ),
    to_peer(
        "another peer has the addresses now", Verdict.TO_DIVIDER, known(vni=OTHER_PEER), out=_NOT_CROSSED
    ),
    to_peer(
        "the own VPC has the addresses now",
        Verdict.TO_DIVIDER,
        lambda m: m.route(VNI, "10.8.0.0/16", RouteKind.DIVIDER),
        known(),
        out=_NOT_CROSSED,
    ),
    to_peer("peer on this host", Verdict.LOCAL, known(US), peer_here, out=delivered(sent(dst=P), ttl=63)),
    to_peer("peer on this host, soft", Verdict.LOCAL, known(US, age_ms=machines.SOFT_MS + 100), peer_here),
    to_peer("peer on this host no more", Verdict.TO_DIVIDER, known(US), out=_NOT_CROSSED),
    to_peer(
        "peer's host down", Verdict.TO_DIVIDER, known(), lambda m: m.host(H4, flags=layout.HostFlags.DOWN)
    ),
    to_peer(
        "a peer's address is not found without asking",
        Verdict.TO_DIVIDER,
        peer_here,
        out=_NOT_CROSSED,
        after=stats_are(world.LOCAL_SLOT),
    ),
    to_peer(
        "to a peer by the network's own table",
        Verdict.DIRECT,
        a_port(PortFlags.ROUTES),
        own("10.8.0.0/16", RouteKind.DIVIDER, target=PEER_VNI),
        known(),
        out=Sent(H4, **_IN_PEER),
    ),
    to_peer(
        "peer, blackhole by the network's own table",
        Verdict.DROP_BLACKHOLE,
        a_port(PortFlags.ROUTES),
        own("10.8.0.0/16", RouteKind.BLACKHOLE),
        known(),
    ),
    to_peer(
        "to a peer, we divide",
        Verdict.TO_BOUNCER,
        peer_divider,
        out=Sent(H4, asked(Hop.BOUNCER), **_IN_PEER),
        after=all_of(stats_are(A_SLOT, tx=1), stats_are(world.DIVIDER_SLOT, tx=1)),
    ),
    to_peer(
        "to a peer, we divide, no network", Verdict.DROP_NO_NETWORK, peer_divider, frame=sent(dst="10.8.9.9")
    ),
    to_peer(
        "to a peer, we divide and bounce",
        Verdict.TO_ENDPOINT_HOST,
        peer_divider,
        we_bounce_for_peer(H2),
        out=Sent(H2, asked(Hop.ENDPOINT), **_IN_PEER),
        after=stats_are(world.BOUNCER_SLOT, tx=1),
    ),
    to_peer(
        "to a peer, all on this host",
        Verdict.LOCAL,
        peer_divider,
        we_bounce_for_peer(US),
        peer_here,
        out=delivered(sent(dst=P), ttl=63),
        after=all_of(stats_are(A_SLOT, tx=1), stats_are(world.LOCAL_SLOT, rx=1)),
    ),
    to_peer(
        "to a peer, all on this host but gone", Verdict.DROP_NOT_HERE, peer_divider, we_bounce_for_peer(US)
    ),
)


def everything(machine: Machine) -> None:
    """On top of A's host that divides and bounces."""
    a_port(PortFlags.ROUTES | PortFlags.FORWARDS)(machine)
    for setup in (
        own("10.0.0.0/16", RouteKind.DIVIDER),
        to_appliance("10.0.2.0/24", F),
        to_appliance("172.16.0.0/12", NEAR_F),
        own("10.0.3.0/24", RouteKind.BLACKHOLE),
        own("10.8.0.0/16", RouteKind.DIVIDER, target=PEER_VNI),
        peer_divider,
        we_bounce_for_peer(US),
        known(),
    ):
        setup(machine)


# ---------------------------------------------------------------- peers, at a divider


def crossing(name: str, content: bytes, verdict: Verdict, *setup: Setup, **fields: Any) -> Row:
    """We divide A's VPC; the packet has come from A's host."""
    hop = fields.pop("hop", Hop.DIVIDER)
    hooks = fields.pop("hooks", BOTH)
    host = (world.hosts, peer_divider)
    return Row(name, (*host, *setup), arrived(rts(hop), content=content), verdict, hooks, **fields)


def _as_peers(frame: bytes, *, forwarded: bool = False) -> bytes:
    return named(frame, dst=frame[:6], src=macs.peer(VNI, forwarded=forwarded))


_ASKED_P: Final = sent(dst=P)

CROSSING = (
    crossing(
        "divide into a peer",
        _ASKED_P,
        Verdict.DIVIDED,
        out=Sent(H4, rts(Hop.BOUNCER), vni=PEER_VNI, inner=_as_peers(_ASKED_P)),
        after=stats_are(world.DIVIDER_SLOT, tx=1),
    ),
    crossing(
        "divide into a peer, forwarded",
        named(_ASKED_P, src=macs.via(number(B))),
        Verdict.DIVIDED,
        out=Sent(H4, rts(Hop.BOUNCER), vni=PEER_VNI, inner=_as_peers(_ASKED_P, forwarded=True)),
    ),
    crossing(
        "divide into a peer, from a gateway",
        named(_ASKED_P, src=macs.GATEWAY),
        Verdict.DIVIDED,
        out=Sent(H4, rts(Hop.BOUNCER), vni=PEER_VNI, inner=_as_peers(_ASKED_P, forwarded=True)),
    ),
    crossing(
        "divide and bounce into a peer",
        _ASKED_P,
        Verdict.BOUNCED,
        we_bounce_for_peer(H2),
        out=Sent(H2, rts(Hop.ENDPOINT), vni=PEER_VNI, inner=_as_peers(_ASKED_P)),
        after=all_of(stats_are(world.DIVIDER_SLOT, tx=1), stats_are(world.BOUNCER_SLOT, tx=1)),
    ),
    crossing(
        "divide, bounce and deliver into a peer",
        _ASKED_P,
        Verdict.DELIVERED_HERE,
        we_bounce_for_peer(US),
        peer_here,
        at_xdp=Verdict.TO_TC,
        out=Sent(H2, (geneve.Here(number(P), PEER_VNI),), control=True),
        after=direct_is(PEER_VNI, A, H2, own_vni=VNI),
    ),
    crossing(
        "divide, bounce and deliver into a peer, forwarded",
        named(_ASKED_P, src=macs.via(number(B))),
        Verdict.DELIVERED_HERE,
        we_bounce_for_peer(US),
        peer_here,
        hooks=TC_ONLY,
        after=all_of(direct_is(PEER_VNI, A, None), direct_is(PEER_VNI, B, None)),
    ),
    crossing("divide into a peer, no network", sent(dst="10.8.9.9"), Verdict.DROP_NO_NETWORK),
    crossing(
        "divide into a peer, nobody there",
        _ASKED_P,
        Verdict.DROP_NO_ENDPOINT,
        lambda m: m.shards(PEER_NETWORK, world.SHARDS, [US]),
    ),
    crossing(
        "peering is not transitive",
        named(_ASKED_P, src=macs.peer(OTHER_PEER)),
        Verdict.DROP_NO_ROUTE,
        after=stats_are(world.DIVIDER_SLOT),
    ),
    crossing(
        "from a peer into our own networks",
        named(sent(), src=macs.peer(OTHER_PEER)),
        Verdict.DIVIDED,
        out=Sent(H2, rts(Hop.BOUNCER), inner=named(sent(), src=macs.peer(OTHER_PEER))),
    ),
    Row(
        "stale, from a peer: to our networks only",
        (world.left_host, lambda m: m.route(VNI, "10.8.0.0/16", RouteKind.DIVIDER, target=PEER_VNI)),
        arrived(content=named(_ASKED_P, src=macs.peer(OTHER_PEER))),
        Verdict.DROP_NO_ROUTE,
        TC_ONLY,
        out=Sent(H2, (geneve.Forget(number(P), VNI),), control=True, vni=OTHER_PEER),
        action=REDIRECT,
    ),
)

ROWS: Final = (*APPLIANCE, *OWN_ROUTES, *FORWARDS, *PEERS, *CROSSING)

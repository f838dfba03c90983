# SPDX-License-Identifier: Apache-2.0
"""The packet table of scaled endpoints: docs/design/services.md, "Scaled endpoints".

V is one of network 11, port 80 TCP and UDP, served by B on port 8080.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from scapy.layers import inet, sctp

from mizar.abi import hashes, macs
from mizar.abi.geneve import Redirect
from mizar.abi.layout import FlowKind, FlowState, Hop, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import world
from tests.bpf.endpoint_rows import asked, bouncers, delivered, on_wire, without_shards
from tests.bpf.rows import BOTH, ENDPOINT, SHOT, TC_ONLY, Row, Sent, Setup, all_of, direct_is, stats_are
from tests.bpf.world import H2, H3, H4, US, VNI, A, B, C, arrived, named, rts, sent
from tests.support import machine as machines
from tests.support import packets
from tests.support.machine import Machine, number

V: Final = "10.0.1.100"
PORT, TARGET, CLIENT_PORT = 80, 8080, 4000
TCP, UDP, SCTP = 6, 17, 132
SERVICE_SLOT: Final = 5
AFFINITY: Final = 600

NOWHERE: Final = "0.0.0.0"
"""The host of a scaled endpoint."""


# ---------------------------------------------------------------- tables


def served(machine: Machine, *, backends: Iterable[str] = (B,), affinity: int = 0) -> None:
    """V's services, as its bouncers have them."""
    found = list(backends)
    for service_id, proto, target in ((1, TCP, TARGET), (2, UDP, TARGET), (3, SCTP, PORT)):
        machine.service(
            VNI,
            V,
            found,
            port=PORT,
            target=target,
            protocol=proto,
            affinity=affinity,
            slot=SERVICE_SLOT,
            service_id=service_id,
        )


def bouncer(machine: Machine) -> None:
    """We bounce for V."""
    world.hosts(machine)
    machine.vpc(VNI, flags=VpcFlags.BOUNCER)
    machine.location(VNI, V, NOWHERE, slot=world.BOUNCER_SLOT)
    served(machine)


def serving(*backends: str, affinity: int = 0) -> Setup:
    return lambda machine: served(machine, backends=backends, affinity=affinity)


def draining(backend: str) -> Setup:
    """It has no place in the Maglev table."""
    return lambda machine: machine.put(Table.BACKENDS4, (1, number(backend)), (0,))


def own_bouncer(machine: Machine) -> None:
    """A's host bounces for its network; B is on H4."""
    bouncers(US)(machine)
    machine.location(VNI, V, NOWHERE, slot=world.BOUNCER_SLOT)
    machine.location(VNI, B, H4, slot=world.BOUNCER_SLOT)


def known(machine: Machine, *, proto: int = TCP, asked_s: int = 0) -> None:
    """A has a flow to V, which B serves."""
    machine.to_backend(
        VNI,
        (A, CLIENT_PORT),
        (V, PORT),
        (B, TARGET),
        proto=proto,
        asked_s=asked_s,
        slot=world.A_SLOT,
    )


def heard_of(machine: Machine) -> None:
    """There are flows to V."""
    machine.put(Table.DIRECT4, (VNI, number(V)), (0, machines.now_ms(), VNI))


def flow_to(proto: int = TCP, *, asked_s: int = 0) -> Setup:
    return lambda machine: known(machine, proto=proto, asked_s=asked_s)


def had(machine: Machine) -> None:
    """A's last flow to V went to B."""
    heard_of(machine)
    key = (VNI, number(A), number(V), 0, PORT, TCP, (0, 0, 0))
    value = (0, number(B), 0, 0, VNI, 0, machines.now_s(), AFFINITY, 0, FlowKind.AFFINITY, 0)
    machine.put(Table.FLOWS4, key, value)


# ---------------------------------------------------------------- packets


def tcp(flags: str = "S", **fields: Any) -> bytes:
    return sent(packets.tcp(CLIENT_PORT, PORT, flags=flags), **({"dst": V} | fields))


def udp(**fields: Any) -> bytes:
    return sent(packets.udp(CLIENT_PORT, PORT), **({"dst": V} | fields))


def init(target: int = PORT) -> bytes:
    return sent(sctp.SCTP(sport=CLIENT_PORT, dport=target) / bytes((1, 0, 0, 4)), dst=V)


def to_b(payload: Any, **fields: Any) -> bytes:
    """What it becomes."""
    return sent(payload, dst=B, **fields)


TCP_TO_B: Final = to_b(packets.tcp(CLIENT_PORT, TARGET, flags="S"))
UDP_TO_B: Final = to_b(packets.udp(CLIENT_PORT, TARGET))
ANSWER: Final = sent(packets.tcp(TARGET, CLIENT_PORT, flags="SA"), src=B, dst=A, mac=world.LOCAL_MAC)
ANSWER_OF_V: Final = sent(packets.tcp(PORT, CLIENT_PORT, flags="SA"), src=V, dst=A, mac=world.LOCAL_MAC)
_ERROR: Final = sent(
    inet.ICMP(type=3, code=3) / packets.ipv4(packets.udp(PORT, CLIENT_PORT), src=V, dst=A), dst=V
)


def asking(content: bytes, hop: Hop = Hop.BOUNCER, *, host: str = H2, **fields: Any) -> bytes:
    """The packet comes to V's bouncer."""
    return arrived(rts(hop, host), content=content, **fields)


def told(content: bytes, backend: str = B, port: int = TARGET, affinity: int = 0, **fields: Any) -> bytes:
    """The bouncer has sent it back."""
    return arrived((Redirect(number(backend), port, affinity),), content=content, **fields)


def preferring(content: bytes, backend: str) -> bytes:
    return named(content, dst=macs.prefer(number(backend)))


# ---------------------------------------------------------------- what comes out


def turned(content: bytes, backend: str = B, port: int = TARGET, affinity: int = 0) -> Sent:
    """Back to the sender's host, with the choice."""
    return Sent(H2, (Redirect(number(backend), port, affinity),), inner=content)


def into_client(check: Callable[[Any], None]) -> Callable[[bytes], None]:
    """A packet from V into A; `check` looks at it."""

    def found(frame: bytes) -> None:
        answer = packets.dissect(frame)
        assert (answer.dst, answer.src) == (world.A_MAC, packets.ROUTER_MAC)
        assert (answer[inet.IP].src, answer[inet.IP].dst) == (V, A)
        packets.check_ipv4(answer[inet.IP])
        check(answer)

    return found


def _is_reset(answer: Any) -> None:
    assert str(answer[inet.TCP].flags) == "RA"


def _is_unreachable(answer: Any) -> None:
    assert (answer[inet.ICMP].type, answer[inet.ICMP].code) == (3, 3)


def flow_is(backend: str | None, *, proto: int = TCP) -> Setup:
    """A's flow to V goes to this backend, with both entries; None: there is none."""

    def check(machine: Machine) -> None:
        there = machine.flow(VNI, (A, CLIENT_PORT), (V, PORT), proto=proto)
        if backend is None:
            assert there is None
            return
        assert there is not None
        assert (int(there["dst"]), int(there["dport"]), int(there["kind"])) == (
            number(backend),
            TARGET,
            FlowKind.SERVICE,
        )
        back = machine.flow(VNI, (backend, TARGET), (A, CLIENT_PORT), proto=proto)
        assert back is not None
        assert (int(back["src"]), int(back["state"]) & FlowState.REVERSE) == (number(V), FlowState.REVERSE)

    return check


def watches(source: str) -> Setup:
    def check(machine: Machine) -> None:
        found = machine.get(Table.WATCHED, world.A_SLOT)
        assert found is not None
        assert int(found["sources"]) == 1 << hashes.watched_bit(number(source))

    return check


def affinity_is(backend: str) -> Setup:
    def check(machine: Machine) -> None:
        found = machine.flow(VNI, (A, 0), (V, PORT))
        assert found is not None
        assert (int(found["dst"]), int(found["asked"])) == (number(backend), AFFINITY)

    return check


# ---------------------------------------------------------------- the bouncer


def at_bouncer(name: str, frame: bytes, verdict: Verdict, *more: Setup, **fields: Any) -> Row:
    hooks = fields.pop("hooks", BOTH)
    return Row(f"V's bouncer: {name}", (bouncer, *more), frame, verdict, hooks, **fields)


def divides(machine: Machine) -> None:
    machine.vpc(VNI, dividers=[US], flags=VpcFlags.DIVIDER, slot=world.DIVIDER_SLOT)
    machine.route(VNI, "10.0.1.0/24", RouteKind.NETWORK, network=world.NETWORK, shards=world.SHARDS)
    machine.shards(world.NETWORK, world.SHARDS, [US])


def mac_unknown(machine: Machine) -> None:
    machine.host(H2)


_LATER: Final = sent(b"x" * 40, dst=V, proto=UDP, flags="", frag=5)
_GRE: Final = sent(b"x" * 40, dst=V, proto=47)

BOUNCER = (
    at_bouncer(
        "TCP",
        asking(tcp()),
        Verdict.REDIRECTED,
        out=turned(tcp()),
        after=all_of(stats_are(world.BOUNCER_SLOT, tx=1), stats_are(SERVICE_SLOT, tx=1)),
    ),
    at_bouncer("UDP", asking(udp()), Verdict.REDIRECTED, out=turned(udp())),
    at_bouncer("SCTP", asking(init()), Verdict.REDIRECTED, out=turned(init(), port=PORT)),
    at_bouncer(
        "asked as divider", asking(tcp(), Hop.DIVIDER), Verdict.REDIRECTED, divides, out=turned(tcp())
    ),
    at_bouncer(
        "port that is not served",
        asking(tcp(id=9)),
        Verdict.REDIRECTED,
        lambda machine: machine.service(VNI, V, [], port=PORT, service_id=1),
        out=turned(tcp(id=9), NOWHERE, 0),
        after=stats_are(SERVICE_SLOT),
    ),
    at_bouncer("no backend", asking(udp()), Verdict.REDIRECTED, serving(), out=turned(udp(), NOWHERE, 0)),
    at_bouncer("a ping", asking(sent(packets.icmp(), dst=V)), Verdict.REDIRECTED),
    at_bouncer("a client's error", asking(_ERROR), Verdict.REDIRECTED, out=turned(_ERROR)),
    at_bouncer(
        "a backend that is preferred",
        asking(preferring(tcp(), C)),
        Verdict.REDIRECTED,
        serving(C, B, "10.0.1.5"),
        out=turned(preferring(tcp(), C), C),
    ),
    at_bouncer(
        "a backend that is preferred and drains",
        asking(preferring(tcp(), C)),
        Verdict.REDIRECTED,
        serving(B),
        draining(C),
        out=turned(preferring(tcp(), C), C),
    ),
    at_bouncer(
        "the last one drains",
        asking(preferring(tcp(), C)),
        Verdict.REDIRECTED,
        serving(),
        draining(C),
        out=turned(preferring(tcp(), C), C),
    ),
    at_bouncer(
        "affinity with one that drains is over",
        asking(preferring(tcp(), C)),
        Verdict.REDIRECTED,
        serving(B, affinity=AFFINITY),
        draining(C),
        out=turned(preferring(tcp(), C), affinity=AFFINITY),
    ),
    at_bouncer(
        "another than the one that is preferred, which is gone",
        asking(preferring(tcp(), C)),
        Verdict.REDIRECTED,
        out=turned(preferring(tcp(), C)),
    ),
    at_bouncer(
        "affinity",
        asking(tcp()),
        Verdict.REDIRECTED,
        serving(B, affinity=AFFINITY),
        out=turned(tcp(), affinity=AFFINITY),
    ),
    at_bouncer("later fragment", asking(_LATER), Verdict.DROP_FRAGMENT),
    at_bouncer("protocol without ports", asking(_GRE), Verdict.DROP_UNTRANSLATABLE),
    at_bouncer("sender's host unknown", asking(tcp(), host=world.STRANGER), Verdict.DROP_UNKNOWN_HOST),
    at_bouncer(
        "MAC of the sender's host unknown",
        asking(tcp()),
        Verdict.REDIRECTED,
        mac_unknown,
        at_xdp=Verdict.TO_TC,
        out=turned(tcp()),
    ),
    at_bouncer(
        "direct packet, as V was a simple endpoint once",
        arrived(content=tcp()),
        Verdict.DROP_NOT_HERE,
        divides,
        at_xdp=Verdict.TO_TC,
        action=7,
    ),
)

# ---------------------------------------------------------------- the client's host, from the wire


def taken(name: str, frame: bytes, verdict: Verdict, *more: Setup, **fields: Any) -> Row:
    hooks = fields.pop("hooks", TC_ONLY)
    return Row(f"lesson: {name}", (world.endpoint_host, *more), frame, verdict, hooks, **fields)


def b_is_direct(machine: Machine) -> None:
    machine.direct(VNI, B, H4)


def b_is_here(machine: Machine) -> None:
    world.local_endpoint(machine)


def a_bounces(machine: Machine) -> None:
    """A's own host is V's bouncer."""
    machine.vpc(VNI, dividers=[H3], flags=VpcFlags.ENDPOINTS | VpcFlags.BOUNCER)
    own_bouncer(machine)
    served(machine)


TAKEN = (
    taken("is for tcx", told(tcp()), Verdict.TO_TC, hooks=(machines.Hook.XDP,)),
    taken(
        "the backend's host is asked for",
        told(tcp()),
        Verdict.REDIRECT_TAKEN,
        out=Sent(H2, asked(Hop.BOUNCER), inner=on_wire(TCP_TO_B)),
        after=all_of(flow_is(B), watches(B), direct_is(VNI, V, NOWHERE), stats_are(world.A_SLOT)),
    ),
    taken(
        "the backend's host is known",
        told(udp()),
        Verdict.REDIRECT_TAKEN,
        b_is_direct,
        out=Sent(H4, inner=on_wire(UDP_TO_B)),
        after=flow_is(B, proto=UDP),
    ),
    taken(
        "the backend is here",
        told(tcp()),
        Verdict.REDIRECT_TAKEN,
        b_is_here,
        out=delivered(TCP_TO_B),
        after=stats_are(world.LOCAL_SLOT, rx=1),
    ),
    taken(
        "the bouncer is here, and a divider was asked",
        asking(tcp(), Hop.BOUNCER, host=US),
        Verdict.REDIRECT_TAKEN,
        a_bounces,
        out=Sent(H4, asked(Hop.ENDPOINT), inner=on_wire(TCP_TO_B)),
        after=stats_are(SERVICE_SLOT, tx=1),
    ),
    taken(
        "affinity is noted",
        told(tcp(), affinity=AFFINITY),
        Verdict.REDIRECT_TAKEN,
        after=affinity_is(B),
    ),
    taken(
        "what is known holds",
        told(tcp("A"), C),
        Verdict.REDIRECT_TAKEN,
        known,
        after=flow_is(B),
    ),
    taken(
        "of a backend that is gone",
        told(preferring(udp(), B), C),
        Verdict.REDIRECT_TAKEN,
        flow_to(UDP),
        after=flow_is(C, proto=UDP),
    ),
    taken(
        "marked on the way",
        told(tcp(tos=2), tos=3),
        Verdict.REDIRECT_TAKEN,
        out=Sent(H2, asked(Hop.BOUNCER), tos=3),
    ),
    taken("marked, and cannot be", told(tcp(), tos=3), Verdict.DROP_ECN),
    taken("for nobody here", told(tcp(src=C)), Verdict.DROP_NOT_CLIENT),
    taken("of another VPC", told(tcp(), vni=world.OTHER_VNI), Verdict.DROP_NOT_CLIENT),
    taken("an error of no flow", told(_ERROR), Verdict.DROP_UNTRANSLATABLE, after=flow_is(None)),
    taken("SCTP with another port", told(init()), Verdict.DROP_UNTRANSLATABLE),
    taken("table full", told(tcp()), Verdict.DROP_FLOWS_FULL, Machine.fill_flows),
    taken("no backend, TCP", told(tcp(), NOWHERE, 0), Verdict.REFUSED, out=into_client(_is_reset)),
    taken("no backend, UDP", told(udp(), NOWHERE, 0), Verdict.REFUSED, out=into_client(_is_unreachable)),
    taken("no backend, a reset", told(tcp("R"), NOWHERE, 0), Verdict.DROP_NO_BACKEND),
    taken("no backend, an error", told(_ERROR, NOWHERE, 0), Verdict.DROP_NO_BACKEND),
)

# ---------------------------------------------------------------- the client's host, from the client


def first(name: str, frame: bytes, verdict: Verdict, *more: Setup, **fields: Any) -> Row:
    return Row(f"to V: {name}", (world.endpoint_host, *more), frame, verdict, ENDPOINT, **fields)


_ASKED: Final = asked(Hop.BOUNCER)
_ASKED_FOR_B: Final = Sent(H2, _ASKED, inner=named(tcp(), dst=macs.prefer(number(B))))

CLIENT = (
    first("never heard of", tcp(), Verdict.TO_BOUNCER, out=Sent(H2, _ASKED, inner=tcp())),
    first("no flow", tcp(), Verdict.TO_BOUNCER, heard_of, out=Sent(H2, _ASKED, inner=tcp())),
    first("protocol without ports", _GRE, Verdict.TO_BOUNCER, heard_of),
    first("later fragment", _LATER, Verdict.DROP_FRAGMENT, heard_of),
    first(
        "a flow, and the backend's host is known",
        tcp(),
        Verdict.DIRECT,
        known,
        b_is_direct,
        out=Sent(H4, inner=on_wire(TCP_TO_B)),
        after=stats_are(world.A_SLOT, tx=1),
    ),
    first(
        "a flow, and the backend is here",
        udp(),
        Verdict.LOCAL,
        flow_to(UDP),
        b_is_here,
        out=delivered(UDP_TO_B),
        after=all_of(stats_are(world.A_SLOT, tx=1), stats_are(world.LOCAL_SLOT, rx=1)),
    ),
    first(
        "a flow, and the backend's host is not known",
        tcp(),
        Verdict.TO_BOUNCER,
        known,
        out=Sent(H2, _ASKED, inner=on_wire(TCP_TO_B)),
    ),
    first(
        "datagram of long ago",
        udp(),
        Verdict.TO_BOUNCER,
        flow_to(UDP, asked_s=7),
        out=Sent(H2, _ASKED, inner=preferring(udp(), B)),
    ),
    first("SYN of long ago", tcp(), Verdict.TO_BOUNCER, flow_to(asked_s=5), out=_ASKED_FOR_B),
    first(
        "datagram of long ago, and nobody to ask",
        udp(),
        Verdict.DIRECT,
        flow_to(UDP, asked_s=7),
        b_is_direct,
        without_shards,
        out=Sent(H4, inner=on_wire(UDP_TO_B)),
    ),
    first("affinity, and nobody to ask", tcp(), Verdict.DROP_NO_BOUNCER, had, without_shards),
    first("SYN again", tcp(), Verdict.DIRECT, flow_to(asked_s=2), b_is_direct),
    first("segment of long ago", tcp("A"), Verdict.DIRECT, flow_to(asked_s=500), b_is_direct),
    first("affinity", tcp(), Verdict.TO_BOUNCER, had, out=_ASKED_FOR_B),
    first(
        "own host is the bouncer",
        tcp(),
        Verdict.TO_ENDPOINT_HOST,
        own_bouncer,
        served,
        out=Sent(H4, asked(Hop.ENDPOINT), inner=on_wire(TCP_TO_B)),
        after=all_of(flow_is(B), watches(B), stats_are(SERVICE_SLOT, tx=1)),
    ),
    first(
        "own host is the bouncer, a ping", sent(packets.icmp(), dst=V), Verdict.REFUSED, own_bouncer, served
    ),
    first(
        "own host is the bouncer, no backend", tcp(), Verdict.REFUSED, own_bouncer, out=into_client(_is_reset)
    ),
    first("own host is the bouncer, no backend, a reset", tcp("R"), Verdict.DROP_NO_BACKEND, own_bouncer),
    first(
        "own host is the bouncer, full table",
        tcp(),
        Verdict.DROP_FLOWS_FULL,
        own_bouncer,
        served,
        Machine.fill_flows,
    ),
)

# ---------------------------------------------------------------- back


def to_client(frame: bytes) -> Callable[[bytes], None]:
    """As A gets it."""
    found = packets.dissect(on_wire(frame))
    found.src, found.dst = packets.ROUTER_MAC, world.A_MAC

    def check(got: bytes) -> None:
        assert got == bytes(found)

    return check


def of_b(machine: Machine) -> None:
    """B's interface, on A's host."""
    machine.endpoint(VNI, B, ifindex=world.PORT, mac=world.LOCAL_MAC, slot=world.LOCAL_SLOT)
    machine.port(
        world.PORT,
        vni=VNI,
        addr=B,
        mac=world.LOCAL_MAC,
        mtu=world.MTU,
        network=world.NETWORK,
        shards=world.SHARDS,
        slot=world.LOCAL_SLOT,
        onlink=["10.0.1.0/24"],
    )


def watched_only(machine: Machine) -> None:
    """The bit is set, by an address that shares it perhaps."""
    machine.put(Table.WATCHED, world.A_SLOT, (1 << hashes.watched_bit(number(B)),))


BACK = (
    taken(
        "answer of the backend", arrived(content=ANSWER), Verdict.DELIVERED, known, out=to_client(ANSWER_OF_V)
    ),
    taken(
        "no answer to anything",
        arrived(content=ANSWER),
        Verdict.DELIVERED,
        watched_only,
        out=to_client(ANSWER),
    ),
    taken(
        "answer that is not watched for", arrived(content=ANSWER), Verdict.DELIVERED, out=to_client(ANSWER)
    ),
    taken(
        "fragment of an answer before its first",
        arrived(content=sent(b"x" * 40, src=B, dst=A, proto=TCP, flags="", frag=5)),
        Verdict.DROP_FRAGMENT,
        known,
        action=SHOT,
    ),
    Row(
        "answer of a backend here",
        (world.endpoint_host, known, of_b),
        ANSWER,
        Verdict.LOCAL,
        ENDPOINT,
        out=to_client(ANSWER_OF_V),
    ),
)

ROWS: Final = (*BOUNCER, *TAKEN, *CLIENT, *BACK)
